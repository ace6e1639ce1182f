"""Output that is written on without conmon."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from windlass.runtime.oci.logs import Joiner
from windlass.runtime.oci.orphan import records

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def test_a_record_has_its_time_its_stream_and_whether_it_is_whole() -> None:
    assert records(b"one\ntw", "stderr", MOMENT) == (
        b"2026-01-02T03:04:05.678901+00:00 stderr F one\n"
        b"2026-01-02T03:04:05.678901+00:00 stderr P tw\n"
    )


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.integers(0, 40)))
def test_every_text_comes_back_however_it_was_cut(text: str, cuts: list[int]) -> None:
    encoded = text.encode()
    ends = sorted({min(cut, len(encoded)) for cut in cuts} | {len(encoded)})
    pieces = [encoded[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    joiner = Joiner()
    written = b"".join(records(piece, "stdout", MOMENT) for piece in [*pieces, b"\n"])
    lines = [line for record in written.split(b"\n")[:-1] for line in joiner.lines(record)]
    assert [line.text for line in lines] == text.split("\n")
