"""The errors that the router answers by itself, as application/problem+json (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec


class Problem(Exception):
    """Why a request is not served: raised where it is found, or handed on as a value."""

    def __init__(self, status: int, kind: str, detail: str, *, retry_after: int = 0) -> None:
        """Describe a problem; `kind` names it for programs, `retry_after` is in seconds."""
        super().__init__(f"{status} {kind}: {detail}")
        self.status, self.kind, self.detail = status, kind, detail
        self.retry_after = retry_after

    def head_and_body(self, service: str) -> tuple[bytes, bytes]:
        """Return status line and fields (without Connection and the last empty line), and body."""
        body = msgspec.json.encode(
            {
                "type": f"urn:windlass:problem:{self.kind}",
                "title": HTTPStatus(self.status).phrase,
                "status": self.status,
                "detail": self.detail,
                "service": service,
            }
        )
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n"
            f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
        )
        if self.retry_after:
            head += f"Retry-After: {self.retry_after}\r\n"
        return head.encode("ascii"), body


def bad_request(detail: str) -> Problem:
    """Return the problem of a request that is not HTTP as RFC 9110 and 9112 have it."""
    return Problem(400, "bad-request", detail)


def bad_response(detail: str) -> Problem:
    """Return the problem of an instance whose answer is not HTTP."""
    return Problem(502, "bad-response", f"The instance's answer is not valid HTTP: {detail}.")
