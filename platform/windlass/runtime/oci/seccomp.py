"""Turns the distribution's default seccomp profile into what an OCI runtime takes, without the
calls that Docker's default denies too; reads no file."""

from __future__ import annotations

import msgspec

# The machine's name in uname, in the profile's conditions, and in libseccomp.
_MACHINES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
}

# The distribution's profile serves Podman, where containers may nest: it leaves namespaces and
# mounts to the kernel's own checks. An instance has no use for either, and user namespaces are
# the usual way to the kernel's faults. Docker's default denies these as well.
DENIED = (
    *("mount", "umount", "umount2", "pivot_root", "unshare", "setns", "mount_setattr"),
    *("fsopen", "fsmount", "fsconfig", "fspick", "move_mount", "open_tree"),
    *("keyctl", "add_key", "request_key", "reboot", "syslog", "quotactl", "name_to_handle_at"),
)
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag of clone(2)
_EPERM, _ENOSYS = 1, 38


class _When(msgspec.Struct):
    caps: list[str] | None = None
    arches: list[str] | None = None


class _Argument(msgspec.Struct):
    index: int
    value: int
    op: str
    valueTwo: int = 0


class _Rule(msgspec.Struct):
    names: list[str]
    action: str
    args: list[_Argument] | None = None
    errnoRet: int | None = None
    includes: _When = msgspec.field(default_factory=_When)
    excludes: _When = msgspec.field(default_factory=_When)


class _Profile(msgspec.Struct):
    defaultAction: str
    syscalls: list[_Rule]
    defaultErrnoRet: int | None = None


def resolve(profile: bytes, capabilities: tuple[str, ...], machine: str) -> dict[str, object]:
    """Return the part of the profile that holds for these capabilities and this machine.

    Raises:
        msgspec.DecodeError: the text is not such a profile.
    """
    given = msgspec.json.decode(profile, type=_Profile)
    arch, native = _MACHINES.get(machine, (machine, ""))
    held = set(capabilities)
    rules = [_plain(rule) for rule in given.syscalls if _applies(rule, held, arch)]
    resolved: dict[str, object] = {
        "defaultAction": given.defaultAction,
        # Not the 32-bit variants: a filter for each of them would triple the time that a start
        # spends on compiling filters, to keep open what no image built for this machine calls.
        "architectures": [native] if native else [],
        "syscalls": [*(rule for rule in rules if rule["names"]), *_OURS],
    }
    if given.defaultErrnoRet is not None:
        resolved["defaultErrnoRet"] = given.defaultErrnoRet
    return resolved


# clone3 takes its flags in memory, which seccomp cannot see: told it does not exist, the C library
# falls back to clone.
_OURS: tuple[dict[str, object], ...] = (
    {"names": list(DENIED), "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM},
    {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
    {
        "names": ["clone"],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": _NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
    },
)
_REPLACED = {*DENIED, "clone3", "clone"}


def _applies(rule: _Rule, held: set[str], arch: str) -> bool:
    return (
        held.issuperset(rule.includes.caps or ())
        and (not rule.includes.arches or arch in rule.includes.arches)
        and held.isdisjoint(rule.excludes.caps or ())
        and arch not in (rule.excludes.arches or ())
    )


def _plain(rule: _Rule) -> dict[str, object]:
    names = [name for name in rule.names if name not in _REPLACED]
    plain: dict[str, object] = {"names": names, "action": rule.action}
    if rule.errnoRet is not None:
        plain["errnoRet"] = rule.errnoRet
    if rule.args:
        plain["args"] = [msgspec.to_builtins(argument) for argument in rule.args]
    return plain
