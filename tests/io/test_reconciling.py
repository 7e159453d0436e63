"""A reconciler turns UNKNOWN into applied or not applied, carefully."""

import asyncio

import pytest

from confirma_async import (
    Action,
    ConfirmaClient,
    Disposition,
    Environment,
    Evidence,
    Finding,
    NotAppliedError,
    OutcomeUnknownError,
    Reconciler,
)
from confirma_async.sandbox import Fault, Sandbox
from tests.actions import comment, due_date, payment

pytestmark = pytest.mark.looptime


class LedgerReader:
    """Looks into the sandbox's ledger, with an eye that opens late."""

    def __init__(self, sandbox: Sandbox, *, blind_for: float = 0.0) -> None:
        self._sandbox = sandbox
        self._blind_for = blind_for
        self._first_look: float | None = None
        self.looks: list[float] = []

    async def probe(self, action: Action, evidence: Evidence) -> Finding:
        assert evidence.headers_sent
        now = asyncio.get_running_loop().time()
        self._first_look = self._first_look or now
        self.looks.append(now)
        if now - self._first_look < self._blind_for:
            return Finding.NOT_APPLIED
        found = any(effect.action == action for effect in self._sandbox.ledger)
        return Finding.APPLIED if found else Finding.NOT_APPLIED


class BrokenReconciler:
    async def probe(self, action: Action, evidence: Evidence) -> Finding:
        raise OSError("no view of the service")


def open_client(sandbox: Sandbox, reconciler: Reconciler) -> ConfirmaClient:
    return ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url, reconciler=reconciler
    )


@pytest.mark.parametrize("blind_for", [0.0, 30.0, 59.0])
async def test_what_is_found_is_accepted_however_late_it_shows(sandbox: Sandbox, blind_for: float) -> None:
    """A payment whose answer was lost is found at the service, and is not sent again."""
    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    async with open_client(sandbox, LedgerReader(sandbox, blind_for=blind_for)) as client:
        outcome = await client.actions.send(payment(1))
    assert outcome.disposition is Disposition.ACCEPTED
    assert len(sandbox.ledger) == 1
    assert len(sandbox.posts) == 1


async def test_what_is_not_there_is_believed_late_and_only_when_looks_agree(sandbox: Sandbox) -> None:
    """Two minutes, two looks: then it is NOT_APPLIED, and may be submitted again."""
    sandbox.inject(Fault.DROP_AFTER_READING)
    reader = LedgerReader(sandbox)
    loop = asyncio.get_running_loop()
    async with open_client(sandbox, reader) as client:
        started = loop.time()
        with pytest.raises(NotAppliedError, match="reconciler found"):
            await client.actions.send(payment(1))
        assert loop.time() - started >= 120.0
        assert len(reader.looks) >= 2
        await client.actions.send(payment(1))
    assert len(sandbox.ledger) == 1


async def test_a_case_stays_fenced_while_it_is_looked_at(sandbox: Sandbox) -> None:
    """Later actions of the case wait for the answer; other cases do not."""
    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    async with open_client(sandbox, LedgerReader(sandbox)) as client:
        doubtful = asyncio.create_task(client.actions.send(payment(1)))
        await asyncio.sleep(1.0)
        later = asyncio.create_task(client.actions.send(comment(1)))
        await client.actions.send(comment(2))
        assert not later.done()
        await asyncio.gather(doubtful, later)
    assert [effect.action for effect in sandbox.ledger] == [payment(1), comment(2), comment(1)]


async def test_a_reconciler_that_fails_hands_the_action_back_as_unknown(sandbox: Sandbox) -> None:
    """Nothing seen is nothing known, and after ten minutes somebody else has to look."""
    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    loop = asyncio.get_running_loop()
    async with open_client(sandbox, BrokenReconciler()) as client:
        started = loop.time()
        with pytest.raises(OutcomeUnknownError):
            await client.actions.send(payment(1))
        assert 590.0 <= loop.time() - started <= 610.0


async def test_a_drain_looks_once_more_and_does_not_wait_for_minutes(sandbox: Sandbox) -> None:
    """Shutting down cuts the looks short; the end is UNKNOWN unless the last look was clear."""
    sandbox.inject(Fault.DROP_AFTER_READING)
    loop = asyncio.get_running_loop()
    async with open_client(sandbox, LedgerReader(sandbox)) as client:
        sending = asyncio.create_task(client.actions.send(payment(1)))
        await asyncio.sleep(20.0)
        started = loop.time()
        report = await client.close(grace=5.0)
        assert loop.time() - started <= 6.0
        with pytest.raises(OutcomeUnknownError):
            await sending
    assert report.unknown == 1


async def test_what_is_looked_at_does_not_wait_for_what_goes_again(sandbox: Sandbox) -> None:
    """In a batch whose answer was lost, the payment is looked at while the harmless action is sent again."""
    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    looked_at: list[str] = []

    class Watching:
        async def probe(self, action: Action, evidence: Evidence) -> Finding:
            looked_at.append(action.code)
            return Finding.APPLIED

    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url, reconciler=Watching()
    ) as client:
        ends = await asyncio.gather(client.actions.send(payment(1)), client.actions.send(due_date(2)))
    assert [end.disposition for end in ends] == [Disposition.ACCEPTED] * 2
    assert looked_at == ["DIRECTPAYMENT"]
