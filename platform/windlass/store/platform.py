"""Services, revisions and events in STATE/platform.db: written at once, whole or not at all.

Synchronous and small: every call takes well under a millisecond but for the wait for the disk.
What the values mean is the model's; nothing is decided here.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from windlass.model.service import Revision, Service

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

EVENTS_KEPT = 500  # of each service
_TRIM_EVERY = 100  # events between two deletions of the oldest

# Each step brings a database from the version of its index to the next; never edit one: add one.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE services (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE revisions (
        name TEXT PRIMARY KEY, service TEXT NOT NULL, number INTEGER NOT NULL, value TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX revisions_of_service ON revisions (service, number);
    CREATE TABLE events (
        number INTEGER PRIMARY KEY, time REAL NOT NULL, level TEXT NOT NULL, kind TEXT NOT NULL,
        service TEXT NOT NULL, revision TEXT NOT NULL, instance TEXT NOT NULL, message TEXT NOT NULL
    );
    CREATE INDEX events_of_service ON events (service, number);
    """,
)


_TRIM = """
DELETE FROM events WHERE number IN (
    SELECT number FROM (
        SELECT number, row_number() OVER (PARTITION BY service ORDER BY number DESC) AS age
        FROM events
    ) WHERE age > ?
)
"""


class StoreUnavailable(Exception):
    """The platform's database cannot be read or written; nothing was changed."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a service."""

    time: float  # Unix seconds
    level: str = "info"  # or warning
    kind: str  # one word
    message: str
    service: str
    revision: str = ""
    instance: str = ""


class Store:
    """What the platform must know again after a restart. Every method raises StoreUnavailable."""

    def __init__(self, path: Path) -> None:
        """Open the database, make it where there is none, bring an older one up to date."""
        self._path = path
        self._added = 0
        try:
            self._database = sqlite3.connect(path, timeout=5.0, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            # A power cut may take the last changes, never half of one.
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._migrate()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the database {path} cannot be opened: {error}") from error

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def services(self) -> list[Service]:
        """Return all services by name."""
        rows = self._rows("SELECT value FROM services ORDER BY name")
        return [msgspec.json.decode(value, type=Service) for (value,) in rows]

    def revisions(self, service: str | None = None) -> list[Revision]:
        """Return all revisions, or those of one service, the oldest first."""
        query = (
            "SELECT value FROM revisions WHERE ? IS NULL OR service = ? ORDER BY service, number"
        )
        rows = self._rows(query, (service, service))
        return [msgspec.json.decode(value, type=Revision) for (value,) in rows]

    def save(self, service: Service, revision: Revision | None = None) -> None:
        """Keep a service as it is now, and a revision with it."""
        writes: list[tuple[str, Sequence[object]]] = [
            ("INSERT OR REPLACE INTO services VALUES (?, ?)", (service.name, _json(service)))
        ]
        if revision is not None:
            writes.append(
                (
                    "INSERT OR REPLACE INTO revisions VALUES (?, ?, ?, ?)",
                    (revision.name, revision.service, revision.number, _json(revision)),
                )
            )
        self._write(writes)

    def delete_service(self, name: str) -> None:
        """Forget a service and its revisions; its events stay. No fault if it is not there."""
        self._write(
            [
                ("DELETE FROM services WHERE name = ?", (name,)),
                ("DELETE FROM revisions WHERE service = ?", (name,)),
            ]
        )

    def delete_revision(self, name: str) -> None:
        """Forget a revision. No fault if it is not there."""
        self._write([("DELETE FROM revisions WHERE name = ?", (name,))])

    def add_event(
        self,
        *,
        time: float,
        kind: str,
        message: str,
        service: str,
        revision: str = "",
        instance: str = "",
        level: str = "info",
    ) -> None:
        """Keep an event; of each service, the last EVENTS_KEPT or a few more are kept."""
        columns = "(time, level, kind, service, revision, instance, message)"
        row = (time, level, kind, service, revision, instance, message)
        writes: list[tuple[str, Sequence[object]]] = [
            (f"INSERT INTO events {columns} VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        ]
        self._added += 1
        if self._added % _TRIM_EVERY == 0:
            writes.append((_TRIM, (EVENTS_KEPT,)))
        self._write(writes)

    def events(self, service: str, last: int = EVENTS_KEPT) -> list[Event]:
        """Return a service's last events, the oldest first."""
        query = (
            "SELECT time, level, kind, message, service, revision, instance FROM events "
            "WHERE service = ? ORDER BY number DESC LIMIT ?"
        )
        names = Event.__struct_fields__
        rows = self._rows(query, (service, last))
        return [Event(**dict(zip(names, row, strict=True))) for row in reversed(rows)]

    def _migrate(self) -> None:
        [(version,)] = self._database.execute("PRAGMA user_version").fetchall()
        if version > len(MIGRATIONS):
            self._database.close()
            raise StoreUnavailable(
                f"the database {self._path} has version {version}, made by a newer Windlass; this "
                f"one knows version {len(MIGRATIONS)}. Run the newer one, or choose another --state"
            )
        for number in range(version, len(MIGRATIONS)):
            script = f"BEGIN IMMEDIATE; {MIGRATIONS[number]}; PRAGMA user_version = {number + 1};"
            self._database.executescript(f"{script} COMMIT;")

    def _rows(self, query: str, given: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(query, given).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the database {self._path} cannot be read: {error}") from error

    def _write(self, writes: Sequence[tuple[str, Sequence[object]]]) -> None:
        """Do all or nothing."""
        try:
            with _transaction(self._database):
                for statement, row in writes:
                    self._database.execute(statement, row)
        except sqlite3.Error as error:
            raise StoreUnavailable(
                f"the database {self._path} cannot be written: {error}; nothing was changed. "
                "Is the disk full?"
            ) from error


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:  # a full disk has ended it already
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _json(value: Service | Revision) -> str:
    return msgspec.json.encode(value).decode()
