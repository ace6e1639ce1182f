"""A container, its image and its limits, turned into an OCI runtime specification; touches
nothing. Docker's defaults are the measure of the isolation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from windlass.model.service import Container, Limits
    from windlass.runtime.oci.users import Identity

# Docker's default set: https://docs.docker.com/engine/security/#linux-kernel-capabilities
CAPABILITIES = (
    *("CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL"),
    *("CAP_MKNOD", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID"),
    *("CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"),
)
_MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys"),
    *("/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug"),
    *("/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"),
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PERIOD = 100_000  # microseconds; the kernel's own default for cpu quotas
PIDS = 4096  # processes and threads of one instance


class ImageConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """What an image says about how it runs (the `config` of an OCI image)."""

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    user: str = ""
    working_dir: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where on this machine a container is to live."""

    root: Path
    netns: Path | None  # None: a new one of its own, with nothing in it
    cgroup: str  # absolute, as below /sys/fs/cgroup
    hostname: str
    files: tuple[tuple[Path, str], ...] = ()  # from here to there, read-only
    identity: Identity
    seccomp: dict[str, object]
    swap_limit: bool  # whether the kernel can limit memory and swap together


class NothingToRun(Exception):
    """Neither the service nor its image says what to run."""


def arguments(container: Container, image: ImageConfig) -> list[str]:
    """Return the command line; a command of the service's own also replaces the image's CMD.

    Raises:
        NothingToRun: it would be empty.
    """
    command = container.command or image.entrypoint or ()
    args = container.args or (() if container.command else image.cmd or ())
    if not command and not args:
        raise NothingToRun("neither the image nor the service names a command")
    return [*command, *args]


def environment(
    container: Container, image: ImageConfig, service: str, revision: str
) -> dict[str, str]:
    """Return the instance's environment; the container contract's names win over all others."""
    pairs = (entry.partition("=") for entry in image.env or ())
    return {
        "PATH": _PATH,
        **{name: value for name, _, value in pairs},
        **dict(container.env),
        "PORT": str(container.port),
        "K_SERVICE": service,
        "K_REVISION": revision,
        "K_CONFIGURATION": service,
    }


def specification(
    container: Container, limits: Limits, args: list[str], env: dict[str, str], cwd: str, at: Place
) -> dict[str, object]:
    """Return the OCI runtime specification (config.json, version 1.0.2) of one instance."""
    return {
        "ociVersion": "1.0.2",
        "process": _process(args, env, container.working_dir or cwd or "/", at.identity),
        "root": {"path": str(at.root), "readonly": container.read_only_root},
        "hostname": at.hostname,
        "mounts": [*_mounts(limits.memory), *(_file(*pair) for pair in at.files)],
        "linux": {
            "namespaces": _namespaces(at.netns),
            "cgroupsPath": at.cgroup,
            "resources": _resources(limits, at.swap_limit),
            # As Docker: ports below 1024 and ping need no capability in a namespace of one's own.
            "sysctl": {
                "net.ipv4.ip_unprivileged_port_start": "0",
                "net.ipv4.ping_group_range": "0 2147483647",
            },
            "seccomp": at.seccomp,
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }


def _process(args: list[str], env: dict[str, str], cwd: str, who: Identity) -> dict[str, object]:
    held = list(CAPABILITIES)
    return {
        "terminal": False,
        "user": {"uid": who.uid, "gid": who.gid, "additionalGids": list(who.groups)},
        "args": args,
        "env": [f"{name}={value}" for name, value in env.items()],
        "cwd": cwd,
        # A process that is not root loses them at exec: nothing is inheritable or ambient.
        "capabilities": {"bounding": held, "effective": held, "permitted": held},
        "noNewPrivileges": True,
        "oomScoreAdj": 0,
    }


def _namespaces(netns: Path | None) -> list[dict[str, str]]:
    network = {"type": "network", **({"path": str(netns)} if netns else {})}
    own = ("pid", "ipc", "uts", "mount", "cgroup")
    return [*({"type": kind} for kind in own), network]


def _resources(limits: Limits, swap_limit: bool) -> dict[str, object]:
    memory = {"limit": limits.memory}
    if swap_limit:
        memory["swap"] = limits.memory  # memory and swap together: no swap
    return {
        "devices": [{"allow": False, "access": "rwm"}],
        "memory": memory,
        "cpu": {
            "shares": max(2, limits.milli_cpu * 1024 // 1000),
            "quota": cpu_quota(limits.milli_cpu),
            "period": _PERIOD,
        },
        "pids": {"limit": PIDS},
    }


def cpu_quota(milli_cpu: int) -> int:
    """Return the microseconds of CPU in each 100 ms; the kernel takes no less than 1 ms."""
    return max(1000, milli_cpu * _PERIOD // 1000)


def _mounts(memory: int) -> list[dict[str, object]]:
    plain = ["nosuid", "noexec", "nodev"]
    return [
        _mount("/proc", "proc", "proc", plain),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            *("/dev/pts", "devpts", "devpts"),
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/dev/shm", "tmpfs", "shm", [*plain, "mode=1777", "size=65536k"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", plain),
        _mount("/sys", "sysfs", "sysfs", [*plain, "ro"]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*plain, "relatime", "ro"]),
        # The kernel counts its pages in the instance's memory.
        _mount("/tmp", "tmpfs", "tmpfs", ["nosuid", "nodev", "mode=1777", f"size={memory}"]),
    ]


def _mount(target: str, kind: str, source: str, options: list[str]) -> dict[str, object]:
    return {"destination": target, "type": kind, "source": source, "options": options}


def _file(source: Path, target: str) -> dict[str, object]:
    return _mount(target, "bind", str(source), ["bind", "ro", "nosuid", "nodev", "noexec"])
