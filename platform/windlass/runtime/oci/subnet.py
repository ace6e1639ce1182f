"""Chooses the instances' private addresses and writes the firewall's rules; arithmetic and text."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address, IPv4Network

_POOL = IPv4Network("10.192.0.0/10")
_PREFIX = 22  # 1021 instances; a Linux bridge has 1024 ports


class NoFreeSubnet(Exception):
    """Every candidate overlaps with a route of this machine."""


def name_of(state_id: str) -> str:
    """Return the name of the bridge and of all that belongs to it: one for each state."""
    return "wl" + hashlib.sha256(state_id.encode()).hexdigest()[:8]


def choose(state_id: str, taken: list[IPv4Network]) -> IPv4Network:
    """Return a subnet that no route of this machine touches, the same for the same inputs.

    Raises:
        NoFreeSubnet: there is none.
    """
    candidates = list(_POOL.subnets(new_prefix=_PREFIX))
    first = int(hashlib.sha256(state_id.encode()).hexdigest(), 16) % len(candidates)
    for candidate in candidates[first:] + candidates[:first]:
        if not any(candidate.overlaps(other) for other in taken):
            return candidate
    raise NoFreeSubnet(f"every part of {_POOL} overlaps with a route of this machine")


def routes(table: str) -> list[IPv4Network]:
    """Return the networks in the text of /proc/net/route, without the default route."""
    networks = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        destination, mask = (_address(field) for field in (fields[1], fields[7]))
        if int(mask):
            networks.append(IPv4Network(f"{destination}/{mask}", strict=False))
    return networks


def _address(field: str) -> IPv4Address:
    return IPv4Address(bytes.fromhex(field)[::-1])  # little-endian hexadecimal


def chains(bridge: str) -> tuple[tuple[str, str, str], ...]:
    """Return our firewall chains as (table, the kernel's chain that jumps to it, its name)."""
    return (
        ("filter", "FORWARD", f"{bridge}-forward"),
        ("filter", "INPUT", f"{bridge}-input"),
        ("nat", "POSTROUTING", f"{bridge}-out"),
    )


def rules(bridge: str, subnet: IPv4Network, ports: tuple[int, ...], saved: str) -> str:
    """Return the rules for iptables-restore, given what iptables-save says now.

    Instances reach the outside by masquerade, but neither each other nor this machine, but for
    name resolution and the given TCP ports. Only this machine reaches them.
    """
    answers = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    (_, _, forward), (_, _, inward), (_, _, out) = chains(bridge)
    lines = [
        "*filter",
        f":{forward} - [0:0]",
        f":{inward} - [0:0]",
        f"-A {forward} -i {bridge} -o {bridge} -j DROP",
        f"-A {forward} -i {bridge} -j ACCEPT",
        f"-A {forward} -o {bridge} {answers}",
        f"-A {forward} -o {bridge} -j DROP",
        f"-A {inward} {answers}",
        f"-A {inward} -p icmp -j ACCEPT",
        f"-A {inward} -p udp --dport 53 -j ACCEPT",
        *(f"-A {inward} -p tcp --dport {port} -j ACCEPT" for port in (53, *ports)),
        # A program takes a reset for an answer at once, but an ICMP error only after a second.
        f"-A {inward} -p tcp -j REJECT --reject-with tcp-reset",
        f"-A {inward} -j REJECT",
        *(f"-I {jump}" for jump in _jumps(bridge, "filter") if f"-A {jump}" not in saved),
        "COMMIT",
        "*nat",
        f":{out} - [0:0]",
        f"-A {out} -s {subnet} ! -o {bridge} -j MASQUERADE",
        *(f"-I {jump}" for jump in _jumps(bridge, "nat") if f"-A {jump}" not in saved),
        "COMMIT",
    ]
    return "\n".join(lines) + "\n"


def removal(bridge: str, saved: str) -> str:
    """Return what takes the rules away, for iptables-restore, given what iptables-save says."""
    lines = []
    for table in ("filter", "nat"):
        ours = [
            chain for kind, _, chain in chains(bridge) if kind == table and f":{chain} " in saved
        ]
        lines += [
            f"*{table}",
            *(f"-D {jump}" for jump in _jumps(bridge, table) if f"-A {jump}" in saved),
            *(f"-F {chain}" for chain in ours),
            *(f"-X {chain}" for chain in ours),
            "COMMIT",
        ]
    return "\n".join(lines) + "\n"


def _jumps(bridge: str, table: str) -> list[str]:
    """Return the rules that lead from the kernel's chains of a table to ours."""
    return [
        f"{hook} -i {bridge} -j {chain}" if hook == "INPUT" else f"{hook} -j {chain}"
        for kind, hook, chain in chains(bridge)
        if kind == table
    ]


def resolvers(*texts: str) -> str:
    """Return the first resolv.conf that names a server an instance can reach.

    A server on loopback is this machine's alone, so its lines are left out, as Docker does.
    """
    for text in texts:
        lines = [line for line in text.splitlines() if not _is_loopback(line)]
        if any(line.startswith("nameserver") for line in lines):
            return "\n".join(lines) + "\n"
    return ""


def _is_loopback(line: str) -> bool:
    words = line.split()
    return words[:1] == ["nameserver"] and words[1:2] != [] and words[1].startswith(("127.", "::1"))
