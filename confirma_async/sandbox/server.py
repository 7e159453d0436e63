"""The sandbox as an HTTP server on loopback: it carries out faults, and leaves the rest to the service."""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from aiohttp import StreamReader, web
from aiohttp.http import HttpProcessingError
from yarl import URL

from ..models import Action
from .exchange import ACTION_PATH, BASE_PATH, Answer, ReceivedRequest
from .faults import Fault, FaultScript, Injection
from .ledger import Ledger
from .service import Service

__all__ = ["Sandbox"]

MAX_REQUESTS_KEPT = 100_000

_BACKLOG = 1024
_SECONDS_TO_STOP = 0.05
"""What a client that never finishes its request may hold up the end."""

_OUTAGES = {
    "drop": Fault.DROP_BEFORE_READING.renamed("outage"),
    "unavailable": Fault.unavailable().renamed("outage"),
}


class Sandbox:
    """The service on localhost, for tests and for trying things out.

    An async context manager; `start()` and `stop()` do the same by hand. It belongs to the event loop that
    started it. Its methods take effect on the next request that arrives, not on one that is being handled.

    Args:
        host: The address to listen on. Leave it on loopback: it speaks plain HTTP.
        port: The port; 0 lets the system choose one.
        token: The first valid token; None makes one up.
        keep_ledger: False only counts effects, and keeps no bodies of requests: for runs of millions.
        renewal_kills_old_token: Whether a renewed token stops working at once; the documents do not say.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        keep_ledger: bool = True,
        renewal_kills_old_token: bool = True,
    ) -> None:
        self._host = host
        self._port = port
        self._keep_bodies = keep_ledger
        self._service = Service(token=token, keep_ledger=keep_ledger, renewal_kills_old_token=renewal_kills_old_token)
        self._script = FaultScript()
        self._requests: deque[ReceivedRequest] = deque(maxlen=MAX_REQUESTS_KEPT)
        self._received = 0
        self._outage: Injection | None = None
        self._outage_timer: asyncio.TimerHandle | None = None
        self._runner: web.ServerRunner | None = None
        self._stopping = asyncio.Event()

    # --- life -----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. After a `stop()`: on the same address, with tokens, ledger and faults as they were.

        Raises:
            RuntimeError: It is running already.
            OSError: The address cannot be listened on.
        """
        if self._runner is not None:
            raise RuntimeError("The sandbox is running already.")
        self._stopping = asyncio.Event()
        server = web.Server(self._handle, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=_SECONDS_TO_STOP)
        await runner.setup()
        await web.TCPSite(runner, self._host, self._port, backlog=_BACKLOG).start()
        self._port = runner.addresses[0][1]
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening and end every connection, within a fraction of a second. A second call does nothing.

        An outage ends, and requests that wait for a delayed answer have their connections dropped. What was
        recorded stays readable.
        """
        runner, self._runner = self._runner, None
        if runner is None:
            return
        self.end_outage()
        self._stopping.set()
        await runner.cleanup()

    # --- what a client needs --------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """Where to send requests, the API's base path included.

        Raises:
            RuntimeError: It was never started, so that its port is not known.
        """
        if not self._port:
            raise RuntimeError("The sandbox has no address before it is started.")
        return str(URL.build(scheme="http", host=self._host, port=self._port, path=BASE_PATH))

    @property
    def token(self) -> str:
        """The newest valid token; if none is valid, the newest."""
        return self._service.tokens.newest

    # --- what happened --------------------------------------------------------------------------------------

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every token issued, oldest first, whether it is still valid or not."""
        return self._service.tokens.issued

    @property
    def ledger(self) -> Ledger:
        """The effects, in the order of their application."""
        return self._service.ledger

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Every request whose head arrived, in that order; of more than 100,000 the last ones."""
        return list(self._requests)

    @property
    def posts(self) -> list[ReceivedRequest]:
        """Those of the requests that were POSTs of actions, whatever became of them."""
        return [request for request in self._requests if request.path == ACTION_PATH and request.method == "POST"]

    # --- what shall go wrong --------------------------------------------------------------------------------

    def inject(
        self,
        fault: Fault,
        *,
        path: str | None = ACTION_PATH,
        times: int | None = 1,
        after: int = 0,
        when: Callable[[ReceivedRequest], bool] | None = None,
    ) -> Injection:
        """Have `fault` meet coming requests. Of several faults, the one injected first is consulted first.

        Args:
            fault: What happens to them.
            path: The path they are sent to, below the API's base; None is every path.
            times: How many requests it meets; None is every one until it is cancelled.
            after: How many matching requests it lets pass before.
            when: Which requests match; None is all. It may look at the body, which is therefore read before a
                fault is chosen, even if that is `DROP_BEFORE_READING`.

        Returns:
            A handle: `remaining` tells how many requests it will meet yet, `cancel()` ends it.
        """
        injection = Injection(fault, path, when, after, times)
        self._script.add(injection)
        return injection

    def outage(self, seconds: float | None = None, *, mode: Literal["drop", "unavailable"] = "drop") -> None:
        """Begin an outage: every request on every path fails, before any injected fault has a say.

        It replaces an outage that is on.

        Args:
            seconds: How long it lasts, on the clock of the running event loop; None is until `end_outage()`.
            mode: "drop" aborts connections at the head of the request, "unavailable" answers 503.
        """
        self.end_outage()
        self._outage = Injection(_OUTAGES[mode], None, None, 0, None)
        self._script.add(self._outage, first=True)
        if seconds is not None:
            self._outage_timer = asyncio.get_running_loop().call_later(seconds, self.end_outage)

    def outage_after(
        self, *, actions: int, seconds: float | None = None, mode: Literal["drop", "unavailable"] = "drop"
    ) -> None:
        """Begin an outage once `actions` further actions were accepted; the rest as for `outage()`."""
        self._service.after_actions(actions, lambda: self.outage(seconds, mode=mode))

    def end_outage(self) -> None:
        """Serve again. Without an outage this does nothing."""
        if self._outage is not None:
            self._outage.cancel()
            self._outage = None
        if self._outage_timer is not None:
            self._outage_timer.cancel()
            self._outage_timer = None

    def expire_token(self, token: str | None = None) -> None:
        """Let `token`, or the newest, expire: it gets 401, save from `/renew`, which is meant for that too.

        Raises:
            KeyError: The token was never issued here.
        """
        self._service.tokens.invalidate(token)

    def expire_token_after(self, *, actions: int) -> None:
        """Let the token that is newest then expire once `actions` further actions were accepted."""
        self._service.after_actions(actions, self.expire_token)

    def revoke_token(self, token: str | None = None, *, renewable: bool = True) -> None:
        """Revoke `token`, or the newest: it gets 401; from `/renew` too, unless it is left renewable.

        Raises:
            KeyError: The token was never issued here.
        """
        self._service.tokens.invalidate(token, renewable=renewable)

    def poison(self, predicate: Callable[[Action], bool]) -> None:
        """Refuse from now on every batch that holds an action of which `predicate` is true: 400, whole."""
        self._service.poison(predicate)

    # --- HTTP -----------------------------------------------------------------------------------------------

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        request = self._receive(http)
        try:
            answer = await self._answer(request, http.content)
        except (ConnectionError, HttpProcessingError):
            answer = None  # The client left in the middle of its body.
        if not self._keep_bodies:
            request.body = b""
        if answer is None:
            return _dropped(http)
        request.status = answer.status
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    def _receive(self, http: web.BaseRequest) -> ReceivedRequest:
        self._received += 1
        path = http.path
        request = ReceivedRequest(
            number=self._received,
            method=http.method,
            path=path.removeprefix(BASE_PATH) if path.startswith(f"{BASE_PATH}/") else f"outside:{path}",
            query=http.query_string,
            token=http.headers.get("X-Api-Key"),
            content_type=http.content_type,
        )
        self._requests.append(request)
        return request

    async def _answer(self, request: ReceivedRequest, content: StreamReader) -> Answer | None:
        """What to answer; None is to drop the connection."""
        if self._script.reads_body(request):
            await _read(request, content)
        fault = self._script.choose(request)
        if fault is not None:
            return await self._suffer(fault, request, content)
        await _read(request, content)
        return self._service.answer(request)

    async def _suffer(self, fault: Fault, request: ReceivedRequest, content: StreamReader) -> Answer | None:
        request.fault = fault.name
        if fault.reads:
            await _read(request, content)
        ordinary = self._service.answer(request) if fault.applies else None
        if fault.delay and not await self._pause(fault.delay):
            return None
        if fault.drops:
            return None
        if ordinary is not None and ordinary.status >= 400:
            # What was refused had no effect: an answer that says otherwise would make any client lie.
            return ordinary
        return fault.answer or ordinary

    async def _pause(self, seconds: float) -> bool:
        """Wait; False if the sandbox stopped before the time was over."""
        with contextlib.suppress(TimeoutError):
            # Not every event loop takes an infinite delay.
            async with asyncio.timeout(None if math.isinf(seconds) else seconds):
                await self._stopping.wait()
        return not self._stopping.is_set()


async def _read(request: ReceivedRequest, content: StreamReader) -> None:
    if not content.at_eof():
        request.body = await content.read()


def _dropped(http: web.BaseRequest) -> web.StreamResponse:
    """Abort the connection; what is returned is for the server library alone, and never sent."""
    if http.transport is not None:
        http.transport.abort()
    return web.Response()
