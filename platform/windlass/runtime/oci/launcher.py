"""Where the OCI runtime is started and what it needs is mounted: among this machine's mounts, or
in a mount namespace apart."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from windlass.runtime.oci.kernel import leave_mounts, unmount

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

_UNIFIED = Path("/sys/fs/cgroup/unified")


class Launcher:
    """Calls functions where the OCI runtime is to work.

    crun refuses a machine with controllers in both cgroup versions at once, though it would use
    only those of version 1, as runc does. All it looks at is where version 2 is mounted: with a
    view of the machine that lacks this mount, it works. A thread can have such a view for itself,
    and what is started or mounted there shares it.
    """

    def __init__(self, *, hides_unified: bool = False) -> None:
        """Make the namespace, if version 2 is to be hidden.

        Raises:
            OSError: the kernel refused.
        """
        self._thread = ThreadPoolExecutor(1, "launcher") if hides_unified else None
        if hides_unified:
            self.call(_hide_unified)

    def call(self, function: Callable[P, T], *args: P.args, **keywords: P.kwargs) -> T:
        """Call a function there, and return what it returns once it has."""
        if self._thread is None:
            return function(*args, **keywords)
        return self._thread.submit(function, *args, **keywords).result()

    def close(self) -> None:
        """Leave the namespace; what was started there keeps it."""
        if self._thread:
            self._thread.shutdown()


HERE = Launcher()


def launcher_for(runtime: str) -> Launcher:
    """Return where an OCI runtime, given by its path, works on this machine.

    Raises:
        OSError: the kernel refused a namespace apart.
    """
    return Launcher(hides_unified=Path(runtime).name == "crun" and has_both_versions())


def has_both_versions() -> bool:
    """Say whether this machine has cgroup version 2 beside version 1."""
    return (_UNIFIED / "cgroup.controllers").exists()


def _hide_unified() -> None:
    leave_mounts(_UNIFIED.parent)
    unmount(_UNIFIED)
