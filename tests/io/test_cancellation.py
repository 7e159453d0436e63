"""Who gives up, and when: nothing that was sealed is lost, nothing that was not is sent."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from confirma_async import (
    Action,
    ActionOutcome,
    BatchPolicy,
    ClientStateError,
    ConfirmaClient,
    Disposition,
    Environment,
    Evidence,
    Finding,
    NotAppliedError,
    OutcomeUnknownError,
)
from confirma_async.sandbox import Fault, Sandbox
from tests.actions import comment

pytestmark = pytest.mark.looptime


def open_client(sandbox: Sandbox, **batch: float) -> ConfirmaClient:
    return ConfirmaClient(
        environment=Environment.STAGING,
        token=sandbox.token,
        base_url=sandbox.base_url,
        batch=BatchPolicy(**batch),  # type: ignore[arg-type]
    )


async def cancel(task: "asyncio.Task[object]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_send_cancelled_while_its_batch_is_open_is_never_sent(sandbox: Sandbox) -> None:
    """Its action is taken back, and stands in the account as NOT_APPLIED."""
    async with open_client(sandbox, linger=1.0) as client:
        given_up: asyncio.Task[object] = asyncio.create_task(client.actions.send(comment(1)))
        kept = asyncio.create_task(client.actions.send(comment(2)))
        await asyncio.sleep(0.5)
        await cancel(given_up)
        await kept
    report = await client.close()
    assert [effect.action.case_id for effect in sandbox.ledger] == [2]
    assert (report.accepted, report.not_applied, report.total) == (1, 1, 2)


async def test_a_send_cancelled_in_flight_goes_out_and_is_accounted_for(sandbox: Sandbox) -> None:
    """A sealed batch belongs to nobody who could cancel it."""
    sandbox.inject(Fault.slow(2.0))
    async with open_client(sandbox) as client:
        given_up: asyncio.Task[object] = asyncio.create_task(client.actions.send(comment(1)))
        neighbour = asyncio.create_task(client.actions.send(comment(2)))
        await asyncio.sleep(1.0)
        await cancel(given_up)
        assert (await neighbour).disposition is Disposition.ACCEPTED
    assert len(sandbox.ledger) == 2
    assert (await client.close()).accepted == 2


async def test_one_of_two_callers_with_the_same_id_may_give_up(sandbox: Sandbox) -> None:
    """The action goes out for the other one, once."""
    async with open_client(sandbox, linger=1.0) as client:
        first: asyncio.Task[object] = asyncio.create_task(client.actions.send(comment(1, action_id="event-1")))
        second = asyncio.create_task(client.actions.send(comment(1, action_id="event-1")))
        await asyncio.sleep(0.1)
        await cancel(first)
        assert (await second).disposition is Disposition.ACCEPTED
    assert len(sandbox.ledger) == 1


async def test_a_post_cancelled_before_it_is_sealed_is_taken_back_whole(sandbox: Sandbox) -> None:
    """Nothing of it is sent."""
    sandbox.inject(Fault.slow(2.0))
    async with open_client(sandbox, lanes=1) as client:
        busy = asyncio.create_task(client.actions.send(comment(1)))
        await asyncio.sleep(1.0)
        posting: asyncio.Task[object] = asyncio.create_task(client.actions.post([comment(2), comment(3)]))
        await asyncio.sleep(0.5)
        await cancel(posting)
        await busy
    assert [effect.action.case_id for effect in sandbox.ledger] == [1]


async def test_a_send_cancelled_in_the_hall_leaves_no_trace_on_the_wire(sandbox: Sandbox) -> None:
    """One that waits for room is taken back like one that waits in a batch, and those behind it move up."""
    sandbox.inject(Fault.slow(2.0))
    async with open_client(sandbox, lanes=1, max_waiting_actions=1, linger=0) as client:
        sends: list[asyncio.Task[object]] = []
        for number in range(1, 5):
            sends.append(asyncio.create_task(client.actions.send(comment(number))))
            await asyncio.sleep(0.1)
        await cancel(sends[2])
        await asyncio.gather(sends[0], sends[1], sends[3])
    assert [effect.action.case_id for effect in sandbox.ledger] == [1, 2, 4]


async def test_a_flush_that_is_cancelled_cancels_no_action(sandbox: Sandbox) -> None:
    """It only waits."""
    sandbox.inject(Fault.slow(2.0))
    async with open_client(sandbox, linger=10.0) as client:
        sending = asyncio.create_task(client.actions.send(comment(1)))
        await asyncio.sleep(0)
        flushing: asyncio.Task[object] = asyncio.create_task(client.actions.flush())
        await asyncio.sleep(1.0)
        await cancel(flushing)
        assert (await sending).disposition is Disposition.ACCEPTED


async def test_a_push_whose_consumer_stops_reads_no_further_and_keeps_what_was_sealed(sandbox: Sandbox) -> None:
    """Sealed batches end, open ones are taken back, the source is left where it was."""
    read = 0

    async def source() -> AsyncIterator[Action]:
        nonlocal read
        for number in range(1, 100_000):
            read = number
            yield comment(number)
            await asyncio.sleep(0.001)

    async with open_client(sandbox) as client:
        outcomes = client.actions.push(source())
        async for _ in outcomes:
            break
        await outcomes.aclose()
        read_by_then = read
        await asyncio.sleep(10.0)
    report = await client.close()
    assert read == read_by_then < 300
    assert report.accepted == len(sandbox.ledger)
    assert report.total == read
    assert report.unknown == 0


async def test_a_push_whose_consumer_is_cancelled_is_accounted_for(sandbox: Sandbox) -> None:
    """Cancelling the task that iterates ends the push like closing it does."""
    sandbox.inject(Fault.slow(1.0), times=None)

    async def consume(client: ConfirmaClient) -> None:
        async for _ in client.actions.push(comment(number) for number in range(1, 2_001)):
            pass

    async with open_client(sandbox) as client:
        consuming: asyncio.Task[object] = asyncio.create_task(consume(client))
        await asyncio.sleep(1.5)
        await cancel(consuming)
        report = await client.close()
    assert report.total == 2_000
    assert report.accepted == len(sandbox.ledger)
    assert report.not_applied == 2_000 - len(sandbox.ledger)


async def test_leaving_with_an_exception_drains_all_the_same(sandbox: Sandbox) -> None:
    """What was submitted before the mistake is sent and accounted for."""
    client = open_client(sandbox, linger=5.0)
    with pytest.raises(ZeroDivisionError):
        async with client:
            sending = asyncio.create_task(client.actions.send(comment(1)))
            await asyncio.sleep(0)
            raise ZeroDivisionError
    assert (await sending).disposition is Disposition.ACCEPTED
    assert len(sandbox.ledger) == 1


async def test_close_in_a_cancelled_task_abandons_what_hangs_and_tells_the_truth_about_it(sandbox: Sandbox) -> None:
    """A second cancellation ends the wait; what hangs ends UNKNOWN, what was not sent NOT_APPLIED."""
    sandbox.inject(Fault.HANG_AFTER_APPLYING)
    client = open_client(sandbox, lanes=1)
    loop = asyncio.get_running_loop()

    async def work() -> None:
        async with client:
            await asyncio.sleep(3600)

    working: asyncio.Task[object] = asyncio.create_task(work())
    await asyncio.sleep(0.1)
    hanging = asyncio.create_task(client.actions.send(comment(1)))
    await asyncio.sleep(0.1)
    waiting = asyncio.create_task(client.actions.send(comment(2)))
    await asyncio.sleep(0.1)
    working.cancel()
    await asyncio.sleep(1.0)
    started = loop.time()
    await cancel(working)
    with pytest.raises(OutcomeUnknownError):
        await hanging
    with pytest.raises(NotAppliedError):
        await waiting
    assert loop.time() - started < 1.0
    assert len(sandbox.ledger) == 1
    await client.close()


@pytest.mark.parametrize("grace", [0.0, 1.0, 5.0])
async def test_close_keeps_its_grace_while_the_gate_is_shut(sandbox: Sandbox, grace: float) -> None:
    """Neither an outage nor a hanging service holds it up for longer than a second more."""
    loop = asyncio.get_running_loop()
    client = open_client(sandbox, lanes=2)
    await client.open()
    sandbox.inject(Fault.HANG_AFTER_APPLYING)
    hanging = asyncio.create_task(client.actions.send(comment(1)))
    await asyncio.sleep(0.1)
    sandbox.outage()
    sends = [asyncio.create_task(client.actions.send(comment(number))) for number in range(2, 500)]
    await asyncio.sleep(0.5)
    started = loop.time()
    report = await client.close(grace)
    assert loop.time() - started <= grace + 1.0
    ended = await asyncio.gather(hanging, *sends, return_exceptions=True)
    assert isinstance(ended[0], OutcomeUnknownError)
    assert report.total == 499
    assert report.accepted == 0
    assert report.unknown <= 101
    assert report == await client.close()


async def test_a_drain_ends_a_push_that_is_under_way(sandbox: Sandbox) -> None:
    """It stops reading, yields a true outcome for everything that was read, and says that it did not read on."""
    sandbox.inject(Fault.slow(1.0), times=None)
    outcomes: list[ActionOutcome] = []
    read = 0

    async def source() -> AsyncIterator[Action]:
        nonlocal read
        for number in range(1, 100_001):
            read = number
            yield comment(number)
            await asyncio.sleep(0.001)

    async with open_client(sandbox) as client:

        async def consume() -> None:
            async for outcome in client.actions.push(source()):
                outcomes.append(outcome)

        consuming = asyncio.create_task(consume())
        await asyncio.sleep(1.5)
        report = await client.actions.drain(grace=2.5)
        with pytest.raises(ClientStateError, match="drains"):
            await consuming
    assert len(outcomes) == read < 100_000
    ends = Counter(outcome.disposition for outcome in outcomes)
    assert ends[Disposition.ACCEPTED] <= len(sandbox.ledger)
    assert ends[Disposition.ACCEPTED] + ends[Disposition.UNKNOWN] >= len(sandbox.ledger)
    assert report.accepted == ends[Disposition.ACCEPTED]
    assert report.unknown == ends[Disposition.UNKNOWN]
    assert await client.close() == report
    assert client.statistics().not_applied == report.not_applied


async def test_close_shortens_the_grace_of_a_drain_that_runs(sandbox: Sandbox) -> None:
    """Who is in a hurry last, counts."""
    sandbox.inject(Fault.HANG_AFTER_APPLYING)
    client = await open_client(sandbox).open()
    loop = asyncio.get_running_loop()
    hanging = asyncio.create_task(client.actions.send(comment(1)))
    await asyncio.sleep(0.1)
    draining: asyncio.Task[object] = asyncio.create_task(client.actions.drain(grace=20.0))
    await asyncio.sleep(0.1)
    await cancel(draining)
    started = loop.time()
    report = await client.close(grace=1.0)
    assert loop.time() - started <= 2.0
    assert report.unknown == 1
    with pytest.raises(OutcomeUnknownError):
        await hanging


async def test_a_report_holds_what_had_to_be_cut_short(sandbox: Sandbox) -> None:
    """Also what hangs in somebody else's code: a reconciler that does not answer."""

    class Hanging:
        async def probe(self, action: Action, evidence: Evidence) -> Finding:
            await asyncio.sleep(3600)
            return Finding.UNCLEAR

    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    client = ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url, reconciler=Hanging()
    )
    async with client:
        sending = asyncio.create_task(client.actions.send(comment(1)))
        await asyncio.sleep(5.0)
        report = await client.close(grace=1.0)
    assert report.unknown == report.total == 1
    with pytest.raises(OutcomeUnknownError, match="cut short"):
        await sending


async def test_flushes_that_are_given_up_leave_nothing_behind(sandbox: Sandbox) -> None:
    """A thousand of them, and the next one still works."""
    sandbox.inject(Fault.slow(5.0))
    async with open_client(sandbox) as client:
        sending = asyncio.create_task(client.actions.send(comment(1)))
        await asyncio.sleep(1.0)
        for _ in range(1_000):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.001):
                    await client.actions.flush()
        await client.actions.flush()
        assert sending.done()
        assert client._batcher._flushes == []
