"""Parsers other than the router's judge what the fuzzer's inputs make it send."""

from __future__ import annotations

import h11
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import Decoder, HPACKError

from windlass.router.http2_frames import HEADERS, FrameReader, FrameTooLarge

_MOST = (1 << 31) - 1  # bytes of a window
_LARGE_FRAME = (1 << 24) - 1


class Finding(Exception):
    """Something that must not be."""


def check_http1(sent: bytes) -> None:
    """Let h11 find the requests in what an instance was sent.

    Raises:
        Finding: there is something else.
    """
    instance = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    instance.receive_data(sent)
    answer = h11.Response(status_code=200, headers=[("Content-Length", "0")])
    try:
        while (event := instance.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.EndOfMessage):
                if instance.their_state is not h11.DONE:
                    break  # it may change to another protocol: what follows need not be HTTP
                instance.send(answer)
                instance.send(h11.EndOfMessage())
                instance.start_next_cycle()
    except h11.RemoteProtocolError as error:
        raise Finding(f"the instance was sent what is no HTTP: {error}: {sent[:800]!r}") from None


def check_http2(sent: bytes) -> None:
    """Let h2, which checks fields where the router does it by rules of its own, find the requests.

    Raises:
        Finding: there is something else.
    """
    config = H2Configuration(client_side=False, validate_inbound_headers=True)
    instance = H2Connection(config)
    # What the instance allowed is not known here: as much as there can be.
    most = {
        SettingCodes.INITIAL_WINDOW_SIZE: _MOST,
        SettingCodes.MAX_FRAME_SIZE: _LARGE_FRAME,
        SettingCodes.MAX_CONCURRENT_STREAMS: _MOST,
    }
    instance.local_settings = Settings(client=False, initial_values=most)
    instance.max_inbound_frame_size = _LARGE_FRAME
    instance.decoder.max_allowed_table_size = 1 << 32
    instance.increment_flow_control_window(_MOST - 65535)
    try:
        instance.receive_data(sent)
    except ProtocolError as error:
        raise Finding(f"the instance was sent what is no HTTP/2: {error}: {sent[:800]!r}") from None


def first_status(answer: bytes) -> str:
    """Return what a client was answered first, for the statistics."""
    if not answer:
        return "none"
    if answer.startswith(b"HTTP/1.1"):
        return answer[9:12].decode("ascii", "replace")
    try:
        for frame in FrameReader().feed(answer):
            if frame.kind == HEADERS:
                name, value = next(iter(Decoder().decode(frame.raw[9:], raw=True)))
                return f"h2 {value.decode()}" if name == b":status" else "other"
    except (FrameTooLarge, HPACKError):
        return "other"
    return "h2 none"
