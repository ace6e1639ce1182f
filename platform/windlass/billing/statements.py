"""The ledger's tables and the SQL that writes and reads them. Rows of minutes only ever add up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windlass.billing.rows import Amounts, RevisionAmounts

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA_VERSION = 3
_AMOUNTS = Amounts.__struct_fields__
_COUNTS = RevisionAmounts.__struct_fields__

GAPS = "CREATE TABLE gaps (worker TEXT NOT NULL, begin INTEGER NOT NULL, end INTEGER NOT NULL);"
SCHEMA = f"""
CREATE TABLE revisions (
    name TEXT PRIMARY KEY, service TEXT NOT NULL, mode TEXT NOT NULL,
    milli_cpu INTEGER NOT NULL, memory INTEGER NOT NULL, labels TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX revisions_of_service ON revisions (service);
CREATE TABLE instances (
    id TEXT PRIMARY KEY, revision TEXT NOT NULL, begun INTEGER NOT NULL, ended INTEGER
) WITHOUT ROWID;
CREATE TABLE instance_minutes (
    instance TEXT NOT NULL, minute INTEGER NOT NULL,
    {", ".join(f"{name} INTEGER NOT NULL" for name in _AMOUNTS)},
    PRIMARY KEY (minute, instance)
) WITHOUT ROWID;
CREATE TABLE revision_minutes (
    revision TEXT NOT NULL, minute INTEGER NOT NULL,
    {", ".join(f"{name} INTEGER NOT NULL" for name in _COUNTS)},
    PRIMARY KEY (minute, revision)
) WITHOUT ROWID;
CREATE TABLE marks (
    worker TEXT PRIMARY KEY, sequence INTEGER NOT NULL, end INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE states (instance TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
{GAPS}
CREATE TABLE flushes (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    boot TEXT NOT NULL, flushed INTEGER NOT NULL, clock BLOB NOT NULL
);
"""

# What brings a ledger of an older version, by its number, to the next one.
UPGRADES = {
    1: "".join(
        f"ALTER TABLE instance_minutes ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0;"
        for name in ("held", "rounding_5min", "held_milliseconds")
    )
    + "UPDATE instance_minutes SET held = warm;",
    2: GAPS,
}


def _added(table: str, place: str, fields: Sequence[str]) -> str:
    """Return the statement that adds integers to a row, which is made where there is none."""
    names = (place, "minute", *fields)
    sums = ", ".join(f"{field} = {field} + excluded.{field}" for field in fields)
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
        f"ON CONFLICT DO UPDATE SET {sums}"
    )


def _summed(fields: Sequence[str], table: str) -> str:
    return ", ".join(f"SUM({table}.{field})" for field in fields)


ADD_INSTANCE_MINUTE = _added("instance_minutes", "instance", _AMOUNTS)
ADD_REVISION_MINUTE = _added("revision_minutes", "revision", _COUNTS)
ADD_REVISION = "INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
ADD_INSTANCE = (
    "INSERT INTO instances VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET ended = excluded.ended"
)
ADD_MARK = "INSERT OR REPLACE INTO marks VALUES (?, ?, ?)"
ADD_STATE = "INSERT OR REPLACE INTO states VALUES (?, ?)"
ADD_GAP = "INSERT INTO gaps VALUES (?, ?, ?)"
ADD_FLUSH = "INSERT OR REPLACE INTO flushes VALUES (1, ?, ?, ?)"

_SHAPE = "r.service, r.name, r.mode, r.milli_cpu, r.memory, r.labels"
_PART = "m.minute / :step"
_MONTH = "strftime('%Y-%m', m.minute * 60, 'unixepoch')"
_THOSE = "m.minute >= :first AND m.minute < :last AND (:service IS NULL OR r.service = :service)"
OF_INSTANCES = f"""
SELECT {_PART} AS part, {_SHAPE}, {_MONTH} AS month, i.id, {_summed(_AMOUNTS, "m")}
FROM instance_minutes m JOIN instances i ON i.id = m.instance
JOIN revisions r ON r.name = i.revision
WHERE {_THOSE} GROUP BY part, i.id, month ORDER BY part, r.service, r.name, month, i.id
"""
OF_REVISIONS = f"""
SELECT {_PART} AS part, {_SHAPE}, {_MONTH} AS month, {_summed(_COUNTS, "m")}
FROM revision_minutes m JOIN revisions r ON r.name = m.revision
WHERE {_THOSE} GROUP BY part, r.name, month ORDER BY part, r.service, r.name, month
"""
LIVES = """
SELECT i.begun, i.ended FROM instances i JOIN revisions r ON r.name = i.revision
WHERE i.begun < :end AND (i.ended IS NULL OR i.ended > :begin)
AND (:service IS NULL OR r.service = :service)
"""
GAPS_WITHIN = "SELECT * FROM gaps WHERE begin < :end AND end > :begin ORDER BY begin"
FIRST_MINUTE = """
SELECT MIN(i.begun) / 60000000000 FROM instances i JOIN revisions r ON r.name = i.revision
WHERE :service IS NULL OR r.service = :service
"""
