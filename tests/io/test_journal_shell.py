"""What a client does with its journal: written before the wire, asked before anything is sent, allowed to fail."""

import asyncio
from collections.abc import Sequence

import pytest

from confirma_async import (
    AmbiguousAnswerError,
    ConfirmaClient,
    Disposition,
    Environment,
    MemoryJournal,
    NotAppliedError,
    OutcomeUnknownError,
)
from confirma_async._core.batch import Submission
from confirma_async._core.journal import Entry
from confirma_async.sandbox import Fault, Sandbox
from tests.actions import comment, due_date


class Recording(MemoryJournal):
    """A journal that notes what it is told, and fails on demand."""

    def __init__(self, sandbox: Sandbox, *, fails_at: str = "") -> None:
        super().__init__()
        self._sandbox = sandbox
        self._fails_at = fails_at
        self.notes: list[tuple[str, int, int]] = []

    async def begin(self, batch: Sequence[Submission]) -> Sequence[Entry | None]:
        self.notes.append(("begin", len(batch), len(self._sandbox.posts)))
        if self._fails_at == "begin":
            raise OSError("the disk is full")
        return await super().begin(batch)

    async def end(self, ends: Sequence[tuple[Submission, Disposition]]) -> None:
        self.notes.append(("end", len(ends), len(self._sandbox.posts)))
        if self._fails_at == "end":
            raise OSError("the disk is full")
        await super().end(ends)


def open_client(sandbox: Sandbox, journal: MemoryJournal) -> ConfirmaClient:
    return ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url, journal=journal
    )


async def test_a_batch_is_one_write_before_the_wire_and_one_at_its_end(sandbox: Sandbox) -> None:
    """Not one for each action, and never after the fact."""
    journal = Recording(sandbox)
    async with open_client(sandbox, journal) as client:
        async for _ in client.actions.push(comment(number) for number in range(1, 51)):
            pass
    assert journal.notes == [("begin", 50, 0), ("end", 50, 1)]


@pytest.mark.looptime
async def test_every_attempt_is_written_down_before_it_is_made(sandbox: Sandbox) -> None:
    """A retry as well."""
    journal = Recording(sandbox)
    sandbox.inject(Fault.unavailable("1"))
    async with open_client(sandbox, journal) as client:
        await client.actions.send(due_date(1))
    assert journal.notes == [("begin", 1, 0), ("begin", 1, 1), ("end", 1, 2)]


async def test_a_journal_that_cannot_be_written_sends_nothing(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Its actions end NOT_APPLIED, which is true, and nobody waits for ever."""
    async with open_client(sandbox, Recording(sandbox, fails_at="begin")) as client:
        with pytest.raises(NotAppliedError, match="cut short") as caught:
            await client.actions.send(comment(1))
        await client.actions.flush()
    assert sandbox.posts == []
    assert caught.value.outcome is not None
    assert "A delivery failed" in caplog.text


async def test_an_end_that_cannot_be_written_is_unknown(sandbox: Sandbox) -> None:
    """The action was sent, and no record says so: somebody has to look."""
    async with open_client(sandbox, Recording(sandbox, fails_at="end")) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.actions.send(comment(1))
    assert isinstance(caught.value.__cause__, AmbiguousAnswerError)
    assert len(sandbox.ledger) == 1


async def test_the_journal_in_memory_is_bounded(sandbox: Sandbox) -> None:
    """It keeps what runs and the last ends; older ids may come again."""
    journal = MemoryJournal(remembered_ends=10)
    async with open_client(sandbox, journal) as client:
        for number in range(1, 31):
            await client.actions.send(comment(number, action_id=f"event-{number}"))
        assert repr(journal) == "<MemoryJournal running=0 ended=10>"
        await client.actions.send(comment(30, action_id="event-30"))
        await client.actions.send(comment(1, action_id="event-1"))
        await client.actions.send(comment(99))
        assert repr(journal) == "<MemoryJournal running=0 ended=10>"
    assert len(sandbox.ledger) == 32


async def test_two_clients_with_one_journal_send_an_id_once(sandbox: Sandbox) -> None:
    """The second is told that it does not know, which is true while the first one's attempt runs."""
    journal = MemoryJournal()
    sandbox.inject(Fault.slow(0.05))
    async with open_client(sandbox, journal) as one, open_client(sandbox, journal) as other:
        first = asyncio.create_task(one.actions.send(comment(1, action_id="event")))
        while not sandbox.posts:
            await asyncio.sleep(0)
        with pytest.raises(OutcomeUnknownError):
            await other.actions.send(comment(1, action_id="event"))
        await first
        assert (await other.actions.send(comment(1, action_id="event"))).disposition is Disposition.ACCEPTED
    assert len(sandbox.ledger) == 1
