"""The law: every submitted action has exactly one end, and that end is true.

Seeded schedules of faults, checked on the sandbox's ledger. Which fault meets a request follows from the seed and the
request's content, so that a run can be repeated.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import blake2b
from random import Random
from typing import Any

import pytest

from confirma_async import (
    Action,
    ActionError,
    ActionOutcome,
    AuthenticationError,
    BatchPolicy,
    Comment,
    ConfirmaClient,
    Disposition,
    DueDate,
    Environment,
    MemoryTokenStore,
    Objection,
    Pause,
    RawAction,
    Withdraw,
)
from confirma_async._core.wire import decode_json
from confirma_async.sandbox import Fault, ReceivedRequest, Sandbox
from tests.actions import payment

pytestmark = pytest.mark.looptime

HARMLESS = {"WITHDRAW", "DUEDATE", "PAUSE"}

FAULTS = [
    Fault.UNAUTHORIZED,
    Fault.too_many_requests(),
    Fault.too_many_requests(3),
    Fault.too_many_requests("-1"),
    Fault.too_many_requests("inf"),
    Fault.unavailable(),
    Fault.unavailable("2"),
    Fault.DROP_BEFORE_READING,
    Fault.DROP_AFTER_READING,
    Fault.DROP_AFTER_APPLYING,
    Fault.HANG_AFTER_APPLYING,
    Fault.slow(7.0),
    Fault.status(400),
    Fault.status(404),
    Fault.status(408),
    Fault.status(409, apply=False),
    Fault.status(413),
    Fault.status(500),
    Fault.status(502, apply=True),
    Fault.status(200, b"<html>", apply=True),
    Fault.status(302, headers={"Location": "http://127.0.0.1:1/"}),
]


def day(random: Random, count: int) -> list[Action]:
    """Actions of all effect classes on few cases, told apart by their invoice numbers."""
    return [one_of_the_day(random, number) for number in range(1, count + 1)]


def one_of_the_day(random: Random, number: int) -> Action:
    case = random.randint(1, 40)
    text = "poison" if number % 67 == 0 else "fine"
    kinds: list[Callable[[], Action]] = [
        lambda: Comment(invoice_number=number, case_id=case, comment=text),
        lambda: Objection(invoice_number=number, case_id=case, comment=text),
        lambda: Withdraw(invoice_number=number, case_id=case, comment=text),
        lambda: Pause(invoice_number=number, case_id=case, comment=text),
        lambda: DueDate(invoice_number=number, case_id=case, comment=text, due_date="2026-03-15"),
        lambda: payment(number + 1_000),
    ]
    return random.choice(kinds)()


def meets(seed: int, index: int, one_in: int) -> Callable[[ReceivedRequest], bool]:
    """Whether a fault meets a request: a matter of its content, and of how often it came."""
    seen: Counter[bytes] = Counter()

    def decide(request: ReceivedRequest) -> bool:
        seen[request.body] += 1
        key = f"{seed}/{index}/{seen[request.body]}/".encode() + request.body
        return int.from_bytes(blake2b(key, digest_size=4).digest()) % one_in == 0

    return decide


async def run(sandbox: Sandbox, actions: list[Action], seed: int) -> list[tuple[Action, ActionOutcome]]:
    """Submit half by `push`, half by `send`, and collect how each ended."""
    random = Random(seed)
    ended: list[tuple[Action, ActionOutcome]] = []

    async def send(client: ConfirmaClient, action: Action) -> None:
        try:
            ended.append((action, await client.actions.send(action)))
        except ActionError as error:
            ended.append((action, error.outcome))  # type: ignore[arg-type]

    async def push(client: ConfirmaClient, some: list[Action]) -> None:
        with suppress(AuthenticationError):  # Too many a 401: what it has not read by then was not submitted.
            async for outcome in client.actions.push(some):
                ended.append((outcome.action, outcome))

    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=MemoryTokenStore(sandbox.token),
        base_url=sandbox.base_url,
        batch=BatchPolicy(max_actions=random.choice([1, 5, 30, 100]), lanes=random.choice([1, 4]), linger=0.02),
    ) as client:
        cases = {action.case_id for action in actions}
        pushed = {case for case in cases if random.random() < 0.5}
        pushing = asyncio.create_task(push(client, [action for action in actions if action.case_id in pushed]))
        sends = []
        for action in actions:
            if action.case_id not in pushed:
                sends.append(asyncio.create_task(send(client, action)))
                if random.random() < 0.1:
                    await asyncio.sleep(random.random() / 10)
        await asyncio.gather(pushing, *sends)
    return ended


Key = tuple[int, int]
"""Invoice number and case: what tells two actions of a run apart."""


def key_of(action: Action) -> Key:
    assert not isinstance(action, RawAction)
    return action.invoice_number, action.case_id


def keys_in(elements: Iterable[Any]) -> list[Key]:
    return [(element["data"]["invoiceNumber"], element["data"]["caseId"]) for element in elements]


def check_end(outcome: ActionOutcome, effects: int, *, received: bool) -> None:
    """Is what a caller was told true?"""
    what = f"{outcome.action!r} ended {outcome.disposition.name} with {effects} effects"
    if outcome.action.code not in HARMLESS:
        assert effects <= 1, what
    match outcome.disposition:
        case Disposition.ACCEPTED:
            assert effects >= 1, what
        case Disposition.REJECTED | Disposition.NOT_APPLIED:
            assert effects == 0, what
        case Disposition.UNKNOWN:
            assert received, what


def check_order(actions: list[Action], applied: list[Key]) -> None:
    """Do the first effects of every case stand in the order of submission?"""
    first_effects = list(dict.fromkeys(applied))
    submitted = [key_of(action) for action in actions]
    for case in {case for _, case in submitted}:
        of_case = [key for key in first_effects if key[1] == case]
        assert of_case == [key for key in submitted if key in set(of_case)]


@pytest.mark.parametrize("seed", range(30))
async def test_every_action_has_one_end_and_it_is_true(sandbox: Sandbox, seed: int) -> None:
    """What callers are told agrees with what the service holds, whatever fails on the way."""
    random = Random(seed)
    sandbox.poison(lambda action: action.comment == "poison")
    for index, fault in enumerate(random.sample(FAULTS, 5)):
        sandbox.inject(fault, times=None, when=meets(seed, index, random.choice([3, 8, 20])))
    actions = day(random, 200)
    ended = await run(sandbox, actions, seed)

    told = {key_of(action): outcome for action, outcome in ended}
    assert len(ended) == len(told)
    applied = keys_in(effect.element for effect in sandbox.ledger)
    assert set(applied) <= set(told)
    received = {
        key for request in sandbox.posts if request.body for key in keys_in(decode_json(request.body)["actions"])
    }
    # Of a request that was dropped unread, the sandbox cannot say what it held.
    unread = any(not request.body for request in sandbox.posts)
    effects = Counter(applied)
    for key, outcome in told.items():
        check_end(outcome, effects[key], received=unread or key in received)
    check_order(actions, applied)
