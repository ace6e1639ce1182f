"""Images that nobody wrote for Windlass are served as they are, on oci; and their files go when the
last service that needs them is deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import images

if TYPE_CHECKING:
    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.slow]

SERVED = {
    "nginx": "Welcome to nginx",
    "apache": "Apache2 Debian",
    "node": "node 33",  # its uid: the image's USER is www-data; it has an ENTRYPOINT and no CMD
    "writer": "written",  # to /tmp and to the folder it works in
    "static": "max_in_flight",  # one program FROM scratch
}


@pytest.fixture(scope="module")
def built(engine: str, nginx_image: str, static_image: str) -> dict[str, str]:
    """The images by name."""
    return {
        "nginx": nginx_image,
        "static": static_image,
        **{name: images.build_from(name, text) for name, text in images.OTHERS.items()},
    }


async def test_images_that_nobody_here_wrote_are_served_as_they_are(
    oci_platform: Platform, built: dict[str, str]
) -> None:
    platform = oci_platform
    for name, expected in SERVED.items():
        await platform.succeed("deploy", name, "--image", built[name], "--port", "8080")
        status, body = await platform.get(name)
        assert (status, expected in body) == (200, True), (name, body)

    def unpacked() -> int:
        return len(list((platform.state / "oci/images").glob("*/rootfs")))

    assert unpacked() == len(SERVED)
    await platform.succeed("services", "delete", "apache")
    assert unpacked() == len(SERVED) - 1
    for name in SERVED.keys() - {"apache"}:
        await platform.succeed("services", "delete", name)
    assert unpacked() == 0
