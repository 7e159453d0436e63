"""`ConfirmaClient`: wires the shell together, and owns its life."""

import asyncio
import os
from collections.abc import Callable, Mapping
from math import inf
from types import TracebackType
from typing import Any, Self

import aiohttp

from ._core.address import checked_base_url
from ._core.assumptions import Assumptions
from ._core.disposition import DispositionPolicy
from ._core.journal import JournalTarget
from ._core.request import unmodelled
from ._core.wire import JsonError, decode_json
from ._io.actions import Actions
from ._io.batcher import Batcher
from ._io.bookkeeping import Bookkeeping
from ._io.caller import Caller
from ._io.delivery import Delivery
from ._io.emitter import Emitter
from ._io.journal import DurableJournal, Journal, MemoryJournal
from ._io.pacing import Pacing
from ._io.probe import ServiceProbe
from ._io.reconciling import Reconciler
from ._io.session import Session, TokenUnusableError
from ._io.token_calls import TokenCalls
from ._io.token_keeper import TokenKeeper
from ._io.token_middleware import TokenMiddleware
from ._io.token_store import TokenStore
from ._io.variables import environment_named, token_named
from .codes import Environment
from .errors import AmbiguousAnswerError, ClientStateError, ConfigurationError
from .events import Event, TokenRenewed
from .models import DrainReport, Statistics
from .policies import BatchPolicy, RatePolicy, ReconcilePolicy, RetryPolicy, Timeouts

__all__ = ["ConfirmaClient"]

_ABORT_SECONDS = 1.0
"""How long aborted attempts may take to say what was observed of them."""


class ConfirmaClient:
    """A client of the Confirma Finance Integrations API for one account in one environment.

    Use it as an asynchronous context manager, or call `open()` and `close()`. It belongs to the event loop on which it
    was opened.

    Attributes:
        actions: Submit invoice actions.
        token: Look at the token, and replace it.
    """

    actions: Actions
    token: TokenCalls

    def __init__(
        self,
        *,
        environment: Environment,
        token: str | TokenStore,
        base_url: str | None = None,
        batch: BatchPolicy = BatchPolicy(),  # noqa: B008 - frozen
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008
        rate: RatePolicy = RatePolicy(),  # noqa: B008
        timeouts: Timeouts = Timeouts(),  # noqa: B008
        assumptions: Assumptions = Assumptions(),  # noqa: B008
        disposition: DispositionPolicy = DispositionPolicy(),  # noqa: B008
        journal: Journal | None = None,
        reconciler: Reconciler | None = None,
        reconcile: ReconcilePolicy = ReconcilePolicy(),  # noqa: B008
        connector: aiohttp.BaseConnector | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        """Set a client up; nothing is opened or sent before `open()`.

        Args:
            environment: Where the token belongs. It is never guessed.
            token: The access token, which is then never renewed, or a store that can keep a renewed one.
            base_url: Another base than the environment's, such as the sandbox's. Plain http only on loopback.
            batch: How actions are coalesced, and how many may wait.
            retry: When what may be repeated is repeated.
            rate: How fast POSTs may follow one another.
            timeouts: How long one attempt may take.
            assumptions: What is taken for true although the API does not document it.
            disposition: Which actions may be repeated, and after what.
            journal: The record of each action's state; None keeps it in memory. The client opens and closes it.
            reconciler: Looks whether an action that must not be repeated took effect; None leaves it UNKNOWN.
            reconcile: When it looks, and when it is believed.
            connector: A pool to borrow; it stays open when the client closes, so that many clients can share it.
            on_event: Called with each event, on the event loop; keep it short.

        Raises:
            ConfigurationError: A setting is missing or unsafe.
        """
        if not isinstance(environment, Environment):
            raise ConfigurationError(
                "environment takes Environment.STAGING or Environment.PRODUCTION; it is not guessed."
            )
        _check_settings(
            (batch, BatchPolicy, "batch"),
            (retry, RetryPolicy, "retry"),
            (rate, RatePolicy, "rate"),
            (timeouts, Timeouts, "timeouts"),
            (assumptions, Assumptions, "assumptions"),
            (disposition, DispositionPolicy, "disposition"),
            (reconcile, ReconcilePolicy, "reconcile"),
        )
        if not (isinstance(token, str) or hasattr(token, "load")):
            raise ConfigurationError(
                f"token takes a string or a store such as FileTokenStore, not {type(token).__name__}."
            )
        if connector is not None and not isinstance(connector, aiohttp.BaseConnector):
            raise ConfigurationError(f"connector takes an aiohttp connector, not {type(connector).__name__}.")
        self._emit = Emitter(on_event)
        base_url = checked_base_url(base_url or environment.base_url)
        self._session = Session(base_url, timeouts, connector)
        self._journal = MemoryJournal() if journal is None else journal
        self._journal_target = JournalTarget(environment, base_url)
        self._keeper = TokenKeeper(
            token,
            environment=environment,
            session=self._session,
            assumptions=assumptions,
            timeouts=timeouts,
            on_renewed=lambda generation: self._emit(TokenRenewed(generation)),
        )
        self._batcher = Batcher(batch, emit=self._emit)
        self._pacing = Pacing(
            lanes=batch.lanes,
            rate=rate,
            retry=retry,
            probe=ServiceProbe(self._session, self._keeper, assumptions),
            token_is_replaceable=lambda: self._keeper.replaceable,
            on_opening=self._batcher.pump_soon,
            on_patience_ended=self._batcher.expire,
            emit=self._emit,
        )
        self._books = Bookkeeping(self._journal, self._batcher.on_ends)
        self._delivery = Delivery(
            session=self._session,
            pacing=self._pacing,
            books=self._books,
            retry=retry,
            disposition=disposition,
            assumptions=assumptions,
            reconciler=reconciler,
            reconcile=reconcile,
            emit=self._emit,
        )
        self._batcher.connect(self._pacing, self._books, self._delivery)
        self._caller = Caller(
            session=self._session,
            pacing=self._pacing,
            budget=self._delivery.budget,
            retry=retry,
            disposition=disposition,
            assumptions=assumptions,
            back_off=self._delivery.back_off,
        )
        self.actions = Actions(
            self._batcher,
            policy=batch,
            disposition=disposition,
            assumptions=assumptions,
            journal=self._journal if isinstance(self._journal, DurableJournal) else None,
            require_open=self._require_open,
            drain=self._start_drain,
        )
        self.token = TokenCalls(self._keeper, self._require_open)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._draining: asyncio.Task[DrainReport] | None = None
        self._closing: asyncio.Task[DrainReport] | None = None
        self._drain_until = inf
        self._drain_limit: asyncio.Timeout | None = None

    @classmethod
    def from_env(cls, **settings: Any) -> Self:
        """A client as the environment variables say; `settings` are the constructor's other arguments.

        `CONFIRMA_ENVIRONMENT` is `staging` or `production`. `CONFIRMA_TOKEN_FILE` names a file for a `FileTokenStore`,
        or `CONFIRMA_TOKEN` holds a token that is never renewed. `CONFIRMA_BASE_URL` is optional.

        Raises:
            ConfigurationError: One of them is missing, contradicts another, or is not what it should be.
        """
        return cls(
            environment=environment_named(os.environ.get("CONFIRMA_ENVIRONMENT"), by="CONFIRMA_ENVIRONMENT"),
            token=token_named(os.environ),
            base_url=os.environ.get("CONFIRMA_BASE_URL") or None,
            **settings,
        )

    def __repr__(self) -> str:
        return f"<ConfirmaClient {self._state}>"

    # --- life -----------------------------------------------------------------------------------------------------

    @property
    def _state(self) -> str:
        if self._closing is not None:
            return "closed"
        if self._draining is not None:
            return "drained"
        return "not open" if self._loop is None else "open"

    def _require_open(self) -> None:
        state = self._state
        if state != "open":
            advice = "use it in `async with`, or call open() first" if state == "not open" else "open another one"
            raise ClientStateError(f"The client is {state}; nothing was sent; {advice}.")
        if self._loop is not asyncio.get_running_loop():
            raise ClientStateError(
                "The client was opened on another event loop; nothing was sent; open one on each loop."
            )

    async def open(self) -> Self:
        """Open the session, and read the token's store. A second call does nothing while the client is open.

        Raises:
            TokenStoreError: The store holds no token, or one of another environment, or cannot be written.
            TokenLostError: A former process was stopped in the middle of a renewal, and its token is lost.
            JournalError: The journal cannot be used, is in use elsewhere, or belongs to another target.
            ConfigurationError: The borrowed connector is closed.
            ClientStateError: The client was closed, or belongs to another event loop.
        """
        async with self._opening:
            if self._state != "not open":
                self._require_open()
                return self
            await self._journal.open(self._journal_target)
            try:
                await self._session.open(TokenMiddleware(self._keeper))
                await self._keeper.open()
                if self.actions.outbox is not None:
                    await self.actions.outbox.open()
            except BaseException as error:
                await self._session.close()
                await self._journal.close()
                if isinstance(error, TokenUnusableError):
                    raise error.error from None
                raise
            self._loop = asyncio.get_running_loop()
        return self

    async def close(self, grace: float = 25.0) -> DrainReport:
        """Drain, then close the session. A second call returns the same report, and a client that was never open, too.

        A second call can shorten the grace, also of a drain that runs. Cancelling cuts it short: what is in flight is
        abandoned, and ends as its evidence says.

        A renewal of the token that is in flight is waited for, beyond the grace if need be: its answer is the only
        copy of the new token.

        Args:
            grace: Seconds to wait, as for `actions.drain`.
        """
        async with self._opening:
            # An open() that runs in another task is waited for.
            pass
        if self._state == "not open":
            return self._batcher.report()
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(grace), name="confirma-close")
        else:
            self._start_drain(grace)
        try:
            return await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            self._abandon()
            # What an abort does not reach, such as a reconciler, is cut short after a moment.
            self._start_drain(0.0)
            raise

    async def _close(self, grace: float) -> DrainReport:
        try:
            report = await self._start_drain(grace)
            await self._keeper.finish()
            return report
        finally:
            await self._session.close()
            await self._books.close()

    def _start_drain(self, grace: float) -> "asyncio.Task[DrainReport]":
        """Start to drain, or shorten the grace of a drain that runs."""
        if self._draining is None:
            if self._closing is None:
                self._require_open()
            self._draining = asyncio.create_task(self._drain(), name="confirma-drain")
        self._drain_until = min(self._drain_until, asyncio.get_running_loop().time() + grace)
        if self._drain_limit is not None and not self._drain_limit.expired():
            self._drain_limit.reschedule(self._drain_until)
        return self._draining

    async def _drain(self) -> DrainReport:
        self._delivery.hurry()
        self._batcher.stop_admission()
        try:
            async with asyncio.timeout_at(self._drain_until) as self._drain_limit:
                if self.actions.outbox is not None:
                    await self.actions.outbox.settle()
                await self._batcher.drain()
                await self._caller.finish()
        except TimeoutError:
            self._abandon()
            await self._batcher.wait_deliveries(_ABORT_SECONDS)
        finally:
            self._drain_limit = None
        self._pacing.close()
        self._batcher.be_over()
        return self._batcher.report()

    def _abandon(self) -> None:
        """Send nothing more, and learn of what is in flight only what is known by now."""
        self._pacing.close()
        self._batcher.be_over()
        self._batcher.expire(inf, "the client was closed")
        self._session.abort()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # --- what is not modelled -------------------------------------------------------------------------------------

    async def request(
        self, method: str, path: str, *, params: Mapping[str, str | int | bool] | None = None, json: Any = None
    ) -> Any:
        """Make a call that this package does not model, with its token, its gate and its retries.

        A GET is repeated freely, unless it asks for `unfetchedOnly`, which has an effect (API, section 5.2). Any other
        call is repeated only where it certainly had no effect.

        Args:
            method: The HTTP method.
            path: The path under the base URL, such as `/payments`. It appears in errors and logs; parameters and body
                do not, so that is where personal data belongs.
            params: Query parameters; booleans become `true` and `false`.
            json: The body, if there is one; amounts as Decimal.

        Returns:
            The answer's JSON value, fractional numbers as Decimal; None for an empty body.

        Raises:
            ServiceError: It did not succeed, and had no effect; the subclass tells why.
            OutcomeUnknownError: It may have taken effect. Look before it is repeated.
            ConfigurationError: The path is not one under the base URL, or is `/renew`, which `token.renew()` calls.
            ClientStateError: The client is not open.
        """
        self._require_open()
        request = unmodelled(method, path, params=params, json=json)
        exchange = await self._caller.call(request)
        if not exchange.body_is_whole:
            text = (
                f"{request.method} {path} succeeded, and its answer was cut, or is larger than is read; it took effect."
            )
            raise AmbiguousAnswerError(text, exchange.evidence.status)
        try:
            return decode_json(exchange.body) if exchange.body else None
        except JsonError:
            text = f"{request.method} {path} succeeded, and its answer is not JSON; it took effect."
            raise AmbiguousAnswerError(text, exchange.evidence.status) from None

    def statistics(self) -> Statistics:
        """The client at this moment."""
        report = self._batcher.report()
        return Statistics(
            waiting_actions=self._batcher.waiting_actions,
            waiting_bytes=self._batcher.waiting_bytes,
            in_flight_batches=self._pacing.in_flight,
            in_flight_actions=self._batcher.in_flight_actions,
            posts=self._delivery.posts,
            retries=self._delivery.retries,
            renewals=self._keeper.renewals,
            retry_budget=self._delivery.budget.credits,
            gate=self._pacing.gate.state,
            requests_per_second=self._pacing.rate.requests_per_second,
            accepted=report.accepted,
            rejected=report.rejected,
            not_applied=report.not_applied,
            unknown=report.unknown,
        )


def _check_settings(*settings: tuple[object, type, str]) -> None:
    for value, kind, name in settings:
        if not isinstance(value, kind):
            raise ConfigurationError(f"{name} takes a {kind.__name__}, not {type(value).__name__}.")
