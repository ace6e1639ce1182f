"""The revision whose metering is tested: one vCPU, 512 MiB."""

from __future__ import annotations

from windlass.model.service import Container, Limits, Revision, Template

REVISION = Revision(
    name="shop-00001",
    service="shop",
    number=1,
    created=0.0,
    template=Template(
        container=Container(image="shop"), limits=Limits(milli_cpu=1000, memory=512 * 1024**2)
    ),
)
