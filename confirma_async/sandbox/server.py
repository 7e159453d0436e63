"""The sandbox as an HTTP server on loopback: it carries out faults, and leaves the rest to the service."""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from aiohttp import StreamReader, web
from aiohttp.http import HttpProcessingError
from attrs import evolve
from yarl import URL

from .._core.disposition import DispositionPolicy
from ..models import Action, ActionOutcome
from .audit import Audit, actions_in, audit
from .exchange import ACTION_PATH, BASE_PATH, Answer, ReceivedRequest
from .faults import Fault, FaultScript, Injection
from .ledger import Ledger
from .listener import Listener
from .reconciler import LedgerReconciler
from .schedule import FaultSchedule, OneIn, OutageMode
from .service import Service

__all__ = ["Sandbox"]

MAX_REQUESTS_KEPT = 100_000

_SECONDS_TO_STOP = 0.05
"""What a client that never finishes its request may hold up the end."""

_DROP = Fault.DROP_BEFORE_READING.renamed("outage")
_LOSE = Fault.DROP_AFTER_APPLYING.renamed("outage")
_TURN_AWAY = Fault.unavailable().renamed("outage")


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
        max_body_bytes: The largest body of a batch; a larger one is answered 413. None is no limit.
        max_actions: The most actions of a batch; one with more is answered 413. None is no limit.
        visible_after: Seconds until an effect shows to `reconciler()`, by the event loop's clock.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        keep_ledger: bool = True,
        renewal_kills_old_token: bool = True,
        max_body_bytes: int | None = None,
        max_actions: int | None = None,
        visible_after: float = 0.0,
    ) -> None:
        self._host = host
        self._port = port
        self._keep_bodies = keep_ledger
        self._visible_after = visible_after
        self._service = Service(
            token=token,
            keep_ledger=keep_ledger,
            renewal_kills_old_token=renewal_kills_old_token,
            max_body_bytes=max_body_bytes,
            max_actions=max_actions,
        )
        self._script = FaultScript()
        self._requests: deque[ReceivedRequest] = deque(maxlen=MAX_REQUESTS_KEPT)
        self._received = 0
        self._outage: list[Injection] = []
        self._outage_timer: asyncio.TimerHandle | None = None
        self._listener: Listener | None = None
        self._server: web.Server | None = None
        self._busy: set[web.RequestHandler] = set()
        """The connections that have a request under way."""
        self._has_hung_up = False
        """Connections were closed on which somebody may have been sending, so that not every request is on record."""
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
        if self._server is not None:
            raise RuntimeError("The sandbox is running already.")
        self._stopping = asyncio.Event()
        server = web.Server(self._handle, access_log=None)
        self._listener = Listener(self._host, self._port, server)
        self._listener.listen()
        self._port = self._listener.port
        self._server = server

    async def stop(self) -> None:
        """Stop listening and end every connection, within a fraction of a second. A second call does nothing.

        An outage ends, and requests that wait for a delayed answer have their connections dropped. What was
        recorded stays readable.
        """
        server, self._server = self._server, None
        if server is None or self._listener is None:
            return
        self._listener.close()
        self._listener = None
        self.end_outage()
        self._stopping.set()
        # One turn, so that what has arrived meets its handler.
        await asyncio.sleep(0)
        self._has_hung_up = self._has_hung_up or bool(server.connections)
        server.pre_shutdown()
        await server.shutdown(_SECONDS_TO_STOP)

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

    def reconciler(self) -> LedgerReconciler:
        """A reconciler that looks into this sandbox's ledger, where an effect shows after `visible_after`."""
        return LedgerReconciler(self.ledger, visible_after=self._visible_after)

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

    def audit(
        self,
        submitted: Sequence[Action],
        outcomes: Sequence[ActionOutcome],
        *,
        disposition: DispositionPolicy = DispositionPolicy(),  # noqa: B008 - frozen
    ) -> Audit:
        """Compare what was submitted to a client and what it reported with what this sandbox received and holds.

        The arguments are those of `confirma_async.sandbox.audit`. That an UNKNOWN action was sent at all can be said
        only while every body is known: none was dropped unread, no connection was closed by a stop or an outage of
        mode "refuse", and none of the requests is forgotten.

        Raises:
            RuntimeError: It was made with `keep_ledger=False`.
        """
        ledger = [effect.action for effect in self.ledger]
        return audit(submitted, outcomes, ledger, received=self._actions_received(), disposition=disposition)

    def _actions_received(self) -> list[Action] | None:
        """The actions of every body; None if one may be missing."""
        posts = self.posts
        if self._has_hung_up or len(self._requests) < self._received or not all(post.body for post in posts):
            return None
        return [action for post in posts for action in actions_in(post.body)]

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
            when: Which requests match, such as `OneIn(8, seed=3)`; None is all. It may look at the body, which is
                therefore read before a fault is chosen, even if that is `DROP_BEFORE_READING`.

        Returns:
            A handle: `remaining` tells how many requests it will meet yet, `cancel()` ends it.
        """
        injection = Injection(fault, path, when, after, times)
        self._script.add(injection)
        return injection

    def unleash(self, schedule: FaultSchedule) -> None:
        """Let everything happen that `schedule` has, beside what was injected before.

        Its limits replace those of the constructor. "After so many actions" counts from now.
        """
        for planned in schedule.faults:
            self.inject(planned.fault, path=planned.path, times=None, when=planned.choice())
        for outage in schedule.outages:
            self.outage_after(actions=outage.after, seconds=outage.seconds, mode=outage.mode)
        for end in schedule.token_ends:
            self._service.after_actions(end.after, partial(self.revoke_token, renewable=end.renewable))
        if schedule.poisons_one_in is not None:
            self.poison(schedule.is_poison)
        self._service.max_body_bytes = schedule.max_body_bytes
        self._service.max_actions = schedule.max_actions

    def outage(self, seconds: float | None = None, *, mode: OutageMode = "drop") -> None:
        """Begin an outage: every request on every path fails, before any injected fault has a say.

        It replaces an outage that is on.

        Args:
            seconds: How long it lasts, on the clock of the running event loop; None is until `end_outage()`.
            mode: "drop" aborts connections at the head of the request; "lose" does so too, but applies about half of
                the requests before; "unavailable" answers 503. "refuse" stops listening, so that connections are
                refused, and closes those that stand, a busy one after its answer.

        Raises:
            OSError: Somebody else took the port in the moment in which it was let go, in mode "refuse".
        """
        self.end_outage()
        self._outage = _outage(mode)
        for injection in reversed(self._outage):
            self._script.add(injection, first=True)
        if mode == "refuse":
            self._shut_door()
        if seconds is not None:
            self._outage_timer = asyncio.get_running_loop().call_later(seconds, self.end_outage)

    def outage_after(self, *, actions: int, seconds: float | None = None, mode: OutageMode = "drop") -> None:
        """Begin an outage once `actions` further actions were accepted; the rest as for `outage()`."""
        self._service.after_actions(actions, lambda: self.outage(seconds, mode=mode))

    def end_outage(self) -> None:
        """Serve again. Without an outage this does nothing."""
        for injection in self._outage:
            injection.cancel()
        self._outage = []
        if self._listener is not None:
            self._listener.listen()
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

    def _shut_door(self) -> None:
        if self._listener is None or self._server is None:
            return
        self._listener.refuse()
        self._has_hung_up = self._has_hung_up or bool(self._server.connections)
        for connection in self._server.connections:
            if connection in self._busy:
                connection.close()
            else:
                connection.force_close()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        self._busy.add(http.protocol)
        try:
            return await self._serve(http)
        finally:
            self._busy.discard(http.protocol)

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
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
        if answer.cut or answer.drip:
            return await self._send_badly(http, answer)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _send_badly(self, http: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        """Send the answer byte by byte, or no more than half of it, and say that all of it comes."""
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_length = size = len(answer.body)
        with contextlib.suppress(ConnectionError):  # The client left.
            await response.prepare(http)
            for place in range(size // 2 if answer.cut else size):
                if answer.drip and not await self._pause(answer.drip):
                    return _dropped(http)
                await response.write(answer.body[place : place + 1])
            if answer.cut and http.transport is not None:
                # Closed, not aborted: what was written still arrives.
                http.transport.close()
        return response

    def _receive(self, http: web.BaseRequest) -> ReceivedRequest:
        self._received += 1
        path = http.path
        request = ReceivedRequest(
            number=self._received,
            at=asyncio.get_running_loop().time(),
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
        # What was refused had no effect: an answer that says otherwise would make any client lie.
        was_refused = ordinary is not None and ordinary.status >= 400
        answer = ordinary if was_refused else fault.answer or ordinary
        return answer and evolve(answer, cut=fault.cut, drip=fault.drip)

    async def _pause(self, seconds: float) -> bool:
        """Wait; False if the sandbox stopped before the time was over."""
        with contextlib.suppress(TimeoutError):
            # Not every event loop takes an infinite delay.
            async with asyncio.timeout(None if math.isinf(seconds) else seconds):
                await self._stopping.wait()
        return not self._stopping.is_set()


def _outage(mode: OutageMode) -> list[Injection]:
    """What meets every request, also in mode "refuse": there it meets what came through before the door was shut."""
    everything = Injection(_TURN_AWAY if mode == "unavailable" else _DROP, None, None, 0, None)
    half = Injection(_LOSE, None, OneIn(2, seed=0), 0, None)
    return [half, everything] if mode == "lose" else [everything]


async def _read(request: ReceivedRequest, content: StreamReader) -> None:
    if not content.at_eof():
        request.body = await content.read()


def _dropped(http: web.BaseRequest) -> web.StreamResponse:
    """Abort the connection; what is returned is for the server library alone, and never sent."""
    if http.transport is not None:
        http.transport.abort()
    return web.Response()
