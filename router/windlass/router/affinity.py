"""Session affinity: a signed cookie that names the instance a client's requests go to. Pure.

Best effort: whether that instance has a free slot is the pool's concern.
"""

from __future__ import annotations

import hashlib
import hmac
import re

COOKIE = b"windlass-affinity"

_COOKIE = re.compile(
    rb"^cookie: (?:[^\r]*; ?)?" + COOKIE + rb"=([\w-]{1,128})\.([0-9a-f]{32})(?:;[^\r]*)?\r$",
    re.IGNORECASE | re.MULTILINE,
)


class Affinity:
    """Writes and reads the cookie. Workers with the same key read each other's."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def instance(self, block: bytes) -> str:
        """Return the instance that a request's fields ask for; empty: none, or not our cookie."""
        found = _COOKIE.search(block)
        if found is None or not hmac.compare_digest(self._sign(found[1]), found[2]):
            return ""
        return found[1].decode("ascii")

    def set_cookie(self, instance: str) -> bytes:
        """Return the field that makes a client ask for the instance."""
        name = instance.encode()
        cookie = b"%b=%b.%b" % (COOKIE, name, self._sign(name))
        return b"Set-Cookie: %b; Path=/; HttpOnly; SameSite=Lax\r\n" % cookie

    def _sign(self, name: bytes) -> bytes:
        return hmac.digest(self._key, name, hashlib.sha256)[:16].hex().encode()
