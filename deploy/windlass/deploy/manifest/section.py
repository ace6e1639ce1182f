"""A mapping of a manifest, read field by field; every fault is noted with its path and none raised.

A field read wrongly has its default, so that one pass finds all faults. Null is the same as
absent, as in Kubernetes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from windlass.deploy.quantity import BadQuantity
from windlass.deploy.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


T = TypeVar("T")

QUOTED = "a string (put it in quotes)"
_TOO_LARGE = 2**63  # Python itself refuses to print an integer of some thousand digits


@dataclass(slots=True)
class Findings:
    """What was found while reading."""

    violations: list[Violation] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def wrong(self, path: str, value: object, allowed: str) -> None:
        """Note a wrong field."""
        self.violations.append(Violation(path=path, value=shown(value), allowed=allowed))

    def ineffective(self, path: str) -> None:
        """Note a field that other platforms heed and this one does not."""
        self.warnings.append(f"{path} has no effect here")


class Section:
    """One mapping of the manifest."""

    def __init__(self, node: object, path: str, findings: Findings) -> None:
        self.path, self.findings = path, findings
        self._node: Mapping[object, object] = {}
        self._known: list[str] = []
        if isinstance(node, dict):
            self._node = node
        elif node is not None:
            findings.wrong(path or "the manifest", node, "a mapping of fields")

    def at(self, key: str) -> str:
        """Return the path of a field."""
        return f"{self.path}.{key}" if self.path else key

    def get(self, key: str) -> object:
        """Return a field as it stands, and know it from now on."""
        self._known.append(key)
        return self._node.get(key)

    def has(self, key: str) -> bool:
        """Whether the field is given."""
        return self._node.get(key) is not None

    def wrong(self, key: str, allowed: str) -> None:
        """Note that the field's value is wrong."""
        self.findings.wrong(self.at(key), self._node.get(key), allowed)

    def string(self, key: str, default: str = "") -> str:
        """Return a text."""
        return self._typed(key, str, default, QUOTED)

    def integer(self, key: str, default: T) -> int | T:
        """Return a whole number of at most 64 bits."""
        value = self._typed(key, int, default, "a whole number")
        if isinstance(value, int) and abs(value) >= _TOO_LARGE:
            self.wrong(key, "a number of at most 64 bits")
            return default
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """Return true or false."""
        return self._typed(key, bool, default, "true or false")

    def quantity(self, key: str, read: Callable[[str], T], default: T) -> T:
        """Return what `read` makes of a text or number."""
        value = self.get(key)
        if value is None:
            return default
        # A boolean is an int to Python, and no quantity.
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return convert(shown(value), read, default, self.at(key), self.findings)
        self.wrong(key, "a text or a number")
        return default

    def strings(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        found = []
        for index, item in enumerate(self._list(key)):
            if isinstance(item, str):
                found.append(item)
            else:
                self.findings.wrong(f"{self.at(key)}[{index}]", item, QUOTED)
        return tuple(found)

    def texts(self, key: str) -> dict[str, str]:
        """Return a mapping of texts to texts: labels or annotations."""
        section = self.section(key)
        found = {}
        for name, value in section._node.items():
            if isinstance(name, str) and isinstance(value, str):
                found[name] = value
            else:
                self.findings.wrong(section.at(shown(name)), value, QUOTED)
        return found

    def section(self, key: str) -> Section:
        """Return a mapping; an empty one where there is none."""
        return Section(self.get(key), self.at(key), self.findings)

    def sections(self, key: str) -> list[Section]:
        """Return a list of mappings."""
        return [
            Section(item, f"{self.at(key)}[{index}]", self.findings)
            for index, item in enumerate(self._list(key))
        ]

    def ignore(self, *keys: str) -> None:
        """Know fields that a platform writes into what it exports."""
        self._known.extend(keys)

    def ineffective(self, *keys: str) -> None:
        """Know fields that have no effect here, and warn of those that are given."""
        self._known.extend(keys)
        for key in keys:
            if self._node.get(key) not in (None, {}, []):
                self.findings.ineffective(self.at(key))

    def refuse(self, key: str, allowed: str) -> None:
        """Know a field that must not be given: without its effect the service would be broken."""
        if self.get(key) not in (None, {}, []):
            self.wrong(key, allowed)

    def close(self) -> None:
        """Note the fields that nobody knows."""
        for key in self._node:
            if not isinstance(key, str) or key not in self._known:
                allowed = f"no such field; known here: {', '.join(sorted(set(self._known)))}"
                self.findings.wrong(self.at(shown(key)), self._node[key], allowed)

    def _typed(self, key: str, kind: type, default: T, allowed: str) -> T:
        value = self.get(key)
        if value is None:
            return default
        if type(value) is kind:
            return value  # type: ignore[return-value]  # of the kind that the caller asked for
        self.wrong(key, allowed)
        return default

    def _list(self, key: str) -> list[object]:
        value = self.get(key)
        if isinstance(value, list):
            return value
        if value is not None:
            self.wrong(key, "a list")
        return []


def convert(text: str, read: Callable[[str], T], default: T, path: str, findings: Findings) -> T:
    """Return what `read` makes of the text, or the default with its BadQuantity noted."""
    try:
        return read(text)
    except BadQuantity as error:
        findings.wrong(path, text, error.allowed)
        return default


def shown(value: object) -> str:
    """Return a value as an error shows it: short, whatever it is."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, set)):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) >= _TOO_LARGE:
        return "a number of more than 64 bits"
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
