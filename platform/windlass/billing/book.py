"""Price books: a provider's prices and rounding rules as data, read from YAML files and checked.

A user adds a book by adding a file. How a bill is written from one is `bill`'s.
"""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from enum import StrEnum
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import yaml

from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from importlib.resources.abc import Traversable
    from pathlib import Path

METERED_GRAINS = (100, 1000)  # ms to which the ledger knows each slice's rounding


class Measure(StrEnum):
    """What a price is multiplied with, and its unit."""

    CPU_ACTIVE = "cpu_active"  # vCPU-seconds at the active rate
    CPU_IDLE = "cpu_idle"
    MEMORY_ACTIVE = "memory_active"  # GiB-seconds at the active rate
    MEMORY_IDLE = "memory_idle"
    MEMORY_HELD = "memory_held"  # GiB-seconds at the rate of instances that are held and busy
    DURATION = "duration"  # GB-seconds of invocations
    PROVISIONED = "provisioned"  # GB-seconds for which environments were held ready
    PROVISIONED_DURATION = "provisioned_duration"  # GB-seconds of invocations in them
    STORAGE = "storage"  # GB-seconds of invocations, of disk over what is included
    REQUESTS = "requests"
    PERIOD = "period"  # seconds of the billed stretch of time, whatever ran in it


UNITS = {
    Measure.CPU_ACTIVE: "vCPU-second",
    Measure.CPU_IDLE: "vCPU-second",
    Measure.MEMORY_ACTIVE: "GiB-second",
    Measure.MEMORY_IDLE: "GiB-second",
    Measure.MEMORY_HELD: "GiB-second",
    Measure.DURATION: "GB-second",
    Measure.PROVISIONED: "GB-second",
    Measure.PROVISIONED_DURATION: "GB-second",
    Measure.STORAGE: "GB-second",
    Measure.REQUESTS: "request",
    Measure.PERIOD: "second",
}

Rate = Literal["active", "idle", "held", "free"]
Rounding = Literal["per_slice", "per_instance", "none"]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all parts of a book: a field that is not known is an error."""


class Rates(_Part, frozen=True, kw_only=True):
    """The rate at which each kind of slice is billed; `warm`: idle and held by min_instances.

    `busy_held`: busy and held by min_instances; None: as any busy slice.
    """

    startup: Rate
    busy: Rate
    shutdown: Rate
    idle: Rate
    warm: Rate
    busy_held: Rate | None = None

    def at(self, rate: Rate) -> tuple[str, ...]:
        """Return the kinds that are billed at a rate."""
        return tuple(kind for kind in self.__struct_fields__ if getattr(self, kind) == rate)


class InstanceTime(_Part, frozen=True, kw_only=True, tag_field="basis", tag="instance_time"):
    """Instances' time is billed, whatever number of requests share it."""

    rates: Rates
    granularity: int  # ms to which time at the active rate is rounded up
    rounding: Rounding
    memory_sizes: tuple[int, ...] = ()  # MiB that can be had, in order; none: any
    memory_included: int = 0  # MiB that each vCPU brings along
    whole_cpus: bool = False  # fractions of a vCPU are rounded up


class Invocations(_Part, frozen=True, kw_only=True, tag_field="basis", tag="invocations"):
    """Each invocation's duration is billed, rounded up to 1 ms, with its instance's memory."""

    memory_minimum: int  # MB
    memory_maximum: int
    memory_step: int
    memory_per_cpu: int  # MB that bring one vCPU
    storage_included: int = 512  # MB of disk that cost nothing
    storage: int = 512  # MB of disk that an environment has


class Nothing(_Part, frozen=True, kw_only=True, tag_field="basis", tag="nothing"):
    """Neither time nor requests matter."""


class Tier(_Part, frozen=True, kw_only=True):
    """A price that holds up to a quantity per month."""

    price: Decimal
    up_to: Decimal | None = None  # None: without end


class Price(_Part, frozen=True, kw_only=True):
    """The price of one measure: flat, or by monthly volume."""

    measure: Measure
    price: Decimal | None = None
    tiers: tuple[Tier, ...] = ()
    per: Decimal = Decimal(1)  # units that a price is for
    free: Decimal = Decimal(0)  # units per calendar month that cost nothing
    free_price: Decimal | None = None  # what a free unit takes off the bill; None: its price
    unconfirmed: bool = False
    source: str = ""

    def steps(self) -> tuple[Tier, ...]:
        """Return the tiers; a flat price is one without end."""
        return self.tiers if self.price is None else (Tier(price=self.price),)


class Book(_Part, frozen=True, kw_only=True):
    """One provider's prices for one way of billing."""

    name: str
    title: str
    aliases: tuple[str, ...] = ()
    mode: Mode  # in which services run that are billed so
    currency: str = "USD"
    date: datetime.date  # on which the prices were read
    sources: tuple[str, ...]
    billing: InstanceTime | Invocations | Nothing
    prices: tuple[Price, ...]
    assumptions: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()  # what no source confirms yet

    def doubts(self, used: Container[Measure] | None = None) -> list[str]:
        """Return all that is unconfirmed, with the prices that are marked so.

        Args:
            used: only prices of these measures; None: of all.
        """
        marked = (
            f"the price of {price.measure.replace('_', ' ')}"
            for price in self.prices
            if price.unconfirmed and (used is None or price.measure in used)
        )
        return [*marked, *self.unconfirmed]


class BookFault(Exception):
    """A price book cannot be used: says the file, the place in it, the value, and what is wrong."""

    def __init__(self, file: str, place: str, detail: str) -> None:
        super().__init__(f"{file}: {place}: {detail}" if place else f"{file}: {detail}")
        self.file, self.place, self.detail = file, place, detail


def load_books(extra: Path | None = None) -> dict[str, Book]:
    """Return the books that come with Windlass, and those of a directory, by name.

    A book of the directory takes the place of one that has its name.

    Raises:
        BookFault: a book is wrong, or two have a name or an alias in common.
    """
    books = _load(files("windlass.billing").joinpath("books").iterdir())
    if extra is not None and extra.is_dir():
        books |= _load(extra.iterdir())
    return books


def find(books: Mapping[str, Book], name: str) -> Book | None:
    """Return the book of that name or alias."""
    return books.get(name) or next((b for b in books.values() if name in b.aliases), None)


def read_book(text: str, file: str) -> Book:
    """Return the book that a YAML text describes.

    Args:
        text: YAML.
        file: where it is from, for errors.

    Raises:
        BookFault: it is not YAML, or a field is missing, unknown or wrong.
    """
    try:
        # Every scalar stays text: a price must not become a float on its way to Decimal.
        raw = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise BookFault(file, "", f"this is not YAML: {error}") from error
    try:
        book = msgspec.convert(raw, Book, strict=False)
    except msgspec.ValidationError as error:
        detail, _, place = str(error).partition(" - at `$")
        place = place.rstrip("`").lstrip(".")
        value = _value_at(raw, place)
        shown = f", the value is {value!r}" if isinstance(value, str) else ""
        raise BookFault(file, place, f"{detail}{shown}") from error
    for place, detail in _faults(book):
        raise BookFault(file, place, detail)
    return book


def _load(entries: Iterable[Traversable]) -> dict[str, Book]:
    books: dict[str, Book] = {}
    taken: dict[str, str] = {}
    for entry in sorted(entries, key=lambda entry: entry.name):
        if not entry.name.endswith((".yaml", ".yml")):
            continue
        try:
            text = entry.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BookFault(entry.name, "", f"it cannot be read: {error}") from error
        book = read_book(text, entry.name)
        for name in (book.name, *book.aliases):
            if name in taken:
                raise BookFault(entry.name, "name", f"{name!r} is also a name in {taken[name]}")
            taken[name] = entry.name
        books[book.name] = book
    return books


def _faults(book: Book) -> Iterable[tuple[str, str]]:
    """Yield (place, what is wrong) for what types cannot say."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", book.name):
        yield "name", f"{book.name!r} must be lower-case letters, digits and hyphens"
    if not book.sources:
        yield "sources", "a book says where its prices are from: give at least one"
    for number, price in enumerate(book.prices):
        for place, detail in _price_faults(price):
            yield f"prices[{number}].{place}", detail
    billing = book.billing
    if isinstance(billing, Invocations) and not 0 <= billing.storage_included <= billing.storage:
        yield (
            "billing.storage",
            f"{billing.storage} must be {billing.storage_included} (MB) or more",
        )
    if isinstance(billing, InstanceTime):
        if billing.granularity < 1:
            yield "billing.granularity", f"{billing.granularity} must be at least 1 (ms)"
        if billing.rounding == "per_slice" and not _is_metered(billing):
            yield (
                "billing.rounding",
                "'per_slice' needs startup, busy and shutdown at the active rate, idle and warm "
                f"at others, and a granularity of {METERED_GRAINS} ms, which is what the ledger "
                "counts; 'per_instance' goes with everything",
            )


def _is_metered(billing: InstanceTime) -> bool:
    active = billing.rates.at("active")
    return billing.granularity in METERED_GRAINS and active == ("startup", "busy", "shutdown")


def _price_faults(price: Price) -> Iterable[tuple[str, str]]:
    if (price.price is None) == (not price.tiers):
        yield "price", "give either a price or tiers"
        return
    bounds = [tier.up_to for tier in price.steps()]
    ends = [bound for bound in bounds[:-1] if bound is not None]
    if bounds[-1] is not None or len(ends) < len(bounds) - 1 or ends != sorted(set(ends)):
        yield "tiers", "up_to must rise from tier to tier, and only the last has none"
    if price.per <= 0:
        yield "per", f"{price.per} must be more than 0"
    for name, value in (("free", price.free), *(("price", t.price) for t in price.steps())):
        if not value.is_finite() or value < 0:
            yield name, f"{value} must be 0 or more"


def _value_at(raw: Any, place: str) -> Any:
    """Return the value at a place such as prices[0].price, None where there is none."""
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", place):
        try:
            raw = raw[int(index)] if index else raw[name]
        except (KeyError, IndexError, TypeError):
            return None
    return raw
