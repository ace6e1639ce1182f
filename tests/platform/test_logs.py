"""The platform's own log: readable, or JSON for collectors."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
import structlog

from windlass.telemetry.logs import configure

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_json_is_one_object_per_line_with_level_and_time() -> None:
    stream = io.StringIO()
    configure("json", stream=stream)
    structlog.get_logger().warning("instance failed", instance="a", code=3)
    told = json.loads(stream.getvalue())
    assert told.pop("timestamp").endswith("Z")
    assert told == {"event": "instance failed", "level": "warning", "instance": "a", "code": 3}


def test_a_traceback_is_part_of_the_json() -> None:
    stream = io.StringIO()
    configure("json", stream=stream)
    try:
        raise ValueError("too small")
    except ValueError:
        structlog.get_logger().exception("broken")
    [found] = json.loads(stream.getvalue())["exception"]
    assert (found["exc_type"], found["exc_value"]) == ("ValueError", "too small")


def test_text_is_readable_and_plain_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    configure("text", stream=stream)
    structlog.get_logger().info("ready", instance="a")
    line = stream.getvalue()
    assert "ready" in line
    assert "instance=a" in line
    assert "\x1b" not in line


def test_what_is_below_the_level_is_not_logged() -> None:
    stream = io.StringIO()
    configure("json", level="warning", stream=stream)
    structlog.get_logger().info("ready")
    assert stream.getvalue() == ""


def test_a_level_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="'loud'"):
        configure(level="loud")
