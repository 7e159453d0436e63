"""`ConfirmaClient`: wires the shell together, and owns its life."""

import asyncio
import os
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from math import inf
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from ._core.assumptions import Assumptions
from ._core.disposition import DispositionPolicy
from ._core.request import ApiRequest
from ._core.rules import value_violations
from ._core.token import Check
from ._core.wire import JsonError, decode_json, encode_json
from ._io.actions import Actions
from ._io.batcher import Batcher
from ._io.caller import Caller
from ._io.delivery import Delivery
from ._io.emitter import Emitter
from ._io.journal import Journal, MemoryJournal
from ._io.pacing import Pacing
from ._io.probe import ServiceProbe
from ._io.reconciling import Reconciler
from ._io.session import Session, TokenUnusableError
from ._io.token_keeper import TokenKeeper
from ._io.token_middleware import TokenMiddleware
from ._io.token_store import FileTokenStore, TokenStore
from .codes import EffectClass, Environment
from .errors import AmbiguousAnswerError, ClientStateError, ConfigurationError, ServiceUnavailableError
from .events import Event, TokenRenewed
from .models import DrainReport, Statistics
from .policies import BatchPolicy, RatePolicy, ReconcilePolicy, RetryPolicy, Timeouts

__all__ = ["ConfirmaClient", "TokenCalls"]

_ABORT_SECONDS = 1.0
"""How long aborted attempts may take to say what was observed of them."""


class TokenCalls:
    """`client.token`: look at the token, and replace it."""

    def __init__(self, keeper: TokenKeeper, require_open: Callable[[], None]) -> None:
        self._keeper = keeper
        self._require_open = require_open

    async def validate(self) -> bool:
        """Ask the service whether the token is valid (GET `/validate`; API, section 3.2). Renews nothing.

        Raises:
            ServiceUnavailableError: It gave no clear answer. Try later.
            ClientStateError: The client is not open.
        """
        self._require_open()
        check = await self._keeper.check()
        if check is Check.UNCLEAR:
            raise ServiceUnavailableError(
                "GET /validate had no clear answer, so whether the token is valid is not known; nothing was changed; "
                "try again later."
            )
        return check is Check.VALID

    async def renew(self) -> None:
        """Replace the token now, for rotation (GET `/renew`; API, section 3.3), and use the new one from then on.

        The new token is in its store before this returns. Calls that run meanwhile share one renewal. Cancelling leaves
        the renewal running.

        Raises:
            AuthenticationError: It is a plain string, which is never renewed, or the service refuses to renew it.
            TokenLostError: A new token was issued and did not reach us. Only those who issue tokens can help.
            ServiceUnavailableError: The service did not handle it. Try later.
            ClientStateError: The client is not open.
        """
        self._require_open()
        try:
            await self._keeper.rotate()
        except TokenUnusableError as unusable:
            raise unusable.error from None


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
            journal: The record of each action's state; None keeps it in memory.
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
        self._emit = Emitter(on_event)
        self._session = Session(_checked_base_url(base_url or environment.base_url), timeouts, connector)
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
            on_opening=self._batcher.pump,
            on_patience_ended=self._batcher.expire,
            emit=self._emit,
        )
        self._delivery = Delivery(
            session=self._session,
            pacing=self._pacing,
            journal=MemoryJournal() if journal is None else journal,
            retry=retry,
            disposition=disposition,
            assumptions=assumptions,
            reconciler=reconciler,
            reconcile=reconcile,
            on_ends=self._batcher.on_ends,
            emit=self._emit,
        )
        self._batcher.connect(self._pacing, self._delivery)
        self._caller = Caller(
            session=self._session,
            pacing=self._pacing,
            budget=self._delivery.budget,
            retry=retry,
            disposition=disposition,
            assumptions=assumptions,
        )
        self.actions = Actions(
            self._batcher,
            policy=batch,
            disposition=disposition,
            assumptions=assumptions,
            require_open=self._require_open,
            drain=self._start_drain,
        )
        self.token = TokenCalls(self._keeper, self._require_open)
        self._loop: asyncio.AbstractEventLoop | None = None
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
            environment=_environment_from(os.environ),
            token=_token_from(os.environ),
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
            ClientStateError: The client was closed, or belongs to another event loop.
        """
        if self._state != "not open":
            self._require_open()
            return self
        self._loop = asyncio.get_running_loop()
        await self._session.open(TokenMiddleware(self._keeper))
        try:
            await self._keeper.open()
        except BaseException as error:
            self._loop = None
            await self._session.close()
            if isinstance(error, TokenUnusableError):
                raise error.error from None
            raise
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
            raise

    async def _close(self, grace: float) -> DrainReport:
        try:
            report = await self._start_drain(grace)
            await self._keeper.finish()
            return report
        finally:
            await self._session.close()

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
        try:
            async with asyncio.timeout_at(self._drain_until) as self._drain_limit:
                await self._batcher.drain()
        except TimeoutError:
            self._abandon()
            await self._batcher.wait_deliveries(_ABORT_SECONDS)
        finally:
            self._drain_limit = None
        self._pacing.close()
        return self._batcher.report()

    def _abandon(self) -> None:
        """Send nothing more, and learn of what is in flight only what is known by now."""
        self._pacing.close()
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

        A GET is repeated freely. Any other method is repeated only where it certainly had no effect.

        Args:
            method: The HTTP method.
            path: The path under the base URL, such as `/payments`.
            params: Query parameters; booleans become `true` and `false`.
            json: The body, if there is one; amounts as Decimal.

        Returns:
            The answer's JSON value, fractional numbers as Decimal; None for an empty body.

        Raises:
            ServiceError: It did not succeed, and had no effect; the subclass tells why.
            OutcomeUnknownError: It was no GET, and may have taken effect. Look before it is repeated.
            ConfigurationError: The path is not one under the base URL, or is `/renew`, which `token.renew()` calls.
            ClientStateError: The client is not open.
        """
        self._require_open()
        request = ApiRequest(
            method=_checked_method(method),
            path=_checked_path(path),
            params=None if params is None else {name: _query_value(value) for name, value in params.items()},
            body=None if json is None else _encoded(json),
        )
        effect = EffectClass.SET_STATE if request.method in ("GET", "HEAD") else EffectClass.APPEND
        exchange = await self._caller.call(request, effect)
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


def _environment_from(variables: Mapping[str, str]) -> Environment:
    name = variables.get("CONFIRMA_ENVIRONMENT", "")
    try:
        return Environment(name.strip().lower())
    except ValueError:
        found = f"{name!r} is neither" if name else "it is not set"
        raise ConfigurationError(f"CONFIRMA_ENVIRONMENT takes staging or production, and {found}.") from None


def _token_from(variables: Mapping[str, str]) -> str | TokenStore:
    token, path = variables.get("CONFIRMA_TOKEN"), variables.get("CONFIRMA_TOKEN_FILE")
    if token and path:
        raise ConfigurationError("CONFIRMA_TOKEN and CONFIRMA_TOKEN_FILE are both set; keep the one that is meant.")
    if path:
        return FileTokenStore(path)
    if not token:
        raise ConfigurationError(
            "There is no token: name a file that holds it in CONFIRMA_TOKEN_FILE, or put it into CONFIRMA_TOKEN."
        )
    return token.strip()


def _checked_base_url(url: str) -> str:
    """The base URL without a slash at its end.

    Raises:
        ConfigurationError: It is no http(s) URL, carries more than a base does, or would send the token in the clear.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except (ValueError, TypeError, AttributeError):
        raise ConfigurationError("base_url is not a URL such as https://host/api/v1/partner.") from None
    if not (url.isascii() and url.isprintable() and " " not in url):
        raise ConfigurationError("base_url holds white space or characters that a URL cannot carry.")
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError("base_url is not a URL such as https://host/api/v1/partner.")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ConfigurationError("base_url takes no user, password, query or fragment.")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ConfigurationError(f"base_url would send the token to {host} in the clear; use https.")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked_method(method: str) -> str:
    if not (method.isascii() and method.isalpha()):
        raise ConfigurationError("method takes an HTTP method such as GET.")
    return method.upper()


def _checked_path(path: str) -> str:
    steps = path.split("/")
    plain = path.isascii() and path.isprintable() and not set(path) & set(" ?#\\%")
    if not path.startswith("/") or not plain or {".", ".."} & set(steps) or "" in steps[1:]:
        raise ConfigurationError("path takes a path under the base URL such as /payments; parameters go into params.")
    if path.lower() == "/renew":
        raise ConfigurationError("GET /renew issues a new token, which would be lost here; use client.token.renew().")
    return path


def _query_value(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _encoded(value: Any) -> bytes:
    if found := next(value_violations("json", value), None):
        raise ConfigurationError(f"json cannot be written as JSON: {found}; nothing was sent.")
    try:
        return encode_json(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigurationError(f"json cannot be written as JSON: {type(error).__name__}; nothing was sent.") from None
