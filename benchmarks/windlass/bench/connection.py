"""One HTTP/1.1 client connection that carries one request at a time; it measures nothing."""

from __future__ import annotations

import asyncio
import re
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

# What a server calls `app` in its Server-Timing field, in milliseconds.
_APP_TIME = re.compile(rb"(?:^|[\s,])app;dur=(\d+(?:\.\d+)?)")


class Owner(Protocol):
    """Who hears how requests end; each call is the last word on a request."""

    def answered(self, connection: Connection, status: int, reusable: bool) -> None:
        """The whole answer is here; `reusable`: the connection takes another request."""

    def failed(self, connection: Connection, reason: str) -> None:
        """There will be no whole answer, and the connection is gone."""

    def closed(self, connection: Connection) -> None:
        """The server closed the connection between two requests."""


class Connection(asyncio.Protocol):
    """Sends prepared bytes and tells its owner when the answer to them is complete."""

    __slots__ = (
        "_complete",
        "_delimited",
        "_head",
        "_owner",
        "_parser",
        "_reusable",
        "_status",
        "_transport",
        "busy",
        "intended",
        "number",
        "received",
        "sent",
        "worked",
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        # Of the request under way; intended, sent and number are the owner's.
        self.busy = False
        self.intended = 0
        self.sent = 0
        self.number = 0
        self.received = 0  # bytes of answers, heads and all, since the connection was made
        self._begin()

    def _begin(self) -> None:
        self._status = 0
        self._head = self._complete = self._delimited = self._reusable = False
        self.worked: int | None = None  # ns that the server says the answer took it; None: not said

    def send(self, request: bytes) -> None:
        """Send a whole request; the connection is made and has none under way."""
        assert self._transport is not None
        self.busy = True
        self._begin()
        self._transport.write(request)

    def abort(self) -> None:
        """Give up the connection and whatever is under way; the owner hears no more of it."""
        self.busy = False
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse; the owner hears of a complete answer only when the parser is done with it."""
        if not self.busy:
            self.abort()  # an answer to nothing: a 408 before closing, or a broken server
            self._owner.closed(self)
            return
        self.received += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail("switched protocols")
            return
        except HttpParserError as error:
            self._fail(f"broken answer: {error}")
            return
        if self._complete:
            self._answer(self._reusable)

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer without a length ends here; any other is broken."""
        if not self.busy:
            if self._transport is not None:
                self._owner.closed(self)
        elif exc is None and self._head and not self._delimited:
            self._answer(False)
        else:
            what = "in the middle of" if self._head else "before"
            self._fail(f"connection {'reset' if exc else 'closed'} {what} the answer")

    def _answer(self, reusable: bool) -> None:
        self.busy = False
        self._owner.answered(self, self._status, reusable)

    def _fail(self, reason: str) -> None:
        self.abort()
        self._owner.failed(self, reason)

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Notice whether the answer says where it ends, and how long it took the server."""
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._delimited = True
        elif name == b"server-timing" and (found := _APP_TIME.search(value)):
            self.worked = int(float(found[1]) * 1_000_000)

    def on_headers_complete(self) -> None:
        """Note the status; 1xx only announces the answer."""
        self._status = self._parser.get_status_code()
        self._head = self._status >= 200

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        if self._head:
            self._complete = True
            self._reusable = self._parser.should_keep_alive()
