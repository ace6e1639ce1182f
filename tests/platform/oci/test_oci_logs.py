"""The log file of a container, read and followed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.runtime.base import LogLine
from windlass.runtime.oci.changes import Changes
from windlass.runtime.oci.logs import Joiner, follow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TIME = "2026-01-02T03:04:05.123456789+00:00"
MOMENT = 1767323045.123456


@pytest.fixture
async def changes() -> AsyncIterator[Changes]:
    opened = Changes()
    yield opened
    opened.close()


def joined(*records: bytes) -> list[LogLine]:
    joiner = Joiner()
    return [line for record in records for line in joiner.lines(record)]


def test_a_record_is_a_line() -> None:
    assert joined(f"{TIME} stderr F a b  c".encode()) == [LogLine(MOMENT, "stderr", "a b  c")]


def test_the_zone_is_heeded() -> None:
    (line,) = joined(b"2026-01-02T04:04:05.123456789+01:00 stdout F x")
    assert line.time == MOMENT


def test_parts_of_a_line_are_joined_for_each_stream_on_its_own() -> None:
    lines = joined(
        *(f"{TIME} {rest}".encode() for rest in ("stdout P ab", "stderr F no", "stdout F cd"))
    )
    assert [(line.stream, line.text) for line in lines] == [("stderr", "no"), ("stdout", "abcd")]


def test_an_empty_line_is_a_line_and_rubbish_is_none() -> None:
    assert [line.text for line in joined(f"{TIME} stdout F ".encode(), b"cut off", b"")] == [""]


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))))
def test_every_text_comes_back(texts: list[str]) -> None:
    assert [x.text for x in joined(*(f"{TIME} stdout F {t}".encode() for t in texts))] == texts


async def test_a_log_is_followed_through_halves_and_a_new_beginning(
    tmp_path: Path, changes: Changes
) -> None:
    log, ended = tmp_path / "log", asyncio.Event()
    log.write_text(f"{TIME} stdout F one\n{TIME} stdout F tw")
    lines = follow(log, ended, changes)
    assert (await anext(lines)).text == "one"
    waiting = asyncio.ensure_future(anext(lines))
    with log.open("a") as file:
        file.write("o\n")
    assert (await waiting).text == "two"
    waiting = asyncio.ensure_future(anext(lines))
    (tmp_path / "new").write_text(f"{TIME} stdout F three\n")
    (tmp_path / "new").rename(log)
    assert (await waiting).text == "three"
    ended.set()
    assert [line async for line in lines] == []


async def test_what_was_written_before_the_end_is_not_lost(
    tmp_path: Path, changes: Changes
) -> None:
    log, ended = tmp_path / "log", asyncio.Event()
    log.write_text(f"{TIME} stdout F last\n")
    ended.set()
    assert [line.text async for line in follow(log, ended, changes)] == ["last"]
