from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from windlass.runtime.base import LogLine
from windlass.runtime.output import LINE_LIMIT, Lines, Output


def read(*pieces: bytes) -> list[str]:
    taken: list[LogLine] = []
    lines = Lines("stdout", taken.append, lambda: None)
    for piece in pieces:
        lines.data_received(piece)
    lines.connection_lost(None)
    return [line.text for line in taken]


def line(text: str) -> LogLine:
    return LogLine(0.0, "stdout", text)


@given(
    texts=st.lists(st.text(alphabet="abé\r ", max_size=20)),
    size=st.integers(min_value=1, max_value=50),
)
def test_lines_are_the_same_whatever_pieces_they_come_in(texts: list[str], size: int) -> None:
    data = "".join(f"{text}\n" for text in texts).encode()
    assert read(*(data[start : start + size] for start in range(0, len(data), size))) == texts


def test_the_last_line_needs_no_newline_and_bytes_need_no_encoding() -> None:
    assert read(b"one\n\ntwo \xff") == ["one", "", "two \ufffd"]


def test_a_long_line_is_cut_before_it_ends() -> None:
    assert [len(text) for text in read(b"x" * LINE_LIMIT, b"x\n")] == [LINE_LIMIT, 1]
    assert [len(text) for text in read(b"x" * LINE_LIMIT, b"\n")] == [LINE_LIMIT]
    assert [len(text) for text in read(b"x" * (2 * LINE_LIMIT + 1), b"\ny")] == [
        LINE_LIMIT,
        LINE_LIMIT,
        1,
        1,
    ]


async def test_the_oldest_lines_go_when_there_are_too_many() -> None:
    output = Output(kept=1000)
    for number in range(1000):
        output.append(line(str(number)))
    output.finish()
    kept = [line.text async for line in output.follow()]
    assert kept == [str(number) for number in range(1000 - len(kept), 1000)]
    assert 5 <= len(kept) <= 10


async def test_every_follower_gets_every_line_as_it_comes() -> None:
    output = Output()
    output.append(line("before"))

    async def follow() -> list[str]:
        return [line.text async for line in output.follow()]

    followers = [asyncio.create_task(follow()) for _ in range(3)]
    for number in range(3):
        await asyncio.sleep(0)
        output.append(line(str(number)))
    output.finish()
    assert await asyncio.gather(*followers) == [["before", "0", "1", "2"]] * 3


async def test_a_slow_follower_goes_on_with_what_is_kept() -> None:
    output = Output(kept=500)
    output.append(line("first"))
    lines = aiter(output.follow())
    assert (await anext(lines)).text == "first"
    for number in range(100):
        output.append(line(str(number)))
    assert int((await anext(lines)).text) > 90
