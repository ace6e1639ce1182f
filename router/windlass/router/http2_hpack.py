"""HPACK (RFC 7541) for those ends and blocks that need little of hpack's work.

What fields mean is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpack import Decoder, Encoder
from hpack.hpack import encode_integer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hpack import HeaderTuple

MAX_KNOWN = 4  # blocks of a connection that are kept
MAX_BLOCK = 1024  # bytes of each
MAX_FIELDS = 40

_LITERAL = b"\0"  # not indexed, with a new name (section 6.2.2)
_LENGTHS = tuple(bytes(encode_integer(length, 7)) for length in range(127))  # of one byte


class PlainEncoder(Encoder):
    """Writes every field as it is, and none into the table.

    For instances: they are near, so bytes cost less than to search the table and Huffman's code
    do. Ids, new with each request, would push all else out of it.
    """

    def encode(self, headers: Iterable[tuple[bytes, bytes]], huffman: bool = False) -> bytes:  # type: ignore[override]  # h2 gives pairs of bytes
        """Return the header block."""
        # A change of the table's size is to be said even where the table is not used.
        parts = [super().encode([])] if self.table_size_changes else []
        for name, value in headers:
            parts += (_LITERAL, _length(name), name, _length(value), value)
        return b"".join(parts)


class KnowingDecoder(Decoder):
    """Knows blocks again that it has read since its table changed last.

    A peer that has put its usual fields into the table sends the same few bytes each time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[bytes, list[HeaderTuple]] = {}
        self._known_at = self._table()  # the table that they were read with

    def decode(self, data: bytes, raw: bool = False) -> list[HeaderTuple]:
        """Return the fields of a header block; raises as hpack's."""
        data = bytes(data)
        before = self._table()
        if not _is_same(before, self._known_at):
            self._known.clear()
        elif (known := self._known.get(data)) is not None:
            return known.copy()
        headers = list(super().decode(data, raw))
        self._known_at = self._table()
        if not _is_same(before, self._known_at):
            self._known.clear()
        elif len(data) <= MAX_BLOCK and len(headers) <= MAX_FIELDS:
            if len(self._known) == MAX_KNOWN:
                self._known.clear()
            self._known[data] = headers.copy()
        return headers

    def _table(self) -> tuple[object, int, int]:
        """Return what tells whether the table changed: new entries come first, old ones go last."""
        entries = self.header_table.dynamic_entries
        return entries[0] if entries else None, len(entries), self.header_table.maxsize


def _is_same(one: tuple[object, int, int], other: tuple[object, int, int]) -> bool:
    return one[0] is other[0] and one[1:] == other[1:]  # not an equal entry: that very one


def _length(data: bytes) -> bytes:
    size = len(data)
    return _LENGTHS[size] if size < len(_LENGTHS) else bytes(encode_integer(size, 7))
