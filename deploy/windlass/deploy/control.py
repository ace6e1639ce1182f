"""What the platform does when it is asked: deploy, apply, delete, and changes of traffic.

Holds the services that are deployed. The autoscaler runs their instances and workers carry their
requests; both are told here, in the order that loses no request.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from windlass.deploy import rollout
from windlass.deploy.api.platform import Refused
from windlass.deploy.api.problems import problem
from windlass.deploy.api.schema import Done, Notice, Step
from windlass.runtime.base import RuntimeFault, StartFailed
from windlass.store.platform import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from windlass.autoscaler.loop import Autoscaler
    from windlass.deploy.api.schema import Progress, ServiceView
    from windlass.deploy.manifest import ServiceSpec
    from windlass.model.service import Revision, Service, Target, Template
    from windlass.runtime.base import Runtime
    from windlass.store.platform import Store

log = structlog.get_logger(__name__)


class Audience(Protocol):
    """Who must know of every change."""

    def publish(self) -> None:
        """Tell workers the routes."""

    def forget(self, service: str) -> None:
        """A service is no more, or never came up."""

    def forget_revision(self, revision: str) -> None:
        """A revision is no more, or never came up; nor are its instances."""


class Control:
    """The services of a platform, and how they change: one change at a time for each service."""

    def __init__(self, store: Store, runtime: Runtime) -> None:
        self._store = store
        self._runtime = runtime
        self._changing: dict[str, asyncio.Lock] = {}
        self.services: dict[str, Service] = {}
        self.revisions: dict[str, Revision] = {}  # of all services, and those being checked

    def join(
        self,
        autoscaler: Autoscaler,
        audience: Audience,
        event: Callable[..., None],
        view: Callable[[Service], ServiceView],
    ) -> None:
        """Take those who need to know what is deployed."""
        self._autoscaler = autoscaler
        self._audience = audience
        self._event = event
        self._view = view

    def load(self) -> None:
        """Take up what an earlier run had deployed."""
        for service in self._store.services():
            self.services[service.name] = service
        for revision in self._store.revisions():
            self.revisions[revision.name] = revision
            self._autoscaler.add(revision)
        for service in self.services.values():
            self._reach(service)

    async def deploy(
        self,
        name: str,
        template: Template,
        *,
        labels: Mapping[str, str],
        traffic: bool,
        health_check: bool,
    ) -> AsyncIterator[Progress]:
        """Make a revision, check it, send it the service's traffic; see api.platform."""
        async with self._change(name):
            known = self.services.get(name)
            try:
                split = None if traffic else rollout.pinned(known, name)
            except rollout.NothingToKeep as error:
                raise Refused(problem(422, "no-traffic", str(error))) from None
            merged = tuple((dict(known.labels if known else ()) | dict(labels)).items())
            async for step in self._make(name, template, merged, split, health_check):
                yield step

    async def apply(self, spec: ServiceSpec) -> AsyncIterator[Progress]:
        """Make the service what a manifest says; see api.platform."""
        async with self._change(spec.name):
            for warning in spec.warnings:
                yield Notice(warning)
            known = self.services.get(spec.name)
            newest = self.revisions.get(known.latest_ready) if known else None
            if known and newest and newest.template == spec.template:
                yield Done(await self._set_traffic(known, spec.traffic, spec.labels))
                return
            self._check_targets(known, spec.traffic)
            async for step in self._make(
                spec.name, spec.template, spec.labels, spec.traffic, spec.health_check
            ):
                yield step

    async def set_traffic(self, name: str, traffic: Sequence[Target]) -> ServiceView:
        """Send the service's requests elsewhere; see api.platform."""
        async with self._change(name):
            service = self.named(name)
            return await self._set_traffic(service, traffic, service.labels)

    async def delete(self, name: str) -> None:
        """Drain and stop all instances of a service and forget it; see api.platform."""
        async with self._change(name):
            service = self.named(name)
            with _store_told():
                self._store.delete_service(name)
            del self.services[name]
            self._audience.publish()  # first: no request comes any more
            theirs = self.revisions_of(name)
            await asyncio.gather(*(self._autoscaler.remove(r.name) for r in theirs))
            for revision in theirs:
                self._drop(revision)
            self._audience.publish()
            self._audience.forget(name)
            self._event("Deleted", service=service.name, message=f"{name} was deleted")
            await self.tidy()

    def named(self, name: str) -> Service:
        """Return the service.

        Raises:
            Refused: there is none of that name.
        """
        if service := self.services.get(name):
            return service
        known = ", ".join(sorted(self.services)) or "none is deployed yet"
        detail = f"there is no service {name!r}; there are: {known}"
        raise Refused(problem(404, "no-such-service", detail))

    def revisions_of(self, name: str) -> list[Revision]:
        """Return a service's revisions, the newest first."""
        theirs = (r for r in self.revisions.values() if r.service == name)
        return sorted(theirs, key=lambda revision: -revision.number)

    def _change(self, name: str) -> asyncio.Lock:
        return self._changing.setdefault(name, asyncio.Lock())

    async def _make(
        self,
        name: str,
        template: Template,
        labels: tuple[tuple[str, str], ...],
        split: Sequence[Target] | None,
        health_check: bool,
    ) -> AsyncIterator[Progress]:
        known = self.services.get(name)
        revision = rollout.next_revision(known, name, template, time.time())
        container = template.container
        yield Step(f"Looking for {container.image or container.exec[0]}")
        try:
            digest = await self._runtime.prepare(container)
        except RuntimeFault as fault:
            raise _refused(fault) from None
        revision = msgspec.structs.replace(revision, image_digest=digest)
        self.revisions[revision.name] = revision
        self._audience.publish()  # workers must know a revision before its first instance
        self._autoscaler.add(revision)
        try:
            if health_check:
                yield Step(f"Starting an instance of {revision.name} to check it")
                await self._autoscaler.check(revision.name)
            yield Step("Sending it requests")
            self._switch(rollout.succeeded(known, revision, labels, split), revision)
        except StartFailed as fault:
            await self._forget(known, revision)
            raise _refused(fault) from None
        except BaseException:  # it cannot be kept, or the client is gone: nobody waits for it
            await self._forget(known, revision)
            raise
        await self._retire(self.services[name])
        await self.tidy()
        self._event(
            "Deployed", service=name, revision=revision.name, message=f"{revision.name} is ready"
        )
        yield Done(self._view(self.services[name]))

    def _switch(self, service: Service, revision: Revision | None = None) -> None:
        """Make the service so: in the store, then for new requests, then for old instances."""
        with _store_told():
            self._store.save(service, revision)
        self.services[service.name] = service
        self._audience.publish()
        self._reach(service)

    async def _set_traffic(
        self, known: Service, traffic: Sequence[Target], labels: tuple[tuple[str, str], ...]
    ) -> ServiceView:
        self._check_targets(known, traffic)
        changed = msgspec.structs.replace(known, traffic=tuple(traffic), labels=labels)
        if changed != known:
            self._switch(changed)
            self._event("TrafficChanged", service=known.name, message="requests go elsewhere now")
        return self._view(changed)

    def _check_targets(self, known: Service | None, traffic: Sequence[Target]) -> None:
        ready = [r.name for r in self.revisions_of(known.name)] if known else []
        if wrong := rollout.unknown_revisions(traffic, ready, "spec.traffic"):
            detail = "the traffic names revisions that are not ready; nothing was changed"
            raise Refused(problem(422, "no-such-revision", detail, wrong))

    def _reach(self, service: Service) -> None:
        reachable = rollout.reachable(service)
        for revision in self.revisions_of(service.name):
            self._autoscaler.set_reachable(revision.name, revision.name in reachable)

    async def tidy(self) -> None:
        """Let go of what only revisions that are no more needed, such as images."""
        try:
            kept = self.revisions.values()
            await self._runtime.retain([r.image_digest or r.template.container.image for r in kept])
        except (RuntimeFault, OSError) as fault:  # it is tried again with the next change
            log.warning("what is no longer needed is still kept", why=str(fault))

    async def _retire(self, service: Service) -> None:
        """Forget the oldest revisions that nobody can reach, so that they do not pile up."""
        for revision in rollout.retired(service, self.revisions_of(service.name)):
            await self._autoscaler.remove(revision.name)
            self._drop(revision)
            try:
                self._store.delete_revision(revision.name)
            except StoreUnavailable as error:  # it is retired again after a restart
                log.error("an old revision is still kept", why=str(error))

    def _drop(self, revision: Revision) -> None:
        del self.revisions[revision.name]
        self._audience.forget_revision(revision.name)

    async def _forget(self, known: Service | None, revision: Revision) -> None:
        """Undo what was begun for a revision that does not come up."""
        await self._autoscaler.remove(revision.name)
        self._drop(revision)
        self._audience.publish()
        await self.tidy()
        if known is None:
            self._audience.forget(revision.service)
        else:  # its number is used up, so that names in logs and bills mean one thing
            self.services[known.name] = rollout.failed(known, revision)
            try:
                self._store.save(self.services[known.name], None)
            except StoreUnavailable as error:  # why it does not come up matters more
                log.error("a failed revision's number is not kept", why=str(error))


@contextlib.contextmanager
def _store_told() -> Iterator[None]:
    """Say to the user that nothing was changed, because it could not be kept."""
    try:
        yield
    except StoreUnavailable as error:
        raise Refused(problem(503, "state-unavailable", str(error))) from error


def _refused(fault: RuntimeFault) -> Refused:
    """Say a runtime's fault to the user."""
    return Refused(problem(422, "not-started", fault.detail or fault.title, title=fault.title))
