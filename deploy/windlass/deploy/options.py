"""What `windlass up` can be told."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

RuntimeChoice = Literal["auto", "docker", "process", "oci"]
AccessLog = Literal["off", "json", "common"]
LogFormat = Literal["text", "json"]


class CannotStart(Exception):
    """The platform cannot run as it was asked to; the text says why and the next step."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A host and port to listen on; port 0: any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def default_state() -> Path:
    """Return where the platform keeps its state: the XDG state directory of this user."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "windlass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the platform runs."""

    runtime: RuntimeChoice = "auto"
    http: ListenAddress = ListenAddress("127.0.0.1", 8080)
    admin: ListenAddress = ListenAddress("127.0.0.1", 8090)
    state: Path = field(default_factory=default_state)
    domain: str = "localhost"  # services are called NAME.DOMAIN, and NAME.localhost always
    default_service: str = ""  # serves hosts that name no service
    log_format: LogFormat = "text"
    workers: int = 1  # router processes that share the port and the instances' slots
    access_log: AccessLog = "off"
    server_timing: bool = False  # responses say where the time went
    tunnel_idle: float = 0.0  # seconds after which a tunnel that nobody uses ends; 0: never
    rest_after: float = 0.5  # seconds idle after which an instance is frozen, where it may be
    tls: tuple[tuple[Path, Path], ...] = ()  # certificate and key of each name that is served
