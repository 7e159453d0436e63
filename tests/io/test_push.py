"""`push()`: any source, bounded memory, one outcome for each action."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from confirma_async import (
    Action,
    AuthenticationError,
    BatchPolicy,
    ClientStateError,
    ConfirmaClient,
    Disposition,
    Environment,
    FileTokenStore,
    InvalidActionError,
    InvalidFieldError,
    MemoryTokenStore,
    PermissionDeniedError,
)
from confirma_async.sandbox import Fault, Sandbox
from tests.actions import comment, mixed


async def trickle(count: int, pause: float) -> AsyncIterator[Action]:
    for number in range(1, count + 1):
        yield comment(number)
        await asyncio.sleep(pause)


def dispositions(outcomes: "list[object]") -> Counter[Disposition]:
    return Counter(outcome.disposition for outcome in outcomes)  # type: ignore[attr-defined]


async def test_seven_actions_are_one_post(sandbox: Sandbox, client: ConfirmaClient) -> None:
    """The end of the source seals the batch."""
    outcomes = [outcome async for outcome in client.actions.push([comment(number) for number in range(1, 8)])]
    assert [outcome.disposition for outcome in outcomes] == [Disposition.ACCEPTED] * 7
    assert len(sandbox.posts) == 1


async def test_an_empty_source_sends_nothing(sandbox: Sandbox, client: ConfirmaClient) -> None:
    """There is nothing to say, and nothing to wait for."""
    assert [outcome async for outcome in client.actions.push([])] == []
    assert sandbox.requests == []


@pytest.mark.looptime
async def test_a_source_that_trickles_fills_its_batch_and_one_that_stalls_has_it_sent(sandbox: Sandbox) -> None:
    """Below the stall a slow source still shares POSTs; silence for longer sends what is there."""
    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url
    ) as client:
        assert len([outcome async for outcome in client.actions.push(trickle(20, 0.1))]) == 20
        assert len(sandbox.posts) == 1
        loop = asyncio.get_running_loop()
        started = loop.time()
        async for _ in client.actions.push(trickle(1, 60.0)):
            assert loop.time() - started < 1.0


async def test_bad_actions_come_back_with_all_that_is_wrong_and_the_good_ones_go_out(
    sandbox: Sandbox, client: ConfirmaClient
) -> None:
    """A single action never raises."""
    actions = [comment(1), comment(-2, case=-3), comment(4)]
    outcomes = {outcome.action: outcome async for outcome in client.actions.push(actions)}
    refused = outcomes[actions[1]]
    assert refused.disposition is Disposition.NOT_APPLIED
    assert refused.attempts == 0
    assert isinstance(refused.error, InvalidActionError)
    assert [violation.path for violation in refused.error.violations] == ["data.invoiceNumber", "data.caseId"]
    assert [effect.action for effect in sandbox.ledger] == [comment(1), comment(4)]


async def test_what_breaks_a_rule_can_be_sent_on_purpose(sandbox: Sandbox, client: ConfirmaClient) -> None:
    """With validate=False the service decides, for the day when it is right and the documents are not."""
    outcomes = [outcome async for outcome in client.actions.push([comment(0)], validate=False)]
    assert outcomes[0].disposition is Disposition.REJECTED
    assert len(sandbox.posts) == 1


async def test_a_source_that_fails_has_what_it_yielded_sent_before_its_error_is_raised(
    sandbox: Sandbox, client: ConfirmaClient
) -> None:
    """Nothing that was read is lost to the error."""

    def source() -> Iterator[Action]:
        yield comment(1)
        yield comment(2)
        raise OSError("the disk is gone")

    outcomes = []
    with pytest.raises(OSError, match="the disk is gone"):
        async for outcome in client.actions.push(source()):
            outcomes.append(outcome)
    assert dispositions([*outcomes]) == {Disposition.ACCEPTED: 2}
    assert len(sandbox.ledger) == 2


async def test_a_source_that_yields_something_else_is_told_so(client: ConfirmaClient) -> None:
    """What is no action is a mistake of the source, not an outcome."""
    with pytest.raises(InvalidFieldError, match="a str"):
        async for _ in client.actions.push(["COMMENT"]):  # type: ignore[list-item]
            pass
    with pytest.raises(InvalidFieldError, match="iterable"):
        client.actions.push(3)  # type: ignore[arg-type]


async def test_reading_pauses_while_outcomes_are_not_taken(sandbox: Sandbox) -> None:
    """A consumer that is slow holds the source back: no more is in hand than may wait."""
    read = 0

    def source() -> Iterator[Action]:
        nonlocal read
        for number in range(1, 5_001):
            read = number
            yield comment(number)

    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=sandbox.token,
        base_url=sandbox.base_url,
        batch=BatchPolicy(max_waiting_actions=300),
    ) as client:
        taken = 0
        async for _ in client.actions.push(source()):
            taken += 1
            if taken % 100 == 0:
                await asyncio.sleep(0.002)
            assert read - taken <= 300
    assert taken == len(sandbox.ledger) == 5_000


async def test_a_dead_token_raises_once_after_an_outcome_for_everything_that_was_read(sandbox: Sandbox) -> None:
    """A push with a token that cannot be renewed ends soon, truthfully, with one error."""
    sandbox.revoke_token()
    read = 0

    def source() -> Iterator[Action]:
        nonlocal read
        for action in mixed(50_000):
            read += 1
            yield action

    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url
    ) as client:
        outcomes = []
        with pytest.raises(AuthenticationError, match="FileTokenStore"):
            async for outcome in client.actions.push(source()):
                outcomes.append(outcome)
    assert dispositions([*outcomes]) == {Disposition.NOT_APPLIED: read}
    assert read < 50_000
    assert len(sandbox.ledger) == 0


async def test_a_token_without_the_permission_raises_once(sandbox: Sandbox) -> None:
    """403 is for everybody: the rest of the source is not tried one batch after the other."""
    sandbox.inject(Fault.status(403), times=None)
    async with ConfirmaClient(
        environment=Environment.STAGING, token=MemoryTokenStore(sandbox.token), base_url=sandbox.base_url
    ) as client:
        outcomes = []
        with pytest.raises(PermissionDeniedError, match="not allowed"):
            async for outcome in client.actions.push(mixed(5_000)):
                outcomes.append(outcome)
        assert set(dispositions([*outcomes])) == {Disposition.NOT_APPLIED}
        assert len(sandbox.posts) <= 4


async def test_the_same_id_twice_is_one_action(sandbox: Sandbox, client: ConfirmaClient) -> None:
    """Both are told how it ended, and it took effect once; other content under the id is refused."""
    actions = [comment(1, action_id="a"), comment(1, action_id="a"), comment(2, action_id="a")]
    outcomes = [outcome async for outcome in client.actions.push(actions)]
    assert dispositions([*outcomes]) == {Disposition.ACCEPTED: 2, Disposition.NOT_APPLIED: 1}
    assert len(sandbox.ledger) == 1


async def test_two_pushes_and_sends_share_batches(sandbox: Sandbox) -> None:
    """Whoever submits, and however: everything is coalesced."""
    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url
    ) as client:

        async def consume(first: int) -> int:
            return len([o async for o in client.actions.push(comment(first + n) for n in range(10))])

        counts = await asyncio.gather(
            consume(100), consume(200), *(client.actions.send(comment(n + 1)) for n in range(30))
        )
    assert counts[:2] == [10, 10]
    assert len(sandbox.posts) == 1
    assert len(sandbox.ledger) == 50


async def test_a_push_on_a_client_that_is_not_open_says_so_at_once(sandbox: Sandbox) -> None:
    """Not only when its first outcome is asked for."""
    client = ConfirmaClient(environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url)
    with pytest.raises(ClientStateError, match="async with"):
        client.actions.push([comment(1)])


async def test_a_source_that_is_cancelled_is_not_taken_for_one_that_ended(
    sandbox: Sandbox, client: ConfirmaClient
) -> None:
    """What it yielded is sent; that the rest was not read is said."""

    async def source() -> AsyncIterator[Action]:
        yield comment(1)
        raise asyncio.CancelledError

    outcomes = []
    with pytest.raises(asyncio.CancelledError, match="source"):
        async for outcome in client.actions.push(source()):
            outcomes.append(outcome)
    assert len(outcomes) == len(sandbox.ledger) == 1


async def test_a_text_is_no_source(client: ConfirmaClient) -> None:
    """Although it can be iterated."""
    with pytest.raises(InvalidFieldError, match="not a str"):
        client.actions.push("COMMENT")  # type: ignore[arg-type]


@pytest.mark.looptime
@pytest.mark.parametrize("count", [50, 500, 20_000])
async def test_a_stored_token_that_is_dead_ends_a_push_soon_however_small_it_is(
    sandbox: Sandbox, tmp_path: Path, count: int
) -> None:
    """It does not wait for somebody to replace the token, although send() does: a push can be started again."""
    path = tmp_path / "token"
    path.write_text(sandbox.token)
    sandbox.revoke_token(renewable=False)
    loop = asyncio.get_running_loop()
    async with ConfirmaClient(
        environment=Environment.STAGING, token=FileTokenStore(path), base_url=sandbox.base_url
    ) as client:
        started, outcomes = loop.time(), []
        with pytest.raises(AuthenticationError, match="put a valid token into the store"):
            async for outcome in client.actions.push(mixed(count)):
                outcomes.append(outcome)
        assert loop.time() - started < 60.0
    assert set(dispositions([*outcomes])) == {Disposition.NOT_APPLIED}
    assert len(sandbox.ledger) == 0


@pytest.mark.parametrize("source_is_silent", [True, False])
async def test_a_push_ends_when_the_client_drains(
    sandbox: Sandbox, client: ConfirmaClient, source_is_silent: bool
) -> None:
    """However long its source would be silent: what was read has its end, and the rest was not read."""

    async def source() -> AsyncIterator[Action]:
        yield comment(1)
        yield comment(2)
        if source_is_silent:
            await asyncio.Event().wait()

    outcomes: list[Disposition] = []

    async def consume() -> None:
        async for outcome in client.actions.push(source()):
            outcomes.append(outcome.disposition)

    consuming = asyncio.create_task(consume())
    async with asyncio.timeout(5):
        while len(sandbox.ledger) < 2:
            await asyncio.sleep(0.001)
        await client.actions.drain()
        if source_is_silent:
            with pytest.raises(ClientStateError):
                await consuming
        else:
            await consuming
    assert outcomes == [Disposition.ACCEPTED] * 2


async def test_a_push_that_nobody_takes_from_ends_when_the_client_drains(sandbox: Sandbox) -> None:
    """Its reader does not wait for room for ever; whoever comes back finds the outcomes of what was read."""
    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=sandbox.token,
        base_url=sandbox.base_url,
        batch=BatchPolicy(max_actions=5, max_waiting_actions=10),
    ) as client:
        outcomes = client.actions.push(comment(number) for number in range(1, 1001))
        taken = [await anext(outcomes)]
        report = await client.actions.drain()
        with pytest.raises(ClientStateError):
            while True:
                taken.append(await anext(outcomes))
    assert len(taken) == report.total == len(sandbox.ledger) < 1000
