"""What a head's fields mean, and which of them go on: framing, hop-by-hop fields, Forwarded.

A head is always written anew from parsed fields; raw bytes of one side never reach the other.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from windlass.router.errors import Problem
from windlass.router.grammar import Malformed, is_protocol, parse_fields, parse_host, parse_tokens
from windlass.router.tracing import is_request_id, is_traceparent

if TYPE_CHECKING:
    import asyncio

CHUNKED: Final = -1  # a body's length when it is sent in chunks
UNTIL_CLOSE: Final = -2  # a response body's length when the connection's end is its end
MAX_FIELDS: Final = 100

# RFC 9110 7.6.1, with the older ones that RFC 2616 13.5.1 lists.
_HOP_BY_HOP: Final = frozenset(
    b"connection content-length host keep-alive proxy-connection proxy-authenticate "
    b"proxy-authorization te transfer-encoding upgrade http2-settings expect".split()
)
_FORWARDING: Final = frozenset(
    b"forwarded x-forwarded-for x-forwarded-host x-forwarded-proto".split()
)
_TRACING: Final = frozenset(b"x-request-id traceparent tracestate".split())
_TAKEN: Final = _HOP_BY_HOP | _FORWARDING | _TRACING
_OF_REQUESTS: Final = _FORWARDING | _TRACING  # in a response they mean nothing special


class Peer(NamedTuple):
    """Who sent a request, and how: what the Forwarded fields say."""

    address: bytes
    scheme: bytes
    local: bytes  # HOST:PORT that was called, for requests that name no host

    @classmethod
    def of(cls, transport: asyncio.Transport) -> Peer:
        """Return the peer of a client's connection."""
        peer = transport.get_extra_info("peername")
        local = transport.get_extra_info("sockname")
        host = f"[{local[0]}]" if ":" in local[0] else local[0]
        scheme = b"https" if transport.get_extra_info("sslcontext") else b"http"
        return cls(peer[0].encode(), scheme, f"{host}:{local[1]}".encode())


class RequestFields:
    """What a request's fields mean, and the block of fields that goes to the instance."""

    __slots__ = (
        "block",
        "close",
        "host",
        "keep_alive",
        "length",
        "request_id",
        "traced",
        "upgrade",
    )

    def __init__(self) -> None:
        self.host = b""  # lower case, without port: what routes are looked up by
        self.block = b""  # each field with its CRLF
        self.length = 0  # bytes of the body, or CHUNKED
        self.close = False
        self.keep_alive = False  # asked for by HTTP/1.0
        self.upgrade = b""  # the protocol asked for, in lower case
        self.request_id = b""  # the X-Request-Id that came; empty: none that can be passed on
        self.traced = False  # it has a traceparent


class ResponseHead:
    """What a response's head means, and the bytes that go to the client."""

    __slots__ = (
        "block",
        "close",
        "framing",
        "has_no_body",
        "length",
        "line",
        "plain",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, line: bytes) -> None:
        self.status = status
        self.has_no_body = status in (204, 304) or status < 200  # whatever the method was
        self.line = line  # with its CRLF
        self.block = b""  # each field with its CRLF, without framing and hop-by-hop fields
        self.framing = b""  # the field that says where the body ends, for an HTTP/1.1 client
        self.length = UNTIL_CLOSE
        self.close = False  # the instance will close the connection
        self.upgrade = b""
        self.plain = b""  # the whole head for an HTTP/1.1 client whose connection is kept

    def with_fields(self, block: bytes) -> ResponseHead:
        """Return a head with more fields, each with its CRLF."""
        head = ResponseHead(self.status, self.line)
        head.framing, head.length = self.framing, self.length
        head.close, head.upgrade = self.close, self.upgrade
        head.block = self.block + block
        head.plain = self.line + head.block + self.framing + b"\r\n"
        return head


def read_request(section: bytes, minor: int, authority: bytes, peer: Peer) -> RequestFields:
    """Read a request's field section; `authority` is that of an absolute target, else empty.

    Raises:
        Malformed: the request must be answered with 400.
        Problem: with another status.
    """
    fields = parse_fields(section)
    if len(fields) > MAX_FIELDS:
        raise Problem(
            431, "too-many-fields", f"{len(fields)} header fields; at most {MAX_FIELDS} are taken."
        )
    taken, others = _sort(fields)
    request = RequestFields()
    options = parse_tokens(taken.get(b"connection", []))
    request.close = b"close" in options
    request.keep_alive = b"keep-alive" in options
    host = _one_host(taken.get(b"host", []), minor, authority) or peer.local
    request.host = parse_host(host)
    request.length, framing = _request_framing(taken, minor)
    own = _connection_lines(request, taken, options, minor)
    lines = [b"Host: %b\r\n" % host]
    lines += [line for name, line in others if name not in options and not _is_double(name)]
    lines += _tracing_lines(request, taken, options)
    lines += _forwarded_lines(taken, options, host, peer)
    request.block = b"".join(lines) + framing + own
    return request


def read_response(section: bytes, minor: int, status: int, reason: bytes) -> ResponseHead:
    """Read a response's field section.

    Raises:
        Malformed: the instance's answer is not HTTP.
    """
    taken, others = _sort(parse_fields(section))
    options = parse_tokens(taken.get(b"connection", []))
    head = ResponseHead(status, b"HTTP/1.1 %d %b\r\n" % (status, reason or _phrase(status)))
    head.close = b"close" in options or (minor == 0 and b"keep-alive" not in options)
    head.length = _response_length(taken, minor) if status >= 200 else UNTIL_CLOSE
    if head.length >= 0:
        head.framing = b"Content-Length: %d\r\n" % head.length
    else:
        head.framing = b"Transfer-Encoding: chunked\r\n"
    if status == 204 or status < 200 or (status == 304 and head.length == UNTIL_CLOSE):
        head.framing = b""
    kept = [line for name, line in others if name not in options]
    kept += [
        b"%b: %b\r\n" % (name.title(), value)
        for name in taken.keys() & _OF_REQUESTS
        for value in taken[name]
    ]
    if status in (101, 426) and b"upgrade" in options and b"upgrade" in taken:
        head.upgrade = b", ".join(taken[b"upgrade"]).lower()
        kept.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % b", ".join(taken[b"upgrade"]))
    head.block = b"".join(kept)
    head.plain = head.line + head.block + head.framing + b"\r\n"
    return head


def _sort(
    fields: list[tuple[bytes, bytes]],
) -> tuple[dict[bytes, list[bytes]], list[tuple[bytes, bytes]]]:
    """Return the fields that the router deals with, by name, and the lines of all others."""
    taken: dict[bytes, list[bytes]] = {}
    others = []
    for name, value in fields:
        lower = name.lower()
        if lower in _TAKEN:
            taken.setdefault(lower, []).append(value)
        else:
            others.append((lower, b"%b: %b\r\n" % (name, value)))
    return taken, others


def _is_double(name: bytes) -> bool:
    """Tell whether CGI and WSGI make one name of this and of one that the router deals with."""
    return b"_" in name and name.replace(b"_", b"-") in _TAKEN


def _one_host(hosts: list[bytes], minor: int, authority: bytes) -> bytes:
    if len(hosts) > 1 or (not hosts and minor == 1):
        raise Malformed("a request has exactly one Host field")
    if hosts:
        parse_host(hosts[0])
    return authority or (hosts[0] if hosts else b"")


def _request_framing(taken: dict[bytes, list[bytes]], minor: int) -> tuple[int, bytes]:
    """Return the body's length, and the field that says it."""
    if b"transfer-encoding" in taken:
        if minor == 0:
            raise Malformed("HTTP/1.0 has no Transfer-Encoding")
        _check_chunked(taken)
        return CHUNKED, b"Transfer-Encoding: chunked\r\n"
    if b"content-length" in taken:
        length = _content_length(taken[b"content-length"])
        return length, b"Content-Length: %d\r\n" % length
    return 0, b""


def _response_length(taken: dict[bytes, list[bytes]], minor: int) -> int:
    if b"transfer-encoding" in taken:
        if minor == 0:
            raise Malformed("HTTP/1.0 has no Transfer-Encoding")
        _check_chunked(taken)
        return CHUNKED
    if b"content-length" in taken:
        return _content_length(taken[b"content-length"])
    return UNTIL_CLOSE


def _check_chunked(taken: dict[bytes, list[bytes]]) -> None:
    if b"content-length" in taken:
        raise Malformed("both Transfer-Encoding and Content-Length")
    codings = taken[b"transfer-encoding"]
    if len(codings) != 1 or codings[0].lower() != b"chunked":
        raise Malformed("the only Transfer-Encoding is chunked, once")


def _content_length(values: list[bytes]) -> int:
    # isdigit() of bytes knows ASCII only; 18 digits are more than any body and less than 2**63.
    if len(values) != 1 or not values[0].isdigit() or len(values[0]) > 18:
        raise Malformed("Content-Length is not one decimal number")
    return int(values[0])


def _expects_continue(taken: dict[bytes, list[bytes]]) -> bool:
    expectations = taken.get(b"expect", [])
    if not expectations:
        return False
    if len(expectations) == 1 and expectations[0].lower() == b"100-continue":
        return True
    raise Problem(417, "unknown-expectation", "The only Expect that is met is 100-continue.")


def _connection_lines(
    request: RequestFields, taken: dict[bytes, list[bytes]], options: list[bytes], minor: int
) -> bytes:
    """Return the fields that are for the router's own connection to the instance."""
    own: list[bytes] = []
    named: list[bytes] = []
    if minor == 1 and _expects_continue(taken):
        own.append(b"Expect: 100-continue\r\n")
    codings = b",".join(taken.get(b"te", [])).lower().split(b",")
    if any(coding.strip(b" \t") == b"trailers" for coding in codings):
        own.append(b"TE: trailers\r\n")
        named.append(b"TE")
    upgrades = taken.get(b"upgrade", [])
    # One protocol and no body: what a tunnel needs. HTTP/2 is no tunnel to be opened blindly.
    if len(upgrades) == 1 and b"upgrade" in options and minor == 1 and request.length == 0:
        protocol = upgrades[0].lower()
        if protocol.partition(b"/")[0] not in (b"h2c", b"h2", b"http") and is_protocol(protocol):
            request.upgrade = protocol
            own.append(b"Upgrade: %b\r\n" % upgrades[0])
            named.append(b"Upgrade")
    if named:
        own.append(b"Connection: %b\r\n" % b", ".join(named))
    return b"".join(own)


def _tracing_lines(
    request: RequestFields, taken: dict[bytes, list[bytes]], options: list[bytes]
) -> list[bytes]:
    """Note the request's id, and return its trace context if it is a valid one."""
    ids = taken.get(b"x-request-id", [])
    if is_request_id(ids) and b"x-request-id" not in options:
        request.request_id = ids[0]
    parents = taken.get(b"traceparent", [])
    if not is_traceparent(parents) or b"traceparent" in options:
        return []
    request.traced = True
    states = [b"tracestate: %b\r\n" % value for value in taken.get(b"tracestate", [])]
    return [b"traceparent: %b\r\n" % parents[0], *states]


def _forwarded_lines(
    taken: dict[bytes, list[bytes]], options: list[bytes], host: bytes, peer: Peer
) -> list[bytes]:
    """Return the Forwarded fields (RFC 7239) and their older forms, ours behind those that came.

    Proto and Host hold one value, which is what this router saw.
    """

    def before(name: bytes) -> list[bytes]:
        return [] if name in options else [value for value in taken.get(name, []) if value]

    node = b'"[%b]"' % peer.address if b":" in peer.address else peer.address
    quoted = host if host.replace(b".", b"").isalnum() else b'"%b"' % host
    element = b"for=%b;host=%b;proto=%b" % (node, quoted, peer.scheme)
    return [
        b"Forwarded: %b\r\n" % b", ".join([*before(b"forwarded"), element]),
        b"X-Forwarded-For: %b\r\n" % b", ".join([*before(b"x-forwarded-for"), peer.address]),
        b"X-Forwarded-Proto: %b\r\n" % peer.scheme,
        b"X-Forwarded-Host: %b\r\n" % host,
    ]


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
