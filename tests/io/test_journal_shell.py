"""What a client does with its journal: written before the wire, asked before anything is sent, allowed to fail."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from confirma_async import (
    Action,
    ConfirmaClient,
    Disposition,
    Environment,
    JournalError,
    JournalState,
    MemoryJournal,
    NotAppliedError,
    SqliteJournal,
)
from confirma_async._core.batch import Submission
from confirma_async._core.journal import Entry
from confirma_async._io.journal import End
from confirma_async.sandbox import Fault, Sandbox
from tests.actions import comment, due_date
from tests.conftest import QUICK_RETRY


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

    async def end(self, ends: Sequence[End]) -> None:
        self.notes.append(("end", len(ends), len(self._sandbox.posts)))
        if self._fails_at == "end":
            raise OSError("the disk is full")
        await super().end(ends)


def open_client(sandbox: Sandbox, journal: MemoryJournal | SqliteJournal) -> ConfirmaClient:
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
        with pytest.raises(NotAppliedError, match="could not be journaled") as caught:
            await client.actions.send(comment(1))
        await client.actions.flush()
    assert sandbox.posts == []
    assert isinstance(caught.value.__cause__, JournalError)
    assert "nothing is sent without it" in caplog.text


async def test_a_push_whose_journal_cannot_be_written_raises_once(sandbox: Sandbox) -> None:
    """It does not read on to burn through its source, and what it read has an end each."""
    ended, read = [], []

    async def source() -> AsyncIterator[Action]:
        for number in range(1, 10_001):
            read.append(number)
            yield comment(number)

    async with open_client(sandbox, Recording(sandbox, fails_at="begin")) as client:
        with pytest.raises(JournalError, match="could not be journaled"):
            async for outcome in client.actions.push(source()):
                ended.append(outcome)
    assert sandbox.posts == []
    assert len(ended) == len(read) < 10_000
    assert {outcome.disposition for outcome in ended} == {Disposition.NOT_APPLIED}


async def test_an_end_that_cannot_be_written_is_told_all_the_same(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The service has answered: that is known, although the journal keeps a doubt."""
    async with open_client(sandbox, Recording(sandbox, fails_at="end")) as client:
        assert (await client.actions.send(comment(1))).disposition is Disposition.ACCEPTED
    assert len(sandbox.ledger) == 1
    assert "keeps 1 ended actions as unknown for now" in caplog.text


@pytest.mark.parametrize("fails_at", ["begin", "end"])
async def test_what_could_not_be_written_is_written_later(sandbox: Sandbox, tmp_path: Path, fails_at: str) -> None:
    """A disk that fails once costs nobody a look: the journal says in the end what callers were told."""
    journal = SqliteJournal(tmp_path / "journal", durability="process")
    failures = iter([False, True] if fails_at == "begin" else [True])

    def fragile(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if next(failures, False):
                raise OSError(28, "No space left on device")
            return write(*arguments)

        return call

    setattr(journal._file, fails_at, fragile(getattr(journal._file, fails_at)))
    sandbox.inject(Fault.unavailable(), times=2 if fails_at == "begin" else 0)
    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=sandbox.token,
        base_url=sandbox.base_url,
        journal=journal,
        retry=QUICK_RETRY,
    ) as client:
        results = await asyncio.gather(client.actions.send(due_date(1)), return_exceptions=True)
    told = JournalState.NOT_APPLIED if fails_at == "begin" else JournalState.ACCEPTED
    assert isinstance(results[0], NotAppliedError) is (fails_at == "begin")
    async with SqliteJournal(tmp_path / "journal") as journal:
        assert await journal.counts() == {told: 1}


async def test_closing_does_not_wait_for_a_disk_that_hangs(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller is told what is known, and the journal is closed when its disk is back."""
    journal = SqliteJournal(tmp_path / "journal", durability="process")
    disk = threading.Event()
    end = journal._file.end

    def hanging(*arguments: Any) -> None:
        disk.wait(10)
        end(*arguments)

    journal._file.end = hanging  # type: ignore[assignment, method-assign]
    client = open_client(sandbox, journal)
    await client.open()
    sending = asyncio.create_task(client.actions.send(comment(1)))
    while not len(sandbox.ledger):
        await asyncio.sleep(0.001)
    started = asyncio.get_running_loop().time()
    await client.close(0.1)
    assert asyncio.get_running_loop().time() - started < 4
    assert "still being written" in caplog.text
    assert (await sending).disposition is Disposition.ACCEPTED
    disk.set()
    while journal._thread is not None:
        await asyncio.sleep(0.001)
    async with SqliteJournal(tmp_path / "journal") as reopened:
        assert await reopened.counts() == {JournalState.ACCEPTED: 1}


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


async def test_clients_use_a_journal_one_after_the_other(sandbox: Sandbox) -> None:
    """Two at once could not tell what the other is about to do; what the first one sent, the second one knows."""
    journal = MemoryJournal()
    async with open_client(sandbox, journal) as one:
        with pytest.raises(JournalError, match="in use by another client"):
            await open_client(sandbox, journal).open()
        await one.actions.send(comment(1, action_id="event"))
    async with open_client(sandbox, journal) as other:
        assert (await other.actions.send(comment(1, action_id="event"))).from_journal
    assert len(sandbox.ledger) == 1


async def test_one_journal_in_memory_is_of_one_target(sandbox: Sandbox) -> None:
    """An id that was sent to one service says nothing of another."""
    journal = MemoryJournal()
    async with open_client(sandbox, journal):
        pass
    async with Sandbox() as other:
        with pytest.raises(JournalError, match="give each its own"):
            await open_client(other, journal).open()
