"""HPACK beside hpack's own ends: whatever fields, repeats and sizes of the table."""

from __future__ import annotations

from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from windlass.router.http2_hpack import MAX_KNOWN, KnowingDecoder, PlainEncoder

FIELDS = st.tuples(
    st.sampled_from([b":path", b":status", b"x-id", b"cookie"]),
    st.sampled_from([b"", b"/", b"200", b"a" * 126, b"b" * 127, b"c" * 300]),
)
LISTS = st.lists(FIELDS, max_size=4)
SIZES = st.sampled_from([0, 40, 200, 4096])


@given(st.lists(st.tuples(SIZES, LISTS), max_size=12))
def test_what_is_written_as_it_is_is_read_as_it_was(
    steps: list[tuple[int, list[tuple[bytes, bytes]]]],
) -> None:
    encoder, decoder = PlainEncoder(), Decoder()
    for size, fields in steps:  # the peer must be told, whatever is made of the size
        encoder.header_table_size = decoder.max_allowed_table_size = size
        for _ in range(2):
            assert decoder.decode(encoder.encode(fields), raw=True) == fields
        assert not encoder.header_table.dynamic_entries


@given(st.lists(st.tuples(SIZES, LISTS), max_size=20))
def test_what_is_known_again_is_what_would_be_read(
    steps: list[tuple[int, list[tuple[bytes, bytes]]]],
) -> None:
    encoder, knowing, plain = Encoder(), KnowingDecoder(), Decoder()
    for size, fields in steps:
        encoder.header_table_size = size
        for _ in range(3):
            block = encoder.encode(fields)
            assert knowing.decode(block, raw=True) == plain.decode(block, raw=True) == fields
            assert knowing.header_table.dynamic_entries == plain.header_table.dynamic_entries
            assert knowing.header_table.maxsize == plain.header_table.maxsize


@given(st.data())
def test_blocks_that_no_encoder_writes_are_read_as_by_hpack(data: st.DataObject) -> None:
    """Pieces that are valid alone: indices, literals with and without a place, sizes."""
    pieces = [b"\x82", b"\x84", b"\xbe", b"\xbf", b"\x40\x01a\x01b", b"\x00\x01a\x01b", b"\x20"]
    pieces += [b"\x3f\x09", b"\x3f\xe1\x1f", b"\x44\x01c", b"\x10\x01a\x01d"]
    blocks = data.draw(st.lists(st.lists(st.sampled_from(pieces), max_size=3).map(b"".join)))
    knowing, plain = KnowingDecoder(), Decoder()
    for block in blocks:
        outcomes: list[object] = []
        for decoder in (knowing, plain):
            try:
                outcomes.append((decoder.decode(block, raw=True), None))
            except Exception as error:  # whatever hpack's own one says
                outcomes.append(([], type(error)))
        assert outcomes[0] == outcomes[1]
        assert knowing.header_table.dynamic_entries == plain.header_table.dynamic_entries
        assert knowing.header_table.maxsize == plain.header_table.maxsize


def test_few_blocks_are_kept() -> None:
    decoder = KnowingDecoder()
    for number in range(10 * MAX_KNOWN):
        decoder.decode(b"\x00\x01a\x02%02d" % number, raw=True)
    decoder.decode(b"\x82" * 1000, raw=True)  # many fields of little
    assert 0 < len(decoder._known) <= MAX_KNOWN
    assert all(len(fields) == 1 for fields in decoder._known.values())
