"""However and whenever a client is closed: in time, every caller is told an end, and nothing is left running."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from confirma_async import (
    Action,
    ActionEnded,
    ActionOutcome,
    BatchPolicy,
    ClientStateError,
    ConfirmaClient,
    ConfirmaError,
    Disposition,
    DrainReport,
    Environment,
    Event,
    Evidence,
    Finding,
    MemoryTokenStore,
    NotAppliedError,
    RetryPolicy,
    ServiceError,
)
from confirma_async.sandbox import Fault, Sandbox
from confirma_async.sandbox.exchange import json_answer
from tests.actions import comment

Caller = asyncio.Task[Any]
Situation = Callable[[ConfirmaClient, Sandbox], Awaitable[list[Caller]]]


class SharedStore(MemoryTokenStore):
    """A store into which somebody else might put another token: a dead one is waited for."""

    replaceable = True


class Blind:
    """A reconciler that sees nothing."""

    async def probe(self, action: Action, evidence: Evidence) -> Finding:
        await asyncio.sleep(20.0)
        return Finding.UNCLEAR


def make(sandbox: Sandbox, **settings: Any) -> ConfirmaClient:
    settings = {
        "token": SharedStore(sandbox.token),
        "batch": BatchPolicy(lanes=2, max_actions=10, max_waiting_actions=300),
        **settings,
    }
    return ConfirmaClient(environment=Environment.STAGING, base_url=sandbox.base_url, **settings)


def sends(client: ConfirmaClient, first: int, last: int) -> list[Caller]:
    return [asyncio.create_task(client.actions.send(comment(number))) for number in range(first, last + 1)]


def ours() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("confirma-")]


# --- what may be going on ---------------------------------------------------------------------------------------------


async def nothing(_client: ConfirmaClient, _sandbox: Sandbox) -> list[Caller]:
    return []


async def an_open_batch(client: ConfirmaClient, _sandbox: Sandbox) -> list[Caller]:
    callers = sends(client, 1, 3)
    await asyncio.sleep(0)
    return callers


async def a_flush(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.HANG_AFTER_APPLYING, times=None)
    callers = sends(client, 1, 50)
    await asyncio.sleep(0.1)
    return [*callers, *(asyncio.create_task(client.actions.flush()) for _ in range(3))]


async def a_hanging_batch(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.HANG_AFTER_APPLYING, times=None)
    callers = sends(client, 1, 50)
    await asyncio.sleep(1.0)
    return callers


async def an_outage(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.outage()
    callers = sends(client, 1, 500)
    await asyncio.sleep(5.0)
    return callers


async def a_long_pause(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.too_many_requests(retry_after=100))
    callers = sends(client, 1, 500)
    await asyncio.sleep(5.0)
    return callers


async def a_dead_token(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.revoke_token(renewable=False)
    callers = sends(client, 1, 50)
    await asyncio.sleep(5.0)
    return [*callers, *sends(client, 51, 60)]


async def a_probe_that_hangs(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.HANG_AFTER_APPLYING, path="/validate", times=None)
    sandbox.outage(1.0)
    callers = sends(client, 1, 50)
    await asyncio.sleep(8.0)
    return callers


async def a_backoff(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.DROP_BEFORE_READING, path=None, times=None)
    callers = sends(client, 1, 1)
    await asyncio.sleep(0.05)
    return callers


async def a_renewal_that_waits(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.HANG_AFTER_APPLYING, path="/validate", times=None)
    sandbox.expire_token()
    callers = [*sends(client, 1, 50), asyncio.create_task(client.token.renew())]
    await asyncio.sleep(1.0)
    return callers


async def a_reconciliation(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    callers = sends(client, 1, 20)
    await asyncio.sleep(5.0)
    return callers


async def a_full_hall(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.HANG_AFTER_APPLYING, times=None)
    callers = [asyncio.create_task(client.actions.send(comment(1, text=str(number)))) for number in range(400)]
    await asyncio.sleep(1.0)
    return callers


async def a_parked_post(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.HANG_AFTER_APPLYING, times=None)
    callers = sends(client, 1, 1)
    await asyncio.sleep(1.0)
    callers.append(asyncio.create_task(client.actions.post([comment(1, text="second"), comment(2)])))
    await asyncio.sleep(1.0)
    return callers


async def a_push(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.slow(0.5), times=None)

    async def consume() -> None:
        async for _ in client.actions.push(map(comment, range(1, 100_000))):
            pass

    caller = asyncio.create_task(consume())
    await asyncio.sleep(5.0)
    return [caller]


async def a_validation(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.HANG_AFTER_APPLYING, path="/validate", times=None)
    callers = [asyncio.create_task(client.token.validate())]
    await asyncio.sleep(1.0)
    return callers


async def a_free_request(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.HANG_AFTER_APPLYING, path="/payments", times=None)
    callers = [asyncio.create_task(client.request("POST", "/payments", json={}))]
    await asyncio.sleep(1.0)
    return callers


SITUATIONS = [
    nothing,
    an_open_batch,
    a_flush,
    a_hanging_batch,
    an_outage,
    a_long_pause,
    a_dead_token,
    a_probe_that_hangs,
    a_backoff,
    a_renewal_that_waits,
    a_reconciliation,
    a_full_hall,
    a_parked_post,
    a_push,
    a_validation,
    a_free_request,
]

situations = pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)


# --- how it may be closed ---------------------------------------------------------------------------------------------


async def assert_over(client: ConfirmaClient, callers: list[Caller], report: DrainReport, sandbox: Sandbox) -> None:
    """Every caller was told a true end, the account agrees, and nothing is left."""
    _, waiting = await asyncio.wait(callers, timeout=0.001) if callers else (set(), set[Caller]())
    assert not waiting
    assert ours() == []
    assert client._session._session is not None
    assert client._session._session.closed
    assert not client._batcher.register.submissions
    ends = [caller.exception() or caller.result() for caller in callers if not caller.cancelled()]
    accepted = [end for end in ends if isinstance(end, ActionOutcome)]
    applied = {effect.action.case_id for effect in sandbox.ledger}
    for end in ends:
        assert end is None or isinstance(end, ConfirmaError | ActionOutcome | list)
        if isinstance(end, NotAppliedError) and end.outcome is not None and end.outcome.action.comment == "a comment":
            assert end.outcome.action.case_id not in applied
    assert len(accepted) <= report.accepted <= len(sandbox.ledger)
    assert report.accepted + report.unknown >= len(sandbox.ledger)
    assert await client.close() == report


@situations
@pytest.mark.parametrize("grace", [0.0, 3.0])
@pytest.mark.looptime
async def test_a_client_closes_in_time_whatever_goes_on(sandbox: Sandbox, situation: Situation, grace: float) -> None:
    """Within the grace and a second, with an end for everybody."""
    client = await make(sandbox, reconciler=Blind() if situation is a_reconciliation else None).open()
    callers = await situation(client, sandbox)
    started = asyncio.get_running_loop().time()
    report = await client.close(grace)
    assert asyncio.get_running_loop().time() - started <= grace + 1.0
    await assert_over(client, callers, report, sandbox)


@situations
@pytest.mark.looptime
async def test_a_client_closes_at_once_in_a_task_that_is_cancelled_twice(
    sandbox: Sandbox, situation: Situation
) -> None:
    """The first cancellation leaves `async with`, which begins to close; the second cuts the grace short."""
    client = make(sandbox, reconciler=Blind() if situation is a_reconciliation else None)
    callers: list[Caller] = []

    async def work() -> None:
        async with client:
            callers.extend(await situation(client, sandbox))
            ready.set()
            await asyncio.sleep(3600)

    ready = asyncio.Event()
    working = asyncio.create_task(work())
    await ready.wait()
    working.cancel()
    await asyncio.sleep(0.1)
    working.cancel()
    started = asyncio.get_running_loop().time()
    with pytest.raises(asyncio.CancelledError):
        await working
    report = await client.close()
    assert asyncio.get_running_loop().time() - started <= 1.0
    await assert_over(client, callers, report, sandbox)


@situations
@pytest.mark.looptime
async def test_a_second_close_from_another_task_is_in_time_too(sandbox: Sandbox, situation: Situation) -> None:
    """Both return the one report, when the shorter grace is over."""
    client = await make(sandbox, reconciler=Blind() if situation is a_reconciliation else None).open()
    callers = await situation(client, sandbox)
    patient = asyncio.create_task(client.close(60.0))
    await asyncio.sleep(0.1)
    started = asyncio.get_running_loop().time()
    report = await client.close(1.0)
    assert await patient == report
    assert asyncio.get_running_loop().time() - started <= 2.0
    await assert_over(client, callers, report, sandbox)


@situations
@pytest.mark.looptime
async def test_a_client_that_is_closed_lets_go_of_a_borrowed_pool(sandbox: Sandbox, situation: Situation) -> None:
    """The pool stays open, and none of its connections is in use any more."""
    async with aiohttp.TCPConnector() as pool:
        client = make(sandbox, connector=pool, reconciler=Blind() if situation is a_reconciliation else None)
        await client.open()
        callers = await situation(client, sandbox)
        report = await client.close(1.0)
        await assert_over(client, callers, report, sandbox)
        assert not pool.closed
        assert not pool._acquired


# --- who may be cancelled ---------------------------------------------------------------------------------------------


@pytest.mark.looptime
async def test_a_task_group_that_fails_takes_its_senders_along_and_no_action(sandbox: Sandbox) -> None:
    """What was sealed goes out and is in the account; what was not is taken back; the client goes on."""
    sandbox.inject(Fault.slow(2.0))
    async with make(sandbox, batch=BatchPolicy(lanes=1, max_actions=10)) as client:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                for number in range(1, 31):
                    group.create_task(client.actions.send(comment(number)))
                await asyncio.sleep(1.0)
                raise ZeroDivisionError
        assert caught.group_contains(ZeroDivisionError)
        assert len(caught.value.exceptions) == 1
        await client.actions.send(comment(31))
        report = await client.close()
    assert (report.accepted, report.not_applied, report.unknown) == (11, 20, 0)
    assert len(sandbox.ledger) == 11


@pytest.mark.looptime
async def test_a_client_in_a_task_group_that_fails_is_drained(sandbox: Sandbox) -> None:
    """A client opened in the group's body, whose neighbour fails: what was submitted is sent before the group ends."""
    ready = asyncio.Event()

    async def work() -> None:
        async with make(sandbox) as client:
            sending.append(asyncio.create_task(client.actions.send(comment(1))))
            await asyncio.sleep(0)
            ready.set()
            await asyncio.sleep(3600)

    async def fail() -> None:
        await ready.wait()
        raise ZeroDivisionError

    sending: list[Caller] = []
    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            group.create_task(fail())
    assert sending[0].result().disposition is Disposition.ACCEPTED
    assert ours() == []


@pytest.mark.parametrize("seconds", [0.005, 1.0])
@pytest.mark.looptime
async def test_a_send_that_times_out_is_in_the_account(sandbox: Sandbox, seconds: float) -> None:
    """`asyncio.timeout` around `send()`: before the seal nothing is sent, after it the action goes out."""
    sandbox.inject(Fault.slow(2.0))
    async with make(sandbox) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await client.actions.send(comment(1))
        report = await client.close()
    assert report.total == 1
    assert report.accepted == len(sandbox.ledger) == (0 if seconds < 0.02 else 1)


@pytest.mark.looptime
async def test_a_timeout_around_close_cuts_it_short(sandbox: Sandbox) -> None:
    """It ends the wait at once; a second later everything has its end."""
    client = await make(sandbox).open()
    callers = await a_hanging_batch(client, sandbox)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await client.close(60.0)
    started = asyncio.get_running_loop().time()
    report = await client.close()
    assert asyncio.get_running_loop().time() - started <= 1.0
    assert report.unknown == 20
    assert report.not_applied == 30
    await assert_over(client, callers, report, sandbox)


@pytest.mark.looptime
async def test_a_push_whose_consumer_breaks_off_ends_without_being_closed(sandbox: Sandbox) -> None:
    """`break` without `aclose()`: reading stops when the loop is told of the generator, and nothing is left behind."""
    read = 0

    async def source() -> AsyncIterator[Action]:
        nonlocal read
        for number in range(1, 100_000):
            read = number
            yield comment(number)
            await asyncio.sleep(0.001)

    async with make(sandbox) as client:
        async for _ in client.actions.push(source()):
            break
        gc.collect()
        await asyncio.sleep(1.0)
        assert "confirma-push" not in ours()
        read_by_then = read
        report = await client.close()
    assert read == read_by_then == report.total
    assert report.accepted == len(sandbox.ledger)


@pytest.mark.looptime
async def test_a_push_whose_source_is_silent_ends_with_its_client(sandbox: Sandbox) -> None:
    """A queue that yields nothing more does not hold its consumer for ever: what was read has ended, and it is told."""
    queue: asyncio.Queue[Action] = asyncio.Queue()
    outcomes: list[ActionOutcome] = []

    async def source() -> AsyncIterator[Action]:
        while True:
            yield await queue.get()

    async def consume() -> None:
        async for outcome in client.actions.push(source()):
            outcomes.append(outcome)

    client = await make(sandbox).open()
    consuming = asyncio.create_task(consume())
    queue.put_nowait(comment(1))
    await asyncio.sleep(1.0)
    await client.close(1.0)
    await asyncio.wait([consuming], timeout=0.1)
    was_told = consuming.done()
    consuming.cancel()
    ends = await asyncio.gather(consuming, return_exceptions=True)
    assert [outcome.disposition for outcome in outcomes] == [Disposition.ACCEPTED]
    assert was_told
    assert isinstance(ends[0], ClientStateError)


@pytest.mark.looptime
async def test_a_push_whose_consumer_pauses_leaves_no_reader_behind(sandbox: Sandbox) -> None:
    """Who holds on to a push without iterating finds it ended after the close."""
    client = await make(sandbox).open()
    outcomes = client.actions.push(map(comment, range(1, 1_000_000)))
    await anext(outcomes)
    await asyncio.sleep(5.0)
    await client.close(1.0)
    left = ours()
    await outcomes.aclose()
    assert left == []


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.looptime
async def test_closing_waits_for_a_free_request_within_its_grace(sandbox: Sandbox, method: str) -> None:
    """An answer that comes in time is not given away, and makes no doubt."""
    sandbox.inject(Fault(name="slow", delay=2.0, answer=json_answer(200, {})), path="/payments")
    client = await make(sandbox).open()
    calling = asyncio.create_task(client.request(method, "/payments"))
    await asyncio.sleep(1.0)
    await client.close(5.0)
    ends = await asyncio.gather(calling, return_exceptions=True)
    assert list(ends) == [{}]


@pytest.mark.looptime
async def test_a_free_request_in_its_backoff_is_told_its_end_in_time(sandbox: Sandbox) -> None:
    """Its backoff is cut short like that of a batch."""
    sandbox.inject(Fault.status(502), path="/payments", times=None)
    retry = RetryPolicy(min_backoff=30.0, first_ceiling=30.0, max_ceiling=30.0, max_seconds=300.0)
    client = await make(sandbox, retry=retry).open()
    calling = asyncio.create_task(client.request("GET", "/payments"))
    await asyncio.sleep(1.0)
    await client.close(1.0)
    _, late = await asyncio.wait([calling], timeout=0.1)
    ends = await asyncio.gather(calling, return_exceptions=True)
    assert isinstance(ends[0], ServiceError)
    assert not late


# --- the end of the loop ----------------------------------------------------------------------------------------------


async def sends_behind_a_renewal(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.slow(0.3), path="/renew")
    sandbox.expire_token()
    return sends(client, 1, 50)


async def sends_into_an_outage(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.outage()
    return sends(client, 1, 50)


async def sends_that_hang(client: ConfirmaClient, sandbox: Sandbox) -> list[Caller]:
    sandbox.inject(Fault.HANG_AFTER_APPLYING, times=None)
    return sends(client, 1, 50)


@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.parametrize("situation", [sends_that_hang, sends_into_an_outage, sends_behind_a_renewal])
def test_ctrl_c_leaves_no_action_without_an_end(
    caplog: pytest.LogCaptureFixture, situation: Situation, signals: int
) -> None:
    """Under `asyncio.run` the first one drains; a second one ends the loop at once; every action ends once."""
    events: list[Event] = []
    callers: list[Caller] = []

    async def work() -> None:
        async with Sandbox() as sandbox:
            client = await make(sandbox, on_event=events.append).open()
            try:
                callers.extend(await situation(client, sandbox))
                await asyncio.sleep(0.1)
                signal.raise_signal(signal.SIGINT)
                await asyncio.sleep(3600)
            finally:
                if signals > 1:
                    asyncio.get_running_loop().call_later(0.05, signal.raise_signal, signal.SIGINT)
                await client.close(60.0 if signals > 1 else 0.1)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(work())
    ends = [event.action_id for event in events if isinstance(event, ActionEnded)]
    assert len(ends) == len(set(ends)) == 50
    assert all(caller.cancelled() or caller.exception() or caller.result() for caller in callers)
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
