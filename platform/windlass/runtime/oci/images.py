"""Keeps images unpacked, each once, by the digest of its configuration: what Docker calls the
image id. Knows where images come from, but not how they run."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass
from ipaddress import ip_address
from secrets import token_hex
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import structlog

from windlass.runtime.base import ImageMissing, image_gone
from windlass.runtime.oci.commands import CommandFailed, run
from windlass.runtime.oci.spec import ImageConfig

if TYPE_CHECKING:
    from pathlib import Path

    from windlass.runtime.oci.daemon import Daemon
    from windlass.runtime.oci.parts import Parts

log = structlog.get_logger(__name__)

_SHA256 = "sha256:"
_ARCHIVES = ("docker-archive:", "oci-archive:", "oci:", "dir:")


@dataclass(frozen=True, slots=True)
class Image:
    """An unpacked image."""

    id: str  # sha256 of its configuration, hexadecimal
    root: Path  # shared by all instances: never written
    config: ImageConfig

    @property
    def digest(self) -> str:
        return _SHA256 + self.id


class _Configuration(msgspec.Struct):
    config: ImageConfig = ImageConfig()


class _Descriptor(msgspec.Struct):
    digest: str


class _Index(msgspec.Struct):
    manifests: list[_Descriptor]


class _Manifest(msgspec.Struct):
    config: _Descriptor


class Images:
    """The images of one state folder."""

    def __init__(self, folder: Path, parts: Parts, daemon: Daemon) -> None:
        self._folder, self._parts, self._daemon = folder, parts, daemon
        self._references = folder / "references.json"
        self._known: dict[str, Image] = {}
        self._unpacking = asyncio.Lock()

    def open(self) -> None:
        """Forget half-unpacked images, and know again what references meant."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for partial in self._folder.glob("partial-*"):
            _remove(partial)
        if self._references.exists():
            written = msgspec.json.decode(self._references.read_bytes(), type=dict[str, str])
            for reference, identifier in written.items():
                if (self._folder / identifier).exists():
                    self._known[reference] = self._load(identifier)

    async def get(self, reference: str, digest: str = "") -> Image:
        """Return the image of this digest; without one, what the reference meant when prepared.

        Raises:
            ImageMissing: it is not here, nor to be had.
        """
        if not digest:
            return self._known.get(reference) or await self.prepare(reference)
        identifier = digest.removeprefix(_SHA256)
        if (self._folder / identifier).exists():
            return self._load(identifier)
        try:  # the docker runtime may have deployed it
            return await self._prepare(f"docker-daemon:{digest}")
        except (CommandFailed, aiohttp.ClientError) as error:
            raise image_gone(reference, digest) from error

    async def prepare(self, reference: str) -> Image:
        """Look the reference up anew and unpack its image unless it is here.

        Raises:
            ImageMissing: it is not to be had.
        """
        try:
            image = await self._prepare(reference)
        except (CommandFailed, aiohttp.ClientError) as error:
            message = error.message if isinstance(error, CommandFailed) else str(error)
            raise ImageMissing(
                f"image {reference!r} is not to be had",
                f"{message.strip()}. {_next_step(reference)}",
            ) from error
        self._known[reference] = image
        self._write_references()
        return image

    async def retain(self, names: set[str], in_use: set[str]) -> None:
        """Remove all images but those with one of these names, and those with an id in use.

        Names are digests and references; what these mean is not looked up anew.
        """
        # Decided and out of sight in one step: what is being prepared meanwhile is not touched.
        self._known = {name: image for name, image in self._known.items() if name in names}
        needed = in_use | {image.id for image in self._known.values()}
        needed |= {name.removeprefix(_SHA256) for name in names}
        removed = []
        for config in self._folder.glob("*/config.json"):
            name = config.parent.name
            if name not in needed and not name.startswith("partial-"):
                removed.append(config.parent.rename(self._folder / f"partial-{token_hex(4)}"))
                log.info("image removed", image=name[:12])
        if removed:
            self._write_references()
        for folder in removed:
            await asyncio.to_thread(shutil.rmtree, folder)

    async def _prepare(self, reference: str) -> Image:
        # A Docker engine's own copy first: that is where people build.
        name = reference.removeprefix("docker-daemon:")
        local = None if reference.startswith((*_ARCHIVES, "docker://")) else name
        found = await self._daemon.find(local) if local else None
        async with self._unpacking:
            if local and found:
                identifier = found.removeprefix(_SHA256)
                if not (self._folder / identifier).exists():
                    await self._from_daemon(local, identifier)
            else:
                if reference.startswith("docker-daemon:"):
                    raise CommandFailed("docker", 1, "the Docker engine here does not have it")
                source = reference if reference.startswith(_ARCHIVES) else _registry(reference)
                identifier = await self._identify(source)
                if not (self._folder / identifier).exists():
                    await self._unpack(source, identifier)
            return self._load(identifier)

    async def _from_daemon(self, name: str, identifier: str) -> None:
        archive = self._folder / f"partial-{token_hex(4)}"
        try:
            await self._daemon.save(name, archive)
            await self._unpack(f"docker-archive:{archive}", identifier)
        finally:
            archive.unlink(missing_ok=True)

    async def _identify(self, source: str) -> str:
        words = ("inspect", "--config", "--raw", *_insecure("--tls-verify=false", source), source)
        config = await run(self._parts.skopeo, "--insecure-policy", *words)
        return hashlib.sha256(config).hexdigest()

    async def _unpack(self, source: str, identifier: str) -> None:
        partial = self._folder / f"partial-{token_hex(4)}"
        partial.mkdir(mode=0o700)
        layout = partial / "layout"
        try:
            # umoci takes no layers but compressed ones; these are unpacked at once and removed.
            words = ["copy", "--quiet", "--dest-compress-format=gzip", "--dest-compress-level=1"]
            words += [*_insecure("--src-tls-verify=false", source), source, f"oci:{layout}:image"]
            await run(self._parts.skopeo, "--insecure-policy", *words)
            root = partial / "rootfs"
            await run(self._parts.umoci, "raw", "unpack", "--image", f"{layout}:image", root)
            (partial / "config.json").write_bytes(_config_of(layout))
            await asyncio.to_thread(shutil.rmtree, layout)
            partial.rename(self._folder / identifier)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
            raise
        log.info("image unpacked", image=identifier[:12], source=source)

    def _load(self, identifier: str) -> Image:
        folder = self._folder / identifier
        written = (folder / "config.json").read_bytes()
        config = msgspec.json.decode(written, type=_Configuration).config
        return Image(identifier, folder / "rootfs", config)

    def _write_references(self) -> None:
        partial = self._folder / "partial-references"
        known = {reference: image.id for reference, image in self._known.items()}
        partial.write_bytes(msgspec.json.encode(known))
        partial.rename(self._references)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()  # an archive, or references that were being written


def _config_of(layout: Path) -> bytes:
    index = msgspec.json.decode((layout / "index.json").read_bytes(), type=_Index)
    manifest = msgspec.json.decode(_blob(layout, index.manifests[0].digest), type=_Manifest)
    return _blob(layout, manifest.config.digest)


def _blob(layout: Path, digest: str) -> bytes:
    algorithm, _, value = digest.partition(":")
    return (layout / "blobs" / algorithm / value).read_bytes()


def _registry(reference: str) -> str:
    return "docker://" + reference.removeprefix("docker://")


def _insecure(option: str, source: str) -> list[str]:
    """Let a registry on loopback speak plain HTTP, as Docker does."""
    if not source.startswith("docker://"):
        return []
    host = source.removeprefix("docker://").partition("/")[0].rpartition(":")[0]
    with contextlib.suppress(ValueError):
        return [option] if ip_address(host).is_loopback else []
    return [option] if host == "localhost" else []


def _next_step(reference: str) -> str:
    if reference.startswith(_ARCHIVES):
        path = reference.partition(":")[2]
        return f"Check the path {os.path.abspath(path.partition(':')[0])}"
    return "Check the name, build it (docker build -t NAME .), or log in to its registry"
