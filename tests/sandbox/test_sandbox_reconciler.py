"""The reconciler of the sandbox, alone and with a client; minutes pass on a virtual clock."""

import asyncio

import pytest

from confirma_async import (
    Action,
    BatchPolicy,
    ConfirmaClient,
    Disposition,
    Environment,
    Evidence,
    Finding,
    NotAppliedError,
    OutcomeUnknownError,
    Reconciler,
)
from confirma_async.sandbox import Fault, Ledger, LedgerReconciler, Sandbox
from tests.actions import comment, due_date, payment

pytestmark = pytest.mark.looptime

LOST = Evidence(headers_sent=True)


class Unclear:
    """A view of the service that shows nothing."""

    async def probe(self, action: Action, evidence: Evidence) -> Finding:
        return Finding.UNCLEAR


def client_of(sandbox: Sandbox, reconciler: Reconciler) -> ConfirmaClient:
    return ConfirmaClient(
        environment=Environment.STAGING,
        token=sandbox.token,
        base_url=sandbox.base_url,
        reconciler=reconciler,
        batch=BatchPolicy(linger=0.02),
    )


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_it_finds_what_is_there_by_its_content() -> None:
    """An action stands there if one of its content does, whatever its id, and no other does for it."""
    ledger = Ledger()
    ledger.append(1, [comment(1)], [{}], at=now())
    reconciler = LedgerReconciler(ledger)
    assert await reconciler.probe(comment(1, action_id="mine"), LOST) is Finding.APPLIED
    assert await reconciler.probe(comment(1, text="another"), LOST) is Finding.NOT_APPLIED
    assert await reconciler.probe(comment(2), LOST) is Finding.NOT_APPLIED
    assert reconciler.looks == 3


async def test_an_early_look_says_not_there_yet() -> None:
    """An effect shows after its delay, and not before."""
    ledger = Ledger()
    ledger.append(1, [payment(1)], [{}], at=now())
    reconciler = LedgerReconciler(ledger, visible_after=5.0)
    await asyncio.sleep(4.9)
    assert await reconciler.probe(payment(1), LOST) is Finding.NOT_APPLIED
    await asyncio.sleep(0.2)
    assert await reconciler.probe(payment(1), LOST) is Finding.APPLIED


@pytest.mark.parametrize("visible_after", [0.0, 5.0, 59.0])
async def test_a_payment_that_was_applied_and_lost_ends_accepted(visible_after: float) -> None:
    """It is found, however late it shows, and never sent again."""
    async with Sandbox(visible_after=visible_after) as sandbox:
        sandbox.inject(Fault.DROP_AFTER_APPLYING)
        async with client_of(sandbox, sandbox.reconciler()) as client:
            outcome = await client.actions.send(payment(1))
        assert outcome.disposition is Disposition.ACCEPTED
        assert now() >= visible_after
        assert (len(sandbox.posts), len(sandbox.ledger)) == (1, 1)


async def test_a_payment_that_was_lost_unapplied_ends_not_applied_after_two_minutes(sandbox: Sandbox) -> None:
    """Nothing early is believed: 120 s and two looks. Its case waits meanwhile, and goes on afterwards."""
    sandbox.inject(Fault.DROP_AFTER_READING)
    reconciler = sandbox.reconciler()
    async with client_of(sandbox, reconciler) as client:
        began = now()
        doubtful = asyncio.create_task(client.actions.send(payment(1)))
        await asyncio.sleep(1.0)
        later = asyncio.create_task(client.actions.send(comment(1)))
        await client.actions.send(comment(2))
        while not doubtful.done():
            assert not later.done()
            await asyncio.sleep(1.0)
        with pytest.raises(NotAppliedError):
            await doubtful
        assert 120.0 <= now() - began < 125.0
        assert reconciler.looks >= 2
        await later
    assert [effect.action for effect in sandbox.ledger] == [comment(2), comment(1)]


async def test_what_stays_unclear_is_handed_back_after_ten_minutes(sandbox: Sandbox) -> None:
    """A look that shows nothing decides nothing; then somebody else has to look."""
    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    async with client_of(sandbox, Unclear()) as client:
        began = now()
        with pytest.raises(OutcomeUnknownError):
            await client.actions.send(payment(1))
        assert 600.0 <= now() - began < 605.0


async def test_what_is_looked_up_and_what_is_repeated_go_their_own_ways(sandbox: Sandbox) -> None:
    """Of a mixed batch whose answer is lost, the payment is looked up and the due date is sent again."""
    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    async with client_of(sandbox, sandbox.reconciler()) as client, asyncio.timeout(1_000):
        paid, moved = await asyncio.gather(client.actions.send(payment(1)), client.actions.send(due_date(2)))
    assert (paid.disposition, paid.attempts) == (Disposition.ACCEPTED, 1)
    assert (moved.disposition, moved.attempts) == (Disposition.ACCEPTED, 2)
    assert [effect.action.code for effect in sandbox.ledger] == ["DIRECTPAYMENT", "DUEDATE", "DUEDATE"]
