"""Who an instance runs as: the image's USER, looked up in the image's own passwd and group."""

from __future__ import annotations

from dataclasses import dataclass


class UnknownUser(Exception):
    """The image's passwd or group does not have this name."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The ids of an instance's main process."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = (0,)  # the first group too: else a file's mode could deny it less


def identity(user: str, passwd: str, group: str) -> Identity:
    """Resolve USER ("name", "uid", "name:group", "uid:gid"; empty: root) as Docker does.

    Raises:
        UnknownUser: a name that the image does not know.
    """
    name, _, wanted_group = user.partition(":")
    name = name or "0"
    entry = next((row for row in _rows(passwd, 4) if name in (row[0], row[2])), None)
    if entry is None and not name.isdecimal():
        raise UnknownUser(name)
    uid = int(entry[2]) if entry else int(name)
    if wanted_group:
        gid = _group_id(wanted_group, group)
        return Identity(uid, gid, (gid,))
    gid = int(entry[3]) if entry else 0
    login = entry[0] if entry else ""
    members = (row for row in _rows(group, 4) if login and login in row[3].split(","))
    return Identity(uid, gid, tuple(sorted({gid, *(int(row[2]) for row in members)})))


def _group_id(name: str, group: str) -> int:
    entry = next((row for row in _rows(group, 3) if name in (row[0], row[2])), None)
    if entry:
        return int(entry[2])
    if name.isdecimal():
        return int(name)
    raise UnknownUser(f"group {name}")


def _rows(table: str, fields: int) -> list[list[str]]:
    rows = (line.split(":") for line in table.splitlines())
    return [row for row in rows if len(row) >= fields and row[2].isdecimal()]
