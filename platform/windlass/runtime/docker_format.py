"""What goes to Docker's API and comes from it, as values: a container's configuration, what an
inspection says, the frames of a log. Pure; see Docker's Engine API reference, version 1.41."""

from __future__ import annotations

import signal
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from windlass.model.instance import Address, Exit
from windlass.runtime.base import LogLine
from windlass.runtime.cgroups import PROCESSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windlass.runtime.base import Start

STATE, SERVICE, REVISION, INSTANCE, PORT = (
    f"dev.windlass.{name}" for name in ("state", "service", "revision", "instance", "port")
)
LOOPBACK = "127.0.0.1"
LINE_LIMIT = 64 * 1024  # bytes; a longer line is cut into pieces of about this size
_STREAMS: dict[int, Literal["stdout", "stderr"]] = {1: "stdout", 2: "stderr"}  # first byte
_HEADER = 8  # bytes: stream, three zeros, length
_NANO_CPUS = 1_000_000  # of one thousandth of a CPU


class _State(msgspec.Struct, frozen=True):
    running: bool = msgspec.field(name="Running")
    code: int = msgspec.field(name="ExitCode")
    out_of_memory: bool = msgspec.field(name="OOMKilled")
    error: str = msgspec.field(name="Error", default="")


class _Published(msgspec.Struct, frozen=True):
    port: str = msgspec.field(name="HostPort")


class _Endpoint(msgspec.Struct, frozen=True):
    address: str = msgspec.field(name="IPAddress", default="")


class _Network(msgspec.Struct, frozen=True):
    endpoints: dict[str, _Endpoint] = msgspec.field(name="Networks")
    ports: dict[str, list[_Published] | None] | None = msgspec.field(name="Ports", default=None)


class _Config(msgspec.Struct, frozen=True):
    labels: dict[str, str] = msgspec.field(name="Labels")


class Inspection(msgspec.Struct, frozen=True):
    """What the engine says about a container, as far as it matters here."""

    state: _State = msgspec.field(name="State")
    network: _Network = msgspec.field(name="NetworkSettings")
    config: _Config = msgspec.field(name="Config")

    @property
    def labels(self) -> dict[str, str]:
        return self.config.labels

    @property
    def is_running(self) -> bool:
        return self.state.running

    @property
    def exit(self) -> Exit:
        return exit_of(self.state.code, self.state.out_of_memory, self.state.error)

    def address(self) -> Address:
        """Return where the container listens: its published port, else its own address.

        A container that has ended has neither: port 0, where nothing answers.
        """
        for published in (self.network.ports or {}).values():
            if published:
                return Address(LOOPBACK, int(published[0].port))
        for endpoint in self.network.endpoints.values():
            if endpoint.address:
                return Address(endpoint.address, int(self.labels[PORT]))
        return Address(LOOPBACK, 0)


def configuration(request: Start, state_id: str, *, publish: bool) -> dict[str, Any]:
    """Return the body of POST /containers/create for an instance.

    `publish`: its port gets a free port of this machine's loopback.
    """
    container, limits = request.container, request.limits
    port = f"{container.port}/tcp"
    host: dict[str, Any] = {
        "Memory": limits.memory,
        "MemorySwap": limits.memory,  # memory and swap together: no swap
        "NanoCpus": limits.milli_cpu * _NANO_CPUS,
        "PidsLimit": PROCESSES,
        "SecurityOpt": ["no-new-privileges"],
        "Init": False,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
        # The kernel counts its pages in the instance's memory.
        "Tmpfs": {"/tmp": f"exec,mode=1777,size={limits.memory}"},
        "ReadonlyRootfs": container.read_only_root,
    }
    if publish:
        host["PortBindings"] = {port: [{"HostIp": LOOPBACK, "HostPort": ""}]}
    config: dict[str, Any] = {
        "Image": request.image_digest or container.image,
        "Env": [f"{name}={value}" for name, value in _environment(request).items()],
        "WorkingDir": container.working_dir,
        "User": "" if container.user is None else str(container.user),
        "ExposedPorts": {port: {}},
        "Healthcheck": {"Test": ["NONE"]},  # the platform probes; the image's own would cost CPU
        "Labels": _labels(request, state_id),
        "HostConfig": host,
    }
    # As in Kubernetes: a command replaces the image's ENTRYPOINT and its CMD, args only its CMD.
    if container.command:
        config["Entrypoint"] = list(container.command)
    if container.args:
        config["Cmd"] = list(container.args)
    return config


def _environment(request: Start) -> dict[str, str]:
    return {
        **dict(request.container.env),
        "PORT": str(request.container.port),
        "K_SERVICE": request.service,
        "K_REVISION": request.revision,
        "K_CONFIGURATION": request.service,
    }


def _labels(request: Start, state_id: str) -> dict[str, str]:
    return {
        STATE: state_id,
        SERVICE: request.service,
        REVISION: request.revision,
        INSTANCE: request.instance,
        PORT: str(request.container.port),
    }


def exit_of(code: int, out_of_memory: bool = False, error: str = "") -> Exit:
    """Return how a container ended; the engine tells a signal as 128 and its number.

    `out_of_memory`: a process of the container was killed for it, in all its life. It is the
    reason of the end only if that looks like it: by SIGKILL or with a code other than 0.
    """
    try:
        outcome = Exit(signal=int(signal.Signals(code - 128)), reason=error)
    except ValueError:
        outcome = Exit(code=code, reason=error)
    if not out_of_memory or not (outcome.code or outcome.signal == signal.SIGKILL):
        return outcome
    reason = "out of memory: the instance reached its limit"
    return msgspec.structs.replace(outcome, out_of_memory=True, reason=reason)


class LogFrames:
    """Makes lines of a log, whatever pieces it comes in.

    Each frame holds a timestamp and at most 16 KiB of a line, with the newline if it is the last.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._unfinished: dict[int, tuple[float, bytes]] = {}  # by stream, with its time
        self._last: dict[int, tuple[bytes, int]] = {}  # by stream: timestamp, frames that bear it
        self._repeated: dict[int, int] = {}  # by stream: frames that will come once more

    def feed(self, data: bytes) -> Iterator[LogLine]:
        """Yield the lines that this piece completes."""
        self._buffer += data
        while len(self._buffer) >= _HEADER:
            length = int.from_bytes(self._buffer[4:_HEADER], "big")
            end = _HEADER + length
            if len(self._buffer) < end:
                return
            stream, payload = self._buffer[0], bytes(self._buffer[_HEADER:end])
            del self._buffer[:end]
            yield from self._take(stream, payload)

    def resume(self, stream: Literal["stdout", "stderr"]) -> str:
        """Return from when to ask for the rest of a stream, which is to be fed next.

        What has been seen of that moment is not taken a second time.
        """
        self._buffer.clear()
        number = 2 if stream == "stderr" else 1
        stamp, self._repeated[number] = self._last.get(number, (b"", 0))
        return _unix(stamp) if stamp else "0"

    def rest(self) -> Iterator[LogLine]:
        """Yield what was written without a newline at the end."""
        for stream, (time, text) in sorted(self._unfinished.items()):
            yield _line(stream, time, text)
        self._unfinished.clear()

    def _take(self, stream: int, payload: bytes) -> Iterator[LogLine]:
        stamp, _, text = payload.partition(b" ")
        if self._repeated.get(stream):
            self._repeated[stream] -= 1
            return
        last, count = self._last.get(stream, (b"", 0))
        self._last[stream] = (stamp, count + 1 if stamp == last else 1)
        now = datetime.fromisoformat(stamp.decode()).timestamp()
        time, before = self._unfinished.pop(stream, (now, b""))
        line = before + text
        if line.endswith(b"\n"):
            yield _line(stream, time, line[:-1])
        elif len(line) >= LINE_LIMIT:
            yield _line(stream, time, line)
        else:
            self._unfinished[stream] = (time, line)


def _unix(stamp: bytes) -> str:
    """Return a timestamp as Unix seconds to the nanosecond, which a float cannot hold."""
    moment, _, fraction = stamp.decode().removesuffix("Z").partition(".")
    return f"{int(datetime.fromisoformat(moment + '+00:00').timestamp())}.{fraction}"


def _line(stream: int, time: float, text: bytes) -> LogLine:
    return LogLine(time, _STREAMS[stream], text.decode(errors="replace"))
