"""How fast, and when not at all: rate, gate, retry budget, patience."""

import asyncio

import pytest

from confirma_async import (
    Assumptions,
    BatchPolicy,
    ConfirmaClient,
    Disposition,
    Environment,
    Event,
    GateOpened,
    GateShut,
    NotAppliedError,
    NotSubmittedError,
    RateLimitedError,
    RatePolicy,
    RetryPlanned,
    RetryPolicy,
)
from confirma_async.sandbox import Fault, Sandbox
from tests.actions import comment, due_date, mixed, payment

pytestmark = pytest.mark.looptime


def open_client(
    sandbox: Sandbox,
    *,
    batch: BatchPolicy | None = None,
    retry: RetryPolicy | None = None,
    rate: RatePolicy | None = None,
    events: list[Event] | None = None,
) -> ConfirmaClient:
    return ConfirmaClient(
        environment=Environment.STAGING,
        token=sandbox.token,
        base_url=sandbox.base_url,
        batch=batch or BatchPolicy(),
        retry=retry or RetryPolicy(),
        rate=rate or RatePolicy(),
        on_event=None if events is None else events.append,
    )


async def test_a_fixed_rate_of_requests_is_kept(sandbox: Sandbox) -> None:
    """Posts are spaced evenly, however many lanes are free."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with open_client(sandbox, batch=BatchPolicy(max_actions=1), rate=RatePolicy(requests_per_second=5)) as client:
        await asyncio.gather(*(client.actions.send(comment(n)) for n in range(1, 52)))
    assert 10.0 <= loop.time() - started <= 11.0


async def test_a_fixed_rate_of_actions_is_kept(sandbox: Sandbox) -> None:
    """A large batch is followed by a long pause."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with open_client(sandbox, rate=RatePolicy(actions_per_second=50)) as client:
        async for _ in client.actions.push(comment(n) for n in range(1, 1_001)):
            pass
    assert 18.0 <= loop.time() - started <= 21.0


@pytest.mark.parametrize("asked", [30, "30", "30.0"])
async def test_nothing_is_sent_before_a_retry_after_is_over(sandbox: Sandbox, asked: float | str) -> None:
    """Neither the batch that was told, nor any other, nor a probe."""
    loop = asyncio.get_running_loop()
    sandbox.inject(Fault.too_many_requests(asked))
    async with open_client(sandbox) as client:
        told = asyncio.create_task(client.actions.send(comment(1)))
        await asyncio.sleep(1.0)
        before = len(sandbox.requests)
        started = loop.time()
        other = asyncio.create_task(client.actions.send(comment(2)))
        await asyncio.sleep(28.0)
        assert len(sandbox.requests) == before == 1
        await asyncio.gather(told, other)
        assert 28.0 <= loop.time() - started <= 40.0
    assert len(sandbox.ledger) == 2


async def test_a_pause_longer_than_we_wait_is_handed_back_with_its_length(sandbox: Sandbox) -> None:
    """The caller decides what to do for ten minutes."""
    sandbox.inject(Fault.too_many_requests(600))
    async with open_client(sandbox) as client:
        with pytest.raises(NotAppliedError) as caught:
            await client.actions.send(payment(1))
        assert isinstance(caught.value.__cause__, RateLimitedError)
        assert caught.value.__cause__.retry_after == 600
        await client.close(0)


async def test_the_gate_tells_why_it_shuts_and_when_it_opens(sandbox: Sandbox) -> None:
    """One reason, one opening, and no probe but the harmless one."""
    events: list[Event] = []
    sandbox.inject(Fault.DROP_BEFORE_READING)
    async with open_client(sandbox, events=events) as client:
        await client.actions.send(due_date(1))
        assert client.statistics().gate == "open"
    assert [type(event) for event in events if isinstance(event, GateShut | GateOpened)] == [GateShut, GateOpened]
    assert [request.path for request in sandbox.requests] == ["/invoice/action", "/validate", "/invoice/action"]


async def test_patience_ends_and_says_so(sandbox: Sandbox) -> None:
    """What waits at a shut gate is charged no attempts, and is handed back NOT_APPLIED after give_up_after."""
    loop = asyncio.get_running_loop()
    sandbox.outage()
    async with open_client(sandbox, retry=RetryPolicy(give_up_after=120.0)) as client:
        first = asyncio.create_task(client.actions.send(due_date(1)))
        await asyncio.sleep(5.0)
        started = loop.time()
        with pytest.raises(NotAppliedError) as caught:
            await client.actions.send(payment(2))
        assert 120.0 <= loop.time() - started <= 135.0
        assert isinstance(caught.value.__cause__, NotSubmittedError)
        assert caught.value.outcome is not None
        assert caught.value.outcome.attempts == 0
        assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], Exception)


async def test_an_outage_without_end_costs_few_requests(sandbox: Sandbox) -> None:
    """Probes back off, and nobody else knocks."""
    async with open_client(sandbox) as client:
        pushing = asyncio.create_task(_push(client, 5_000))
        await asyncio.sleep(0)
        sandbox.outage(600.0)
        await pushing
    during = [request for request in sandbox.requests if request.fault == "outage"]
    assert 600 / 8 - 10 <= len(during) <= 400
    assert len([request for request in during if request.path == "/invoice/action"]) <= 8


async def _push(client: ConfirmaClient, count: int) -> list[Disposition]:
    return [outcome.disposition async for outcome in client.actions.push(mixed(count))]


async def test_attempts_of_one_turn_retry_off(sandbox: Sandbox) -> None:
    """The first answer is the end."""
    sandbox.inject(Fault.unavailable(), times=None)
    events: list[Event] = []
    async with open_client(sandbox, retry=RetryPolicy(attempts=1), events=events) as client:
        with pytest.raises(NotAppliedError, match="all attempts are used up"):
            await client.actions.send(due_date(1))
    assert len(sandbox.posts) == 1
    assert not any(isinstance(event, RetryPlanned) for event in events)


async def test_an_empty_retry_budget_ends_retries(sandbox: Sandbox) -> None:
    """A service on which nothing helps is soon left alone."""
    sandbox.inject(Fault.status(500), times=None)
    async with open_client(sandbox, retry=RetryPolicy(budget=28, attempts=100)) as client:
        for number in range(1, 5):
            with pytest.raises(Exception, match="may have taken effect"):
                await client.actions.send(due_date(number))
    assert len(sandbox.posts) == 4 + 2


async def test_a_rate_that_was_refused_is_not_asked_for_again(sandbox: Sandbox) -> None:
    """After a 429 the client paces itself: few refusals, no lost action, most of the limit used."""
    loop = asyncio.get_running_loop()
    window: list[float] = []
    limit = 20

    def over_limit(_request: object) -> bool:
        now = loop.time()
        window[:] = [moment for moment in window if moment > now - 1.0]
        if len(window) >= limit:
            return True
        window.append(now)
        return False

    sandbox.inject(Fault.too_many_requests(), times=None, when=over_limit)
    started = loop.time()
    async with open_client(sandbox, batch=BatchPolicy(max_actions=1)) as client:
        ends = await _push(client, 1_500)
    seconds = loop.time() - started
    refused = sum(request.status == 429 for request in sandbox.posts)
    assert ends == [Disposition.ACCEPTED] * 1_500
    assert refused <= 60
    assert 1_500 / seconds >= 0.6 * limit


async def test_while_paused_batches_grow_and_queues_do_not(sandbox: Sandbox) -> None:
    """What is submitted during a pause shares few POSTs after it."""
    sandbox.inject(Fault.too_many_requests(10))
    async with open_client(sandbox) as client:
        sends = []
        for number in range(1, 301):
            sends.append(asyncio.create_task(client.actions.send(comment(number))))
            await asyncio.sleep(0.03)
        await asyncio.gather(*sends)
    assert len(sandbox.posts) <= 12
    assert len(sandbox.ledger) == 300


async def test_a_probe_that_never_works_can_be_done_without(sandbox: Sandbox) -> None:
    """With its assumption off, time opens the gate, and one batch on trial shows that the service is back."""
    sandbox.inject(Fault.status(501), path="/validate", times=None)
    sandbox.inject(Fault.DROP_AFTER_READING)
    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=sandbox.token,
        base_url=sandbox.base_url,
        assumptions=Assumptions(validate_tells_of_the_service=False),
    ) as client:
        await client.actions.send(due_date(1))
        assert client.statistics().gate == "open"
    assert [request.path for request in sandbox.requests] == ["/invoice/action", "/invoice/action"]


async def test_a_service_that_breaks_on_every_post_costs_one_action_a_look(sandbox: Sandbox) -> None:
    """While probes succeed and POSTs do not, trials hold one action: doubt grows by handfuls, not by batches."""
    async with open_client(sandbox) as client:
        pushing = asyncio.create_task(_push_comments(client, 2_000))
        await asyncio.sleep(0)
        broken = sandbox.inject(Fault.status(500), times=None)
        await asyncio.sleep(120.0)
        broken.cancel()
        ends = await pushing
    unknown = ends.count(Disposition.UNKNOWN)
    assert unknown <= 4 * 100 + 120
    assert ends.count(Disposition.ACCEPTED) == len(sandbox.ledger) == 2_000 - unknown


async def _push_comments(client: ConfirmaClient, count: int) -> list[Disposition]:
    return [outcome.disposition async for outcome in client.actions.push(comment(n) for n in range(1, count + 1))]
