"""What an instance can neither see nor do, nor use beyond its limits."""

from __future__ import annotations

import asyncio
import signal

import pytest
from tests.platform.oci.containers import Rig, fetch

from windlass.model.service import MIB, Container, Limits

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_an_instance_sees_neither_the_processes_nor_the_files_of_another(rig: Rig) -> None:
    other = await rig.start("touch /tmp/secret /www/secret; echo up; sleep 60")
    await rig.next_line(other.instance)
    seen = await rig.output("ps; ls /tmp /www")
    assert "sleep 60" not in seen
    assert "secret" not in seen
    assert "index.html" in seen


async def test_an_instance_reaches_neither_another_nor_this_machines_ports(rig: Rig) -> None:
    other = await rig.start()
    await fetch(other.address.host, other.address.port)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    gateway = other.address.host.rsplit(".", 1)[0] + ".1"
    targets = [("127.0.0.1", port), (gateway, port), (other.address.host, 8080)]
    checks = "; ".join(f"nc -w 1 {h} {p} </dev/null && echo reached {h}" for h, p in targets)
    said = await rig.output(f"{checks}; echo tried")
    server.close()
    await server.wait_closed()
    assert "tried" in said.splitlines()  # what nc complains of may come later
    assert "reached" not in said


async def test_an_instance_has_a_name_server_and_knows_itself(rig: Rig) -> None:
    said = await rig.output("cat /etc/resolv.conf /etc/hosts; nc -w 1 localhost 1; echo over")
    assert "127.0.0.1\tlocalhost" in said
    assert "nameserver 127." not in said


@pytest.mark.parametrize(
    ("deed", "line"),
    [
        ("a mount", "mount -t tmpfs none /mnt"),
        ("a namespace", "unshare -U true"),
        ("a network setting", "ip link set eth0 down"),
        ("a kernel setting", "echo 1 > /proc/sys/kernel/panic"),
        ("a cgroup", "echo 1 > /sys/fs/cgroup/memory/memory.limit_in_bytes"),
        ("a system request", "echo b > /proc/sysrq-trigger"),
        ("its name server", "echo 'nameserver 1.2.3.4' > /etc/resolv.conf"),
    ],
)
async def test_an_instance_changes_nothing_of_the_machine(rig: Rig, deed: str, line: str) -> None:
    assert await rig.output(f"({line}) 2>/dev/null && echo done || echo refused") == "refused", deed


async def test_an_instance_gains_no_privileges_and_holds_dockers_capabilities(rig: Rig) -> None:
    said = await rig.output("cat /proc/self/status")
    facts = dict(line.split(":\t") for line in said.splitlines() if ":\t" in line)
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"
    assert facts["CapBnd"] == facts["CapEff"] == "00000000a80425fb"
    assert facts["CapInh"] == facts["CapAmb"] == "0000000000000000"


async def test_an_instance_runs_as_the_user_that_is_named_without_capabilities(rig: Rig) -> None:
    container = Container(
        image=rig.image, command=("/bin/sh", "-c", "id; cat /proc/self/status"), user=1000
    )
    said = await rig.output(container=container)
    assert said.startswith("uid=1000(web) gid=1001(web) groups=1001(web),1007(extra)")
    assert "CapEff:\t0000000000000000" in said


async def test_a_user_that_is_not_root_may_listen_on_port_80_and_write_to_tmp(rig: Rig) -> None:
    shell = "touch /tmp/x && echo yes > /tmp/index.html && exec httpd -f -p 80 -h /tmp"
    container = Container(image=rig.image, command=("/bin/sh", "-c", shell), user=1000, port=80)
    running = await rig.start(container=container)
    assert (await fetch(running.address.host, 80)).endswith(b"yes\n")


async def test_writing_to_the_image_stays_in_the_instance(rig: Rig) -> None:
    assert await rig.output("echo other > /www/index.html; cat /www/index.html") == "other"
    assert await rig.output("cat /www/index.html") == "hello"


async def test_too_much_memory_ends_the_instance_and_says_so(rig: Rig) -> None:
    limits = Limits(memory=32 * MIB)
    running = await rig.start("exec dd if=/dev/zero of=/dev/null bs=200M count=1", limits=limits)
    end = await rig.end_of(running.instance)
    assert end.out_of_memory
    assert end.signal == signal.SIGKILL
    assert end.reason == "out of memory: the limit is 32 MiB"


@pytest.mark.parametrize("folder", ["/tmp", "/www"])
async def test_files_count_as_memory(rig: Rig, folder: str) -> None:
    # The file system refuses at its size, or the limit kills: never more than the limit.
    fill = f"dd if=/dev/zero of={folder}/big bs=1M count=64 2>/dev/null || exit 5"
    running = await rig.start(fill, limits=Limits(memory=32 * MIB))
    end = await rig.end_of(running.instance)
    assert end.out_of_memory or end.code == 5


async def test_a_kill_of_ours_is_not_called_a_lack_of_memory(rig: Rig) -> None:
    hungry = "dd if=/dev/zero of=/dev/null bs=200M count=1; echo up; sleep 60"
    running = await rig.start(hungry, limits=Limits(memory=32 * MIB))
    await rig.next_line(running.instance)
    await rig.driver.kill(running.instance)
    assert not (await rig.end_of(running.instance)).out_of_memory


async def test_cpu_is_held_to_the_limit(rig: Rig) -> None:
    # The shell says on stderr that `yes` was ended, which may come after what is on stdout.
    shell = "exec 2> /dev/null; timeout 1 yes > /dev/null; cat /proc/self/cgroup > /dev/null; times"
    said = await rig.output(shell, limits=Limits(milli_cpu=100))
    # `times` prints user and system time of the children: together about a tenth of the second.
    spent = sum(_seconds(field) for field in said.splitlines()[-1].split())
    assert spent < 0.5


def _seconds(field: str) -> float:
    minutes, _, rest = field.partition("m")
    return 60 * float(minutes) + float(rest.rstrip("s"))


async def test_the_cpu_limit_can_be_changed_while_it_runs(rig: Rig) -> None:
    shown = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null"
    shell = f"echo up; while [ ! -e /tmp/go ]; do sleep 0.01; {shown} > /tmp/seen; "
    shell += "grep -q ^200000 /tmp/seen && touch /tmp/go; done; cat /tmp/seen"
    running = await rig.start(shell, limits=Limits(milli_cpu=500))
    await rig.next_line(running.instance)
    rig.driver.cpu.limit(running.instance, 2000)
    assert (await rig.end_of(running.instance)).code == 0


async def test_an_instance_sees_its_memory_limit_and_cannot_change_it(rig: Rig) -> None:
    files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    shell = f"for file in {files}; do [ ! -e $file ] || {{ cat $file; (echo 1 > $file); }}; done"
    said = await rig.output(f"({shell}) 2>&1", limits=Limits(memory=64 * MIB))
    limit, refusal = said.splitlines()
    assert limit == str(64 * MIB)
    assert "Read-only file system" in refusal


async def test_processes_are_bounded(rig: Rig) -> None:
    shown = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null"
    assert await rig.output(shown) == "4096"


async def test_a_read_only_instance_writes_nothing_but_tmp(rig: Rig) -> None:
    files = "/here /www/here /etc/here /tmp/here"
    line = f"for f in {files}; do (echo x >$f) 2>/dev/null && echo $f; done; true"
    read_only = Container(image=rig.image, command=("/bin/sh", "-c", line), read_only_root=True)
    assert await rig.output(container=read_only) == "/tmp/here"
    assert (await rig.output(line)).split() == files.split()
