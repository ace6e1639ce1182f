"""How large an HTTP/1 request's head may be, and when it is seen that it will be too large."""

from __future__ import annotations

from typing import Final

from windlass.router.errors import Problem, bad_request
from windlass.router.grammar import has_bare_line_end

MAX_LINE: Final = 8 * 1024  # bytes of a request line
MAX_SECTION: Final = 32 * 1024  # bytes of the header section


def check_sizes(line: int, section: int) -> None:
    """Check the sizes of a request line and of a header section.

    Raises:
        Problem: 414 or 431, one is over its limit.
    """
    if line > MAX_LINE:
        detail = f"The request line is over {MAX_LINE} bytes."
        raise Problem(414, "request-line-too-long", detail)
    if section > MAX_SECTION:
        detail = f"The header section is over {MAX_SECTION} bytes."
        raise Problem(431, "header-section-too-large", detail)


def check_partial_head(head: bytearray, checked: int) -> None:
    """Check a head that is not whole yet, of which the first `checked` bytes were seen before.

    Raises:
        Problem: it cannot become a request any more.
    """
    if has_bare_line_end(head, checked):
        raise bad_request("A line of the head is not ended by CRLF.")
    line_end = head.find(b"\r\n", 0, MAX_LINE + 2)
    if line_end < 0:
        check_sizes(len(head), 0)
    else:
        check_sizes(line_end, len(head) - line_end)
