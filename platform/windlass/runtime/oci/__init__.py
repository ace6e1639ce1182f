"""The oci runtime: containers without a daemon."""

from windlass.runtime.oci.driver import Oci

__all__ = ["Oci"]
