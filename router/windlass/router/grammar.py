"""The syntax of HTTP/1 heads: start lines and field sections, accepted only as RFC 9112 has them.

llhttp parses field sections; what it would let pass is refused here. Meaning is not known here.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

MAX_NAME: Final = 256  # bytes of a field name
MAX_TOKENS: Final = 100  # of a list field; each costs much more memory than its bytes
HEAD_END: Final = b"\r\n\r\n"
TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

_REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb") ([\x21\x22\x24-\x7e]+) HTTP/1\.([01])")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?]+)(.*)")
# Without comma, semicolon and parentheses, which a name may have but which mean something else in
# fields that repeat it; nobody's name has them.
_LABEL: Final = rb"[A-Za-z0-9_~\-!$&'*+=]+"
_HOST: Final = re.compile(
    rb"(\[(?P<address>[0-9A-Fa-f:.]{2,45})\]|" + _LABEL + rb"(?:\." + _LABEL + rb")*\.?)"
    rb"(?::(?P<port>[0-9]{0,5}))?"
)
MAX_HOST: Final = 255  # bytes
_TOKENS: Final = re.compile(rb"[ \t,]*(?:" + TOKEN + rb"[ \t]*(?:,[ \t,]*|\Z))*")
_PROTOCOL: Final = re.compile(TOKEN + rb"(?:/" + TOKEN + rb")?")
_BARE_LINE_END: Final = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")

# A section is parsed behind a constant line: POST, since llhttp takes liberties with CONNECT.
_ANY_LINE: Final = b"POST / HTTP/1.1\r\n"


class Malformed(Exception):
    """These bytes are not HTTP; the text says what is wrong with them."""


class _Fields:
    """Takes the fields as llhttp finds them."""

    def __init__(self) -> None:
        self.found: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found.append((name, value.rstrip(b" \t")))


def parse_request_line(line: bytes) -> tuple[bytes, bytes, int]:
    """Return method, target and minor version of HTTP/1.

    Raises:
        Malformed: it is not a request line of HTTP/1.0 or 1.1, or the target has a fragment.
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise Malformed("the request line is not METHOD SP TARGET SP HTTP/1.1")
    method, target, minor = match.groups()
    return method, target, minor[0] - 48


def parse_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Return the target in origin-form (or *), and the authority of an absolute one (else empty).

    Raises:
        Malformed: the target's form does not fit the method.
    """
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target, b""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise Malformed("the request target is neither a path nor an absolute http URL")
    authority, rest = match.groups()
    if method == b"OPTIONS" and not rest:
        return b"*", authority  # RFC 9112 3.2.4
    return (rest if rest.startswith(b"/") else b"/" + rest), authority


def parse_status_line(line: bytes) -> tuple[int, int, bytes]:
    """Return minor version, status and reason phrase.

    Raises:
        Malformed: it is not a status line of HTTP/1.0 or 1.1.
    """
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise Malformed("the status line is not HTTP/1.1 SP STATUS SP REASON")
    minor, status, reason = match.groups()
    return minor[0] - 48, int(status), reason or b""


def parse_fields(section: bytes) -> list[tuple[bytes, bytes]]:
    """Return names and values of a field section: lines that each end with CRLF.

    Raises:
        Malformed: a line is not NAME ":" VALUE, is folded, or contradicts another one's framing.
    """
    taker = _Fields()
    try:
        HttpRequestParser(taker).feed_data(_ANY_LINE + section + b"\r\n")
    except HttpParserUpgrade:
        pass  # what an Upgrade field means is decided elsewhere; all fields are there
    except HttpParserError as error:
        raise Malformed(f"the header fields are malformed ({error})") from error
    fields = taker.found
    if len(fields) != section.count(b"\n"):
        raise Malformed("a header line is not NAME: VALUE")
    if any(len(name) > MAX_NAME for name, _ in fields):
        raise Malformed(f"a field name is over {MAX_NAME} bytes")
    return fields


def parse_host(value: bytes) -> bytes:
    """Return the host of a Host field's value: lower case, without its port.

    Raises:
        Malformed: it is empty or not a name or address with an optional port.
    """
    match = _HOST.fullmatch(value)
    if match is None or len(match[1]) > MAX_HOST or int(match["port"] or 0) > 65535:
        raise Malformed("the Host is not NAME or NAME:PORT")
    if match["address"] and not _is_ipv6(match["address"]):
        raise Malformed("the Host is not an IPv6 address")
    return match[1].lower()


def _is_ipv6(address: bytes) -> bool:
    try:
        IPv6Address(address.decode("ascii"))
    except ValueError:
        return False
    return True


def parse_tokens(values: list[bytes]) -> list[bytes]:
    """Return the tokens of a list field, in lower case.

    Raises:
        Malformed: an element is not a token.
    """
    joined = b",".join(values)
    if joined.count(b",") >= MAX_TOKENS:
        raise Malformed(f"a Connection field has more than {MAX_TOKENS} options")
    if not _TOKENS.fullmatch(joined):
        raise Malformed("a Connection field is not a list of tokens")
    return [token.strip(b" \t").lower() for token in joined.split(b",") if token.strip(b" \t")]


def is_protocol(value: bytes) -> bool:
    """Tell whether the value of an Upgrade field names one protocol."""
    return _PROTOCOL.fullmatch(value) is not None


def has_bare_line_end(head: bytes | bytearray, start: int) -> bool:
    """Tell whether a part of a head holds a CR or LF that is not of a CRLF."""
    return _BARE_LINE_END.search(head, max(start - 1, 0)) is not None
