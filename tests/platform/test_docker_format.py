from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.model.instance import Address, Exit
from windlass.model.service import Container, Limits
from windlass.runtime.base import Start
from windlass.runtime.docker_format import Inspection, LogFrames, configuration, exit_of

STAMP = b"2026-11-24T02:27:15.123456789Z"
MOMENT = 1795487235.123456


def start_of(container: Container) -> Start:
    return Start(
        instance="web-00001-abcde",
        revision="web-00001",
        service="web",
        container=container,
        limits=Limits(),
    )


def frame(stream: int, text: bytes) -> bytes:
    payload = STAMP + b" " + text
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def inspected(**network: object) -> Inspection:
    shown = {
        "State": {"Running": True, "ExitCode": 0, "OOMKilled": False, "Error": "", "Pid": 1},
        "NetworkSettings": {"Networks": {}, "Ports": {}, **network},
        "Config": {"Labels": {"dev.windlass.port": "9000"}, "Image": "any"},
    }
    return msgspec.convert(shown, Inspection)


@given(
    texts=st.lists(st.tuples(st.sampled_from([1, 2]), st.text(alphabet="abé ", max_size=20))),
    size=st.integers(min_value=1, max_value=50),
)
def test_lines_are_the_same_whatever_pieces_they_come_in(
    texts: list[tuple[int, str]], size: int
) -> None:
    stream = b"".join(frame(number, text.encode() + b"\n") for number, text in texts)
    frames = LogFrames()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    lines = [line for piece in pieces for line in frames.feed(piece)]
    names = {1: "stdout", 2: "stderr"}
    assert [(line.stream, line.text) for line in lines] == [(names[n], t) for n, t in texts]
    assert all(line.time == MOMENT for line in lines)
    assert list(frames.rest()) == []


def test_parts_of_two_streams_are_joined_apart() -> None:
    frames = LogFrames()
    parts = [(1, b"out "), (2, b"err "), (1, b"one\n"), (2, b"two\n"), (1, b"no newline")]
    lines = [line.text for number, text in parts for line in frames.feed(frame(number, text))]
    assert lines == ["out one", "err two"]
    assert [line.text for line in frames.rest()] == ["no newline"]


def test_a_resumed_log_goes_on_after_the_last_frame_of_each_stream() -> None:
    frames = LogFrames()
    for number, text in [(1, b"a\n"), (1, b"b\n"), (2, b"c\n"), (1, b"d ")]:
        list(frames.feed(frame(number, text)))
    list(frames.feed(frame(2, b"cut off")[:20]))
    assert frames.resume("stdout") == "1795487235.123456789"
    again = b"".join(frame(1, text) for text in (b"a\n", b"b\n", b"d ", b"e\n", b"f"))
    assert [line.text for line in frames.feed(again)] == ["d e"]
    assert frames.resume("stderr") == "1795487235.123456789"
    assert list(frames.feed(frame(2, b"c\n"))) == []
    assert [line.text for line in frames.rest()] == ["f"]


def test_a_stream_of_which_nothing_was_seen_is_resumed_from_its_beginning() -> None:
    assert LogFrames().resume("stderr") == "0"


@pytest.mark.parametrize(
    ("code", "out_of_memory", "expected"),
    [
        (0, False, Exit(code=0)),
        (1, False, Exit(code=1)),
        (137, False, Exit(signal=9)),
        (143, False, Exit(signal=15)),
        (255, False, Exit(code=255)),  # exit(-1): there is no signal 127
        (128, False, Exit(code=128)),
        (0, True, Exit(code=0)),  # a child was killed for memory, the main process got over it
        (143, True, Exit(signal=15)),
    ],
)
def test_an_exit_status_becomes_code_or_signal(
    code: int, out_of_memory: bool, expected: Exit
) -> None:
    assert exit_of(code, out_of_memory) == expected


@pytest.mark.parametrize("code", [1, 137])
def test_out_of_memory_is_the_reason_of_a_bad_end(code: int) -> None:
    assert exit_of(code, out_of_memory=True).out_of_memory


def test_the_contract_wins_over_the_users_environment() -> None:
    env = (("PORT", "1"), ("K_REVISION", "x"), ("MINE", "a=b"))
    config = configuration(start_of(Container(image="i", env=env)), "s", publish=False)
    assert set(config["Env"]) == {
        "PORT=8080",
        "K_SERVICE=web",
        "K_REVISION=web-00001",
        "K_CONFIGURATION=web",
        "MINE=a=b",
    }


def test_command_and_args_replace_what_kubernetes_says() -> None:
    plain = configuration(start_of(Container(image="i")), "s", publish=False)
    assert "Entrypoint" not in plain
    assert "Cmd" not in plain
    args = configuration(start_of(Container(image="i", args=("a",))), "s", publish=False)
    assert "Entrypoint" not in args
    assert args["Cmd"] == ["a"]


def test_a_published_port_is_one_of_the_loopback() -> None:
    config = configuration(start_of(Container(image="i", port=9000)), "s", publish=True)
    binding = {"9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    assert config["HostConfig"]["PortBindings"] == binding
    unpublished = configuration(start_of(Container(image="i")), "s", publish=False)
    assert "PortBindings" not in unpublished["HostConfig"]


def test_the_address_is_the_published_port_else_the_containers_own() -> None:
    own = {"bridge": {"IPAddress": "172.17.0.2"}}
    assert inspected(Networks=own, Ports={"9000/tcp": None}).address() == Address(
        "172.17.0.2", 9000
    )
    published = {"80/tcp": None, "9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "49153"}]}
    assert inspected(Networks=own, Ports=published).address() == Address("127.0.0.1", 49153)


def test_a_container_that_has_ended_has_an_address_where_nothing_answers() -> None:
    ended = {"bridge": {"IPAddress": ""}}
    assert inspected(Networks=ended, Ports=None).address() == Address("127.0.0.1", 0)
