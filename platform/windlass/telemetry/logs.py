"""Sets up the platform's own log on stderr: readable lines, or one JSON object per line."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Literal

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


def configure(
    form: Literal["text", "json"] = "text", level: str = "info", stream: TextIO | None = None
) -> None:
    """Log from now on in this form; to be called once, before anything is logged.

    Args:
        form: `text` for people, coloured on a terminal; `json` for collectors.
        level: debug, info, warning or error: what is less is not logged.
        stream: where to; None: stderr.

    Raises:
        ValueError: there is no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r}: it is one of debug, info, warning, error")
    target = sys.stderr if stream is None else stream
    structlog.configure(
        processors=_processors(form, target.isatty()),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,  # loggers are made when modules are imported, before this
    )


def _processors(form: str, colors: bool) -> Sequence[structlog.typing.Processor]:
    stamped: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=form == "json"),
    ]
    if form == "json":
        return [
            *stamped,
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(default=str),
        ]
    return [*stamped, structlog.dev.ConsoleRenderer(colors=colors)]
