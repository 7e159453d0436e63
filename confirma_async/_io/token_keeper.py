"""Keeps the token of a client, and renews it in the order that loses none.

Renew → keep the answer durably as candidate → check it → promote it → use it. One renewal runs at a time among all
clients and processes that share a store; everybody else waits for its result.
"""

import asyncio
from collections.abc import Callable

from attrs import field, frozen

from .._core.assumptions import Assumptions
from .._core.request import renew_token, validate_token
from .._core.token import MAX_FAILURES, Check, Renewal, TokenRecord, judge_check, judge_renewal, renewed_token
from ..codes import Environment
from ..errors import AuthenticationError, ServiceError, ServiceUnavailableError, TokenLostError, TokenStoreError
from ..policies import Timeouts
from .log import log
from .session import Session, TokenUnusableError
from .token_store import TokenStore, check_token

__all__ = ["HeldToken", "TokenKeeper"]

_CHECK_SECONDS = 1.0
"""How long a renewal may go on, once its answer is kept, while the client waits to be closed."""


@frozen
class HeldToken:
    """A token, and the counter that tells it from the ones before it."""

    token: str = field(repr=False)
    generation: int


class TokenKeeper:
    """The token of one client: which one is used, and how it is replaced."""

    def __init__(
        self,
        token: str | TokenStore,
        *,
        environment: Environment,
        session: Session,
        assumptions: Assumptions,
        timeouts: Timeouts,
        on_renewed: Callable[[int], None],
    ) -> None:
        self._store = None if isinstance(token, str) else token
        self._held = HeldToken(check_token(token) if isinstance(token, str) else "", 1)
        self._environment = environment
        self._session = session
        self._assumptions = assumptions
        self._timeouts = timeouts
        self._on_renewed = on_renewed
        self._running: asyncio.Task[HeldToken] | None = None
        self._unsaved: TokenRecord | None = None
        """What the store should hold by now, and refused to keep. It is saved before anything else happens."""
        self._failures = 0
        self._refused_generation = 0
        self._nothing_at_stake = asyncio.Event()
        """Cleared from when the service is asked for a new token until the answer is kept: ending it might lose it."""
        self._nothing_at_stake.set()
        self._is_finishing = False
        self.renewals = 0

    @property
    def held(self) -> HeldToken:
        """The token to use now."""
        return self._held

    @property
    def replaceable(self) -> bool:
        """Whether a dead token may come back to life while we run: somebody may put another one into the store."""
        return self._store is not None and self._store.replaceable

    async def open(self) -> None:
        """Read the store; bind it to the environment; settle a candidate that a former process left.

        Raises:
            TokenStoreError: There is no token in it, it belongs to another environment, or it cannot be written.
        """
        if self._store is None:
            return
        async with self._store.lock(self._timeouts.renew_lock):
            self._use(await self._settled(self._store, await self._bound(self._store)), renewed=False)

    async def _bound(self, store: TokenStore) -> TokenRecord:
        """The store's record, once it is certain to belong to our environment."""
        record = await self._completed(store, await store.load())
        if record.environment is None:
            record = record.bound_to(self._environment)
            await store.save(record)
        elif record.environment is not self._environment:
            raise TokenStoreError(
                f"The token in {store!r} belongs to {record.environment.value}, and this client to "
                f"{self._environment.value}; give it a token of its own."
            )
        return record

    async def _completed(self, store: TokenStore, record: TokenRecord) -> TokenRecord:
        """The record as it should be by now, if the store refused to keep that earlier, now that it keeps it.

        If the store's own token was replaced meanwhile, by a person or another process, that one counts.
        """
        unsaved = self._unsaved
        if unsaved is not None and unsaved.current == record.current and record.candidate is None:
            record = unsaved
            await store.save(record)
        self._unsaved = None
        return record

    async def _save(self, store: TokenStore, record: TokenRecord, *, intended: TokenRecord) -> None:
        """Save `record`. Where that fails, `intended` is kept in mind, and saved before anything else happens.

        It may be the only copy of a new token, which is not used before it is kept.
        """
        self._unsaved = intended
        await store.save(record)
        self._unsaved = None

    # --- renewal --------------------------------------------------------------------------------------------------

    async def successor_of(self, sent: HeldToken) -> HeldToken:
        """The token to use after `sent` was answered 401. One renewal serves all who ask.

        A caller that is cancelled leaves the renewal running.

        Raises:
            TokenUnusableError: There is none, for good or for now.
        """
        if self._held.generation > sent.generation:
            return self._held
        return await self._shared(sent)

    async def rotate(self) -> HeldToken:
        """Replace the token although it may be valid.

        Raises:
            TokenUnusableError: It was not replaced.
        """
        return await self._shared(None)

    async def _shared(self, sent: HeldToken | None) -> HeldToken:
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._replace(sent), name="confirma-token-renewal")
            self._running.add_done_callback(_look_at_error)
        renewal = self._running
        # Not `shield`: with it, a caller who is cancelled together with the renewal could not tell whose end that is.
        await asyncio.wait([renewal])
        if renewal.cancelled():
            raise _not_now("the client was closed")
        return renewal.result()

    async def finish(self) -> None:
        """Wait for the answer to a renewal that runs, and keep what is not kept yet: it is the only copy of the token.

        What comes after that, and what has not begun, is cut short: what is kept tells the next client how to go on.
        """
        self._is_finishing = True
        if self._running is not None and not self._running.done():
            await self._finish(self._running)
        if self._store is not None and self._unsaved is not None:
            await self._save_at_last(self._store)

    async def _finish(self, renewal: "asyncio.Task[HeldToken]") -> None:
        if not self._nothing_at_stake.is_set():
            await self._nothing_at_stake.wait()
            await asyncio.wait([renewal], timeout=_CHECK_SECONDS)
        renewal.cancel()
        await asyncio.wait([renewal])
        if not renewal.cancelled() and (error := renewal.exception()) is not None:
            log.error("The renewal that close() waited for failed: %s", error)

    async def _save_at_last(self, store: TokenStore) -> None:
        try:
            async with store.lock(self._timeouts.renew_lock):
                await self._bound(store)
        except TokenStoreError as error:
            is_lost = self._unsaved is not None and self._unsaved.candidate is not None
            log.error("%s%s", "A renewed token is lost, because its store cannot keep it: " if is_lost else "", error)

    async def _replace(self, sent: HeldToken | None) -> HeldToken:
        store = self._store
        if store is None:
            raise TokenUnusableError(
                AuthenticationError(
                    "The service answered 401 and the token is a plain string, which is never renewed, because the "
                    "new one would be lost with this process; keep the token in a FileTokenStore to have it renewed.",
                    401,
                ),
                dead=True,
            )
        try:
            async with store.lock(self._timeouts.renew_lock):
                return await self._replace_locked(store, sent)
        except TokenStoreError as error:
            log.error("%s", error)
            raise TokenUnusableError(
                AuthenticationError(f"The token was not renewed. {error}", 401), dead=True
            ) from error

    async def _replace_locked(self, store: TokenStore, sent: HeldToken | None) -> HeldToken:
        record = await self._settled(store, await self._bound(store))
        if record.current != self._held.token:
            # Another client, another process or a person was faster.
            self._failures = 0
            return self._use(record, renewed=False)
        if sent is not None and self._failures >= MAX_FAILURES:
            raise _dead(f"{MAX_FAILURES} renewals in a row did not bring a token that the service accepts")
        if not self._assumptions.renewal_message_is_token:
            raise _dead("the assumption renewal_message_is_token is off, so it cannot be renewed")
        return await self._renew(store, record)

    async def _renew(self, store: TokenStore, record: TokenRecord) -> HeldToken:
        if self._is_finishing:
            raise _not_now("the client is being closed")
        self._nothing_at_stake.clear()
        try:
            renewal, kept, status = await self._ask(store, record)
        finally:
            self._nothing_at_stake.set()
        if renewal is Renewal.RENEWED:
            return self._use(self._require_new(await self._settled(store, kept), kept.candidate), renewed=True)
        if renewal is Renewal.IN_DOUBT:
            return await self._renew_after_doubt(store, kept)
        if renewal is Renewal.NOT_HANDLED:
            raise _not_now()
        self._failures += 1
        raise self._failed(f"the service refuses to renew it ({status})")

    async def _ask(self, store: TokenStore, record: TokenRecord) -> tuple[Renewal, TokenRecord, int | None]:
        """Ask for a new token, and keep what came of it: what the attempt showed, the record kept, the status."""
        # Written before the service is asked: it proves that the store can be written, and a process that is killed in
        # between leaves word for the next one. A store that fails half-way may keep the mark: we know better.
        await self._save(store, record.begun(), intended=record)
        exchange = await self._session.exchange(renew_token(), token=record.current)
        token = renewed_token(exchange.json()) if exchange.body_is_whole else None
        renewal, status = judge_renewal(exchange.evidence, token), exchange.evidence.status
        if renewal is Renewal.IN_DOUBT:
            return renewal, record.begun(), status
        if renewal is Renewal.RENEWED:
            assert token is not None
            record = record.with_candidate(token)
        await self._save(store, record, intended=record)
        return renewal, record, status

    def _failed(self, reason: str) -> TokenUnusableError:
        """What a renewal that failed means: a few in a row are a dead token."""
        return _dead(reason) if self._failures >= MAX_FAILURES else _not_now(reason, AuthenticationError)

    def _require_new(self, record: TokenRecord, token: str | None) -> TokenRecord:
        """The record, if `token` was found good and promoted."""
        if record.current != token:
            raise self._failed("the service refuses the very token that it issued")
        return record

    async def _renew_after_doubt(self, store: TokenStore, record: TokenRecord) -> HeldToken:
        """A renewal may have been carried out, and its answer is lost: check the old token before asking again."""
        self._failures += 1
        record = await self._settled(store, record)
        if self._failures >= MAX_FAILURES:
            raise _dead(f"{MAX_FAILURES} renewals in a row brought no readable answer")
        return await self._renew(store, record)

    async def _settled(self, store: TokenStore, record: TokenRecord) -> TokenRecord:
        """Bring a renewal that was begun to its end, as far as what is kept allows.

        Raises:
            TokenUnusableError: A new token was issued and lost, or nothing certain can be said at the moment.
        """
        if record.candidate is not None:
            # Only a clear no distrusts a candidate: it is the only one of its kind.
            good = await self._check(record.candidate) is not Check.INVALID
            self._failures = self._failures if good else self._failures + 1
            record = record.promoted() if good else record.without_candidate()
            await store.save(record)
        if record.renewing:
            check = await self._check(record.current)
            if check is Check.UNCLEAR:
                raise _not_now(
                    "an earlier renewal was begun and its answer was not kept, and GET /validate does not say whether "
                    "the old token still holds (a valid token, written into the store, helps, too)"
                )
            if check is Check.INVALID:
                raise _lost()
            record = record.settled()
            await store.save(record)
        return record

    async def _check(self, token: str) -> Check:
        exchange = await self._session.exchange(validate_token(), token=token)
        return judge_check(exchange.evidence, exchange.json())

    async def check(self) -> Check:
        """What the service says of the token in use. Renews nothing."""
        return await self._check(self._held.token)

    async def revive(self) -> bool:
        """Whether a dead token has become good again, or has a successor by now.

        Somebody may have put one into the store; or it was the store that stood in the way of a renewal, and no longer
        does. A service that refused to renew often enough is not asked again.
        """
        dead = self._held
        if await self._check(dead.token) is Check.VALID:
            return True
        if self._store is None:
            return False
        try:
            await self.successor_of(dead)
        except TokenUnusableError:
            return False
        # Somebody put it there: as with a candidate, only a clear no distrusts it.
        return await self.check() is not Check.INVALID

    # --- use ------------------------------------------------------------------------------------------------------

    def _use(self, record: TokenRecord, *, renewed: bool) -> HeldToken:
        if record.current != self._held.token:
            self._held = HeldToken(record.current, self._held.generation + 1)
        if renewed:
            self.renewals += 1
            log.info("The token was renewed; this is generation %d.", self._held.generation)
            self._on_renewed(self._held.generation)
        return self._held

    def tried(self, held: HeldToken, *, refused: bool) -> None:
        """Take note of what became of a request that was replayed with a successor."""
        if held != self._held:
            return
        if not refused:
            self._failures = 0
        elif self._refused_generation != held.generation:
            # Many lanes may have replayed with it; it is one renewal that failed.
            self._refused_generation = held.generation
            self._failures += 1


def _look_at_error(renewal: "asyncio.Task[HeldToken]") -> None:
    """Keep asyncio from complaining of an error that nobody is left to be told."""
    if not renewal.cancelled():
        renewal.exception()


def _dead(reason: str) -> TokenUnusableError:
    text = f"The service answered 401, and {reason}; nothing was handled; put a valid token into the store."
    return TokenUnusableError(AuthenticationError(text, 401), dead=True)


def _lost() -> TokenUnusableError:
    text = (
        "The service was asked for a new token, its answer was lost, and the old token is not valid: if a new one was "
        "issued, it never reached us. Ask those who issue tokens, and put the token that counts now into the store."
    )
    return TokenUnusableError(TokenLostError(text, 401), dead=True)


def _not_now(
    reason: str = "the service did not handle the renewal", kind: type[ServiceError] = ServiceUnavailableError
) -> TokenUnusableError:
    text = f"The token could not be renewed at the moment: {reason}; nothing was handled; try again later."
    return TokenUnusableError(kind(text, 401), dead=False)
