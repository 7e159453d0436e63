"""A token is renewed once, in the order that loses none, whatever fails on the way."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from confirma_async import (
    Action,
    Assumptions,
    AuthenticationError,
    BatchPolicy,
    Comment,
    ConfirmaClient,
    Disposition,
    Environment,
    Event,
    FileTokenStore,
    MemoryTokenStore,
    NotAppliedError,
    OutcomeUnknownError,
    RetryPolicy,
    ServiceUnavailableError,
    TokenLostError,
    TokenRenewed,
    TokenStore,
    TokenStoreError,
)
from confirma_async._core.token import TokenRecord
from confirma_async.sandbox import Fault, ReceivedRequest, Sandbox
from confirma_async.sandbox.exchange import json_answer

QUICK = RetryPolicy(
    min_backoff=0.001, first_ceiling=0.002, max_ceiling=0.02, first_throttled_ceiling=0.002, max_throttled_ceiling=0.02
)
STAGING = Environment.STAGING

HANG_BEFORE_APPLYING = Fault(name="hang_before_applying", delay=math.inf, drops=True)


def client(sandbox: Sandbox, token: str | TokenStore | None = None, **settings: Any) -> ConfirmaClient:
    settings = {"batch": BatchPolicy(linger=0.001), "retry": QUICK, **settings}
    store = MemoryTokenStore(sandbox.token) if token is None else token
    return ConfirmaClient(environment=STAGING, token=store, base_url=sandbox.base_url, **settings)


def comment(case: int = 1) -> Action:
    return Comment(invoice_number=1, case_id=case, comment="x")


def count(sandbox: Sandbox, path: str) -> int:
    return sum(request.path == path for request in sandbox.requests)


def tell(sandbox: Sandbox, observe: Callable[[ReceivedRequest], None]) -> None:
    """Have `observe` see every request as it arrives, before the service does."""

    def look(request: ReceivedRequest) -> bool:
        observe(request)
        return False

    sandbox.inject(Fault.UNAUTHORIZED, path=None, times=None, when=look)


class Diary:
    """What the store was told and what reached the service, in one order."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.lines: list[str] = []
        tell(sandbox, lambda request: self.lines.append(f"{request.path} {self.name(request.token)}"))

    def name(self, token: str | None) -> str:
        return "none" if token is None else f"token {self._sandbox.tokens.index(token) + 1}"

    def saved(self, record: TokenRecord) -> None:
        candidate = "" if record.candidate is None else f", candidate {self.name(record.candidate)}"
        self.lines.append(f"keep {self.name(record.current)}{candidate}{', renewing' if record.renewing else ''}")


class WatchedStore(MemoryTokenStore):
    """A store that somebody else can write too, that keeps a diary, and that refuses what it is told to refuse."""

    replaceable = True

    def __init__(self, token: str, diary: Diary | None = None) -> None:
        super().__init__(token)
        self.diary = diary
        self.refuses: Callable[[TokenRecord], bool] = lambda _record: False

    async def save(self, record: TokenRecord) -> None:
        if self.refuses(record):
            raise TokenStoreError("The disk is full.")
        await super().save(record)
        if self.diary is not None:
            self.diary.saved(record)

    @property
    def kept(self) -> TokenRecord:
        return self._record

    def holds(self, token: str) -> bool:
        return token in (self._record.current, self._record.candidate)


def bound(token: str, **members: Any) -> TokenRecord:
    return TokenRecord(current=token, environment=STAGING, **members)


async def store_with(record: TokenRecord) -> WatchedStore:
    store = WatchedStore(record.current)
    await store.save(record)
    return store


# --- one renewal for all ----------------------------------------------------------------------------------------------


async def test_a_thousand_sends_share_one_renewal(sandbox: Sandbox, tmp_path: Path) -> None:
    """A token that ends in the middle of 1,000 concurrent sends is renewed once, and is on disk before it is used."""
    path = tmp_path / "token"
    path.write_text(sandbox.token)
    used_before_kept: list[int] = []

    def look(request: ReceivedRequest) -> None:
        kept = json.loads(path.read_text())
        is_first = request.token == sandbox.tokens[0]
        held = kept["token"] if request.path == "/invoice/action" else (kept["candidate"] or kept["token"])
        if not is_first and request.token != held:
            used_before_kept.append(request.number)

    tell(sandbox, look)
    sandbox.expire_token_after(actions=300)
    async with client(sandbox, FileTokenStore(path)) as confirma:
        outcomes = await asyncio.gather(*(confirma.actions.send(comment(case)) for case in range(1, 1001)))
    assert {outcome.disposition for outcome in outcomes} == {Disposition.ACCEPTED}
    assert count(sandbox, "/renew") == 1
    assert len(sandbox.tokens) == 2
    assert sorted(effect.action.case_id or 0 for effect in sandbox.ledger) == list(range(1, 1001))
    assert used_before_kept == []
    assert json.loads(path.read_text())["token"] == sandbox.tokens[1]


async def test_a_new_token_is_kept_checked_promoted_and_then_used(sandbox: Sandbox) -> None:
    """The order that loses no token: word of the renewal, the new one kept beside the old, checked, promoted, used."""
    diary = Diary(sandbox)
    async with client(sandbox, WatchedStore(sandbox.token, diary)) as confirma:
        sandbox.expire_token()
        await confirma.actions.send(comment())
    assert diary.lines == [
        "keep token 1",
        "/invoice/action token 1",
        "keep token 1, renewing",
        "/renew token 1",
        "keep token 1, candidate token 2",
        "/validate token 2",
        "keep token 2",
        "/invoice/action token 2",
    ]


async def test_a_renewal_is_told(sandbox: Sandbox) -> None:
    """A renewal appears in statistics and events, with its generation and without the token."""
    events: list[Event] = []
    async with client(sandbox, on_event=events.append) as confirma:
        before = confirma.statistics().renewals
        await confirma.token.renew()
        assert (before, confirma.statistics().renewals) == (0, 1)
    [event] = [event for event in events if isinstance(event, TokenRenewed)]
    assert sandbox.token not in repr(event)


async def test_renewals_by_hand_share_one_renewal(sandbox: Sandbox) -> None:
    """Ten concurrent rotations and a send that meets a 401 mint one token."""
    async with client(sandbox) as confirma:
        sandbox.expire_token()
        await asyncio.gather(confirma.actions.send(comment()), *(confirma.token.renew() for _ in range(10)))
        assert await confirma.token.validate()
    assert count(sandbox, "/renew") == 1


async def test_a_second_renewal_is_possible(sandbox: Sandbox) -> None:
    """Each token that ends is renewed in its turn."""
    async with client(sandbox) as confirma:
        for round_ in range(1, 6):
            sandbox.expire_token()
            await confirma.actions.send(comment())
            assert count(sandbox, "/renew") == round_
    assert len(sandbox.ledger) == 5


# --- an answer that is lost -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store_kind", [MemoryTokenStore, WatchedStore])
@pytest.mark.looptime
async def test_a_lost_token_is_said_so_and_not_asked_for_again(
    sandbox: Sandbox, store_kind: type[MemoryTokenStore]
) -> None:
    """Where /renew was carried out and its answer lost, it is sent once, and the caller learns of the lost token."""
    sandbox.inject(Fault.DROP_AFTER_APPLYING, path="/renew", times=None)
    async with client(sandbox, store_kind(sandbox.token)) as confirma:
        sandbox.expire_token()
        with pytest.raises(NotAppliedError) as caught:
            await confirma.actions.send(comment())
        with pytest.raises(TokenLostError):
            await confirma.token.renew()
    assert isinstance(caught.value.__cause__, TokenLostError)
    assert caught.value.outcome is not None
    assert isinstance(caught.value.outcome.error, TokenLostError)
    assert "Ask those who issue tokens" in str(caught.value)
    assert count(sandbox, "/renew") == 1
    assert len(sandbox.ledger) == 0


async def test_a_renewal_in_doubt_is_repeated_if_the_old_token_still_holds() -> None:
    """Where the answer of /renew is lost and the old token is found valid, asking again does no harm, and happens."""
    async with Sandbox(renewal_kills_old_token=False) as sandbox:
        diary = Diary(sandbox)
        sandbox.inject(Fault.DROP_AFTER_APPLYING, path="/renew")
        async with client(sandbox, WatchedStore(sandbox.token, diary)) as confirma:
            await confirma.token.renew()
            await confirma.actions.send(comment())
        assert diary.lines[1:] == [
            "keep token 1, renewing",
            "/renew token 1",
            "/validate token 1",
            "keep token 1",
            "keep token 1, renewing",
            "/renew token 1",
            "keep token 1, candidate token 3",
            "/validate token 3",
            "keep token 3",
            "/invoice/action token 3",
        ]


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(200, b'{"Message": "The token was renewed"}', apply=True).renamed("a sentence"),
        Fault.status(200, b"<html></html>", apply=True).renamed("html"),
        Fault.status(200, b'{"Message": "cut', apply=True, headers={"Content-Type": "application/json"}).renamed("cut"),
        Fault.status(502, apply=True).renamed("502"),
        Fault.status(302, apply=True, headers={"Location": "/elsewhere"}).renamed("302"),
        Fault.HANG_AFTER_APPLYING,
    ],
    ids=lambda fault: fault.name,
)
@pytest.mark.looptime
async def test_an_answer_without_a_token_is_a_lost_answer(sandbox: Sandbox, fault: Fault) -> None:
    """Any answer of /renew that holds no token, although it may have made one, is judged by the old token."""
    sandbox.inject(fault, path="/renew")
    async with client(sandbox) as confirma:
        with pytest.raises(TokenLostError):
            await confirma.token.renew()
    assert count(sandbox, "/renew") == 1


@pytest.mark.parametrize("fault", [Fault.DROP_AFTER_READING, HANG_BEFORE_APPLYING], ids=lambda fault: fault.name)
@pytest.mark.parametrize("old_holds", [True, False], ids=["old token holds", "old token is dead"])
@pytest.mark.looptime
async def test_a_renewal_that_was_not_applied_is_in_doubt_all_the_same(fault: Fault, *, old_holds: bool) -> None:
    """Nobody can tell a lost answer from a lost request: it is asked again only if the old token still holds."""
    async with Sandbox(renewal_kills_old_token=False) as sandbox:
        store = WatchedStore(sandbox.token)
        sandbox.inject(fault, path="/renew")
        async with client(sandbox, store) as confirma:
            if old_holds:
                await confirma.token.renew()
                assert store.kept == bound(sandbox.tokens[1])
            else:
                sandbox.expire_token()
                with pytest.raises(TokenLostError, match="Ask those who issue tokens"):
                    await confirma.token.renew()
                assert store.kept == bound(sandbox.tokens[0], renewing=True)
        assert count(sandbox, "/renew") == (2 if old_holds else 1)


SILENT = [
    Fault.status(404),
    Fault.status(500),
    Fault.status(503),
    Fault.status(200, b"<html></html>"),
    Fault.DROP_BEFORE_READING,
    Fault.HANG_AFTER_APPLYING,
]


@pytest.mark.parametrize("silent", SILENT, ids=lambda fault: f"validate {fault.name}")
@pytest.mark.parametrize("lost", [Fault.DROP_AFTER_APPLYING, Fault.DROP_AFTER_READING], ids=lambda fault: fault.name)
@pytest.mark.parametrize("old_holds", [True, False], ids=["old token holds", "old token is dead"])
@pytest.mark.looptime
async def test_a_renewal_in_doubt_waits_for_a_clear_word_on_the_old_token(
    silent: Fault, lost: Fault, *, old_holds: bool
) -> None:
    """While /validate says nothing, /renew is not asked again and the word of it stays; then it goes on, or is lost."""
    async with Sandbox(renewal_kills_old_token=False) as sandbox:
        store = WatchedStore(sandbox.token)
        sandbox.inject(lost, path="/renew")
        silence = sandbox.inject(silent, path="/validate", times=None)
        async with client(sandbox, store) as confirma:
            if not old_holds:
                sandbox.expire_token()
            for _ in range(3):
                with pytest.raises(ServiceUnavailableError, match="a valid token, written into the store, helps, too"):
                    await confirma.token.renew()
            assert store.kept == bound(sandbox.tokens[0], renewing=True)
            assert count(sandbox, "/renew") == 1
            silence.cancel()
            if old_holds:
                await confirma.token.renew()
                assert store.kept == bound(sandbox.tokens[-1])
            else:
                with pytest.raises(TokenLostError):
                    await confirma.token.renew()
        assert count(sandbox, "/renew") == (2 if old_holds else 1)


@pytest.mark.looptime
async def test_a_token_written_into_the_store_ends_the_doubt(sandbox: Sandbox) -> None:
    """With /validate absent for good a person can still help: what they write into the store is used."""
    store = WatchedStore(sandbox.token)
    sandbox.inject(Fault.DROP_AFTER_APPLYING, path="/renew")
    sandbox.inject(Fault.status(404), path="/validate", times=None)
    async with client(sandbox, store) as confirma:
        with pytest.raises(ServiceUnavailableError):
            await confirma.token.renew()
        await store.save(TokenRecord(current=sandbox.token))
        await confirma.actions.send(comment())
    assert store.kept == bound(sandbox.tokens[1])
    assert count(sandbox, "/renew") == 1


@pytest.mark.looptime
async def test_three_renewals_in_doubt_are_a_dead_token() -> None:
    """A /renew whose answers get lost one after the other is asked three times, and no more for that 401."""
    async with Sandbox(renewal_kills_old_token=False) as sandbox:
        sandbox.inject(Fault.DROP_AFTER_APPLYING, path="/renew", times=None)
        sandbox.inject(Fault.UNAUTHORIZED)
        async with client(sandbox) as confirma:
            with pytest.raises(NotAppliedError, match="3 renewals in a row") as caught:
                await confirma.actions.send(comment())
        assert isinstance(caught.value.__cause__, AuthenticationError)
        assert count(sandbox, "/renew") == 3


@pytest.mark.looptime
async def test_a_renewal_that_is_refused_three_times_is_a_dead_token(sandbox: Sandbox) -> None:
    """A service that refuses to renew is asked three times, and the action ends without effect."""
    sandbox.revoke_token(renewable=False)
    async with client(sandbox) as confirma:
        with pytest.raises(NotAppliedError, match="refuses to renew") as caught:
            await confirma.actions.send(comment())
        assert isinstance(caught.value.__cause__, AuthenticationError)
        assert count(sandbox, "/renew") == 3
        with pytest.raises(NotAppliedError):
            await confirma.actions.send(comment())
    assert count(sandbox, "/renew") == 3
    assert len(sandbox.posts) <= 3


@pytest.mark.parametrize(
    "fault",
    [Fault.unavailable(), Fault.too_many_requests()],
    ids=lambda fault: fault.name,
)
@pytest.mark.looptime
async def test_a_renewal_that_was_not_handled_is_tried_again(sandbox: Sandbox, fault: Fault) -> None:
    """A /renew that was turned away made no token: it is tried again with the action, which is accepted in the end."""
    sandbox.inject(fault, path="/renew", times=2)
    async with client(sandbox) as confirma:
        sandbox.expire_token()
        outcome = await confirma.actions.send(comment())
    assert outcome.disposition is Disposition.ACCEPTED
    assert len(sandbox.tokens) == 2
    assert len(sandbox.ledger) == 1


@pytest.mark.looptime
async def test_tokens_are_not_minted_without_end(sandbox: Sandbox) -> None:
    """A service that renews gladly and answers every POST 401 gets three renewals, not one for each attempt."""
    sandbox.inject(Fault.UNAUTHORIZED, times=None)
    async with client(sandbox, batch=BatchPolicy(linger=0.001, max_actions=1)) as confirma:
        ends = await asyncio.gather(
            *(confirma.actions.send(comment(case)) for case in range(1, 21)), return_exceptions=True
        )
    assert {type(end) for end in ends} == {NotAppliedError}
    assert count(sandbox, "/renew") <= 3


async def test_four_refusals_of_one_new_token_are_one_failure(sandbox: Sandbox) -> None:
    """A new token that the service does not know everywhere at once, on four lanes, is one failed renewal, not four."""
    # The POST of each lane with the old token, the replay of each with the new one, and one more are turned away.
    sandbox.inject(Fault.UNAUTHORIZED, times=9)
    async with client(sandbox, batch=BatchPolicy(linger=0.001, max_actions=1)) as confirma:
        ends = await asyncio.gather(
            *(confirma.actions.send(comment(case)) for case in range(1, 5)), return_exceptions=True
        )
    assert [getattr(end, "disposition", end) for end in ends] == [Disposition.ACCEPTED] * 4
    assert count(sandbox, "/renew") == 2


# --- candidates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        None,
        Fault.status(404),
        Fault.status(400),
        Fault.status(500),
        Fault.status(200, b"<html></html>"),
        Fault.DROP_AFTER_READING,
        Fault.HANG_AFTER_APPLYING,
    ],
    ids=lambda fault: getattr(fault, "name", "valid"),
)
@pytest.mark.looptime
async def test_a_candidate_is_trusted_unless_it_is_clearly_bad(sandbox: Sandbox, fault: Fault | None) -> None:
    """A new token is promoted unless /validate says 401 or not valid: it is the only one of its kind."""
    if fault is not None:
        sandbox.inject(fault, path="/validate")
    store = WatchedStore(sandbox.token)
    async with client(sandbox, store) as confirma:
        sandbox.expire_token()
        outcome = await confirma.actions.send(comment())
    assert outcome.disposition is Disposition.ACCEPTED
    assert count(sandbox, "/renew") == 1
    assert store.kept == bound(sandbox.tokens[1])


@pytest.mark.parametrize(
    "fault",
    [Fault.status(401), Fault.status(200, b'{"isValid": false, "message": "no"}')],
    ids=["401", "not valid"],
)
@pytest.mark.looptime
async def test_a_candidate_that_is_clearly_bad_is_dropped(sandbox: Sandbox, fault: Fault) -> None:
    """A new token that /validate refuses is not used, and the renewal is not told as one that worked."""
    events: list[Event] = []
    sandbox.inject(fault, path="/validate")
    store = WatchedStore(sandbox.token)
    async with client(sandbox, store, on_event=events.append) as confirma:
        with pytest.raises((AuthenticationError, ServiceUnavailableError)):
            await confirma.token.renew()
        assert store.kept == bound(sandbox.tokens[0])
        assert confirma.statistics().renewals == 0
    assert [event for event in events if isinstance(event, TokenRenewed)] == []
    assert [request.token for request in sandbox.posts] == []


@pytest.mark.looptime
async def test_three_bad_candidates_are_a_dead_token(sandbox: Sandbox) -> None:
    """A service whose new tokens are all bad is asked for three of them, and the action ends without effect."""
    sandbox.inject(Fault.UNAUTHORIZED, path="/validate", times=None)
    sandbox.expire_token()
    async with client(sandbox) as confirma:
        with pytest.raises(NotAppliedError) as caught:
            await confirma.actions.send(comment())
    assert isinstance(caught.value.__cause__, AuthenticationError)
    assert count(sandbox, "/renew") == 3
    assert len(sandbox.ledger) == 0


async def test_a_candidate_found_at_start_is_checked_and_promoted(sandbox: Sandbox) -> None:
    """A new token that a killed process left unchecked is checked when the next one opens, and used."""
    old, new = sandbox.token, sandbox._service.tokens.renew(sandbox.token, kills_old_token=True)
    store = await store_with(bound(old, candidate=new))
    async with client(sandbox, store) as confirma:
        assert store.kept == bound(new)
        await confirma.actions.send(comment())
    assert [(request.path, request.token) for request in sandbox.requests] == [
        ("/validate", new),
        ("/invoice/action", new),
    ]


async def test_a_bad_candidate_found_at_start_is_dropped(sandbox: Sandbox) -> None:
    """A new token that was found bad leaves the old one in place, which is used while it holds."""
    store = await store_with(bound(sandbox.token, candidate="never-issued"))
    async with client(sandbox, store) as confirma:
        assert store.kept == bound(sandbox.token)
        await confirma.actions.send(comment())
    assert count(sandbox, "/renew") == 0


# --- a renewal that a killed process began ----------------------------------------------------------------------------


async def test_a_renewal_that_was_begun_and_made_nothing_is_forgotten(sandbox: Sandbox) -> None:
    """Killed in the middle of a renewal, and the old token still holds: the next process goes on with it."""
    store = await store_with(bound(sandbox.token, renewing=True))
    async with client(sandbox, store) as confirma:
        assert store.kept == bound(sandbox.token)
        await confirma.actions.send(comment())
    assert count(sandbox, "/renew") == 0


async def test_a_renewal_that_was_begun_and_lost_its_token_stops_the_next_process(sandbox: Sandbox) -> None:
    """Killed in the middle of a renewal, and the old token is dead: opening says that the token is lost."""
    store = await store_with(bound(sandbox.token, renewing=True))
    sandbox.expire_token()
    with pytest.raises(TokenLostError, match="Ask those who issue tokens"):
        await client(sandbox, store).open()
    assert count(sandbox, "/renew") == 0
    assert store.kept.renewing


async def test_a_begun_renewal_waits_for_a_clear_answer(sandbox: Sandbox) -> None:
    """Killed in the middle of a renewal, and the service is silent: opening fails, and the word of it stays."""
    store = await store_with(bound(sandbox.token, renewing=True))
    sandbox.outage()
    with pytest.raises(ServiceUnavailableError):
        await client(sandbox, store).open()
    assert store.kept.renewing
    sandbox.end_outage()
    async with client(sandbox, store) as confirma:
        await confirma.actions.send(comment())


# --- a store that cannot be written -----------------------------------------------------------------------------------


@pytest.mark.looptime
async def test_nothing_is_renewed_that_could_not_be_kept(sandbox: Sandbox) -> None:
    """A store that cannot be written before the renewal stops it: the service is not asked for a token to lose."""
    store = WatchedStore(sandbox.token)
    async with client(sandbox, store) as confirma:
        sandbox.expire_token()
        store.refuses = lambda _record: True
        with pytest.raises(NotAppliedError, match=r"was not renewed\. The disk is full\.") as caught:
            await confirma.actions.send(comment())
        assert isinstance(caught.value.__cause__, AuthenticationError)
    assert count(sandbox, "/renew") == 0


@pytest.mark.looptime
async def test_an_unsaved_token_is_saved_later(sandbox: Sandbox) -> None:
    """A new token that the store refused is not used, is kept in memory, and saved and used once the store takes it."""
    store = WatchedStore(sandbox.token)
    async with client(sandbox, store, retry=RetryPolicy()) as confirma:
        sandbox.expire_token()
        store.refuses = lambda record: record.candidate is not None
        with pytest.raises(NotAppliedError, match="The disk is full"):
            await confirma.actions.send(comment())
        await asyncio.sleep(30)
        assert [request.token for request in sandbox.posts] == [sandbox.tokens[0]]
        store.refuses = lambda _record: False
        await confirma.actions.send(comment())
    assert store.kept == bound(sandbox.tokens[1])
    assert count(sandbox, "/renew") == 1
    assert len(sandbox.ledger) == 1


@pytest.mark.looptime
async def test_closing_saves_an_unsaved_token(sandbox: Sandbox) -> None:
    """A new token that the store refused is offered to it once more when the client closes."""
    store = WatchedStore(sandbox.token)
    async with client(sandbox, store) as confirma:
        sandbox.expire_token()
        store.refuses = lambda record: record.candidate is not None
        with pytest.raises(AuthenticationError):
            await confirma.token.renew()
        store.refuses = lambda _record: False
    assert store.holds(sandbox.tokens[1])


@pytest.mark.looptime
async def test_an_unsaved_token_does_not_overwrite_one_that_was_put_in_meanwhile(sandbox: Sandbox) -> None:
    """A token that a person put into the store is not replaced by one that the store had refused before."""
    store = WatchedStore(sandbox.token)
    async with client(sandbox, store) as confirma:
        sandbox.expire_token()
        store.refuses = lambda record: record.candidate is not None
        with pytest.raises(AuthenticationError):
            await confirma.token.renew()
        by_hand = sandbox._service.tokens.renew(sandbox.tokens[0], kills_old_token=True)
        store.refuses = lambda _record: False
        await store.save(TokenRecord(current=by_hand))
        await confirma.actions.send(comment())
    assert store.kept.current == by_hand


@pytest.mark.looptime
async def test_a_store_that_fails_at_promotion_loses_no_token(sandbox: Sandbox) -> None:
    """A store that takes the candidate and refuses its promotion still holds it, and the next look promotes it."""
    store = WatchedStore(sandbox.token)
    async with client(sandbox, store) as confirma:
        sandbox.expire_token()
        store.refuses = lambda record: record.current != sandbox.tokens[0]
        with pytest.raises(AuthenticationError, match="The disk is full"):
            await confirma.token.renew()
        assert store.holds(sandbox.tokens[1])
        store.refuses = lambda _record: False
        await confirma.actions.send(comment())
    assert store.kept == bound(sandbox.tokens[1])
    assert count(sandbox, "/renew") == 1


@pytest.mark.looptime
async def test_a_renewal_that_the_store_stopped_is_made_up_for(sandbox: Sandbox) -> None:
    """What waits behind a token that could not be renewed for want of room goes out by itself once there is room."""
    store = WatchedStore(sandbox.token)
    async with client(sandbox, store, retry=RetryPolicy()) as confirma:
        sandbox.expire_token()
        store.refuses = lambda _record: True
        with pytest.raises(NotAppliedError, match="The disk is full"):
            await confirma.actions.send(comment())
        waiting = asyncio.create_task(confirma.actions.send(comment(2)))
        await asyncio.sleep(60)
        assert not waiting.done()
        assert count(sandbox, "/renew") == 0
        store.refuses = lambda _record: False
        assert (await waiting).disposition is Disposition.ACCEPTED
    assert count(sandbox, "/renew") == 1


@pytest.mark.looptime
async def test_a_store_that_breaks_as_no_store_should_leaves_nobody_waiting(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that the protocol does not know ends nothing for good: the gate is looked after, and opens again."""
    store = WatchedStore(sandbox.token)

    def explode(_record: TokenRecord) -> bool:
        raise ZeroDivisionError(sandbox.token)

    async with client(sandbox, store, retry=RetryPolicy()) as confirma:
        sandbox.expire_token()
        store.refuses = lambda _record: True
        with pytest.raises(NotAppliedError):
            await confirma.actions.send(comment())
        store.refuses = explode
        waiting = asyncio.create_task(confirma.actions.send(comment(2)))
        await asyncio.sleep(60)
        assert "The look at the service failed: ZeroDivisionError." in caplog.text
        store.refuses = lambda _record: False
        assert (await waiting).disposition is Disposition.ACCEPTED
    assert sandbox.tokens[0] not in caplog.text


# --- a plain string ---------------------------------------------------------------------------------------------------


@pytest.mark.looptime
async def test_a_plain_token_is_never_renewed(sandbox: Sandbox) -> None:
    """A string as token is not renewed: its 401 names FileTokenStore, and from then on everything ends at once."""
    loop = asyncio.get_running_loop()
    async with client(sandbox, sandbox.token, batch=BatchPolicy(linger=0.001, max_actions=1, lanes=1)) as confirma:
        sandbox.expire_token()
        started = loop.time()
        ends = await asyncio.gather(
            *(confirma.actions.send(comment(case)) for case in range(1, 11)), return_exceptions=True
        )
        assert {type(end) for end in ends} == {NotAppliedError}
        assert isinstance(ends[0], NotAppliedError)
        assert isinstance(ends[0].__cause__, AuthenticationError)
        assert "FileTokenStore" in str(ends[0])
        with pytest.raises(NotAppliedError):
            await confirma.actions.send(comment(11))
        with pytest.raises(AuthenticationError, match="FileTokenStore"):
            await confirma.token.renew()
        assert not await confirma.token.validate()
        assert loop.time() - started < 1.0
    assert count(sandbox, "/renew") == 0
    assert len(sandbox.posts) == 1


@pytest.mark.looptime
async def test_push_with_a_dead_token_raises_once_and_ends_everything(sandbox: Sandbox) -> None:
    """A token that dies during a push: every action that was read has one end, the error comes once, reading stops."""
    read: list[int] = []

    def source() -> Any:
        for case in range(1, 100_001):
            read.append(case)
            yield comment(case)

    ends: list[int] = []
    dispositions: Counter[Disposition] = Counter()
    async with client(sandbox, sandbox.token) as confirma:
        sandbox.expire_token_after(actions=1000)
        with pytest.raises(AuthenticationError, match="FileTokenStore"):
            async for outcome in confirma.actions.push(source()):
                ends.append(outcome.action.case_id or 0)
                dispositions[outcome.disposition] += 1
    assert sorted(ends) == read
    assert len(read) < 20_000
    assert set(dispositions) == {Disposition.ACCEPTED, Disposition.NOT_APPLIED}
    assert dispositions[Disposition.ACCEPTED] == len(sandbox.ledger)


@pytest.mark.looptime
async def test_push_on_a_token_that_is_dead_already_raises(sandbox: Sandbox) -> None:
    """A push that begins after the token died raises too, rather than read its source to the end for nothing."""
    read = 0

    def source() -> Any:
        nonlocal read
        for case in range(1, 100_001):
            read += 1
            yield comment(case)

    ends = 0
    async with client(sandbox, sandbox.token) as confirma:
        sandbox.expire_token()
        with pytest.raises(NotAppliedError):
            await confirma.actions.send(comment())
        with pytest.raises(AuthenticationError):
            async for outcome in confirma.actions.push(source()):
                assert outcome.disposition is Disposition.NOT_APPLIED
                ends += 1
    assert ends == read < 20_000


# --- a token that somebody replaces -----------------------------------------------------------------------------------


@pytest.mark.parametrize("validate", [200, 404], ids=["validate works", "validate is missing"])
@pytest.mark.looptime
async def test_a_dead_token_that_is_replaced_by_hand_is_used(sandbox: Sandbox, tmp_path: Path, validate: int) -> None:
    """Actions that wait behind a dead token go on by themselves once a person writes a good one into the file."""
    path = tmp_path / "token"
    path.write_text(sandbox.token)
    if validate == 404:
        sandbox.inject(Fault.status(404), path="/validate", times=None)
    async with client(sandbox, FileTokenStore(path), retry=RetryPolicy()) as confirma:
        good = sandbox._service.tokens.renew(sandbox.token, kills_old_token=True)
        sandbox.revoke_token(sandbox.tokens[0], renewable=False)
        with pytest.raises(NotAppliedError):
            await confirma.actions.send(comment())
        waiting = [asyncio.create_task(confirma.actions.send(comment(case))) for case in range(1, 11)]
        await asyncio.sleep(20)
        assert not any(send.done() for send in waiting)
        path.write_text(good)
        done, late = await asyncio.wait(waiting, timeout=60)
        assert not late
        outcomes = [send.result() for send in done]
    assert {outcome.disposition for outcome in outcomes} == {Disposition.ACCEPTED}
    assert len(sandbox.ledger) == 10
    assert json.loads(path.read_text())["token"] == good


@pytest.mark.looptime
async def test_a_token_that_came_back_to_life_can_be_renewed_again(sandbox: Sandbox) -> None:
    """Three refused renewals are forgotten once the service accepts the token again: a later 401 is renewed."""
    store = WatchedStore(sandbox.token)
    async with client(sandbox, store) as confirma:
        sandbox.inject(Fault.status(400), path="/renew", times=3)
        sandbox.inject(Fault.UNAUTHORIZED, times=3)
        with pytest.raises(NotAppliedError):
            await confirma.actions.send(comment())
        await asyncio.sleep(60)
        await confirma.actions.send(comment(2))
        sandbox.expire_token()
        outcome = await confirma.actions.send(comment(3))
    assert outcome.disposition is Disposition.ACCEPTED
    assert count(sandbox, "/renew") == 4


async def test_a_token_that_was_replaced_elsewhere_is_taken_from_the_store(sandbox: Sandbox) -> None:
    """A 401 is answered with the store's token if that is another one by now: nothing is renewed."""
    store = WatchedStore(sandbox.token)
    async with client(sandbox, store) as confirma:
        newer = sandbox._service.tokens.renew(sandbox.token, kills_old_token=True)
        await store.save(bound(newer))
        await confirma.actions.send(comment())
    assert count(sandbox, "/renew") == 0
    assert [request.token for request in sandbox.posts] == [sandbox.tokens[0], newer]


async def test_a_token_of_another_environment_put_in_while_we_run_is_not_used(sandbox: Sandbox) -> None:
    """A production token that appears in a staging client's store is not sent to staging."""
    store = WatchedStore(sandbox.token)
    async with client(sandbox, store) as confirma:
        await store.save(TokenRecord(current="production-token", environment=Environment.PRODUCTION))
        with pytest.raises(AuthenticationError, match="belongs to production, and this client to staging"):
            await confirma.token.renew()
    assert "production-token" not in {request.token for request in sandbox.requests}


async def test_the_assumption_can_be_switched_off(sandbox: Sandbox) -> None:
    """Without the assumption that `Message` is the token nothing is renewed, and the error says why."""
    assumptions = Assumptions(renewal_message_is_token=False)
    async with client(sandbox, assumptions=assumptions) as confirma:
        with pytest.raises(AuthenticationError, match="renewal_message_is_token"):
            await confirma.token.renew()
    assert count(sandbox, "/renew") == 0


# --- cancelling and closing -------------------------------------------------------------------------------------------


@pytest.mark.looptime
async def test_a_cancelled_caller_does_not_cancel_the_renewal(sandbox: Sandbox) -> None:
    """A renewal goes on when the caller who asked for it gives up: its answer is the only copy of the new token."""
    sandbox.inject(Fault.slow(1.0), path="/renew")
    store = WatchedStore(sandbox.token)
    async with client(sandbox, store) as confirma:
        caller = asyncio.create_task(confirma.token.renew())
        await asyncio.sleep(0.5)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.sleep(1.0)
        assert store.kept == bound(sandbox.tokens[1])
        await confirma.actions.send(comment())
    assert count(sandbox, "/renew") == 1


@pytest.mark.looptime
async def test_a_caller_that_is_cancelled_together_with_its_renewal_ends(sandbox: Sandbox) -> None:
    """At the end of an event loop everything is cancelled at once, and nothing takes that for a renewal that failed."""
    confirma = await client(sandbox).open()
    sandbox.inject(Fault.HANG_AFTER_APPLYING, path="/renew")
    sandbox.expire_token()
    sending = asyncio.create_task(confirma.actions.send(comment()))
    await asyncio.sleep(0.5)
    tasks = {task.get_name(): task for task in asyncio.all_tasks() if task.get_name().startswith("confirma-")}
    # The renewal first: its end is known when the others learn of theirs.
    for name in ("confirma-token-renewal", "confirma-delivery"):
        tasks[name].cancel()
    with pytest.raises(OutcomeUnknownError):
        await sending
    assert tasks["confirma-delivery"].cancelled()
    await confirma.close()


@pytest.mark.parametrize("grace", [25.0, 0.5, 0.0])
@pytest.mark.looptime
async def test_closing_waits_for_a_renewal(sandbox: Sandbox, grace: float) -> None:
    """A client that closes while a renewal runs waits until the new token is kept, however short its grace."""
    sandbox.inject(Fault.slow(2.0), path="/renew")
    store = WatchedStore(sandbox.token)
    confirma = await client(sandbox, store).open()
    sandbox.expire_token()
    send = asyncio.create_task(confirma.actions.send(comment()))
    await asyncio.sleep(0.5)
    report = await confirma.close(grace)
    assert store.holds(sandbox.tokens[1])
    assert len(sandbox.tokens) == 2
    [end] = await asyncio.gather(send, return_exceptions=True)
    assert report.total == 1
    assert report.unknown == 0
    assert (report.accepted == 1) == (not isinstance(end, Exception)) == (len(sandbox.ledger) == 1)


@pytest.mark.looptime
async def test_a_cancelled_close_does_not_cancel_the_renewal(sandbox: Sandbox) -> None:
    """Cancelling close() cuts the grace short, and still the new token is kept."""
    sandbox.inject(Fault.slow(2.0), path="/renew")
    store = WatchedStore(sandbox.token)
    confirma = await client(sandbox, store).open()
    renewal = asyncio.create_task(confirma.token.renew())
    await asyncio.sleep(0.5)
    closing = asyncio.create_task(confirma.close())
    await asyncio.sleep(0.1)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await renewal
    await confirma.close()
    assert store.kept == bound(sandbox.tokens[1])


@pytest.mark.parametrize("grace", [0.0, 1.0])
@pytest.mark.looptime
async def test_closing_waits_for_the_new_token_and_not_for_its_check(sandbox: Sandbox, grace: float) -> None:
    """Once the new token is kept nothing is at stake: a /validate that hangs is cut short, and left to the next one."""
    sandbox.inject(Fault.slow(2.0), path="/renew")
    sandbox.inject(Fault.HANG_AFTER_APPLYING, path="/validate")
    store = WatchedStore(sandbox.token)
    confirma = await client(sandbox, store).open()
    renewal = asyncio.create_task(confirma.token.renew())
    await asyncio.sleep(0.5)
    started = asyncio.get_running_loop().time()
    await confirma.close(grace)
    assert asyncio.get_running_loop().time() - started <= 1.5 + 1.0
    with pytest.raises(ServiceUnavailableError, match="the client was closed"):
        await renewal
    assert store.kept == bound(sandbox.tokens[0], candidate=sandbox.tokens[1])


@pytest.mark.looptime
async def test_closing_asks_for_no_second_token() -> None:
    """A renewal in doubt whose old token holds is not repeated by a client that is being closed."""
    async with Sandbox(renewal_kills_old_token=False) as sandbox:
        sandbox.inject(Fault(name="late drop", applies=True, delay=2.0, drops=True), path="/renew")
        store = WatchedStore(sandbox.token)
        confirma = await client(sandbox, store).open()
        renewal = asyncio.create_task(confirma.token.renew())
        await asyncio.sleep(0.5)
        await confirma.close(0.0)
        with pytest.raises(ServiceUnavailableError, match="the client is being closed"):
            await renewal
        assert count(sandbox, "/renew") == 1
        assert store.kept == bound(sandbox.tokens[0])


@pytest.mark.looptime
async def test_closing_does_not_wait_for_a_renewal_that_has_not_begun(sandbox: Sandbox) -> None:
    """A renewal that only waits for its turn among processes has nothing to lose, and holds no close() up."""
    store = WatchedStore(sandbox.token)
    confirma = await client(sandbox, store).open()
    sandbox.expire_token()
    async with store.lock(1.0):
        send = asyncio.create_task(confirma.actions.send(comment()))
        await asyncio.sleep(0.5)
        closing = asyncio.create_task(confirma.close(grace=1.0))
        await asyncio.wait([closing], timeout=2.5)
        was_closed_in_time = closing.done()
    await asyncio.gather(send, closing, return_exceptions=True)
    assert was_closed_in_time
    assert count(sandbox, "/renew") == 0


@pytest.mark.looptime
async def test_a_renewal_that_outlasts_the_attempt_leaves_no_doubt(sandbox: Sandbox) -> None:
    """An action whose attempt was answered 401 is not UNKNOWN because its renewal took longer than an attempt may."""
    late = Fault(name="late 401", delay=20.0, answer=json_answer(401, {}))
    sandbox.inject(late)
    sandbox.inject(Fault.slow(25.0), path="/renew")
    sandbox.inject(Fault.slow(25.0), path="/validate")
    patient = RetryPolicy(max_seconds=300.0)
    async with client(sandbox, retry=patient) as confirma:
        outcome = await confirma.actions.send(comment())
    assert outcome.disposition is Disposition.ACCEPTED
    assert count(sandbox, "/renew") == 1
    assert len(sandbox.ledger) == 1
