"""The instances' addresses and the firewall's text."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.runtime.oci import subnet

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""

networks = st.builds(
    lambda address, prefix: IPv4Network((address, prefix), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)


def test_routes_are_read_without_the_default_one() -> None:
    assert subnet.routes(ROUTES) == [IPv4Network("172.17.0.0/16")]


@given(st.text(), st.lists(networks))
def test_a_chosen_subnet_overlaps_with_no_route(state: str, taken: list[IPv4Network]) -> None:
    try:
        chosen = subnet.choose(state, taken)
    except subnet.NoFreeSubnet:
        return
    assert chosen.is_private
    assert chosen.num_addresses == 1024
    assert not any(chosen.overlaps(other) for other in taken)


def test_with_everything_taken_there_is_no_subnet() -> None:
    with pytest.raises(subnet.NoFreeSubnet, match="overlaps"):
        subnet.choose("a", [IPv4Network("10.0.0.0/8")])


def test_the_same_state_gets_the_same_subnet_and_another_another() -> None:
    assert subnet.choose("a", []) == subnet.choose("a", [])
    assert subnet.choose("a", []) != subnet.choose("b", [])


@given(st.text())
def test_a_bridge_has_a_name_that_the_kernel_takes(state: str) -> None:
    assert len(subnet.name_of(state)) <= 15
    assert all(len(chain) <= 28 for _, _, chain in subnet.chains(subnet.name_of(state)))


def test_the_rules_open_the_named_ports_and_reject_last() -> None:
    text = subnet.rules("wl0", IPv4Network("10.200.0.0/22"), (8080,))
    inward = [line for line in text.splitlines() if line.startswith("-A wl0-input")]
    assert any("--dport 8080" in line for line in inward)
    assert inward[-1] == "-A wl0-input -j REJECT"
    assert "-A wl0-out -s 10.200.0.0/22 ! -o wl0 -j MASQUERADE" in text


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("nameserver 10.0.0.2\nsearch a\n",), "nameserver 10.0.0.2\nsearch a\n"),
        (("nameserver 127.0.0.53\n", "nameserver 10.0.0.3\n"), "nameserver 10.0.0.3\n"),
        (("nameserver 127.0.0.1\nnameserver 10.0.0.4\n",), "nameserver 10.0.0.4\n"),
        (("nameserver ::1\n",), ""),
        ((), ""),
    ],
)
def test_a_name_server_on_loopback_is_not_passed_on(texts: tuple[str, ...], expected: str) -> None:
    assert subnet.resolvers(*texts) == expected
