"""The ledger: what every instance did in every minute of UTC, in SQLite, exact through a crash.

Synchronous: the node calls it in threads, in which calls wait for each other. Prices are not known
here.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from windlass.billing import statements
from windlass.billing.minutes import MINUTE, WallClock
from windlass.billing.rows import Amounts, Batch, Gap, Mark, RevisionAmounts, Saved, decode
from windlass.billing.usage import InstanceUsage, RevisionUsage, Usage
from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SHARED = 7  # columns that the rows of instances and of revisions have in common
_ONE_PART = 1 << 62  # minutes: longer than any stretch that is asked for


class LedgerUnavailable(Exception):
    """The ledger cannot be read or written now; what was to be written is kept for the next try."""


class Ledger:
    """The ledger of one platform.

    What could not be written (a full disk, a database that somebody else has locked) stays in
    memory and is written with the next batch.
    """

    def __init__(self, path: Path, boot: str | None = None, patience: float = 5.0) -> None:
        """Open the ledger, or make one where there is none.

        Args:
            path: of the database.
            boot: what changes with each start of the machine; None: ask the kernel.
            patience: seconds to wait for somebody else's lock.

        Raises:
            LedgerUnavailable: it cannot be opened, or a newer Windlass made it.
        """
        self._path = path
        self._boot = _boot() if boot is None else boot
        self._unwritten: Batch | None = None
        self._lock = threading.Lock()  # one connection: a reader must not see half a batch
        try:
            self._database = sqlite3.connect(
                path, timeout=patience, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"the ledger {path} cannot be opened: {error}") from error

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def load(self) -> Saved | None:
        """Return where the last run was, None if there was none; for `Meter`.

        Raises:
            LedgerUnavailable: it cannot be read.
        """
        found = self._rows("SELECT boot, flushed, clock FROM flushes")
        if not found:
            return None
        boot, flushed, clock = found[0]
        marks = self._rows("SELECT worker, sequence, end FROM marks")
        states = self._rows("SELECT state FROM states ORDER BY instance")
        return Saved(
            flushed=flushed,
            clock=msgspec.msgpack.decode(clock, type=WallClock),
            marks={worker: Mark(sequence, end) for worker, sequence, end in marks},
            states=[decode(state) for (state,) in states],
            rebooted=boot != self._boot,
        )

    def append(self, batch: Batch) -> None:
        """Add a batch, and what is left of those before it, in one transaction.

        Raises:
            LedgerUnavailable: nothing was written; all is kept for the next call.
        """
        with self._lock:
            if self._unwritten is None:
                self._unwritten = batch
            else:
                self._unwritten.absorb(batch)
            try:
                self._write(self._unwritten)
            except sqlite3.Error as error:
                raise LedgerUnavailable(
                    f"the ledger {self._path} cannot be written: {error}; what was metered is "
                    "kept in memory and written as soon as it can be. Is the disk full?"
                ) from error
            self._unwritten = None

    def usage(self, since: float, until: float, service: str | None = None) -> Usage:
        """Return what was metered in the minutes from that of `since` up to that of `until`.

        Args:
            since: Unix seconds; its whole minute counts.
            until: Unix seconds; its whole minute counts, unless it is the minute's beginning.
            service: only of this one.

        Raises:
            LedgerUnavailable: it cannot be read.
        """
        first, last = int(since // 60), int(-(-until // 60))
        parts = self._parts(first, last, service, _ONE_PART)
        begin, end = first * MINUTE, last * MINUTE
        lives = self._rows(statements.LIVES, {"begin": begin, "end": end, "service": service})
        nothing = Usage(since=first * 60, until=last * 60)
        found = parts[0] if parts else nothing
        gaps = self._rows(statements.GAPS_WITHIN, {"begin": begin, "end": end})
        return msgspec.structs.replace(
            found, peak_instances=_peak(lives), gaps=tuple(Gap(*gap) for gap in gaps)
        )

    def parts(
        self, since: float, until: float, step: int, service: str | None = None
    ) -> list[Usage]:
        """Return the same as `usage` cut at whole multiples of `step` minutes of UTC, in order.

        Parts in which nothing was metered are left out; none knows how many instances lived.

        Raises:
            LedgerUnavailable: it cannot be read.
        """
        return self._parts(int(since // 60), int(-(-until // 60)), service, step)

    def _parts(self, first: int, last: int, service: str | None, step: int) -> list[Usage]:
        given = {"first": first, "last": last, "service": service, "step": step}
        instances: dict[int, list[InstanceUsage]] = defaultdict(list)
        for part, *row in self._rows(statements.OF_INSTANCES, given):
            of, (instance, *amounts) = _revision_month(*row[:_SHARED]), row[_SHARED:]
            used = InstanceUsage(**of, instance=instance, amounts=Amounts(*amounts))
            instances[part].append(used)
        revisions: dict[int, list[RevisionUsage]] = defaultdict(list)
        for part, *row in self._rows(statements.OF_REVISIONS, given):
            of, counts = _revision_month(*row[:_SHARED]), RevisionAmounts(*row[_SHARED:])
            revisions[part].append(RevisionUsage(**of, counts=counts))
        return [
            Usage(
                since=max(first, part * step) * 60,
                until=min(last, (part + 1) * step) * 60,
                instances=tuple(instances[part]),
                revisions=tuple(revisions[part]),
            )
            for part in sorted(instances.keys() | revisions.keys())
        ]

    def services(self) -> list[str]:
        """Return every service that was ever metered, deleted ones too.

        Raises:
            LedgerUnavailable: it cannot be read.
        """
        return [name for (name,) in self._rows("SELECT DISTINCT service FROM revisions ORDER BY 1")]

    def begins(self, service: str | None = None) -> float | None:
        """Return the Unix second of the first minute metered, None if there is none.

        Raises:
            LedgerUnavailable: it cannot be read.
        """
        [(minute,)] = self._rows(statements.FIRST_MINUTE, {"service": service})
        return None if minute is None else float(minute * 60)

    def _prepare(self) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        # A batch is on the disk before workers are told that it is safe, through a power cut, too.
        self._database.execute("PRAGMA synchronous = FULL")
        [(version,)] = self._database.execute("PRAGMA user_version").fetchall()
        known = statements.SCHEMA_VERSION
        if version > known:
            self._database.close()
            raise LedgerUnavailable(
                f"the ledger {self._path} has version {version}, made by a newer Windlass; this "
                f"one knows version {known}. Run the newer one, or choose another --state"
            )
        if version == known:
            return
        made = (statements.UPGRADES[old] for old in range(version, known))
        changes = statements.SCHEMA if version == 0 else " ".join(made)
        end = f"PRAGMA user_version = {known}; COMMIT;"
        self._database.executescript(f"BEGIN IMMEDIATE; {changes} {end}")

    def _write(self, batch: Batch) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._write_rows(batch)
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # a full disk has ended it already
                self._database.execute("ROLLBACK")
            raise

    def _write_rows(self, batch: Batch) -> None:
        many = self._database.executemany
        many(
            statements.ADD_REVISION,
            ((*_columns(r)[:5], _labels(r.labels)) for r in batch.revisions.values()),
        )
        many(statements.ADD_INSTANCE, map(_columns, batch.instances.values()))
        many(statements.ADD_INSTANCE_MINUTE, _minutes(batch.instance_minutes))
        many(statements.ADD_REVISION_MINUTE, _minutes(batch.revision_minutes))
        marks = {name: mark for name, mark in batch.marks.items() if mark is not None}
        many(statements.ADD_MARK, ((name, *_columns(mark)) for name, mark in marks.items()))
        gone = batch.marks.keys() - marks.keys()
        many("DELETE FROM marks WHERE worker = ?", ((name,) for name in gone))
        many(statements.ADD_GAP, map(_columns, batch.gaps))
        kept = {name: state for name, state in batch.states.items() if state is not None}
        many(statements.ADD_STATE, kept.items())
        dropped = batch.states.keys() - kept.keys()
        many("DELETE FROM states WHERE instance = ?", ((name,) for name in dropped))
        clock = msgspec.msgpack.encode(batch.clock)
        self._database.execute(statements.ADD_FLUSH, (self._boot, batch.flushed, clock))

    def _rows(self, query: str, given: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._database.execute(query, given or {}).fetchall()
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"the ledger {self._path} cannot be read: {error}") from error


def _revision_month(
    service: str,
    revision: str,
    mode: str,
    milli_cpu: int,
    memory: int,
    labels: str,
    month: str,
) -> dict[str, Any]:
    """Return the fields of usage.RevisionMonth from the columns that both queries begin with."""
    return {
        "service": service,
        "revision": revision,
        "month": month,
        "mode": Mode(mode),
        "milli_cpu": milli_cpu,
        "memory": memory,
        "labels": tuple(msgspec.json.decode(labels, type=dict[str, str]).items()),
    }


def _columns(facts: msgspec.Struct) -> tuple[Any, ...]:
    return msgspec.structs.astuple(facts)


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    return msgspec.json.encode(dict(labels)).decode()


def _minutes(
    rows: Mapping[tuple[str, int], Amounts | RevisionAmounts],
) -> Iterable[Sequence[object]]:
    return ((*place, *_columns(amounts)) for place, amounts in rows.items())


def _peak(lives: Sequence[tuple[Any, ...]]) -> int:
    """Return how many lived at once, at most; where one ends as another begins, one."""
    edges = [(begun, 1) for begun, _ in lives]
    edges += [(ended, -1) for _, ended in lives if ended is not None]
    return max(accumulate(step for _, step in sorted(edges)), default=0)


def _boot() -> str:
    """Return the kernel's id of this boot; empty where it tells none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
