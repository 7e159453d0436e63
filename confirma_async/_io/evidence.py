"""How far did an attempt get? aiohttp's trace signals tell, and errors on the way lose their power to repeat.

The signal fires just before the first byte of a request is handed over, so "not sent" is certain and "sent" is not.
"""

from contextvars import ContextVar
from typing import Any

import aiohttp
from attrs import mutable

from .._core.disposition import Evidence

__all__ = ["ConnectionLostError", "Progress", "current_progress", "stop_repeats", "trace_config"]


@mutable
class Progress:
    """How far the attempt in hand got."""

    headers_sent: bool = False
    status: int | None = None
    """The status of the answer, once its head was read: nothing that happens later makes it unsaid."""

    def is_replayed(self) -> None:
        """A 401 is followed by a replay: what counts from here is how far that one gets."""
        self.headers_sent, self.status = False, None

    def evidence(self, failure: str) -> Evidence:
        """What is known of an attempt that was ended by `failure`."""
        return Evidence(headers_sent=self.headers_sent, status=self.status, failure=failure)


current_progress: ContextVar[Progress] = ContextVar("current_progress")


class ConnectionLostError(aiohttp.ClientError):
    """A connection failed. Not one of those errors after which aiohttp sends an idempotent request again."""


async def stop_repeats(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Client middleware: keep aiohttp from repeating a request by itself.

    It does so for GETs whose connection drops. GET `/renew` must not be repeated like that: the second answer may be
    a 401, and the first one held the only copy of the new token.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionLostError(type(error).__name__) from error


def trace_config() -> aiohttp.TraceConfig:
    """The trace that notes in a request's `Progress`, given as `trace_request_ctx`, that its headers were sent."""

    async def note(_session: aiohttp.ClientSession, context: Any, _params: object) -> None:
        context.trace_request_ctx.headers_sent = True

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(note)
    return config
