"""What instances print: kept in order, bounded, and followed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from windlass.telemetry import instance_logs
from windlass.telemetry.instance_logs import InstanceLogs, Line, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Printed:
    """A line as a runtime has it."""

    time: float
    text: str
    stream: Stream = "stdout"


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[InstanceLogs]:
    opened = InstanceLogs(tmp_path / "logs", max_file=1000)
    yield opened
    opened.close_all()


def _texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_lines_of_all_instances_are_in_the_order_of_time(logs: InstanceLogs) -> None:
    logs.append("shop", "a", Printed(1.25, "first"))
    logs.append("shop", "a", Printed(3.0, "third", "stderr"))
    logs.append("shop", "b", Printed(2.0, "second wörd  "))
    logs.append("other", "c", Printed(1.5, "elsewhere"))
    assert logs.read("shop", 10) == [
        Line(1.25, "a", "stdout", "first"),
        Line(2.0, "b", "stdout", "second wörd  "),
        Line(3.0, "a", "stderr", "third"),
    ]
    assert _texts(logs.read("shop", 2)) == ["second wörd  ", "third"]
    assert _texts(logs.read("shop", 10, instance="b")) == ["second wörd  "]
    assert logs.read("shop", 0) == logs.read("nobody", 5) == []


def test_lines_of_the_same_moment_stay_in_their_order(logs: InstanceLogs) -> None:
    for number in range(5):
        logs.append("shop", "a", Printed(1.0, str(number)))
    assert _texts(logs.read("shop", 3)) == ["2", "3", "4"]


def test_any_text_comes_back_as_one_line(logs: InstanceLogs) -> None:
    texts = ["", " ", "a\rb", "a\u2028b", "\x00", "{}"]
    for text in texts:
        logs.append("shop", "a", Printed(1.0, text))
    assert _texts(logs.read("shop", 10)) == texts
    logs.append("shop", "b", Printed(2.0, "two\nlines \udcff"))
    assert _texts(logs.read("shop", 1)) == ["two lines ?"]


def test_an_instance_keeps_two_files_of_a_bounded_size(logs: InstanceLogs, tmp_path: Path) -> None:
    for number in range(500):
        logs.append("shop", "a", Printed(float(number), "x" * 50))
    files = sorted(path.name for path in (tmp_path / "logs" / "shop").iterdir())
    assert set(files) <= {"a.log", "a.log.old"}
    assert sum(path.stat().st_size for path in (tmp_path / "logs" / "shop").iterdir()) < 2200
    lines = logs.read("shop", 1000)
    assert lines[-1].time == 499.0
    assert [line.time for line in lines] == list(range(500 - len(lines), 500))


def test_the_oldest_instances_make_room(
    logs: InstanceLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_logs, "MAX_INSTANCES", 3)
    monkeypatch.setattr(instance_logs, "MAX_OPEN", 2)
    for number in range(10):
        logs.append("shop", f"i{number}", Printed(float(number), "x"))
    assert len(list((tmp_path / "logs" / "shop").iterdir())) == 3
    assert _texts(logs.read("shop", 10)) == ["x", "x", "x"]


def test_a_removed_service_leaves_nothing(logs: InstanceLogs, tmp_path: Path) -> None:
    logs.append("shop", "a", Printed(1.0, "x"))
    logs.remove("shop")
    assert list((tmp_path / "logs").iterdir()) == []
    logs.remove("shop")
    logs.append("shop", "a", Printed(2.0, "again"))
    assert _texts(logs.read("shop", 10)) == ["again"]


async def test_a_follower_gets_what_was_and_what_comes(logs: InstanceLogs) -> None:
    logs.append("shop", "a", Printed(1.0, "old"))
    logs.append("shop", "a", Printed(2.0, "last"))
    following = logs.follow("shop", last=1)
    assert (await anext(following)).text == "last"
    logs.append("other", "c", Printed(3.0, "elsewhere"))
    logs.append("shop", "b", Printed(4.0, "new"))
    assert (await anext(following)).text == "new"
    waiting = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    logs.append("shop", "a", Printed(5.0, "newer"))
    assert (await waiting).text == "newer"


async def test_a_line_that_comes_late_takes_its_place_among_those_of_other_instances(
    logs: InstanceLogs,
) -> None:
    following = logs.follow("shop")
    first = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    for instance, moment in (("a", 2.0), ("a", 4.0), ("b", 1.0), ("b", 3.0)):
        logs.append("shop", instance, Printed(moment, f"{moment:g}"))
    assert [(await first).text] + [(await anext(following)).text for _ in range(3)] == [*"1234"]


async def test_a_slow_follower_is_told_what_it_missed(
    logs: InstanceLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_logs, "MAX_BEHIND", 2)
    logs.append("shop", "a", Printed(0.0, "0"))
    following = logs.follow("shop", last=1)
    assert (await anext(following)).text == "0"
    for number in range(1, 6):
        logs.append("shop", "a", Printed(float(number), str(number)))
    seen = [(await anext(following)).text for _ in range(3)]
    assert seen == ["(3 lines were missed here)", "4", "5"]


def test_lines_that_an_earlier_run_kept_are_not_kept_again(
    logs: InstanceLogs, tmp_path: Path
) -> None:
    lines = [Printed(1.1, "one"), Printed(1.2, "two"), Printed(1.3, "three")]
    for line in lines[:2]:
        logs.append("shop", "a", line)
    later = InstanceLogs(tmp_path / "logs")
    later.resume("shop", "a")
    later.resume("shop", "b")  # has printed nothing yet
    for line in lines:
        later.append("shop", "a", line)
    later.append("shop", "b", Printed(1.0, "zero"))
    later.close_all()
    assert _texts(logs.read("shop", 10)) == ["zero", "one", "two", "three"]
