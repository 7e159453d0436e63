"""`enqueue()` and `resume()`: actions in the care of the journal."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest

from confirma_async import (
    Action,
    ActionEnded,
    ActionIdConflictError,
    AuthenticationError,
    BatchPolicy,
    ClientStateError,
    ConfigurationError,
    ConfirmaClient,
    Disposition,
    Environment,
    Event,
    InvalidActionError,
    JournalError,
    JournalState,
    MemoryTokenStore,
    NotAppliedError,
    NotSubmittedError,
    OlderActionError,
    QueueFullError,
    RetryPolicy,
    SqliteJournal,
)
from confirma_async.sandbox import Fault, Sandbox
from tests.actions import comment, mixed, payment
from tests.conftest import QUICK_RETRY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def client_of(
    sandbox: Sandbox,
    path: Path,
    *,
    retry: RetryPolicy = QUICK_RETRY,
    batch: BatchPolicy = BatchPolicy(linger=0.001),  # noqa: B008
    events: list[Event] | None = None,
) -> ConfirmaClient:
    return ConfirmaClient(
        environment=Environment.STAGING,
        token=MemoryTokenStore(sandbox.token),
        base_url=sandbox.base_url,
        journal=SqliteJournal(path, durability="process"),
        retry=retry,
        batch=batch,
        on_event=None if events is None else events.append,
    )


async def states(path: Path) -> dict[JournalState, int]:
    async with SqliteJournal(path) as journal:
        return dict(await journal.counts())


async def until_ledger_has(sandbox: Sandbox, effects: int) -> None:
    async with asyncio.timeout(10):
        while len(sandbox.ledger) < effects:
            await asyncio.sleep(0.002)


# --- enqueue ----------------------------------------------------------------------------------------------------------


async def test_what_is_enqueued_is_sent_in_the_background(sandbox: Sandbox, path: Path) -> None:
    """Nobody has to wait for it, and its ends go to the journal and to events."""
    events: list[Event] = []
    async with client_of(sandbox, path, events=events) as client:
        ids = await client.actions.enqueue(mixed(250))
        assert len(set(ids)) == 250
        await until_ledger_has(sandbox, 250)
        report = await client.actions.drain()
    assert (report.accepted, report.queued, report.total) == (250, 0, 250)
    ended = [event for event in events if isinstance(event, ActionEnded)]
    assert sorted(event.action_id for event in ended) == sorted(ids)
    assert await states(path) == {JournalState.ACCEPTED: 250}


async def test_what_many_enqueue_at_once_is_coalesced(sandbox: Sandbox, path: Path) -> None:
    """Into full batches, in the order of each case."""
    async with client_of(sandbox, path, batch=BatchPolicy()) as client:
        await asyncio.gather(
            *(client.actions.enqueue([comment(number, case=number % 50 + 1)]) for number in range(1, 501))
        )
        await client.actions.drain()
    assert len(sandbox.ledger) == 500
    assert len(sandbox.posts) <= 12
    for case in range(1, 51):
        numbers = [effect.element["data"]["invoiceNumber"] for effect in sandbox.ledger.for_case(case)]
        assert numbers == sorted(numbers)


async def test_it_is_on_disk_when_enqueue_returns(sandbox: Sandbox, path: Path, tmp_path: Path) -> None:
    """A copy of the files at that moment, as a crash would leave them, holds all of it."""
    sandbox.outage()
    async with client_of(sandbox, path) as client:
        await client.actions.enqueue([payment(number) for number in range(1, 31)])
        for suffix in ("", "-wal", "-mark"):
            (tmp_path / f"copy{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
        await client.close(0)
    counts = await states(tmp_path / "copy")
    assert set(counts) <= {JournalState.QUEUED, JournalState.UNKNOWN}
    assert sum(counts.values()) == 30


async def test_whoever_enqueues_too_much_waits_for_room(sandbox: Sandbox, path: Path) -> None:
    """Its actions are kept, and memory stays bounded; the rest of the day goes out when the service is back."""
    sandbox.outage()
    policy = BatchPolicy(linger=0.001, max_waiting_actions=50, max_actions=10)
    async with client_of(sandbox, path, batch=policy) as client:
        enqueueing = [
            asyncio.create_task(client.actions.enqueue([comment(start + number) for number in range(1, 21)]))
            for start in range(0, 200, 20)
        ]
        done, waiting = await asyncio.wait(enqueueing, timeout=0.3)
        assert done
        assert waiting
        assert client.statistics().waiting_actions <= 50
        sandbox.end_outage()
        await asyncio.gather(*enqueueing)
        report = await client.actions.drain()
    assert report.unknown <= 40
    assert report.accepted + report.unknown == report.total == 200


async def test_whoever_does_not_want_to_wait_is_told(sandbox: Sandbox, path: Path) -> None:
    """With `when_full="raise"` nothing of the call is kept."""
    sandbox.outage()
    policy = BatchPolicy(linger=0.001, max_waiting_actions=50, max_actions=10, when_full="raise")
    async with client_of(sandbox, path, batch=policy) as client:
        with pytest.raises(QueueFullError):
            for start in range(0, 200, 20):
                await client.actions.enqueue([comment(start + number) for number in range(1, 21)])
        report = await client.close(0)
    counts = await states(path)
    assert report.total == sum(counts.values()) < 200


@pytest.mark.looptime
async def test_what_is_enqueued_has_no_end_of_patience(sandbox: Sandbox, path: Path) -> None:
    """However long the gate is shut: it is the journal that waits, and no caller."""
    sandbox.outage(3600)
    async with client_of(sandbox, path, retry=RetryPolicy(give_up_after=60)) as client:
        await client.actions.enqueue([comment(1), comment(2)])
        await asyncio.sleep(7200)
        report = await client.actions.drain()
    assert report.not_applied == 0
    assert report.accepted + report.unknown == 2


async def test_an_id_that_is_enqueued_again_is_sent_once(sandbox: Sandbox, path: Path) -> None:
    """While it runs, after it ended, twice in one call, and beside a `send()` of the same id."""
    one = comment(1, action_id="event")
    sandbox.inject(Fault.slow(0.02))
    async with client_of(sandbox, path) as client:
        sending = asyncio.create_task(client.actions.send(one))
        assert await client.actions.enqueue([one, one]) == ["event", "event"]
        await client.actions.enqueue([one])
        assert (await sending).disposition is Disposition.ACCEPTED
        await client.actions.enqueue([one])
        report = await client.actions.drain()
    assert len(sandbox.ledger) == 1
    assert report.queued == 0


async def test_an_id_with_other_content_keeps_all_of_the_call_out(sandbox: Sandbox, path: Path) -> None:
    """Nothing of it was kept, so that the call can be mended and made again."""
    async with client_of(sandbox, path) as client:
        await client.actions.enqueue([comment(1, action_id="event")])
        with pytest.raises(ActionIdConflictError, match="'event'"):
            await client.actions.enqueue([comment(7), comment(2, action_id="event"), comment(8)])
        with pytest.raises(ActionIdConflictError, match="'twice'"):
            await client.actions.enqueue([comment(3, action_id="twice"), comment(4, action_id="twice")])
        report = await client.actions.drain()
    assert report.total == len(sandbox.ledger) == 1


async def test_an_action_that_breaks_rules_keeps_all_of_the_call_out(sandbox: Sandbox, path: Path) -> None:
    """It is told at once, and not found in a log tomorrow."""
    async with client_of(sandbox, path) as client:
        with pytest.raises(InvalidActionError):
            await client.actions.enqueue([comment(1), comment(-1)])
        assert await client.actions.enqueue([]) == []
    assert len(sandbox.ledger) == 0
    assert await states(path) == {}


async def test_what_is_left_when_a_client_closes_stays_in_the_journal(sandbox: Sandbox, path: Path) -> None:
    """It has no end yet: the report counts it as queued, no event ends it, and another client sends it."""
    events: list[Event] = []
    await sandbox.stop()
    async with client_of(sandbox, path, events=events) as client:
        await client.actions.enqueue([comment(number) for number in range(1, 301)])
        report = await client.close(0.05)
    assert report.queued == report.total == 300
    assert not [event for event in events if isinstance(event, ActionEnded)]
    assert await states(path) == {JournalState.QUEUED: 300}
    await sandbox.start()
    async with client_of(sandbox, path) as client:
        outcomes = [outcome async for outcome in client.actions.resume()]
    assert [outcome.disposition for outcome in outcomes] == [Disposition.ACCEPTED] * 300
    assert len(sandbox.ledger) == 300


async def test_drain_sends_what_was_enqueued_before_it(sandbox: Sandbox, path: Path) -> None:
    """Also what waits for room in memory, or for the disk."""
    policy = BatchPolicy(max_waiting_actions=20, max_actions=10)
    async with client_of(sandbox, path, batch=policy) as client:
        enqueueing = asyncio.create_task(client.actions.enqueue([comment(number) for number in range(1, 501)]))
        await asyncio.sleep(0)
        report = await client.actions.drain()
        assert len(await enqueueing) == 500
        with pytest.raises(ClientStateError):
            await client.actions.enqueue([comment(1)])
    assert report.accepted == len(sandbox.ledger) == 500


@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_an_enqueue_that_races_the_end_is_sent_or_stays_queued(sandbox: Sandbox, path: Path, turns: int) -> None:
    """Whenever the client closes: what was promised is in the ledger or in the journal, and nothing hangs."""
    client = client_of(sandbox, path)
    await client.open()
    enqueueing = asyncio.create_task(client.actions.enqueue([comment(number) for number in range(1, 31)]))
    for _ in range(turns):
        await asyncio.sleep(0.0002)
    async with asyncio.timeout(5):
        await client.close(0)
        results = await asyncio.gather(enqueueing, return_exceptions=True)
    counts = await states(path)
    if isinstance(results[0], BaseException):
        assert isinstance(results[0], ClientStateError | JournalError)
    else:
        assert sum(counts.values()) == 30
    assert set(counts) <= {JournalState.QUEUED, JournalState.ACCEPTED, JournalState.UNKNOWN}
    assert len(sandbox.ledger) <= counts.get(JournalState.ACCEPTED, 0) + counts.get(JournalState.UNKNOWN, 0)


async def test_a_cancelled_enqueue_takes_nothing_back(sandbox: Sandbox, path: Path) -> None:
    """What it was given is kept, and sent."""
    async with client_of(sandbox, path) as client:
        enqueueing = asyncio.create_task(client.actions.enqueue([comment(1, action_id="event")]))
        await asyncio.sleep(0)
        enqueueing.cancel()
        await until_ledger_has(sandbox, 1)
        await client.actions.enqueue([comment(1, action_id="event")])
        report = await client.actions.drain()
    # The second one joined the first, or was answered with its end.
    assert report.accepted == report.total <= 2
    assert len(sandbox.ledger) == 1


async def test_a_journal_in_memory_takes_charge_of_nothing(sandbox: Sandbox) -> None:
    """Nothing is promised that dies with the process."""
    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url
    ) as client:
        with pytest.raises(ConfigurationError, match="SqliteJournal"):
            await client.actions.enqueue([comment(1)])
        with pytest.raises(ConfigurationError, match="SqliteJournal"):
            client.actions.resume()


async def test_what_could_not_be_journaled_goes_once_it_can(
    sandbox: Sandbox, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It stays in its place meanwhile: what is enqueued later for the same case does not overtake it."""
    async with client_of(sandbox, path) as client:
        journal = client._journal
        assert isinstance(journal, SqliteJournal)
        begin = journal._file.begin

        def full(*_: object) -> None:
            raise JournalError("The journal could not be written: the disk is full.")

        journal._file.begin = full  # type: ignore[assignment, method-assign]
        await client.actions.enqueue([comment(1, case=7), comment(2, case=7)])
        async with asyncio.timeout(5):
            while "nothing is sent without it" not in caplog.text:
                await asyncio.sleep(0.002)
        await client.actions.enqueue([comment(3, case=7)])
        journal._file.begin = begin  # type: ignore[method-assign]
        report = await client.actions.drain()
    assert (report.accepted, report.total) == (3, 3)
    assert [effect.element["data"]["invoiceNumber"] for effect in sandbox.ledger] == [1, 2, 3]


async def test_what_was_not_allowed_goes_once_it_is(sandbox: Sandbox, path: Path) -> None:
    """A 403 is about the token, and not about the action that met it."""
    sandbox.inject(Fault.status(403), times=3)
    async with client_of(sandbox, path) as client:
        await client.actions.enqueue([comment(1, case=7), comment(2, case=7)])
        await until_ledger_has(sandbox, 2)
        report = await client.actions.drain()
    assert (report.accepted, report.total) == (2, 2)
    assert [effect.element["data"]["invoiceNumber"] for effect in sandbox.ledger] == [1, 2]


async def test_what_the_service_turned_away_goes_again(sandbox: Sandbox, path: Path) -> None:
    """A send would be told after its retries; what was enqueued has nobody to tell, and is sent until it has an end."""
    turned_away = sandbox.inject(Fault.unavailable(), times=20)
    events: list[Event] = []
    async with client_of(sandbox, path, events=events, batch=BatchPolicy(max_actions=10, linger=0.001)) as client:
        await client.actions.enqueue([comment(number) for number in range(1, 41)])
        await until_ledger_has(sandbox, 40)
        report = await client.actions.drain()
    assert turned_away.remaining == 0
    assert (report.accepted, report.total) == (40, 40)
    ended = [event for event in events if isinstance(event, ActionEnded)]
    assert [event.disposition for event in ended] == [Disposition.ACCEPTED] * 40


async def test_actions_of_a_case_keep_their_order_whoever_submits_them(sandbox: Sandbox, path: Path) -> None:
    """What is enqueued, sent and pushed stands in one line, also when an earlier action is turned away."""
    sandbox.inject(Fault.unavailable(), times=3)
    async with client_of(sandbox, path) as client:
        await client.actions.enqueue([comment(1, case=7), comment(2, case=7)])
        sending = asyncio.create_task(client.actions.send(comment(3, case=7)))
        await asyncio.sleep(0)
        await client.actions.enqueue([comment(4, case=7)])
        ends = [outcome.disposition async for outcome in client.actions.push([comment(5, case=7)])]
        await sending
    assert ends == [Disposition.ACCEPTED]
    assert [effect.element["data"]["invoiceNumber"] for effect in sandbox.ledger] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("enqueue_first", [True, False])
async def test_a_send_of_what_is_enqueued_shares_its_end(sandbox: Sandbox, path: Path, enqueue_first: bool) -> None:
    """However the service turns it away: it is told no end that is not one."""
    one = comment(1, action_id="event")
    sandbox.inject(Fault.unavailable(), times=9)
    async with client_of(sandbox, path) as client:
        if enqueue_first:
            await client.actions.enqueue([one])
        sending = asyncio.create_task(client.actions.send(one))
        while not sandbox.posts:
            await asyncio.sleep(0)
        await client.actions.enqueue([one])
        assert (await sending).disposition is Disposition.ACCEPTED
        report = await client.actions.drain()
    assert (report.accepted, report.total) == (1, 1)
    assert len(sandbox.ledger) == 1


async def test_what_is_enqueued_while_its_end_is_written_is_not_forgotten(sandbox: Sandbox, path: Path) -> None:
    """Whichever of the two writes comes first: it has an effect, once, in this process or the next."""
    one = comment(1, action_id="event")
    for turns in range(0, 30, 3):
        sandbox.inject(Fault.unavailable(), times=4)
        action = attrs.evolve(one, action_id=f"event-{turns}", invoice_number=turns + 1)
        async with client_of(sandbox, path) as client:
            sending = asyncio.create_task(client.actions.send(action))
            while client.statistics().posts < 4:
                await asyncio.sleep(0)
            for _ in range(turns):
                await asyncio.sleep(0.0001)
            await client.actions.enqueue([action])
            results = await asyncio.gather(sending, return_exceptions=True)
            report = await client.actions.drain()
        async with client_of(sandbox, path) as client:
            resumed = [outcome async for outcome in client.actions.resume()]
        assert len(resumed) == report.queued
        assert report.total == 1 or (report.total, report.not_applied) == (2, 1)
        assert sum(effect.action == attrs.evolve(action, action_id=None) for effect in sandbox.ledger) == 1
        if isinstance(results[0], NotAppliedError) and "goes out with" not in str(results[0]):
            assert report.not_applied == 1


async def test_a_send_of_what_stays_queued_is_told_so(sandbox: Sandbox, path: Path) -> None:
    """Its client closed: the action goes out another time, and must not be submitted in another way."""
    one = comment(1, action_id="event")
    await sandbox.stop()
    client = client_of(sandbox, path)
    await client.open()
    await client.actions.enqueue([one])
    sending = asyncio.create_task(client.actions.send(one))
    await asyncio.sleep(0.02)
    await client.close(0.02)
    with pytest.raises(NotAppliedError, match=r"goes out with resume\(\)") as caught:
        await sending
    assert caught.value.outcome is not None
    assert caught.value.outcome.is_queued


async def test_an_id_that_waits_with_other_content_is_not_enqueued(sandbox: Sandbox, path: Path) -> None:
    """Nor sent with other content while it is being enqueued."""
    async with client_of(sandbox, path, batch=BatchPolicy(linger=0.05)) as client:
        sending = asyncio.create_task(client.actions.send(comment(1, action_id="event")))
        await asyncio.sleep(0)
        with pytest.raises(ActionIdConflictError):
            await client.actions.enqueue([comment(2, action_id="event")])
        await sending
        enqueueing = asyncio.create_task(client.actions.enqueue([comment(3, action_id="other")]))
        for _ in range(3):
            await asyncio.sleep(0)
        with pytest.raises(ActionIdConflictError):
            await client.actions.send(comment(4, action_id="other"))
        await enqueueing
        report = await client.actions.drain()
    assert (report.accepted, report.queued) == (2, 0)
    assert await states(path) == {JournalState.ACCEPTED: 2}


# --- resume -----------------------------------------------------------------------------------------------------------


async def left(sandbox: Sandbox, path: Path, actions: list[Action]) -> None:
    """Have a client enqueue actions that it cannot send, because nobody listens."""
    await sandbox.stop()
    async with client_of(sandbox, path) as client:
        await client.actions.enqueue(actions)
        await client.close(0)
    await sandbox.start()


async def test_what_was_left_is_sent_as_it_was(sandbox: Sandbox, path: Path) -> None:
    """Every kind of action, byte for byte, in its order, under its id."""
    actions = [attrs.evolve(action, action_id=f"event-{index}") for index, action in enumerate(mixed(40))]
    await left(sandbox, path, actions)
    async with client_of(sandbox, path) as client:
        outcomes = [outcome async for outcome in client.actions.resume()]
    assert {outcome.action_id: outcome.action for outcome in outcomes} == {a.action_id: a for a in actions}
    assert [effect.action for effect in sandbox.ledger] == [attrs.evolve(a, action_id=None) for a in actions]


async def test_resume_of_nothing_is_nothing(sandbox: Sandbox, path: Path) -> None:
    """A first start and a clean restart are alike."""
    async with client_of(sandbox, path) as client:
        assert [outcome async for outcome in client.actions.resume()] == []


async def test_what_is_under_way_is_not_resumed(sandbox: Sandbox, path: Path) -> None:
    """`resume()` brings back what nobody is sending; an end is told once."""
    await left(sandbox, path, [comment(1, action_id="left")])
    async with client_of(sandbox, path) as client:
        await client.actions.enqueue([comment(2, action_id="new")])
        assert [outcome.action_id async for outcome in client.actions.resume()] == ["left"]
        await client.actions.drain()
    assert len(sandbox.ledger) == 2


async def test_new_actions_do_not_overtake_what_was_left(sandbox: Sandbox, path: Path) -> None:
    """Until `resume()` has taken in what was left of a case, new ones are refused, whichever way they come."""
    await left(sandbox, path, [comment(number, case=7) for number in range(1, 101)])
    async with client_of(sandbox, path, batch=BatchPolicy(max_actions=10, linger=0.001)) as client:
        for call in (
            lambda: client.actions.send(comment(101, case=7)),
            lambda: client.actions.enqueue([comment(101, case=7)]),
            lambda: client.actions.post([comment(101, case=7)]),
        ):
            with pytest.raises(OlderActionError, match=r"take resume\(\) to its end"):
                await call()
        pushed = [outcome async for outcome in client.actions.push([comment(101, case=7), comment(1, case=8)])]
        assert {outcome.disposition for outcome in pushed} == {Disposition.ACCEPTED, Disposition.NOT_APPLIED}
        assert [type(outcome.error) for outcome in pushed if outcome.error] == [OlderActionError]
        resumed = [outcome async for outcome in client.actions.resume()]
        await client.actions.send(comment(101, case=7))
    assert len(resumed) == 100
    numbers = [effect.element["data"]["invoiceNumber"] for effect in sandbox.ledger.for_case(7)]
    assert numbers == list(range(1, 102))


async def test_what_a_resume_took_back_is_not_overtaken_either(sandbox: Sandbox, path: Path) -> None:
    """Its consumer stopped: what is left of a case goes before anything new, with the next `resume()`."""
    await left(sandbox, path, [comment(number, case=7) for number in range(1, 31)])
    async with client_of(sandbox, path, batch=BatchPolicy(max_actions=3, lanes=1, linger=0.001)) as client:
        resuming = client.actions.resume()
        await anext(resuming)
        await resuming.aclose()
        assert client.statistics().accepted < 30
        with pytest.raises(OlderActionError):
            await client.actions.enqueue([comment(31, case=7)])
        rest = [outcome async for outcome in client.actions.resume()]
        await client.actions.enqueue([comment(31, case=7)])
        report = await client.actions.drain()
    assert {outcome.disposition for outcome in rest} == {Disposition.ACCEPTED}
    assert (report.accepted, report.total) == (31, 31)
    assert [effect.element["data"]["invoiceNumber"] for effect in sandbox.ledger] == list(range(1, 32))


async def test_a_case_is_free_as_soon_as_its_last_one_was_taken_in(sandbox: Sandbox, path: Path) -> None:
    """Whoever takes the outcomes of `resume()` may send what follows from them, and never waits for itself."""
    await left(sandbox, path, [comment(number, case=number) for number in range(1, 101)])
    policy = BatchPolicy(max_actions=5, max_waiting_actions=10, linger=0.001)
    async with client_of(sandbox, path, batch=policy) as client:
        async with asyncio.timeout(10):
            async for outcome in client.actions.resume():
                await client.actions.send(comment(1_000, case=outcome.action.case_id))
    assert len(sandbox.ledger) == 200


@pytest.mark.looptime
async def test_what_is_larger_than_the_present_limits_is_sent_alone(sandbox: Sandbox, path: Path) -> None:
    """It was taken in under other limits; it does not wait for ever, nor hold up anybody."""
    await left(sandbox, path, [comment(1, text="x" * 3_000), comment(2)])
    policy = BatchPolicy(max_bytes=1_024, max_waiting_bytes=2_048, linger=0.001)
    async with client_of(sandbox, path, batch=policy) as client:
        outcomes = [outcome async for outcome in client.actions.resume()]
        await client.actions.send(comment(3))
    assert [outcome.disposition for outcome in outcomes] == [Disposition.ACCEPTED] * 2
    assert len(sandbox.ledger) == 3


async def test_a_consumer_that_stops_leaves_the_rest_queued(sandbox: Sandbox, path: Path) -> None:
    """For another time, or another process."""
    await left(sandbox, path, [comment(number) for number in range(1, 101)])
    async with client_of(sandbox, path, batch=BatchPolicy(max_actions=5, lanes=1, linger=0.001)) as client:
        resuming = client.actions.resume()
        assert (await anext(resuming)).disposition is Disposition.ACCEPTED
        await resuming.aclose()
    counts = await states(path)
    assert counts[JournalState.QUEUED] > 0
    assert counts[JournalState.ACCEPTED] == len(sandbox.ledger) == 100 - counts[JournalState.QUEUED]
    async with client_of(sandbox, path) as client:
        outcomes = [outcome async for outcome in client.actions.resume()]
    assert len(outcomes) == counts[JournalState.QUEUED]
    assert len(sandbox.ledger) == 100


async def test_a_dead_token_ends_resume_and_keeps_what_is_left(sandbox: Sandbox, path: Path) -> None:
    """Raised once, as `push()` does; with a token that is valid it goes on where it was."""
    await left(sandbox, path, [comment(number) for number in range(1, 51)])
    sandbox.revoke_token(renewable=False)
    async with client_of(sandbox, path) as client:
        with pytest.raises(AuthenticationError):
            async for outcome in client.actions.resume():
                assert outcome.disposition is Disposition.NOT_APPLIED
                assert isinstance(outcome.error, AuthenticationError | NotSubmittedError)
    assert await states(path) == {JournalState.QUEUED: 50}


async def test_a_client_that_closes_during_resume_leaves_nobody_waiting(sandbox: Sandbox, path: Path) -> None:
    """Its consumer is told of everything that was read, and what was not sent stays queued."""
    await left(sandbox, path, [comment(number) for number in range(1, 201)])
    await sandbox.stop()
    client = client_of(sandbox, path)
    await client.open()

    async def consume(outcomes: AsyncIterator[object]) -> int:
        return len([outcome async for outcome in outcomes])

    consuming = asyncio.create_task(consume(client.actions.resume()))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(3):
        await client.close(0.05)
        await asyncio.gather(consuming, return_exceptions=True)
    assert await states(path) == {JournalState.QUEUED: 200}
