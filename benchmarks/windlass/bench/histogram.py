"""A latency histogram: logarithmic octaves of 128 linear buckets, so a percentile is within 1 %.

Values are whole nanoseconds; it knows no clock. Count, sum and maximum are exact.
"""

from __future__ import annotations

import math

_BITS = 7  # 2**7 buckets an octave: half a bucket is at most 1/256 of the value
_LINEAR = 1 << (_BITS + 1)  # values below this have a bucket each


class Histogram:
    """Counts values in O(1); histograms of parts add up to the histogram of the whole."""

    __slots__ = ("_buckets", "count", "maximum", "sum")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.sum = 0
        self.maximum = 0

    def record(self, value: int) -> None:
        """Count a value; below zero counts as zero."""
        value = max(value, 0)
        shift = value.bit_length() - _BITS - 1
        bucket = value if shift <= 0 else (shift << _BITS) + (value >> shift)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.sum += value
        self.maximum = max(self.maximum, value)

    def add(self, other: Histogram) -> None:
        """Count everything that the other has counted."""
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.count += other.count
        self.sum += other.sum
        self.maximum = max(self.maximum, other.maximum)

    def percentile(self, percent: float) -> int:
        """Return the smallest value that `percent` of all values do not exceed; 0 if there is none.

        Raises:
            ValueError: not a percentage.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile is between 0 and 100, not {percent}")
        rank = max(math.ceil(self.count * percent / 100), 1)
        if rank >= self.count:
            return self.maximum
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                return min(_middle(bucket), self.maximum)
        raise AssertionError("the buckets hold fewer values than were counted")

    @property
    def mean(self) -> float:
        """The exact mean; 0 if there is no value."""
        return self.sum / self.count if self.count else 0.0

    def mean_without_slowest(self, left_out: int) -> float:
        """Return the mean, within 1 %, of all values but so many of the largest."""
        rest, least = left_out, self.sum
        for bucket in sorted(self._buckets, reverse=True):
            taken = min(rest, self._buckets[bucket])
            least -= taken * min(_middle(bucket), self.maximum)
            rest -= taken
            if not rest:
                break
        kept = self.count - (left_out - rest)
        return least / kept if kept else 0.0

    def buckets(self) -> list[tuple[int, int]]:
        """Return (value in the middle of the bucket, count) in order, for charts."""
        return [(_middle(bucket), self._buckets[bucket]) for bucket in sorted(self._buckets)]


def _middle(bucket: int) -> int:
    if bucket < _LINEAR:
        return bucket
    shift = (bucket >> _BITS) - 1
    return (((bucket & (_LINEAR // 2 - 1)) | (_LINEAR // 2)) << shift) + (1 << shift >> 1)
