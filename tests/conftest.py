"""What tests of several areas need: a container engine, and images to deploy on it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from tests import images

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def engine() -> str:
    """The version of the container engine; without one, the test is skipped, or fails in CI."""
    fault = "there is no docker command"
    if shutil.which("docker"):
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return done.stdout.strip()
        fault = done.stderr.strip()
    reason = f"no container engine: {fault} (`make test` starts one where it can)"
    if os.environ.get("WINDLASS_REQUIRE_ENGINE") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a browser; without one, the test is skipped, or fails in CI."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    reason = "no browser: none of " + ", ".join(BROWSERS) + " (Debian: apt-get install chromium)"
    if os.environ.get("WINDLASS_REQUIRE_ENGINE") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def hello_image(engine: str) -> str:
    """The tag of examples/hello."""
    return images.build_example("hello")


@pytest.fixture(scope="session")
def static_image(engine: str) -> str:
    """The tag of examples/static: one program FROM scratch."""
    return images.build_example("static")


@pytest.fixture(scope="session")
def nginx_image(engine: str) -> str:
    """The tag of Debian's nginx, which listens on port 8080 whatever PORT says."""
    return images.build_from("nginx", images.NGINX)


@pytest.fixture(scope="session")
def other_server_image(engine: str) -> str:
    """The tag of Debian's lighttpd, which listens where PORT says."""
    return images.build_from("lighttpd", images.LIGHTTPD)
