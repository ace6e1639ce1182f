"""YAML text to plain values, with line and column of whatever cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from windlass.deploy.manifest.faults import ManifestError

if TYPE_CHECKING:
    from collections.abc import Hashable

MAX_TEXT = 64 * 1024  # characters; at worst PyYAML is busy with them for a second

# What PyYAML's constructors raise, beside its own errors, for values such as `!!int x`.
_BROKEN_VALUE = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, refusing a key given twice and saying where a bad value stands."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep)
        except _BROKEN_VALUE as error:
            raise yaml.constructor.ConstructorError(
                None, None, f"a value that cannot be read as {node.tag}", node.start_mark
            ) from error

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        text: str = super().construct_scalar(node)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise yaml.constructor.ConstructorError(
                None, None, "half of a surrogate pair, which is no character", node.start_mark
            )
        return text

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        given: set[str] = set()
        for key, _ in node.value:
            # `<<` may stand more than once: it merges.
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in given:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is given twice", key.start_mark
                    )
                given.add(key.value)
        return super().construct_mapping(node, deep)


def load(text: str) -> object:
    """Return the text's one document.

    Raises:
        ManifestError: not YAML, more than one document, or too long.
    """
    if len(text) > MAX_TEXT:
        raise ManifestError(f"{len(text)} characters are too many; allowed: {MAX_TEXT}")
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        fact = f"not YAML: {error.problem or error.context}"
        if mark is None:
            raise ManifestError(fact) from error
        raise ManifestError(fact, line=mark.line + 1, column=mark.column + 1) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        fact = f"not YAML: {error.reason}"
        raise ManifestError(fact, line=line, column=column) from error
    except RecursionError as error:
        raise ManifestError("not a manifest: nested too deeply") from error
