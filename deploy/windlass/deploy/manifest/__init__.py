"""Knative and Cloud Run service manifests, read into the model's values."""

from windlass.deploy.manifest.faults import ManifestError
from windlass.deploy.manifest.service import ServiceSpec, read, read_node

__all__ = ["ManifestError", "ServiceSpec", "read", "read_node"]
