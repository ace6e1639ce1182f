"""Where the parts of the platform hear of one another: workers, autoscaler, meter, metrics, events.

Nothing is decided here. Every method is synchronous and cheap: it is called between two messages.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from windlass.billing.recent import RecentBusy
from windlass.deploy.ended import EndedInstances
from windlass.deploy.frozen import Frozen
from windlass.deploy.leases import Level
from windlass.deploy.levels import Levels
from windlass.deploy.rests import Rests
from windlass.deploy.sharing import Sharing
from windlass.model.instance import ENDED, Instance, State
from windlass.model.service import Mode
from windlass.router import link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from windlass.autoscaler.decide import Decision
    from windlass.autoscaler.loop import Autoscaler
    from windlass.deploy.events import Events
    from windlass.deploy.metering import Metering
    from windlass.deploy.workers import Workers
    from windlass.model.service import Revision
    from windlass.runtime.base import LogLine, Thaw
    from windlass.telemetry.instance_logs import InstanceLogs
    from windlass.telemetry.metrics import Counters

log = structlog.get_logger(__name__)


class Switchboard:
    """Hears workers (deploy.workers.Listener) and the autoscaler (autoscaler.audience.Audience)."""

    def __init__(
        self,
        metering: Metering,
        counters: Counters,
        events: Events,
        logs: InstanceLogs,
        revisions: Mapping[str, Revision],
    ) -> None:
        self._metering = metering
        self._counters = counters
        self.events = events
        self._logs = logs
        self._revisions = revisions
        self._output_lost = False
        self._published: link.Routes | None = None
        self.instances: dict[str, Instance] = {}  # those that live
        self.ended = EndedInstances()
        self.in_flight: dict[str, int] = {}  # instance -> requests now, through all workers
        self._levels = Levels()
        self.sharing = Sharing(self._tell, self._lacking, self._most)
        self._withheld: set[str] = set()  # ready instances that fail their readiness probe
        self._undrained: dict[str, set[str]] = {}  # draining instance -> workers that still use it
        self._rests = Rests()
        self.frozen = Frozen()
        self.requests: Counter[str] = Counter()  # instance -> requests served
        self.recent = RecentBusy()

    def join(
        self, autoscaler: Autoscaler, workers: Workers, table: Callable[[], link.Routes]
    ) -> None:
        """Take those who need this switchboard to be made."""
        self._autoscaler = autoscaler
        self._workers = workers
        self._table = table

    def publish(self) -> None:
        """Tell workers the routing table, if it is another one than they know."""
        table = self._table()
        if table != self._published:
            self._published = table
            self._workers.send(table)

    def forget(self, service: str) -> None:
        """Drop what is kept in memory of a service: it was deleted, or never came up."""
        self._metering.running.forget(service)
        self._counters.forget(service)
        self._forget_instances(self.ended.forget(service))

    def forget_revision(self, revision: str) -> None:
        """Drop what is kept of a revision without instances: it is no more."""
        self.sharing.forget(revision)

    def _forget_instances(self, instances: Iterable[str]) -> None:
        for instance in instances:
            self.requests.pop(instance, None)
            self.recent.forget(instance)
            self.frozen.forget(instance)

    # From the autoscaler.

    def instance_changed(self, instance: Instance) -> None:
        """Tell workers, meter and events of an instance's new state."""
        self._metering.changed(instance)
        if instance.state is not State.READY:
            self._rest_over(instance.id)
        self._counters.instance_changed(
            instance.service, instance.revision, instance.id, instance.state
        )
        if instance.state in ENDED:
            self.instances.pop(instance.id, None)
            self.in_flight.pop(instance.id, None)
            self._levels.forget_instance(instance.id)
            self._undrained.pop(instance.id, None)
            self._withheld.discard(instance.id)
            self.sharing.remove(instance.id)
            self._counters.instance_gone(instance.id)
            self._logs.close(instance.service, instance.id)
            self._forget_instances(self.ended.add(instance))
        else:
            if instance.state is State.READY and instance.id not in self.instances:
                self._resume_log(instance)
            self.instances[instance.id] = instance
        if instance.state is State.READY:
            self.publish()  # how long requests may wait follows how long starts take
        if instance.state is State.DRAINING:
            self._undrained[instance.id] = set(self._workers.names)
        self._serve(instance)
        self.events.changed(instance)

    def instance_withheld(self, instance: Instance, reason: str) -> None:
        """Tell workers to give a ready instance no new request, or, without a reason, again."""
        (self._withheld.add if reason else self._withheld.discard)(instance.id)
        self._rest_over(instance.id)
        self._serve(instance)
        self.events.withheld(instance, reason)

    def instance_to_rest(self, instance: str, number: int, thaw: Thaw) -> None:
        """Ask workers to let go of an instance."""
        self._rests.ask(instance, number, self._workers.names)
        written = link.Thaw(thaw.file, thaw.text)
        self._workers.send(link.InstanceRest(instance=instance, round=number, thaw=written))

    def instance_frozen(self, instance: str) -> None:
        """Tell workers that an instance is frozen."""
        self.frozen.begin(instance, time.monotonic_ns())
        self._workers.send(link.InstanceFrozen(instance))

    def instance_awake(self, instance: str) -> None:
        """Tell workers that an instance takes requests as it is."""
        self._rest_over(instance)
        if message := self._told_workers(self.instances[instance]):
            self._workers.send(message)

    def _rest_over(self, instance: str) -> None:
        self._rests.forget(instance)
        self.frozen.end(instance, time.monotonic_ns())

    def start_failed(self, revision: str, reason: str) -> None:
        """Tell workers that no instance comes up."""
        self._workers.send(link.StartFailed(revision, reason))

    def decided(self, revision: str, decision: Decision, now: float) -> None:
        """Log a decision; `explain` reads it from the autoscaler."""
        log.info("decided", revision=revision, desired=decision.desired, why=decision.reason)

    def log_line(self, instance: str, line: LogLine) -> None:
        """Keep what an instance printed."""
        known = self.instances.get(instance)
        if known is None:
            return
        try:
            self._logs.append(known.service, instance, line)
            self._output_lost = False
        except OSError as error:  # a full disk must not end an instance's life
            if not self._output_lost:
                log.error("instances' output is not kept", why=str(error))
            self._output_lost = True

    # From workers.

    def snapshot(self, known: Iterable[str]) -> Iterable[link.ToWorker]:
        """Return the routing table, the instances that serve, and which of `known` are no more."""
        self._autoscaler.wake_all()  # a worker that comes does not know who rests
        self.publish()
        yield self._published or self._table()
        for name in known:
            if name not in self.instances:
                yield link.InstanceGone(name, "it ended while the platform was away")
        for instance in self.instances.values():
            if message := self._told_workers(instance):
                yield message

    def linked(self, worker: str, hello: link.Hello) -> None:
        """A worker was told the snapshot, and can be told what it gets on lease."""
        slots = {name: count for name, count in hello.slots.items() if name in self.instances}
        self._metering.expect(worker)
        self.sharing.linked(worker, slots, hello.aside)
        if hello.draining:
            self.sharing.retire(worker)

    def unlinked(self, worker: str) -> None:
        """A worker's link is closed: it thaws what it is given to know, and tells nobody."""
        self._autoscaler.wake_all()
        self.sharing.unlinked(worker)

    def starved(self, worker: str, message: link.Starved) -> None:
        """Requests wait at a worker that has no slot free."""
        if message.revision in self._revisions:
            self.sharing.starved(worker, message)

    def returned(self, worker: str, message: link.Returned) -> None:
        """A worker has given slots back that others wait for."""
        if message.revision in self._revisions:
            self.sharing.returned(worker, message)

    def set_aside(self, worker: str, message: link.InstanceAside) -> None:
        """A worker gives an instance no request for a while, or does again."""
        self.sharing.set_aside(worker, message)

    def drained(self, worker: str, message: link.InstanceDrained) -> None:
        """A draining instance has nothing in flight through this worker."""
        waiting = self._undrained.get(message.instance, set())
        waiting.discard(worker)
        if not waiting:
            self._autoscaler.drained(message.instance)

    def rested(self, worker: str, message: link.InstanceRested) -> None:
        """A worker has let go of an instance that is to be frozen, or uses it."""
        name, number = message.instance, message.round
        released = self._rests.answer(worker, name, number, at_rest=message.at_rest)
        if released is not None:
            self._autoscaler.rested(name, number, released=released)

    def woken(self, message: link.InstanceWoken) -> None:
        """A worker has thawed an instance for a request."""
        self._autoscaler.woken(message.instance)

    def unreachable(self, message: link.InstanceUnreachable) -> None:
        """An instance does not take connections."""
        self._autoscaler.unreachable(message.instance, message.failures, message.reason)

    def quiet(self, worker: str, message: link.Quiet) -> None:
        """Nothing has happened at a worker since its report before."""
        self._metering.meter.quiet(worker, message.end)

    def reported(self, message: link.Report) -> None:
        """Count a stretch of time that a worker served."""
        if not self._metering.count(message):
            return
        for instance in message.instances:
            in_flight = self._levels.set_instance(message.worker, instance.id, instance.in_flight)
            last = instance.busy[-1][1] if instance.busy else 0
            self._loaded(instance.id, in_flight, last)
            self.requests[instance.id] += instance.requests
            self.recent.take(message.worker, instance.id, instance.busy, instance.busy_since)
        for seen in message.revisions:
            revision = self._revisions.get(seen.name)
            if revision is None:  # it was removed meanwhile
                continue
            level = Level(seen.in_flight, seen.queued)
            of_all = self.sharing.reported(message.worker, seen.name, level)
            self._autoscaler.seen(seen.name, message.begin, message.end, *of_all, seen.demand)
            self._counters.count_report(
                worker=message.worker,
                service=revision.service,
                revision=seen.name,
                in_flight=seen.in_flight,
                queued=seen.queued,
                responses=seen.responses,
                latency=seen.latency,
                latency_sum=seen.latency_sum,
                cold_starts=seen.cold_starts,
            )

    def retiring(self, worker: str) -> None:
        """A worker is to end: what it does not use is for others."""
        self.sharing.retire(worker)

    def worker_gone(self, worker: str, *, lost: bool) -> None:
        """A worker ended, its requests lost or answered: nothing of it is in flight any more."""
        now = time.monotonic_ns()
        # How a process of an earlier node ended is not known.
        gap = self._metering.worker_gone(worker, lost=lost)
        if lost or gap:
            self.events.worker_lost(worker, gap)
        self.recent.worker_gone(worker, now)
        for name, in_flight in self._levels.worker_gone(worker).items():
            self._loaded(name, in_flight, now)
        self.sharing.gone(worker)
        for name in self._revisions:
            self._autoscaler.seen(name, now, now, *self.sharing.level(name), 0)
        for name in list(self._undrained):
            self.drained(worker, link.InstanceDrained(name))
        for name, number in self._rests.worker_gone(worker):
            self._autoscaler.rested(name, number, released=True)
        self._counters.worker_gone(worker)

    def _tell(self, worker: str, message: link.ToWorker) -> None:
        self._workers.tell(worker, message)

    def _lacking(self, revision: str, level: Level) -> None:
        """Requests wait, and no worker has a slot free."""
        self._autoscaler.starved(revision, level.queued, level.in_flight)

    def _most(self, revision: str) -> int | None:
        known = self._revisions.get(revision)
        if known is None or known.template.mode is not Mode.LAMBDA:
            return None
        return known.template.scaling.max_instances

    def _serve(self, instance: Instance) -> None:
        """Let workers know an instance's state, and have its slots if it is to serve."""
        if message := self._told_workers(instance):
            self._workers.send(message)
        if instance.state is State.READY and instance.id not in self._withheld:
            template = self._revisions[instance.revision].template
            shared = template.mode is Mode.CLOUDRUN
            slots = template.limits.concurrency if shared else 1
            self.sharing.serve(instance.id, instance.revision, slots)
        else:
            self.sharing.withhold(instance.id)

    def _loaded(self, instance: str, in_flight: int, last: int) -> None:
        if instance in self.instances:  # a last report may come after the end
            self.in_flight[instance] = in_flight
            self._autoscaler.loaded(instance, in_flight, last)

    def _resume_log(self, instance: Instance) -> None:
        try:
            self._logs.resume(instance.service, instance.id)
        except OSError as error:
            log.error("instances' output is not kept", why=str(error))

    def _told_workers(self, instance: Instance) -> link.ToWorker | None:
        """Return what workers must know of an instance's new state."""
        if instance.id in self._withheld and instance.state is State.READY:
            return link.InstanceUnready(instance.id)
        if instance.state is State.READY:
            return link.InstanceReady(self._route(instance))
        if instance.state is State.DRAINING:
            return link.InstanceDraining(instance.id)
        if instance.state in ENDED and instance.ready is not None:
            return link.InstanceGone(instance.id, instance.reason)
        return None

    def _route(self, instance: Instance) -> link.InstanceRoute:
        assert instance.address  # whoever is ready has one
        return link.InstanceRoute(
            id=instance.id,
            revision=instance.revision,
            host=instance.address.host,
            port=instance.address.port,
        )
