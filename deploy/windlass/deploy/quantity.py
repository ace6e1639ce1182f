"""What flags and annotations write as text: quantities as Kubernetes writes them, durations and
budgets (exactly, never through a float), and command lines."""

from __future__ import annotations

import re
import shlex
from decimal import Decimal
from fractions import Fraction

from windlass.model.budget import Period

CPU_ALLOWED = "vCPUs such as 1, 0.5 or 500m, in whole thousandths"
MEMORY_ALLOWED = "bytes such as 512Mi, 1Gi, 500M, 1G or 536870912"
DURATION_ALLOWED = "a duration such as 30s, 5m, 1h, 1m30s, 500ms or plain seconds"

BUDGET_ALLOWED = "an amount above 0 and a period: 0.50/hour, 5/day or $100/month"

_BUDGET = re.compile(rf"\$?(\d{{1,12}}(?:\.\d{{1,9}})?)/({'|'.join(Period)})", re.ASCII)
_BINARY = {f"{letter}i": 1024**power for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_SUFFIXES: dict[str, Fraction] = {
    suffix: Fraction(factor) for suffix, factor in (_BINARY | _DECIMAL).items()
} | {"m": Fraction(1, 1000)}
# At most 30 digits: more are no quantity, and would only make the arithmetic slow.
_QUANTITY = re.compile(r"(\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:e(\d)|([A-Za-z]{0,2}))", re.ASCII)
_SECONDS = {"h": Fraction(3600), "m": Fraction(60), "s": Fraction(1), "ms": Fraction(1, 1000)}
_PLAIN = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|h|m|s)", re.ASCII)


class BadQuantity(ValueError):
    """A text that is not the quantity it should be."""

    def __init__(self, value: str, allowed: str) -> None:
        super().__init__(f"{value!r} is not allowed; allowed: {allowed}")
        self.value, self.allowed = value, allowed


def read_budget(text: str) -> tuple[Decimal, Period]:
    """Return an amount of money and the period for which it is, from a text such as 5/day.

    Raises:
        BadQuantity: not a budget.
    """
    found = _BUDGET.fullmatch(text)
    if found is None or not (amount := Decimal(found[1])):
        raise BadQuantity(text, BUDGET_ALLOWED)
    return amount, Period(found[2])


def read_cpu(text: str) -> int:
    """Return thousandths of a vCPU.

    Raises:
        BadQuantity: not a quantity, or finer than a thousandth.
    """
    number = _quantity(text, CPU_ALLOWED) * 1000
    if number.denominator != 1:
        raise BadQuantity(text, CPU_ALLOWED)
    return number.numerator


def read_memory(text: str) -> int:
    """Return bytes.

    Raises:
        BadQuantity: not a quantity, or not whole bytes.
    """
    number = _quantity(text, MEMORY_ALLOWED)
    if number.denominator != 1:
        raise BadQuantity(text, MEMORY_ALLOWED)
    return number.numerator


def read_duration(text: str) -> float:
    """Return seconds.

    Raises:
        BadQuantity: not a duration.
    """
    if _PLAIN.fullmatch(text):
        return float(Fraction(text))
    parts = list(_PART.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise BadQuantity(text, DURATION_ALLOWED)
    return float(sum(Fraction(part[1]) * _SECONDS[part[2]] for part in parts))


def read_command_line(text: str) -> tuple[str, ...]:
    """Return a command line's words, as a shell splits them.

    Raises:
        BadQuantity: no word, or a quote that is not closed.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError:
        words = ()
    if not words:
        raise BadQuantity(text, "a command line; check its quotes")
    return words


def write_cpu(milli_cpu: int) -> str:
    """Return the shortest text that `read_cpu` reads as this."""
    return f"{milli_cpu}m" if milli_cpu % 1000 else str(milli_cpu // 1000)


def write_memory(size: int) -> str:
    """Return the shortest binary text that `read_memory` reads as these bytes."""
    for suffix, factor in reversed(_BINARY.items()):
        if size and size % factor == 0:
            return f"{size // factor}{suffix}"
    return str(size)


def _quantity(text: str, allowed: str) -> Fraction:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise BadQuantity(text, allowed)
    number, exponent, suffix = match.groups()
    if exponent is not None:
        return Fraction(number) * Fraction(10) ** int(exponent)
    factor = _SUFFIXES.get(suffix)
    if factor is None:
        raise BadQuantity(text, allowed)
    return Fraction(number) * factor
