"""The one aiohttp session: it makes one attempt at a call, and says what was observed."""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import aiohttp
from attrs import field, frozen
from yarl import URL

from .._core.disposition import Evidence
from .._core.request import ApiRequest
from .._core.retry import retry_after
from .._core.wire import JsonError, decode_json
from .._version import __version__
from ..errors import ConfigurationError, ConfirmaError
from ..policies import Timeouts
from .evidence import Progress, current_progress, stop_repeats, trace_config
from .log import log

__all__ = ["MAX_ANSWER_BYTES", "Exchange", "Session", "TokenUnusableError"]

MAX_ANSWER_BYTES = 10 * 1024 * 1024
"""An answer that is larger is not read on: it is an error, not memory."""

_LARGEST_PIECE = 1024 * 1024

TOKEN_HEADER = "X-Api-Key"  # noqa: S105 - the header's name (API, section 1)


class TokenUnusableError(ConfirmaError):
    """Raised through aiohttp by the token middleware: the attempt was answered 401, and stays so.

    Attributes:
        error: What to tell the caller.
        dead: Whether the token is dead, rather than not renewable at the moment.
    """

    def __init__(self, error: ConfirmaError, *, dead: bool) -> None:
        super().__init__(str(error), error)
        self.error = error
        self.dead = dead


@frozen(kw_only=True)
class Exchange:
    """One attempt at a call: what was observed, and the answer's body."""

    evidence: Evidence
    body: bytes = field(default=b"", repr=False)
    body_is_whole: bool = False
    """False where there was no answer, or its body was cut or larger than we read."""
    error: ConfirmaError | None = None
    """Why the token could not be used, if that was it."""

    def json(self) -> Any:
        """The body's JSON value; None if it is empty, or is not JSON."""
        try:
            return decode_json(self.body) if self.body else None
        except JsonError:
            return None


class Session:
    """Opens one aiohttp session and makes attempts with it.

    A connector that was borrowed stays open when the session is closed, so that many clients can share one pool.
    """

    def __init__(self, base_url: str, timeouts: Timeouts, connector: aiohttp.BaseConnector | None) -> None:
        self._base_url = base_url
        self._timeouts = timeouts
        self._connector = connector
        self._session: aiohttp.ClientSession | None = None
        self._running: dict[asyncio.Timeout, bool] = {}
        """What ends an attempt that is in flight, and whether it may be aborted."""

    async def open(self, token_middleware: aiohttp.ClientMiddlewareType) -> None:
        """Open the session; from now on it belongs to the running loop."""
        timeouts = self._timeouts
        connector = self._connector
        if connector is not None and connector.closed:
            raise ConfigurationError("The connector that this client was to borrow is closed; give it an open one.")
        if connector is None:
            connector = aiohttp.TCPConnector(keepalive_timeout=timeouts.keep_alive, limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector,
            connector_owner=self._connector is None,
            timeout=aiohttp.ClientTimeout(total=timeouts.total, connect=timeouts.connect, sock_read=timeouts.read),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": f"confirma_async/{__version__}",
            },
            # aiohttp expands all that arrived at once, and that may be a thousand times as much.
            auto_decompress=False,
            trace_configs=[trace_config()],
            middlewares=(token_middleware, stop_repeats),
        )

    async def close(self) -> None:
        """Close the session and, unless it was borrowed, its pool. A second call does nothing.

        Attempts that are in flight are ended, each with its evidence; on a borrowed pool they would go on.
        """
        if self._session is not None:
            self._end(self._running)
            await self._session.close()

    @asynccontextmanager
    async def _abortable(self, abortable: bool) -> AsyncIterator[None]:
        async with asyncio.timeout(None) as timeout:
            self._running[timeout] = abortable
            try:
                yield
            finally:
                del self._running[timeout]

    def abort(self) -> None:
        """End every attempt that is in flight; each still returns what was observed of it.

        Attempts with a token of their own are left alone: a renewal's answer is the only copy of the new token.
        """
        self._end([timeout for timeout, abortable in self._running.items() if abortable])

    @staticmethod
    def _end(timeouts: Iterable[asyncio.Timeout]) -> None:
        for timeout in timeouts:
            if not timeout.expired():
                timeout.reschedule(asyncio.get_running_loop().time())

    async def exchange(self, request: ApiRequest, *, token: str | None = None) -> Exchange:
        """Make one attempt. Whatever goes wrong on the way is evidence; only a cancellation is raised.

        Args:
            request: The call.
            token: The token to use. Given, the token middleware is bypassed, and nothing is renewed.
        """
        progress = Progress()
        current_progress.set(progress)
        try:
            async with self._abortable(token is None):
                return await self._attempt(request, token, progress)
        except TokenUnusableError as unusable:
            evidence = Evidence(headers_sent=True, status=401, token_dead=unusable.dead)
            return Exchange(evidence=evidence, error=unusable.error)
        except Exception as error:
            # Any error at all, our own mistakes included: once the headers are out, the call is in doubt.
            expected = isinstance(error, aiohttp.ClientError | OSError)
            log.log(
                logging.DEBUG if expected else logging.ERROR,
                "%s %s failed: %s",
                request.method,
                request.path,
                type(error).__name__,
                exc_info=not expected,
            )
            return Exchange(evidence=progress.evidence(_name_of(error)))

    async def _attempt(self, request: ApiRequest, token: str | None, progress: Progress) -> Exchange:
        assert self._session is not None
        options: dict[str, Any] = {}
        headers = {}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if token is not None:
            headers[TOKEN_HEADER] = token
            options["middlewares"] = (stop_repeats,)
        async with self._session.request(
            request.method,
            URL(self._base_url + request.path, encoded=True),
            params=request.params,
            data=_payload(request.body),
            headers=headers,
            # Following would carry the token to wherever the redirect points.
            allow_redirects=False,
            trace_request_ctx=progress,
            **options,
        ) as response:
            progress.status = response.status
            asked_pause = retry_after(response.status, response.headers)
            evidence = Evidence(headers_sent=True, status=response.status, retry_after=asked_pause)
            body, is_whole = await _read(response)
            return Exchange(evidence=evidence, body=body, body_is_whole=is_whole)


def _payload(body: bytes | None) -> "bytes | BytesIO | None":
    """The body as aiohttp wants it: it warns of large ones that come in one piece."""
    return body if body is None or len(body) <= _LARGEST_PIECE else BytesIO(body)


class _Expander:
    """Takes an answer's body in, expanded, as far as there is room for it."""

    def __init__(self, encoding: str) -> None:
        is_compressed = encoding.strip().lower() in ("gzip", "x-gzip", "deflate")
        # 32 more: it sees from the first bytes which of the two forms this is.
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS + 32) if is_compressed else None
        self.body = bytearray()
        self.is_whole = True
        """Whether the body, if it has ended, is all of it."""
        self.overflows = False

    def take(self, chunk: bytes) -> None:
        """Add what `chunk` expands to.

        Raises:
            zlib.error: It is not compressed as its header says.
        """
        room = MAX_ANSWER_BYTES + 1 - len(self.body)
        inflater = self._inflater
        self.body += chunk[:room] if inflater is None else inflater.decompress(chunk, room)
        self.overflows = len(self.body) > MAX_ANSWER_BYTES
        del self.body[MAX_ANSWER_BYTES:]
        # A compressed body says where it ends, and nothing may follow.
        is_ended = inflater is None or (inflater.eof and not inflater.unused_data)
        self.is_whole = is_ended and not self.overflows


async def _read(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """The body as far as it came, and whether that is all. The status has been read: nothing here may lose it."""
    expander = _Expander(response.headers.get("Content-Encoding", ""))
    try:
        async for chunk in response.content.iter_any():
            expander.take(chunk)
            if expander.overflows:
                break
    except (aiohttp.ClientError, TimeoutError, OSError, zlib.error):
        return bytes(expander.body), False
    return bytes(expander.body), expander.is_whole


def _name_of(error: BaseException) -> str:
    """What to call a failure: the class of its cause, never its text, which may hold an address with a key in it."""
    cause = error.__cause__
    return type(cause if isinstance(cause, aiohttp.ClientError | OSError) else error).__name__
