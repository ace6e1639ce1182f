"""Lines that a program writes as JSON objects, understood as Cloud Logging does: severity, message
and trace. Arithmetic on text; knows neither files nor instances."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

SEVERITIES = (
    *("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING"),
    *("ERROR", "CRITICAL", "ALERT", "EMERGENCY"),
)
# Other names that loggers of several languages have for the same.
_ALIASES = {"TRACE": "DEBUG", "WARN": "WARNING", "ERR": "ERROR", "FATAL": "CRITICAL"}
_TRACE = "logging.googleapis.com/trace"


@dataclass(frozen=True, slots=True)
class Structured:
    """What a line says of itself; empty: nothing."""

    severity: str = ""  # one of SEVERITIES
    message: str = ""
    trace: str = ""  # the id of the request's trace, hexadecimal


PLAIN = Structured()


def understood(text: str) -> Structured:
    """Return what a line says; PLAIN for one that is no JSON object or has none of the fields."""
    if not text.startswith("{"):
        return PLAIN
    try:
        fields = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return PLAIN
    if not isinstance(fields, dict):
        return PLAIN
    named = _first(fields, "severity", "level").upper()
    severity = _ALIASES.get(named, named)
    return Structured(
        severity=severity if severity in SEVERITIES else "",
        message=_first(fields, "message", "msg"),
        # projects/NAME/traces/ID, or the id alone
        trace=_first(fields, _TRACE, "trace").rpartition("/")[2],
    )


def is_at_least(severity: str, least: str) -> bool:
    """Say whether a severity is another one or above it; one that is not known is the lowest."""
    return SEVERITIES.index(severity or "DEFAULT") >= SEVERITIES.index(least)


def _first(fields: dict[str, object], *names: str) -> str:
    """Return the first of the fields that is a string with something in it."""
    return next((v for name in names if isinstance(v := fields.get(name), str) and v), "")
