"""Makes containers from a start's request, and takes them apart; does not run or watch them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from windlass.runtime.oci import sandbox, spec, subnet
from windlass.runtime.oci.commands import to_its_end
from windlass.runtime.oci.sandbox import Record, Sandbox
from windlass.runtime.oci.users import Identity, identity

if TYPE_CHECKING:
    from windlass.runtime.base import Start
    from windlass.runtime.oci.berths import Berths
    from windlass.runtime.oci.cgroups import Cgroups
    from windlass.runtime.oci.engine import Engine
    from windlass.runtime.oci.images import Image, Images
    from windlass.runtime.oci.network import Attachment, Network

_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_TABLE = 1 << 20  # bytes read of an image's passwd or group


@dataclass(frozen=True, slots=True)
class Maker:
    """All that it takes to make a container."""

    folder: Path
    engine: Engine
    images: Images
    network: Network
    berths: Berths
    cgroups: Cgroups
    seccomp: dict[str, object]
    uses: dict[str, str] = field(default_factory=dict)  # container -> id of its image

    async def make(self, request: Start) -> Sandbox:
        """Make a container that waits to be started; its name is that of its network namespace.

        Raises:
            ImageMissing, CommandFailed, OSError, UnknownUser, NothingToRun: nothing is left of it.
        """
        berth = await self.berths.take()
        try:
            image = await self.images.get(request.container.image, request.image_digest)
            self.uses[berth.name] = image.id
            self.engine.launcher.call(self._furnish, berth.folder, request, image, berth.attachment)
            # conmon would go on making it after we had cleared it away.
            conmon, process = await to_its_end(self.engine.create(berth.conmon))
        except BaseException:
            berth.conmon.close()
            await to_its_end(self._clear(berth.name))
            raise
        record = _record(request, berth.attachment, image)
        sandbox.write_record(berth.folder, record)
        return Sandbox(berth.folder, record, os.pidfd_open(process), os.pidfd_open(conmon))

    async def unmake(self, box: Sandbox) -> None:
        """Kill the container if it lives, and remove all of it."""
        box.close()
        await to_its_end(self._clear(box.record.name))

    async def sweep(self) -> list[Sandbox]:
        """Return the running instances of an earlier platform; remove all else that it left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        living: dict[str, Sandbox] = {}
        folders = {folder.name: folder for folder in self.folder.iterdir()}
        for name, folder in folders.items():
            box = sandbox.find(folder)
            if box is None:
                continue
            if box.record.instance and await self.engine.is_running(name):
                living[name] = box
                self.uses[name] = box.record.image
            else:
                box.close()
        left = folders.keys() | self.network.names() | self.cgroups.names() | self.engine.names()
        for name in left - living.keys():
            await self._clear(name)
        self.network.free_leases(set(living))
        return list(living.values())

    async def retain(self, names: set[str]) -> None:
        """Remove the images that neither these references or digests nor containers here mean."""
        await self.images.retain(names, set(self.uses.values()))

    async def _clear(self, name: str) -> None:
        await self.engine.delete(name)
        self.cgroups.clear(name)
        self.engine.launcher.call(sandbox.clear, self.folder / name)
        self.uses.pop(name, None)
        self.network.release(name)

    def _furnish(self, folder: Path, request: Start, image: Image, attachment: Attachment) -> None:
        """Write the container's specification and mount its files."""
        container = request.container
        root = sandbox.lay_root(folder, image.root, request.limits.memory)
        place = spec.Place(
            root=root,
            netns=attachment.netns,
            cgroup=self.cgroups.path(attachment.name),
            hostname=attachment.name,
            files=_files(folder, attachment),
            identity=_identity(container.user, image),
            seccomp=self.seccomp,
            swap_limit=self.cgroups.limits_swap,
        )
        specification = spec.specification(
            container,
            request.limits,
            spec.arguments(container, image.config),
            spec.environment(container, image.config, request.service, request.revision),
            image.config.working_dir,
            place,
        )
        (folder / "config.json").write_bytes(msgspec.json.encode(specification))


def _record(request: Start, attachment: Attachment, image: Image) -> Record:
    return Record(
        name=attachment.name,
        service=request.service,
        revision=request.revision,
        image=image.id,
        host=attachment.address,
        port=request.container.port,
        instance=request.instance,
    )


def _files(folder: Path, attachment: Attachment) -> tuple[tuple[Path, str], ...]:
    hosts = f"127.0.0.1\tlocalhost\n{attachment.address}\t{attachment.name}\n"
    servers = subnet.resolvers(*(path.read_text() for path in _RESOLVERS if path.exists()))
    # Beside the instance's own files, in memory: that is the fastest.
    place = folder / sandbox.WRITABLE
    contents = {"hosts": hosts, "hostname": f"{attachment.name}\n", "resolv.conf": servers}
    for name, text in contents.items():
        (place / name).write_text(text)
    return tuple((place / name, f"/etc/{name}") for name in contents)


def _identity(user: int | None, image: Image) -> Identity:
    wanted = image.config.user if user is None else str(user)
    etc = image.root / "etc"
    return identity(wanted, _table(etc / "passwd"), _table(etc / "group"))


def _table(path: Path) -> str:
    """Return a table of the image's; nothing for one that leads elsewhere or is no plain file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return file.read(_TABLE).decode(errors="replace")
