"""The token goes onto each attempt, and a 401 is followed by one renewal and one replay at most."""

import asyncio
from typing import Any

import aiohttp
import pytest

from confirma_async import (
    AttemptEnded,
    BatchPolicy,
    Comment,
    ConfirmaClient,
    Disposition,
    Environment,
    Event,
    MemoryTokenStore,
    RetryPolicy,
    Timeouts,
    TokenRenewed,
)
from confirma_async.sandbox import Fault, Sandbox
from confirma_async.sandbox.exchange import json_answer

QUICK = RetryPolicy(
    min_backoff=0.001, first_ceiling=0.002, max_ceiling=0.02, first_throttled_ceiling=0.002, max_throttled_ceiling=0.02
)


def client(sandbox: Sandbox, token: str | None = None, **settings: Any) -> ConfirmaClient:
    settings = {"batch": BatchPolicy(linger=0.001), "retry": QUICK, **settings}
    store = token if token is not None else MemoryTokenStore(sandbox.token)
    return ConfirmaClient(environment=Environment.STAGING, token=store, base_url=sandbox.base_url, **settings)


def comment(case: int = 1) -> Comment:
    return Comment(invoice_number=1, case_id=case, comment="x")


def seen(sandbox: Sandbox) -> list[tuple[str, int | None]]:
    return [(request.path, request.status) for request in sandbox.requests]


async def test_every_request_carries_the_token(sandbox: Sandbox) -> None:
    """The token of the moment is on every request, of actions and of everything else."""
    async with client(sandbox, sandbox.token) as confirma:
        await confirma.actions.send(comment())
        await confirma.request("GET", "/validate")
        await confirma.token.validate()
    assert [request.token for request in sandbox.requests] == [sandbox.token] * 3


async def test_a_401_is_replayed_once_within_its_attempt(sandbox: Sandbox) -> None:
    """A 401 costs a renewal and a replay of the same bytes; for the caller it is one attempt."""
    async with client(sandbox) as confirma:
        sandbox.expire_token()
        outcome = await confirma.actions.send(comment())
    assert seen(sandbox) == [("/invoice/action", 401), ("/renew", 200), ("/validate", 200), ("/invoice/action", 200)]
    assert sandbox.posts[0].body == sandbox.posts[1].body
    assert (outcome.disposition, outcome.attempts) == (Disposition.ACCEPTED, 1)


async def test_a_replay_that_is_refused_is_not_replayed_again(sandbox: Sandbox) -> None:
    """Two 401s end the attempt, which certainly had no effect; the action goes again after a backoff."""
    events: list[Event] = []
    sandbox.inject(Fault.UNAUTHORIZED, times=2)
    async with client(sandbox, on_event=events.append) as confirma:
        outcome = await confirma.actions.send(comment())
    attempts = [(event.verdict, event.status) for event in events if isinstance(event, AttemptEnded)]
    assert attempts == [("not processed", 401), ("accepted", 200)]
    assert (outcome.attempts, len(sandbox.posts), len(sandbox.ledger)) == (2, 3, 1)


async def test_a_late_401_for_an_old_token_renews_nothing(sandbox: Sandbox) -> None:
    """A 401 that arrives after the token it is about was replaced is answered by a replay with the new one alone."""
    late = Fault(name="late", delay=0.5, answer=json_answer(401, {}))
    sandbox.inject(late)
    async with client(sandbox) as confirma:
        slow = asyncio.create_task(confirma.actions.send(comment(1)))
        while not sandbox.posts:
            await asyncio.sleep(0)
        sandbox.expire_token()
        await confirma.actions.send(comment(2))
        assert sandbox.posts[0].status is None
        await slow
    assert sandbox.posts[0].status == 401
    assert [request.path for request in sandbox.requests].count("/renew") == 1
    assert len(sandbox.ledger) == 2


async def test_lanes_that_meet_a_401_at_once_share_a_renewal(sandbox: Sandbox) -> None:
    """Four batches that are answered 401 at the same time cost one renewal, and each is replayed once."""
    async with client(sandbox, batch=BatchPolicy(linger=0.001, max_actions=1, lanes=4)) as confirma:
        sandbox.expire_token()
        await asyncio.gather(*(confirma.actions.send(comment(case)) for case in range(1, 5)))
    assert [request.path for request in sandbox.requests].count("/renew") == 1
    assert len(sandbox.posts) == 8


@pytest.mark.parametrize("body", [b"{}", b"x" * 1_000_000, b""], ids=["small", "large", "empty"])
async def test_a_replay_needs_no_second_place_in_the_pool(sandbox: Sandbox, body: bytes) -> None:
    """With one connection for everything a 401 with a body of any size is renewed and replayed all the same."""
    connector = aiohttp.TCPConnector(limit=1)
    sandbox.inject(Fault.status(401, body))
    async with client(sandbox, connector=connector, timeouts=Timeouts(connect=1.0)) as confirma:
        outcome = await confirma.actions.send(comment())
    await connector.close()
    assert (outcome.disposition, outcome.attempts) == (Disposition.ACCEPTED, 1)
    assert len(sandbox.posts) == 2


async def test_a_replay_that_was_never_sent_leaves_no_doubt(sandbox: Sandbox) -> None:
    """A replay that found no connection was not sent: the action goes again, although it must not be doubled."""
    allowed = iter([True, True, True, False])

    class FourthRefused(aiohttp.TCPConnector):
        async def connect(self, *args: Any, **kwargs: Any) -> Any:
            if not next(allowed, True):
                raise aiohttp.ServerTimeoutError
            return await super().connect(*args, **kwargs)

    events: list[Event] = []
    connector = FourthRefused(force_close=True)
    async with client(sandbox, connector=connector, on_event=events.append) as confirma:
        sandbox.expire_token()
        outcome = await confirma.actions.send(comment())
    await connector.close()
    verdicts = [event.verdict for event in events if isinstance(event, AttemptEnded)]
    assert verdicts == ["not sent", "accepted"]
    assert outcome.disposition is Disposition.ACCEPTED
    assert len(sandbox.ledger) == 1


async def test_a_replay_that_was_lost_is_in_doubt(sandbox: Sandbox) -> None:
    """A replay that was applied and whose answer was lost is UNKNOWN, whatever the 401 before it said."""
    sandbox.inject(Fault.DROP_AFTER_APPLYING, when=lambda request: request.token in sandbox.tokens[1:])
    events: list[Event] = []
    async with client(sandbox, on_event=events.append) as confirma:
        sandbox.expire_token()
        [end] = await asyncio.gather(confirma.actions.send(comment()), return_exceptions=True)
    assert "UNKNOWN" in str(end)
    assert len(sandbox.ledger) == 1
    assert len([event for event in events if isinstance(event, TokenRenewed)]) == 1


async def test_a_free_request_is_renewed_for_too(sandbox: Sandbox) -> None:
    """`request()` goes through the same middleware: its 401 is renewed and replayed."""
    async with client(sandbox) as confirma:
        sandbox.expire_token()
        assert await confirma.request("GET", "/validate") == {"isValid": True, "message": "Token is valid"}
    assert [request.path for request in sandbox.requests] == ["/validate", "/renew", "/validate", "/validate"]


async def test_a_large_body_is_replayed_whole(sandbox: Sandbox) -> None:
    """A body of several megabytes, which goes out in pieces, is the same bytes in the replay."""
    batch = BatchPolicy(max_bytes=8 * 1024 * 1024)
    comments = [Comment(invoice_number=1, case_id=case, comment="x" * 50_000) for case in range(1, 101)]
    async with client(sandbox, batch=batch) as confirma:
        sandbox.expire_token()
        outcomes = await confirma.actions.post(comments)
    assert {outcome.disposition for outcome in outcomes} == {Disposition.ACCEPTED}
    assert [post.status for post in sandbox.posts] == [401, 200]
    assert len(sandbox.posts[0].body) > 5_000_000
    assert sandbox.posts[0].body == sandbox.posts[1].body
