"""The seccomp profile, reduced to what holds for an instance."""

from __future__ import annotations

import msgspec
import pytest

from windlass.runtime.oci.seccomp import DENIED, resolve

ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"


def profile(*rules: dict[str, object]) -> bytes:
    return msgspec.json.encode(
        {"defaultAction": ERRNO, "defaultErrnoRet": 38, "archMap": [], "syscalls": list(rules)}
    )


def names(resolved: dict[str, object], action: str) -> set[str]:
    rules = msgspec.convert(resolved["syscalls"], list[dict[str, object]])
    return {
        name
        for rule in rules
        if rule["action"] == action
        for name in msgspec.convert(rule["names"], list[str])
    }


def rule(name: str, action: str = ALLOW, **more: object) -> dict[str, object]:
    return {"names": [name], "action": action, "args": [], "comment": "", **more}


def test_a_rule_holds_only_for_its_machine_and_capabilities() -> None:
    text = profile(
        rule("read", includes={}, excludes={}),
        rule("chroot", includes={"caps": ["CAP_SYS_CHROOT"]}),
        rule("acct", includes={"caps": ["CAP_SYS_PACCT"]}),
        rule("arch_prctl", includes={"arches": ["amd64", "x32"]}),
        rule("breakpoint", includes={"arches": ["arm", "arm64"]}),
        rule("bpf", ERRNO, excludes={"caps": ["CAP_SYS_CHROOT"]}),
        rule("write", excludes={"arches": ["amd64"]}),
    )
    resolved = resolve(text, ("CAP_SYS_CHROOT",), "x86_64")
    assert names(resolved, ALLOW) == {"read", "chroot", "arch_prctl", "clone"}
    assert "bpf" not in names(resolved, ERRNO)
    assert resolved["architectures"] == ["SCMP_ARCH_X86_64"]
    assert resolved["defaultErrnoRet"] == 38


@pytest.mark.parametrize("name", ["mount", "unshare", "setns", "keyctl", "clone3"])
def test_what_dockers_default_denies_is_denied_even_if_the_profile_allows_it(name: str) -> None:
    resolved = resolve(profile(rule("read"), rule(name)), (), "x86_64")
    assert name not in names(resolved, ALLOW)
    assert name in names(resolved, ERRNO)
    assert {"mount", "unshare", "setns", "keyctl"} <= set(DENIED)


def test_a_process_may_be_made_but_no_namespace() -> None:
    resolved = resolve(profile({"names": ["clone", "fork"], "action": ALLOW}), (), "x86_64")
    rules = msgspec.convert(resolved["syscalls"], list[dict[str, object]])
    (clone,) = [rule for rule in rules if rule["names"] == ["clone"]]
    (argument,) = msgspec.convert(clone["args"], list[dict[str, object]])
    assert argument["op"] == "SCMP_CMP_MASKED_EQ"
    new_user, new_net, plain_thread = 0x10000000, 0x40000000, 0x3D0F00
    mask = argument["value"]
    assert isinstance(mask, int)
    assert new_user & mask
    assert new_net & mask
    assert not plain_thread & mask


def test_arguments_of_a_rule_are_kept() -> None:
    argument = {"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}
    resolved = resolve(profile(rule("personality", args=[argument])), (), "x86_64")
    rules = msgspec.convert(resolved["syscalls"], list[dict[str, object]])
    assert rules[0]["args"] == [argument]


def test_a_text_that_is_no_profile_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        resolve(b'{"syscalls": 3}', (), "x86_64")
