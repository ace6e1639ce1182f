"""Knative and Cloud Run service manifests, read into the model's values."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.model.service import Target, Template


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """What a manifest says."""

    name: str
    template: Template
    labels: tuple[tuple[str, str], ...] = ()
    traffic: tuple[Target, ...] = (Target(),)
    health_check: bool = True
    warnings: tuple[str, ...] = ()  # fields that are taken and have no effect here
