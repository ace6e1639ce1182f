"""Where images come from: each source gives the same image, unpacked once."""

from __future__ import annotations

import shutil
import socket
import subprocess
from secrets import token_hex
from typing import TYPE_CHECKING

import pytest
from tests.platform.oci.containers import busybox_files, fetch, write_layout

from windlass.model.service import Container
from windlass.runtime.base import ImageMissing
from windlass.runtime.oci.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.platform.oci.containers import Rig

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def skopeo(*words: str) -> None:
    subprocess.run(["skopeo", "--insecure-policy", *words], check=True, capture_output=True)


def docker(*words: str) -> bool:
    return subprocess.run(["docker", *words], capture_output=True, check=False).returncode == 0


def unpacked(state: Path) -> set[str]:
    return {path.parent.name for path in (state / "oci/images").glob("*/rootfs")}


async def serves(rig: Rig, image: str) -> bool:
    await rig.driver.prepare(Container(image=image))
    running = await rig.start(container=Container(image=image))
    return (await fetch(running.address.host, running.address.port)).endswith(b"hello\n")


async def test_an_archive_of_docker_save_serves(rig: Rig, tmp_path: Path) -> None:
    archive = f"docker-archive:{tmp_path}/saved.tar"
    skopeo("copy", rig.image, f"{archive}:hello:latest")
    assert await serves(rig, archive)


async def test_an_image_is_unpacked_once_whatever_its_name(rig: Rig, tmp_path: Path) -> None:
    before = unpacked(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(rig.image.split(":")[1], copy)
    await rig.driver.prepare(Container(image=f"oci:{copy}:latest"))
    assert unpacked(tmp_path) == before


async def test_an_image_is_unpacked_anew_when_its_name_means_another(
    rig: Rig, tmp_path: Path
) -> None:
    layout = tmp_path / "moving"
    for greeting in ("hello", "hallo"):
        reference = greeter(layout, greeting)
        await rig.driver.prepare(Container(image=reference))
        assert await rig.output(container=Container(image=reference)) == greeting


async def test_an_image_stays_for_its_digest_when_its_name_means_another(
    rig: Rig, tmp_path: Path
) -> None:
    layout = tmp_path / "moving"
    container = Container(image=greeter(layout, "hello"))
    first = await rig.driver.prepare(container)
    greeter(layout, "hallo")
    second = await rig.driver.prepare(container)
    await rig.driver.retain([first, second])
    await rig.driver.close()
    await rig.driver.open()
    assert unpacked(tmp_path) == {first.removeprefix("sha256:"), second.removeprefix("sha256:")}
    assert await rig.output(container=container, image_digest=first) == "hello"
    assert await rig.output(container=container, image_digest=second) == "hallo"
    await rig.driver.retain([second])
    with pytest.raises(ImageMissing, match=f"as it was deployed .{first}.*windlass deploy"):
        await rig.driver.start(rig.request(container=container, image_digest=first))


async def test_an_image_goes_when_neither_a_revision_nor_an_instance_needs_it(
    rig: Rig, tmp_path: Path
) -> None:
    second = second_image(tmp_path)
    mine, others = Container(image=rig.image), Container(image=second)
    await rig.driver.prepare(others)
    assert len(unpacked(tmp_path)) == 2
    running = await rig.start()
    await rig.driver.retain([second])
    assert len(unpacked(tmp_path)) == 2, "an instance runs on it"
    assert (await fetch(running.address.host, running.address.port)).endswith(b"hello\n")
    await rig.driver.remove(running.instance)
    await rig.driver.retain([second, second])
    assert len(unpacked(tmp_path)) == 1
    assert await rig.output(container=others) == "other"
    await rig.driver.retain([])
    assert list((tmp_path / "oci/images").iterdir()) == [tmp_path / "oci/images/references.json"]
    await rig.driver.prepare(mine)
    assert await rig.output("echo back") == "back"


async def test_an_image_that_an_adopted_instance_needs_stays(rig: Rig, tmp_path: Path) -> None:
    running = await rig.start()
    await fetch(running.address.host, running.address.port)
    await rig.driver.close()
    await rig.driver.open()
    assert await rig.driver.adopt() == [running]
    await rig.driver.retain([])
    assert len(unpacked(tmp_path)) == 1
    assert (await fetch(running.address.host, running.address.port)).endswith(b"hello\n")


async def test_what_a_crash_left_half_unpacked_is_removed(rig: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "oci/images"
    before = set(folder.iterdir())
    await rig.driver.close()
    (folder / "partial-0123" / "layout").mkdir(parents=True)
    (folder / "partial-4567").write_bytes(b"half an archive")
    await rig.driver.open()
    assert set(folder.iterdir()) == before


def greeter(layout: Path, greeting: str) -> str:
    """Write an image that says the greeting, in place of the one before; return its reference."""
    shutil.rmtree(layout, ignore_errors=True)
    files = busybox_files() | {"www/index.html": f"{greeting}\n".encode()}
    return write_layout(layout, {"Cmd": ["/bin/cat", "/www/index.html"]}, files)


def second_image(folder: Path) -> str:
    files = {"bin/busybox": busybox_files()["bin/busybox"]}
    config: dict[str, object] = {"Entrypoint": ["/bin/busybox", "echo", "other"]}
    return write_layout(folder / "second", config, files)


async def test_the_images_user_is_looked_up_in_the_image(rig: Rig, tmp_path: Path) -> None:
    config: dict[str, object] = {"Cmd": ["/bin/id"], "User": "web"}
    reference = write_layout(tmp_path / "layout", config, busybox_files())
    await rig.driver.prepare(Container(image=reference))
    said = await rig.output(container=Container(image=reference))
    assert said.startswith("uid=1000(web) gid=1001(web)")


async def test_an_image_with_only_a_static_program_runs(rig: Rig, tmp_path: Path) -> None:
    files = {"bin/busybox": busybox_files()["bin/busybox"]}
    config: dict[str, object] = {"Entrypoint": ["/bin/busybox", "echo", "bare"]}
    reference = write_layout(tmp_path / "layout", config, files)
    await rig.driver.prepare(Container(image=reference))
    assert await rig.output(container=Container(image=reference)) == "bare"


async def test_an_image_of_the_docker_engine_here_serves(rig: Rig) -> None:
    if not docker("version"):
        pytest.skip("there is no Docker engine")
    name = f"windlass-test-{token_hex(4)}"
    archive = rig.state_folder() / "saved.tar"
    skopeo("copy", rig.image, f"docker-archive:{archive}:{name}:latest")
    assert docker("load", "-i", str(archive))
    try:
        assert await serves(rig, name)
        assert await serves(rig, f"docker-daemon:{name}:latest")
    finally:
        assert docker("rmi", name)


async def test_an_image_that_the_docker_runtime_deployed_is_found_by_its_digest(
    rig: Rig, tmp_path: Path
) -> None:
    if not docker("version"):
        pytest.skip("there is no Docker engine")
    name = f"windlass-test-{token_hex(4)}"
    archive = tmp_path / "saved.tar"
    skopeo("copy", greeter(tmp_path / "layout", name), f"docker-archive:{archive}:{name}:latest")
    assert docker("load", "-i", str(archive))
    try:
        digest = await Daemon().find(name)
        assert digest
        moved = Container(image="windlass-test-moved-on:latest")
        assert await rig.output(container=moved, image_digest=digest) == name
    finally:
        assert docker("rmi", name)


async def test_an_image_that_the_docker_engine_lacks_is_missing(rig: Rig) -> None:
    with pytest.raises(ImageMissing, match="docker build"):
        await rig.driver.prepare(Container(image="docker-daemon:windlass-no-such-image:latest"))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("there is no docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    storage = f"{{filesystem: {{rootdirectory: {tmp_path}/registry}}}}"
    config.write_text(f"version: 0.1\nstorage: {storage}\nhttp: {{addr: '{address}'}}\n")
    process = subprocess.Popen(
        [program, "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield address
    finally:
        process.terminate()
        process.wait()


async def test_an_image_of_a_registry_serves(rig: Rig, registry: str) -> None:
    host, _, port = registry.partition(":")
    await fetch(host, int(port))  # it listens
    name = f"{registry}/windlass/hello:1"
    skopeo("copy", "--dest-tls-verify=false", rig.image, f"docker://{name}")
    assert await serves(rig, name)
    with pytest.raises(ImageMissing, match="not to be had"):
        await rig.driver.prepare(Container(image=f"{registry}/windlass/absent:1"))
