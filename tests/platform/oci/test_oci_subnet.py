"""The instances' addresses and the firewall's text."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
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


@settings(max_examples=20)  # each lists four thousand candidates
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


NETWORK = IPv4Network("10.200.0.0/22")
SAVED = """*filter
:FORWARD DROP [0:0]
:wl0-forward - [0:0]
:wl0-input - [0:0]
-A INPUT -i wl0 -j wl0-input
-A FORWARD -j wl0-forward
COMMIT
*nat
:wl0-out - [0:0]
-A POSTROUTING -j wl0-out
COMMIT
"""


def test_the_rules_open_the_named_ports_and_reject_last() -> None:
    lines = subnet.rules("wl0", NETWORK, (8080,), "").splitlines()
    inward = [line for line in lines if line.startswith("-A wl0-input")]
    assert any("--dport 8080" in line for line in inward)
    assert inward[-1] == "-A wl0-input -j REJECT"
    assert "-A wl0-out -s 10.200.0.0/22 ! -o wl0 -j MASQUERADE" in lines


def test_the_rules_are_led_to_once() -> None:
    def jumps(saved: str) -> set[str]:
        lines = subnet.rules("wl0", NETWORK, (), saved).splitlines()
        return {line for line in lines if line.startswith("-I")}

    assert jumps("") == {
        "-I FORWARD -j wl0-forward",
        "-I INPUT -i wl0 -j wl0-input",
        "-I POSTROUTING -j wl0-out",
    }
    assert jumps(SAVED) == set()


def test_what_there_is_is_taken_away_and_no_more() -> None:
    lines = subnet.removal("wl0", SAVED).splitlines()
    assert {line for line in lines if line[0] == "-"} == {
        *("-D FORWARD -j wl0-forward", "-D INPUT -i wl0 -j wl0-input", "-D POSTROUTING -j wl0-out"),
        *("-F wl0-forward", "-F wl0-input", "-F wl0-out"),
        *("-X wl0-forward", "-X wl0-input", "-X wl0-out"),
    }
    assert subnet.removal("wl1", SAVED).split() == ["*filter", "COMMIT", "*nat", "COMMIT"]


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
