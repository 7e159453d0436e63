"""What shares a POST with what, who waits for whom, and what happens at the limits."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from confirma_async import (
    Action,
    ActionIdConflictError,
    ActionRejectedError,
    BatchPolicy,
    Comment,
    ConfigurationError,
    ConfirmaClient,
    Disposition,
    Environment,
    InvalidActionError,
    NotAppliedError,
    Pause,
    QueueFullError,
    RawAction,
)
from confirma_async._core.wire import decode_json
from confirma_async.sandbox import Fault, ReceivedRequest, Sandbox
from tests.actions import comment, due_date, mixed, payment


def open_client(sandbox: Sandbox, batch: BatchPolicy) -> ConfirmaClient:
    return ConfirmaClient(environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url, batch=batch)


def sizes(sandbox: Sandbox) -> list[int]:
    """How many actions each POST held."""
    return [len(decode_json(request.body)["actions"]) for request in sandbox.posts]


@pytest.mark.looptime
async def test_the_linger_counts_from_the_first_action(sandbox: Sandbox) -> None:
    """A steady trickle does not hold a batch open."""
    loop = asyncio.get_running_loop()
    async with open_client(sandbox, BatchPolicy(linger=1.0)) as client:
        started = loop.time()
        sends = []
        for number in range(1, 21):
            sends.append(asyncio.create_task(client.actions.send(comment(number))))
            await asyncio.sleep(0.1)
        await asyncio.gather(*sends)
        assert loop.time() - started < 3.0
    assert 2 <= len(sandbox.posts) <= 3


@pytest.mark.looptime
async def test_a_linger_of_zero_sends_at_once_and_coalesces_while_no_lane_is_free(sandbox: Sandbox) -> None:
    """What is submitted in one turn shares a POST; what comes while the lanes are busy waits together."""
    sandbox.inject(Fault.slow(1.0), times=None)
    async with open_client(sandbox, BatchPolicy(linger=0, lanes=1)) as client:
        first = [asyncio.create_task(client.actions.send(comment(n))) for n in (1, 2)]
        await asyncio.sleep(0.2)
        rest = []
        for number in range(3, 8):
            rest.append(asyncio.create_task(client.actions.send(comment(number))))
            await asyncio.sleep(0.1)
        await asyncio.gather(*first, *rest)
    assert sizes(sandbox) == [2, 5]


async def test_a_batch_is_sealed_before_it_passes_its_bytes(sandbox: Sandbox) -> None:
    """No body is larger than BatchPolicy says, and none is split smaller than it must be."""
    async with open_client(sandbox, BatchPolicy(max_bytes=2_000)) as client:
        await asyncio.gather(*(client.actions.send(comment(n, text="x" * 300)) for n in range(1, 41)))
    assert max(len(request.body) for request in sandbox.posts) <= 2_000
    assert sizes(sandbox) == [5] * 8


async def test_an_action_too_large_for_any_post_is_refused_when_it_is_submitted(sandbox: Sandbox) -> None:
    """It would wait for ever."""
    async with open_client(sandbox, BatchPolicy(max_bytes=2_000)) as client:
        with pytest.raises(InvalidActionError, match="more than one POST"):
            await client.actions.send(comment(1, text="x" * 3_000))
    assert sandbox.posts == []


async def test_a_full_queue_raises_if_asked_and_drops_nothing(sandbox: Sandbox) -> None:
    """The caller is told, and everybody else's action goes out."""
    async with open_client(sandbox, BatchPolicy(max_waiting_actions=10, when_full="raise")) as client:
        results = await asyncio.gather(
            *(client.actions.send(comment(number)) for number in range(1, 21)), return_exceptions=True
        )
    assert sum(isinstance(result, QueueFullError) for result in results) == 10
    assert len(sandbox.ledger) == 10


async def test_a_full_queue_lets_callers_wait_in_order_of_arrival(sandbox: Sandbox) -> None:
    """Nobody is dropped, and nobody overtakes."""
    async with open_client(sandbox, BatchPolicy(max_waiting_actions=10, lanes=1, linger=0)) as client:
        await asyncio.gather(*(client.actions.send(comment(number)) for number in range(1, 501)))
    assert [effect.action.case_id for effect in sandbox.ledger] == list(range(1, 501))


@pytest.mark.looptime
async def test_a_case_that_waits_does_not_hold_up_the_others(sandbox: Sandbox) -> None:
    """One case may hold a tenth of what waits; actions of other cases pass it, its own keep their order."""
    sandbox.inject(Fault.slow(5.0), times=1)
    async with open_client(sandbox, BatchPolicy(max_waiting_actions=100, linger=0)) as client:
        first = asyncio.create_task(client.actions.send(comment(1, case=1)))
        await asyncio.sleep(1.0)
        behind = [asyncio.create_task(client.actions.send(comment(n, case=1))) for n in range(2, 40)]
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.gather(*(client.actions.send(comment(n)) for n in range(100, 300)))
        assert loop.time() - started < 1.0
        assert not any(task.done() for task in (first, *behind))
        await asyncio.gather(first, *behind)
    assert [effect.element["data"]["invoiceNumber"] for effect in sandbox.ledger.for_case(1)] == list(range(1, 40))


async def test_named_codes_get_posts_of_their_own(sandbox: Sandbox) -> None:
    """`alone` keeps every payment's circle of doubt to itself, and coalesces the rest."""
    async with open_client(sandbox, BatchPolicy(alone={"DIRECTPAYMENT"})) as client:
        async for _ in client.actions.push(mixed(40)):
            pass
    assert len(sandbox.ledger) == 40
    assert sorted(sizes(sandbox)) == [1] * 10 + [30]
    alone = [decode_json(r.body)["actions"][0]["code"] for r in sandbox.posts if b"DIRECTPAYMENT" in r.body]
    assert alone == ["DIRECTPAYMENT"] * 10


async def test_post_sends_what_it_is_given_in_one_post(sandbox: Sandbox, client: ConfirmaClient) -> None:
    """In its order, with nobody else's actions in it."""
    others = [asyncio.create_task(client.actions.send(comment(number))) for number in range(100, 110)]
    given = [comment(2), comment(1), payment(3), comment(1, text="again")]
    outcomes = await client.actions.post(given)
    await asyncio.gather(*others)
    assert [outcome.action for outcome in outcomes] == given
    assert {outcome.disposition for outcome in outcomes} == {Disposition.ACCEPTED}
    assert sorted(sizes(sandbox)) == [4, 10]
    body = next(decode_json(r.body) for r in sandbox.posts if len(decode_json(r.body)["actions"]) == 4)
    assert [element["data"]["caseId"] for element in body["actions"]] == [2, 1, 3, 1]


async def test_post_is_not_cut_up_when_it_is_refused(sandbox: Sandbox, client: ConfirmaClient) -> None:
    """It was given as one POST: all of it is REJECTED."""
    sandbox.poison(lambda action: action.case_id == 2)
    outcomes = await client.actions.post([comment(1), comment(2), comment(3)])
    assert [outcome.disposition for outcome in outcomes] == [Disposition.REJECTED] * 3
    assert len(sandbox.posts) == 1
    assert await client.actions.post([]) == []


async def test_post_refuses_what_breaks_a_rule_before_anything_is_sent(
    sandbox: Sandbox, client: ConfirmaClient
) -> None:
    """All or nothing, and an id may stand in it once."""
    with pytest.raises(InvalidActionError):
        await client.actions.post([comment(1), comment(-1)])
    with pytest.raises(ActionIdConflictError):
        await client.actions.post([comment(1, action_id="a"), comment(2, action_id="a")])
    assert sandbox.posts == []
    assert client.statistics().waiting_actions == 0


@pytest.mark.looptime
async def test_flush_sends_what_was_submitted_before_it_and_goes_on(sandbox: Sandbox) -> None:
    """It returns when that has ended, and does not wait for what came later."""
    async with open_client(sandbox, BatchPolicy(linger=60.0)) as client:
        before = asyncio.create_task(client.actions.send(comment(1)))
        await asyncio.sleep(0)
        await client.actions.flush()
        assert before.done()
        after = asyncio.create_task(client.actions.send(comment(2)))
        await asyncio.sleep(1.0)
        assert not after.done()
        await client.actions.flush()
        assert after.done()
        await client.actions.flush()


async def test_an_id_is_submitted_once_however_often_it_comes(sandbox: Sandbox, client: ConfirmaClient) -> None:
    """While it runs callers join; afterwards they are told how it ended; other content is refused."""
    both = await asyncio.gather(*(client.actions.send(comment(1, action_id="event")) for _ in range(5)))
    assert len({id(outcome) for outcome in both}) == 1
    again = await client.actions.send(comment(1, action_id="event"))
    assert again.disposition is Disposition.ACCEPTED
    assert len(sandbox.ledger) == 1
    with pytest.raises(ActionIdConflictError, match="other content"):
        await client.actions.send(comment(2, action_id="event"))
    with pytest.raises(ActionIdConflictError, match="other content"):
        await asyncio.gather(
            client.actions.send(comment(3, action_id="other")), client.actions.send(comment(4, action_id="other"))
        )
    assert len(sandbox.ledger) <= 2


async def test_an_id_that_was_rejected_stays_rejected_and_one_not_applied_goes_again(
    sandbox: Sandbox, client: ConfirmaClient
) -> None:
    """Only the end that says "may be submitted again" is left by submitting again."""
    sandbox.inject(Fault.status(400))
    for _ in range(2):
        with pytest.raises(ActionRejectedError):
            await client.actions.send(comment(1, action_id="rejected"))
    assert len(sandbox.posts) == 1
    sandbox.inject(Fault.status(403))
    with pytest.raises(NotAppliedError):
        await client.actions.send(comment(2, action_id="not applied"))
    assert (await client.actions.send(comment(2, action_id="not applied"))).disposition is Disposition.ACCEPTED


async def test_a_raw_action_reaches_the_service_as_it_stands(sandbox: Sandbox, client: ConfirmaClient) -> None:
    """Codes and members that we do not know are neither refused nor lost."""
    data = {"invoiceNumber": 1, "caseId": 2, "note": {"deep": [1, None, True, "text"]}}
    await client.actions.send(RawAction(code="ESCALATE", data=data, comment="now"))
    assert decode_json(sandbox.posts[0].body) == {"actions": [{"code": "ESCALATE", "comment": "now", "data": data}]}


async def test_too_large_batches_are_halved_until_they_fit(sandbox: Sandbox, client: ConfirmaClient) -> None:
    """A 413 says that nothing was handled: every action still goes out, once."""

    def too_large(request: ReceivedRequest) -> bool:
        return len(request.body) > 1_000

    sandbox.inject(Fault.status(413), times=None, when=too_large)
    await asyncio.gather(*(client.actions.send(comment(n)) for n in range(1, 65)))
    assert Counter(effect.action.case_id for effect in sandbox.ledger) == Counter(range(1, 65))
    assert max(sizes(sandbox)) == 64


async def test_order_within_a_case_survives_isolation(sandbox: Sandbox, client: ConfirmaClient) -> None:
    """Halves go one after the other, the earlier one first."""
    sandbox.poison(lambda action: action.comment == "poison")
    texts = ["poison" if number == 5 else "fine" for number in range(1, 11)]
    results = await asyncio.gather(
        *(client.actions.send(comment(n, case=1, text=text)) for n, text in enumerate(texts, 1)), return_exceptions=True
    )
    assert [isinstance(result, ActionRejectedError) for result in results] == [n == 5 for n in range(1, 11)]
    numbers = [effect.element["data"]["invoiceNumber"] for effect in sandbox.ledger]
    assert numbers == [1, 2, 3, 4, 6, 7, 8, 9, 10]


async def test_each_caller_gets_an_exception_of_its_own(sandbox: Sandbox, client: ConfirmaClient) -> None:
    """A traceback that one task adds does not grow another's."""
    sandbox.inject(Fault.status(400), times=None)
    results = await asyncio.gather(
        *(client.actions.send(comment(1, action_id="same")) for _ in range(3)), return_exceptions=True
    )
    assert {type(result) for result in results} == {ActionRejectedError}
    assert len({id(result) for result in results}) == 3


async def test_a_comment_that_is_absent_is_left_out(sandbox: Sandbox, client: ConfirmaClient) -> None:
    """By the assumption `absent_comment`."""
    await client.actions.send(Pause(invoice_number=1, case_id=2))
    assert decode_json(sandbox.posts[0].body)["actions"] == [
        {"code": "PAUSE", "data": {"invoiceNumber": 1, "caseId": 2}}
    ]
    await client.actions.send(Comment(invoice_number=1, case_id=2, comment=""))
    assert decode_json(sandbox.posts[1].body)["actions"][0]["comment"] == ""
    await client.actions.send(due_date(3))


@pytest.mark.looptime
async def test_one_who_gives_up_in_the_hall_does_not_lock_the_door(sandbox: Sandbox) -> None:
    """Those who come later are let in as if it had never been there."""
    sandbox.inject(Fault.slow(1.0), times=2)
    async with open_client(sandbox, BatchPolicy(max_waiting_actions=1, lanes=1, linger=0)) as client:
        sends = []
        for number in range(1, 4):
            sends.append(asyncio.create_task(client.actions.send(comment(number))))
            await asyncio.sleep(0.1)
        sends.pop().cancel()
        await asyncio.gather(*sends)
        async with asyncio.timeout(5.0):
            await client.actions.send(comment(4))


@pytest.mark.looptime
async def test_a_send_beside_a_push_that_does_not_end_goes_out_after_its_linger(sandbox: Sandbox) -> None:
    """It does not wait for the push's batch to fill."""

    async def endless() -> AsyncIterator[Action]:
        for number in range(1, 1_000):
            yield comment(number)
            await asyncio.sleep(0.15)

    async def consume(client: ConfirmaClient) -> None:
        async for _ in client.actions.push(endless()):
            pass

    async with open_client(sandbox, BatchPolicy(linger=0.5)) as client:
        pushing = asyncio.create_task(consume(client))
        await asyncio.sleep(1.0)
        for number in range(2_000, 2_005):
            async with asyncio.timeout(1.0):
                await client.actions.send(comment(number))
            await asyncio.sleep(0.7)
        pushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pushing


def test_what_waits_has_to_hold_one_full_post() -> None:
    """An action could otherwise be allowed into a POST and never be allowed to wait for one."""
    with pytest.raises(ConfigurationError, match="must hold one full POST"):
        BatchPolicy(max_waiting_bytes=2_000, max_bytes=3_000)


async def test_an_action_on_its_own_never_waits_for_another_to_be_sent(sandbox: Sandbox) -> None:
    """Whatever the clock does between two looks at it: the linger always ends."""
    async with open_client(sandbox, BatchPolicy(linger=0.0005)) as client:
        loop = asyncio.get_running_loop()
        real, looks = loop.time, 0

        def jumpy() -> float:
            # Every second look is later than the linger: a deadline always passes between two of them.
            nonlocal looks
            looks += 1
            return real() + 0.001 * (looks % 2)

        loop.time = jumpy  # type: ignore[method-assign]
        try:
            for number in range(1, 101):
                async with asyncio.timeout(5.0):
                    await client.actions.send(comment(number))
        finally:
            loop.time = real  # type: ignore[method-assign]
    assert len(sandbox.ledger) == 100
