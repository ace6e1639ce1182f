"""Containers that are made but not started, for each revision; does not know how they are made."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from windlass.runtime.base import Waiting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from windlass.runtime.base import Start
    from windlass.runtime.oci.sandbox import Sandbox


class Standby:
    """Keeps as many containers of a revision as it is told to; the oldest is taken first.

    Meets windlass.runtime.base.Standby.
    """

    def __init__(
        self,
        make: Callable[[Start], Awaitable[Sandbox]],
        discard: Callable[[Sandbox], Awaitable[None]],
    ) -> None:
        self._make, self._discard = make, discard
        self._standing: dict[str, deque[Sandbox]] = {}
        self._changing = asyncio.Lock()

    async def keep(self, request: Start, count: int) -> None:
        """Make or discard containers until there are `count`; raises what making them raises."""
        async with self._changing:
            standing = self._standing.setdefault(request.revision, deque())
            try:
                while len(standing) > count:
                    await self._discard(standing.pop())
                while len(standing) < count:
                    standing.append(await self._make(request))
            finally:
                if not standing:
                    self._standing.pop(request.revision, None)

    async def drop(self, revision: str) -> None:
        """Discard a revision's containers."""
        async with self._changing:
            standing = self._standing.pop(revision, deque())
            while standing:
                await self._discard(standing.pop())

    def waiting(self, revision: str) -> list[Waiting]:
        """Return the revision's containers that stand by, the next one to be taken first."""
        standing = self._standing.get(revision, ())
        return [Waiting(box.record.name, box.made) for box in standing]

    def take(self, revision: str) -> Sandbox | None:
        """Return a container of the revision, which is the caller's from now on; None: none."""
        standing = self._standing.get(revision)
        return standing.popleft() if standing else None

    def forget(self, box: Sandbox) -> bool:
        """Forget a container that ended; say whether it was one that stood by."""
        standing = self._standing.get(box.record.revision)
        if not standing or box not in standing:
            return False
        standing.remove(box)
        return True

    async def clear(self) -> None:
        """Discard all containers."""
        for revision in list(self._standing):
            await self.drop(revision)
