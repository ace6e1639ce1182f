"""Steps that tests of the oci runtime share: an image of busybox, a driver that runs it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import pytest

from windlass.bench.leaks import mounts_of
from windlass.model.service import Container, Limits
from windlass.runtime.base import RuntimeUnavailable, Start
from windlass.runtime.oci import Oci, parts

if TYPE_CHECKING:
    from windlass.model.instance import Exit
    from windlass.runtime.base import Ended, LogLine, Running

BUSYBOX = next((p for p in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if p.exists()), None)
PASSWD = "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n"
GROUP = "root:x:0:\nweb:x:1001:\nextra:x:1007:web\n"
APPLETS = ("sh", "httpd", "sleep", "cat", "ls", "id", "wget", "nc", "env", "stat", "dd", "ps")
DEFAULTS = Limits()
MORE = (
    "kill",
    "echo",
    "mount",
    "unshare",
    "ip",
    "grep",
    "true",
    "yes",
    "head",
    "touch",
    "pwd",
    "tr",
)


def require_engine() -> None:
    """Skip the test where containers cannot run; fail where they must."""
    try:
        parts.locate()
        missing = "" if BUSYBOX else "busybox-static"
    except RuntimeUnavailable as fault:
        missing = str(fault)
    if missing and os.environ.get("WINDLASS_REQUIRE_ENGINE") == "1":
        pytest.fail(f"the oci runtime cannot run here: {missing}")
    if missing:
        pytest.skip(f"the oci runtime cannot run here: {missing}")


def write_layout(folder: Path, config: dict[str, object], files: dict[str, bytes]) -> str:
    """Write an image as an OCI layout of one layer; return its reference."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    layer = _layer(files)
    kind = "application/vnd.oci.image"
    written = blob(
        json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": config,
                "rootfs": {
                    "type": "layers",
                    "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
                },
            }
        ).encode()
    )
    layers = [{"mediaType": f"{kind}.layer.v1.tar+gzip", **blob(gzip.compress(layer, 1))}]
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", **written},
        "layers": layers,
    }
    named = {
        "mediaType": f"{kind}.manifest.v1+json",
        **blob(json.dumps(manifest).encode()),
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return f"oci:{folder}:latest"


def _layer(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("bin", "etc", "www", "root", "home"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        for applet in (*APPLETS, *MORE):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return buffer.getvalue()


def busybox_files() -> dict[str, bytes]:
    assert BUSYBOX
    return {
        "bin/busybox": BUSYBOX.read_bytes(),
        "etc/passwd": PASSWD.encode(),
        "etc/group": GROUP.encode(),
        "www/index.html": b"hello\n",
    }


class Rig:
    """A driver with an image, and the few steps that most tests take."""

    def __init__(self, driver: Oci, image: str, state: Path) -> None:
        self.driver, self.image, self._state = driver, image, state
        self._ends = driver.ended()
        self._seen: dict[str, Exit] = {}

    def request(
        self,
        *shell: str,
        limits: Limits = DEFAULTS,
        container: Container | None = None,
        image_digest: str = "",
    ) -> Start:
        """Ask for an instance that runs a line of shell; none: what the image says."""
        command = ("/bin/sh", "-c", shell[0]) if shell else ()
        container = container or Container(image=self.image, command=command)
        name = f"web-00001-{token_hex(3)}"
        return Start(
            instance=name,
            revision="web-00001",
            service="web",
            container=container,
            limits=limits,
            image_digest=image_digest,
        )

    async def start(
        self, *shell: str, limits: Limits = DEFAULTS, container: Container | None = None
    ) -> Running:
        return await self.driver.start(self.request(*shell, limits=limits, container=container))

    async def end_of(self, instance: str) -> Exit:
        """Return how an instance ended, once the driver says so."""
        while instance not in self._seen:
            end: Ended = await asyncio.wait_for(anext(self._ends), 20)
            assert end.instance not in self._seen, "an end is told once"
            self._seen[end.instance] = end.exit
        return self._seen[instance]

    async def output(self, *shell: str, **more: Limits | Container | str) -> str:
        """Run a line of shell in an instance of its own and return what it wrote."""
        request = self.request(*shell, **more)  # type: ignore[arg-type]  # any of its options
        running = await self.driver.start(request)
        await self.end_of(running.instance)
        text = "\n".join([line.text async for line in self.driver.logs(running.instance)])
        await self.driver.remove(running.instance)
        return text

    def state_folder(self) -> Path:
        """Return the state folder."""
        return self._state

    def folders(self) -> list[Path]:
        """Return the folders of all containers."""
        return containers(self._state)

    def conmon_of(self, instance: str) -> int:
        """Return the pid of the conmon that watches an instance."""
        quoted = f'"instance":"{instance}"'
        (folder,) = [f for f in self.folders() if quoted in (f / "record.json").read_text()]
        return int((folder / "conmon.pid").read_text())

    async def next_line(self, instance: str) -> LogLine:
        """Return the first line that an instance writes."""
        async for line in self.driver.logs(instance):
            return line
        raise AssertionError(f"{instance} wrote nothing")


def containers(state: Path) -> list[Path]:
    """Return the folders of a state's containers; those made ahead hold none yet."""
    return [record.parent for record in (state / "oci/containers").glob("*/record.json")]


def parents(bridge: str) -> list[Path]:
    """Return the cgroups of a driver in all hierarchies; others change theirs meanwhile."""
    found = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    return [path for top in found if (path := top / f"windlass-{bridge}").is_dir()]


def mounts(state: str) -> set[str]:
    """Return where any thread of this process sees something of a state mounted."""
    return mounts_of(os.getpid(), state)


def traces(state: Path, bridge: str) -> list[str]:
    """Return what shows that a driver is or was here, outside its state folder."""
    rules = subprocess.run(["iptables-save"], capture_output=True, check=True, text=True).stdout
    return [
        *mounts(str(state)),
        *(str(path) for path in Path("/sys/class/net").glob(bridge)),
        *(str(path) for path in parents(bridge)),
        *(line for line in rules.splitlines() if bridge in line),
    ]


async def fetch(host: str, port: int, path: str = "/") -> bytes:
    """Send one GET, when the server listens, and return the whole answer."""
    for _ in range(2000):
        try:
            reader, writer = await asyncio.open_connection(host, port)
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0.005)
    else:
        raise AssertionError(f"nothing listens on {host}:{port}")
    writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer
