"""The product's promises, checked on what the service holds afterwards."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from confirma_async import (
    Action,
    ActionOutcome,
    BatchPolicy,
    ConfirmaClient,
    Disposition,
    DueDate,
    Environment,
    FileTokenStore,
    MemoryTokenStore,
    OutcomeUnknownError,
    Pause,
    RetryPolicy,
)
from confirma_async.sandbox import Fault, Sandbox
from tests.actions import comment, mixed, payment
from tests.conftest import QUICK_RETRY


async def outcomes_of(client: ConfirmaClient, actions: Iterable[Action]) -> list[ActionOutcome]:
    return [outcome async for outcome in client.actions.push(actions)]


def invoice_numbers(sandbox: Sandbox, case: int) -> list[int]:
    """The invoice numbers of a case's effects, in the order in which they took effect."""
    return [effect.element["data"]["invoiceNumber"] for effect in sandbox.ledger.for_case(case)]


def effects_by_case(sandbox: Sandbox) -> Counter[int | None]:
    return Counter(effect.action.case_id for effect in sandbox.ledger)


async def test_ten_thousand_sends_of_a_thousand_tasks_fill_their_batches_and_keep_each_cases_order(
    sandbox: Sandbox,
) -> None:
    """Sends of many tasks share POSTs, each is applied once, and a case's effects stand in the order of its sends."""

    async def worker(client: ConfirmaClient, case: int) -> None:
        for number in range(1, 11):
            await client.actions.send(comment(number, case))

    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url
    ) as client:
        await asyncio.gather(*(worker(client, case) for case in range(1, 1001)))

    assert len(sandbox.posts) <= 110
    assert len(sandbox.ledger) == 10_000
    for case in range(1, 1001):
        assert invoice_numbers(sandbox, case) == list(range(1, 11))


async def test_concurrent_sends_of_one_case_take_effect_in_the_order_of_their_calls(sandbox: Sandbox) -> None:
    """Of sends that a case makes at once, none overtakes another, however many batches they fill."""
    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url
    ) as client:
        await asyncio.gather(
            *(client.actions.send(comment(number, case)) for number in range(1, 31) for case in range(1, 101))
        )
    assert len(sandbox.posts) <= 33
    for case in range(1, 101):
        assert invoice_numbers(sandbox, case) == list(range(1, 31))


async def test_a_token_revoked_among_a_thousand_sends_is_renewed_once_and_no_caller_notices(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """One renewal serves everybody, and the new token is on disk before it is used."""
    path = tmp_path / "token"
    path.write_text(sandbox.token)
    used_before_kept: list[str] = []

    def watch(request: object) -> bool:
        token = request.token  # type: ignore[attr-defined]
        if token is not None and token not in path.read_text():
            used_before_kept.append(token)
        return False

    sandbox.inject(Fault.UNAUTHORIZED, times=None, when=watch)
    sandbox.inject(Fault.UNAUTHORIZED, path="/validate", times=None, when=watch)
    async with ConfirmaClient(
        environment=Environment.STAGING, token=FileTokenStore(path), base_url=sandbox.base_url
    ) as client:
        sends = [asyncio.create_task(client.actions.send(comment(number))) for number in range(1, 1001)]
        while len(sandbox.ledger) < 300:
            await asyncio.sleep(0)
        sandbox.revoke_token()
        ended = await asyncio.gather(*sends)

    assert {outcome.disposition for outcome in ended} == {Disposition.ACCEPTED}
    assert [request.path for request in sandbox.requests].count("/renew") == 1
    assert len(sandbox.tokens) == 2
    assert used_before_kept == []
    assert set(effects_by_case(sandbox).values()) == {1}
    assert json.loads(path.read_text())["token"] == sandbox.tokens[-1]


async def test_a_renewal_that_was_carried_out_and_lost_is_never_asked_for_again(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The old token is checked, found dead, and a person is told; nothing is renewed blindly and nothing hangs."""
    path = tmp_path / "token"
    path.write_text(sandbox.token)
    sandbox.revoke_token()
    sandbox.inject(Fault.DROP_AFTER_APPLYING, path="/renew")
    async with ConfirmaClient(
        environment=Environment.STAGING, token=FileTokenStore(path), base_url=sandbox.base_url, retry=QUICK_RETRY
    ) as client:
        with pytest.raises(Exception, match="never reached us") as caught:
            await client.actions.send(comment(1))
        await client.close(grace=0.05)

    assert caught.value.outcome.disposition is Disposition.NOT_APPLIED  # type: ignore[attr-defined]
    assert [request.path for request in sandbox.requests].count("/renew") == 1
    assert len(sandbox.ledger) == 0


async def test_one_poisoned_action_among_five_hundred_is_found_and_costs_nobody_else(
    sandbox: Sandbox, client: ConfirmaClient
) -> None:
    """A batch that is refused is halved until the action at fault stands alone; all others are applied once."""
    sandbox.poison(lambda action: action.comment == "poison")
    actions = [comment(number, text="poison" if number == 250 else "fine") for number in range(1, 501)]
    ended = await outcomes_of(client, list(actions))

    assert Counter(outcome.disposition for outcome in ended) == {Disposition.ACCEPTED: 499, Disposition.REJECTED: 1}
    assert [outcome.action for outcome in ended if outcome.disposition is Disposition.REJECTED] == [actions[249]]
    assert effects_by_case(sandbox) == Counter(n for n in range(1, 501) if n != 250)


async def test_a_batch_in_twenty_with_a_poisoned_action_never_runs_out_of_patience(
    sandbox: Sandbox, client: ConfirmaClient
) -> None:
    """Finding actions at fault is free as long as the others go through: one in a hundred is found every time."""
    sandbox.poison(lambda action: action.comment == "poison")
    actions = [comment(number, text="poison" if number % 100 == 37 else "fine") for number in range(1, 4001)]
    ended = await outcomes_of(client, list(actions))
    assert Counter(outcome.disposition for outcome in ended) == {Disposition.ACCEPTED: 3960, Disposition.REJECTED: 40}
    assert set(effects_by_case(sandbox).values()) == {1}


async def test_a_service_that_refuses_everything_is_not_asked_for_every_action(
    sandbox: Sandbox, client: ConfirmaClient
) -> None:
    """Isolation stops when nothing at all is accepted; what was never refused alone may be submitted again."""
    sandbox.inject(Fault.status(400), times=None)
    ended = await outcomes_of(client, [comment(number) for number in range(1, 501)])
    ends = Counter(outcome.disposition for outcome in ended)
    assert ends.keys() == {Disposition.REJECTED, Disposition.NOT_APPLIED}
    assert ends.total() == 500
    assert ends[Disposition.REJECTED] <= 20
    assert len(sandbox.posts) <= 60
    assert len(sandbox.ledger) == 0


async def test_bad_actions_in_a_row_do_not_take_good_ones_along(sandbox: Sandbox, client: ConfirmaClient) -> None:
    """In a file that is sorted by what is wrong with it, none of the good ones is called REJECTED."""
    sandbox.poison(lambda action: action.comment == "poison")
    actions = [comment(n, text="poison" if 150 <= n < 160 else "fine") for n in range(1, 1_001)]
    ended = await outcomes_of(client, actions)
    rejected = {outcome.action for outcome in ended if outcome.disposition is Disposition.REJECTED}
    assert rejected == set(actions[149:159])
    assert sum(outcome.disposition is Disposition.ACCEPTED for outcome in ended) == 990


async def test_after_a_lost_answer_only_what_may_harmlessly_be_repeated_is_repeated(
    sandbox: Sandbox, client: ConfirmaClient
) -> None:
    """A comment and a payment end UNKNOWN and stand in the ledger once; a due date is sent again and ends ACCEPTED."""
    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    results = await asyncio.gather(
        client.actions.send(DueDate(invoice_number=1, case_id=1, due_date="2026-03-15")),
        client.actions.send(comment(1)),
        client.actions.send(payment(1)),
        return_exceptions=True,
    )
    assert isinstance(results[0], ActionOutcome)
    assert results[0].disposition is Disposition.ACCEPTED
    assert results[0].attempts == 2
    assert isinstance(results[1], OutcomeUnknownError)
    assert isinstance(results[2], OutcomeUnknownError)
    assert Counter(effect.action.code for effect in sandbox.ledger) == {"DUEDATE": 2, "COMMENT": 1, "DIRECTPAYMENT": 1}


@pytest.mark.looptime
async def test_an_outage_costs_at_most_the_batches_that_were_in_flight(sandbox: Sandbox) -> None:
    """Ten seconds without the service in the middle of 20,000 actions: the rest is accepted without help."""
    in_flight = 0
    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url
    ) as client:
        ended: Counter[Disposition] = Counter()
        async for outcome in client.actions.push(mixed(20_000)):
            ended[outcome.disposition] += 1
            if sum(ended.values()) == 7_000:
                in_flight = client.statistics().in_flight_actions
                sandbox.outage(10.0)
    assert ended[Disposition.UNKNOWN] <= in_flight
    assert ended[Disposition.ACCEPTED] + ended[Disposition.UNKNOWN] == 20_000
    harmful = Counter(e.action.case_id for e in sandbox.ledger if e.action.code in ("COMMENT", "DIRECTPAYMENT"))
    assert set(harmful.values()) == {1}


async def test_an_outage_that_applies_first_doubles_nothing(sandbox: Sandbox) -> None:
    """When the service applies what it does not answer, comments and payments of those batches end UNKNOWN, once."""
    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=MemoryTokenStore(sandbox.token),
        base_url=sandbox.base_url,
        retry=QUICK_RETRY,
        batch=BatchPolicy(max_actions=20),
    ) as client:
        sandbox.inject(Fault.DROP_AFTER_APPLYING, after=5, times=6)
        ended = await outcomes_of(client, mixed(2_000))
    told = {outcome.action.case_id: outcome for outcome in ended}
    effects = effects_by_case(sandbox)
    assert len(told) == 2_000
    for case, outcome in told.items():
        harmless = outcome.action.code in ("DUEDATE", "WITHDRAW")
        if outcome.disposition is Disposition.ACCEPTED:
            assert effects[case] >= 1 if harmless else effects[case] == 1
        else:
            assert outcome.disposition is Disposition.UNKNOWN
            assert not harmless
            assert effects[case] == 1


async def test_a_batch_that_the_service_never_read_is_sent_again(sandbox: Sandbox) -> None:
    """A refused connection is certainly without effect: even a payment goes again, and is booked once."""
    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=sandbox.token,
        base_url=sandbox.base_url,
        retry=QUICK_RETRY,
    ) as client:
        await sandbox.stop()
        sending = asyncio.create_task(client.actions.send(payment(1)))
        while client.statistics().posts == 0:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        await sandbox.start()
        outcome = await sending
    assert outcome.disposition is Disposition.ACCEPTED
    assert len(sandbox.ledger) == 1


@pytest.mark.looptime
@pytest.mark.parametrize("fault", [Fault.too_many_requests(0.01), Fault.unavailable("0"), Fault.too_many_requests()])
async def test_a_service_that_asks_for_a_pause_gets_it_and_loses_nothing(sandbox: Sandbox, fault: Fault) -> None:
    """429 and 503 mean not handled: everything goes again after the pause, payments too, and is applied once."""
    sandbox.inject(fault, times=3)
    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url, retry=QUICK_RETRY
    ) as client:
        outcome = await client.actions.send(payment(1))
    assert outcome.attempts == 4
    assert len(sandbox.ledger) == 1


async def test_an_action_that_breaks_the_service_does_not_take_harmless_neighbours_along(sandbox: Sandbox) -> None:
    """A batch answered 500 twice goes on in halves, its repeatable actions only: all but the culprit get through."""
    sandbox.inject(Fault.status(500), times=None, when=lambda request: b'"culprit"' in request.body)
    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=sandbox.token,
        base_url=sandbox.base_url,
        retry=RetryPolicy(min_backoff=0, first_ceiling=0.001, max_ceiling=0.001),
    ) as client:
        actions: list[Action] = [
            Pause(invoice_number=n, case_id=n, comment="culprit" if n == 5 else None) for n in range(1, 9)
        ]
        ended = await outcomes_of(client, [*actions, comment(99)])
    unknown = {outcome.action.case_id for outcome in ended if outcome.disposition is Disposition.UNKNOWN}
    assert unknown == {5, 99}
    assert effects_by_case(sandbox) == Counter([1, 2, 3, 4, 6, 7, 8])
