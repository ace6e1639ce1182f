"""Between HTTP/2's fields and those of `headers`: what RFC 9113 section 8 asks of them. Pure.

A request or response from HTTP/2 is read by the very rules that hold for HTTP/1.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING
from urllib.parse import quote

from windlass.router.chunked import is_trailer
from windlass.router.grammar import TOKEN, Malformed
from windlass.router.headers import CHUNKED, read_request, read_response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from windlass.router.errors import Problem
    from windlass.router.headers import Peer, RequestFields, ResponseHead

Header = tuple[bytes, bytes]

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"(?![\t ])[^\0\r\n]*(?<![\t ])")
_METHOD = re.compile(TOKEN)
_PATH = re.compile(rb"/[\x21\x22\x24-\x7e]*")
_STATUS = re.compile(rb"[1-5][0-9]{2}")
_REQUEST_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
# Fields of a block for HTTP/1 that HTTP/2 says by other means.
_NOT_IN_HTTP2 = _CONNECTION | {b"host"}

# gRPC's own table of what an HTTP status means where there is no grpc-status, and where the kind of
# the problem says more. 2 is UNKNOWN.
_GRPC_STATUS_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_GRPC_STATUS = {"request-timeout": 4, "body-too-large": 8}
_GRPC_PLAIN = string.printable[:95].replace("%", "")  # what grpc-message holds as it is


def read_request_headers(
    headers: Iterable[Header], ended: bool, peer: Peer
) -> tuple[bytes, bytes, RequestFields]:
    """Return method, target and fields of a request; `ended`: it has no body.

    Raises:
        Malformed: the request must be answered with 400.
        Problem: with another status.
    """
    pseudo, lines, values = _split(headers)
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if not pseudo.keys() <= _REQUEST_PSEUDO or not pseudo.get(b":scheme"):
        raise Malformed("a request has :method, :scheme and :path, and no other pseudo-fields")
    if method == b"CONNECT" or not _METHOD.fullmatch(method):
        raise Malformed("this method is not served")
    if not _PATH.fullmatch(path) and not (path == b"*" and method == b"OPTIONS"):
        raise Malformed("the :path is not a path")
    if values.get(b"te", b"trailers").lower() != b"trailers":
        raise Malformed("TE is anything but trailers")
    authority, host = pseudo.get(b":authority", b""), values.get(b"host", b"")
    if authority and host and authority.lower() != host.lower():
        raise Malformed(":authority and Host differ")
    if authority and not host:
        lines.append(b"host: %b\r\n" % authority)
    if b"content-length" not in values:
        if not ended:
            lines.append(b"transfer-encoding: chunked\r\n")
    elif ended and values[b"content-length"].strip(b"0"):
        raise Malformed("the body ended before it began")
    return method, path, read_request(b"".join(lines), 1, b"", peer)


def read_response_headers(headers: Iterable[Header]) -> ResponseHead:
    """Return the head of a response.

    Raises:
        Malformed: the instance's answer is not HTTP/2.
    """
    pseudo, lines, _ = _split(headers)
    status = pseudo.get(b":status", b"")
    if len(pseudo) != 1 or not _STATUS.fullmatch(status) or status == b"101":
        raise Malformed("a response has a :status, not 101, and no other pseudo-field")
    return read_response(b"".join(lines), 1, int(status), b"")


def read_trailers(headers: Iterable[Header]) -> bytes:
    """Return trailer fields, each with its CRLF.

    Raises:
        Malformed: these are none.
    """
    pseudo, lines, _ = _split(headers)
    if pseudo:
        raise Malformed("trailers have no pseudo-fields")
    return b"".join(line for line in lines if is_trailer(line.partition(b":")[0]))


def _split(headers: Iterable[Header]) -> tuple[dict[bytes, bytes], list[bytes], dict[bytes, bytes]]:
    """Return pseudo-fields, the lines of the others, and the values of these (the last of each)."""
    pseudo: dict[bytes, bytes] = {}
    lines = []
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        if not _VALUE.fullmatch(value):
            raise Malformed("a field's value has control characters or outer spaces")
        if name.startswith(b":"):
            if name in pseudo or values:
                raise Malformed("a pseudo-field comes twice or too late")
            pseudo[name] = value
            continue
        if not _NAME.fullmatch(name) or name in _CONNECTION:
            raise Malformed("a field's name is not one of HTTP/2")
        values[name] = value
        lines.append(b"%b: %b\r\n" % (name, value))
    return pseudo, lines, values


def request_headers(method: bytes, target: bytes, host: bytes, block: bytes) -> list[Header]:
    """Return what an instance is sent, from the block for HTTP/1.

    The scheme is that of the connection to the instance, which has no TLS.
    """
    others = parse_block(block)
    host = next((value for name, value in others if name == b"host"), host)
    return [
        (b":method", method),
        (b":scheme", b"http"),
        (b":authority", host),
        (b":path", target),
        *((name, value) for name, value in others if name not in _NOT_IN_HTTP2),
    ]


def response_headers(head: ResponseHead) -> list[Header]:
    """Return what a client is sent."""
    headers = [(b":status", b"%d" % head.status)]
    headers += [header for header in parse_block(head.block) if header[0] not in _CONNECTION]
    if head.framing and head.length != CHUNKED and head.length >= 0:
        headers.append((b"content-length", b"%d" % head.length))
    return headers


def parse_block(block: bytes) -> list[Header]:
    """Return names, in lower case, and values of a block that the router itself wrote."""
    headers = []
    for line in block.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        headers.append((name.lower(), value))
    return headers


def problem_headers(problem: Problem, service: str, *, is_grpc: bool) -> tuple[list[Header], bytes]:
    """Return head and body of a problem: for gRPC a status in trailers only, and no body."""
    if is_grpc:
        code = _GRPC_STATUS.get(problem.kind) or _GRPC_STATUS_OF_HTTP.get(problem.status, 2)
        return [
            (b":status", b"200"),
            (b"content-type", b"application/grpc"),
            (b"grpc-status", b"%d" % code),
            (b"grpc-message", quote(problem.detail, safe=_GRPC_PLAIN).encode("ascii")),
        ], b""
    head, body = problem.head_and_body(service)
    block = head.partition(b"\r\n")[2]
    return [(b":status", b"%d" % problem.status), *parse_block(block)], body
