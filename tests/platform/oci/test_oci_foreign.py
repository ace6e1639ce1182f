"""Images that nobody wrote for Windlass serve as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import images
from tests.platform.oci.containers import fetch

from windlass.model.service import Container

if TYPE_CHECKING:
    from tests.platform.oci.containers import Rig

pytestmark = [pytest.mark.engine, pytest.mark.slow]

APACHE = f"""
FROM {images.BASE}
RUN apt-get update && apt-get install -y --no-install-recommends apache2
RUN sed -i 's/Listen 80$/Listen 8080/' /etc/apache2/ports.conf
CMD ["apachectl", "-D", "FOREGROUND"]
"""
NODE = f"""
FROM {images.BASE}
RUN apt-get update && apt-get install -y --no-install-recommends nodejs
ENTRYPOINT ["node", "-e", "require('http').createServer((q, s) => s.end('node ' + process.getuid())).listen(process.env.PORT)"]
USER www-data
"""  # noqa: E501 (one line of JavaScript)
WRITER = f"""
FROM {images.BASE}
WORKDIR /work
CMD ["sh", "-c", "date > /work/index.html && date > /tmp/x && exec python3 -m http.server 8080"]
"""


async def served(rig: Rig, image: str) -> bytes:
    await rig.driver.prepare(Container(image=image))
    running = await rig.start(container=Container(image=image))
    return await fetch(running.address.host, running.address.port)


async def test_the_hello_example_serves(rig: Rig, hello_image: str) -> None:
    assert b"200 OK" in await served(rig, hello_image)


async def test_debians_nginx_serves(rig: Rig, nginx_image: str) -> None:
    assert b"Welcome to nginx" in await served(rig, nginx_image)


@pytest.mark.parametrize(
    ("name", "dockerfile", "expected"),
    [
        ("apache", APACHE, b"Apache2 Debian"),
        ("node", NODE, b"node 33"),
        ("writer", WRITER, b"200 OK"),
    ],
)
async def test_other_servers_serve(
    rig: Rig, engine: str, name: str, dockerfile: str, expected: bytes
) -> None:
    assert expected in await served(rig, images.build_from(name, dockerfile))
