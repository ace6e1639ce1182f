"""Reads what services used since the beginning of a long period again and again, cheaply.

What lies well back is kept, so that only the last minutes are read from the ledger each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from windlass.billing.usage import joined

if TYPE_CHECKING:
    from windlass.billing.ledger import Ledger
    from windlass.billing.usage import Usage

CLOSED = 600.0  # seconds after which a minute's rows change no more, but for the case below
RENEWED = 3600.0  # seconds after which all is read anew: a full disk may have held back old rows


class KeptUsage:
    """The usage of services since a moment each. Synchronous, for one thread at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._kept: dict[str, Usage] = {}  # by service

    def read(self, service: str, begin: int, now: float) -> Usage:
        """Return what `Ledger.usage` does from `begin` (Unix seconds, a whole minute) up to now.

        How many instances lived at once is left out.

        Raises:
            LedgerUnavailable: it cannot be read.
        """
        kept = self._kept.get(service)
        if kept is None or kept.since != begin or kept.until < now - RENEWED:
            kept = self._ledger.usage(begin, max(begin, now - CLOSED), service)
            self._kept[service] = kept
        return joined(kept, self._ledger.usage(kept.until, now, service))

    def forget(self, service: str) -> None:
        """Drop what is kept of a service."""
        self._kept.pop(service, None)
