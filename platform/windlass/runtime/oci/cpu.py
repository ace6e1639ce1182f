"""An instance's CPU while it runs: taken away, given back, limited anew."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from windlass.runtime.base import Thaw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windlass.runtime.oci.cgroups import Cgroups
    from windlass.runtime.oci.sandbox import Sandbox


class Cpu:
    """Writes instances' cgroups; meets windlass.runtime.base.CpuControl."""

    def __init__(self, cgroups: Cgroups, instances: Mapping[str, Sandbox]) -> None:
        """Know which container serves each instance from `instances`, which changes."""
        self._cgroups, self._instances = cgroups, instances

    def freeze(self, instance: str) -> None:
        """Take the CPU from an instance; it keeps its memory and connections."""
        if (box := self._instances.get(instance)) and not box.ended.is_set():
            with contextlib.suppress(OSError):  # it ended meanwhile
                self._cgroups.freeze(box.record.name)

    def thaw(self, instance: str) -> None:
        """Give a frozen instance the CPU back."""
        if box := self._instances.get(instance):
            with contextlib.suppress(OSError):
                self._cgroups.thaw(box.record.name)

    def thawing(self, instance: str) -> Thaw:
        """Return how another process thaws the instance."""
        box = self._instances.get(instance)
        return self._cgroups.thawing(box.record.name) if box else Thaw("/dev/null", "")

    def limit(self, instance: str, milli_cpu: int) -> None:
        """Set an instance's limit anew, in thousandths of a vCPU."""
        if box := self._instances.get(instance):
            with contextlib.suppress(OSError):
                self._cgroups.limit_cpu(box.record.name, milli_cpu)
