"""What happened, in words: logged, and kept with the service that it happened to."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from windlass.model.instance import State
from windlass.store.platform import StoreUnavailable

if TYPE_CHECKING:
    from windlass.billing.rows import Gap
    from windlass.model.instance import Instance
    from windlass.store.platform import Store

log = structlog.get_logger(__name__)


class Events:
    """Tells the log and the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def tell(
        self,
        kind: str,
        *,
        message: str,
        service: str = "",
        revision: str = "",
        instance: str = "",
        level: str = "info",
    ) -> None:
        """Log something that happened, and keep it with its service, if it has one."""
        facts = {"service": service, "revision": revision, "instance": instance}
        known = {name: value for name, value in facts.items() if value}
        (log.warning if level == "warning" else log.info)(message, kind=kind, **known)
        if not service:
            return
        try:
            self._store.add_event(
                time=time.time(), level=level, kind=kind, message=message, **facts
            )
        except StoreUnavailable as error:  # what happened has happened, kept or not
            log.error("event is not kept", why=str(error))

    def changed(self, instance: Instance) -> None:
        """Tell an instance's new state."""
        self._of(
            instance,
            f"Instance{instance.state.capitalize()}",
            _state(instance),
            "warning" if instance.state is State.FAILED else "info",
        )

    def withheld(self, instance: Instance, reason: str) -> None:
        """Tell why a ready instance gets no new request, or, without a reason, that it does."""
        self._of(
            instance,
            "InstanceUnready" if reason else "InstanceReadyAgain",
            f"{instance.id} gets {reason and 'no '}requests{reason and ': '}{reason}",
            "warning" if reason else "info",
        )

    def vanished(self, service: str, revision: str, instance: str, lived: int) -> None:
        """Tell that an instance ended while no platform watched it.

        `lived` is the last moment, in Unix nanoseconds, at which it is known to have lived.
        """
        self.tell(
            "InstanceVanished",
            service=service,
            revision=revision,
            instance=instance,
            message=f"{instance} ended while the platform was away: nobody knows how; it is "
            f"billed up to {_clock(lived)} UTC, when it was last known to live",
            level="warning",
        )

    def worker_lost(self, worker: str, gap: Gap | None) -> None:
        """Tell that a worker is gone, and what it did that nobody knows."""
        said = f"router {worker} ended and is replaced"
        if gap is not None:
            unknown = f"what it did from {_clock(gap.begin)} to {_clock(gap.end)} UTC"
            said = f"{said}; {unknown} is not counted"
        self.tell("WorkerLost", message=said, level="warning")

    def _of(self, instance: Instance, kind: str, message: str, level: str) -> None:
        self.tell(
            kind,
            service=instance.service,
            revision=instance.revision,
            instance=instance.id,
            message=message,
            level=level,
        )


def _clock(moment: int) -> str:
    """Return a moment in Unix nanoseconds as the time of its day in UTC."""
    return f"{datetime.fromtimestamp(moment / 1e9, UTC):%H:%M:%S.%f}"


def _state(instance: Instance) -> str:
    """Return an instance's new state in words."""
    said = f"{instance.id} is {instance.state}"
    match instance.state:
        case State.READY if instance.ready is not None:
            return f"{said} after {(instance.ready - instance.started) / 1e9:.2f} s"
        case State.STARTING | State.DRAINING | State.FAILED:
            return f"{said}: {instance.reason}"
        case _:
            return said
