"""A request without a client or a wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windlass.router.exchange import Exchange
from windlass.router.headers import RequestFields

if TYPE_CHECKING:
    from windlass.router.dispatch import Dispatch
    from windlass.router.errors import Problem
    from windlass.router.headers import ResponseHead
    from windlass.router.upstream import Upstream


class Waiting(Exchange):
    """An exchange whose client only remembers its problem."""

    def __init__(self, dispatch: Dispatch) -> None:
        super().__init__(dispatch)
        self.problem: Problem | None = None
        self.method = b"GET"
        self.fields = RequestFields()
        self.fields.host = b"hello.localhost"

    def on_problem(self, problem: Problem, service: str) -> None:
        self.problem = problem

    def on_complete(self, now: int) -> None: ...

    def on_connected(self, upstream: Upstream) -> None:
        raise AssertionError("nothing listens")

    def on_informational(self, head: ResponseHead) -> None:
        raise AssertionError("nothing answers")

    def on_response(self, head: ResponseHead, body: bytes, ended: bool) -> None:
        raise AssertionError("nothing answers")

    def on_data(self, data: bytes) -> None:
        raise AssertionError("nothing answers")

    def on_end(self, trailers: bytes) -> None:
        raise AssertionError("nothing answers")

    def on_broken(self) -> None:
        raise AssertionError("nothing was answered")

    def on_upstream_full(self) -> None:
        raise AssertionError("nothing is sent")

    def on_upstream_ready(self) -> None:
        raise AssertionError("nothing is sent")
