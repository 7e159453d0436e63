"""The journal on disk: a SQLite database, driven by a thread of its own, off the event loop."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from attrs import evolve
from filelock import FileLock, Timeout

from .._core.batch import Submission
from .._core.journal import Entry, JournalRecord, JournalTarget, State, state_after
from ..codes import Disposition
from ..errors import ConfigurationError, ConfirmaError, JournalError
from ..models.actions import is_action_id
from .journal import End
from .journal_file import Attempt, Durability, Ended, JournalFile

__all__ = ["SqliteJournal"]

T = TypeVar("T")

_MOST_TOGETHER = 1_000
"""Changes that share a transaction: the event loop hands their results out in one turn."""

_LOCK_PAUSES = (0.02, 0.05, 0.1, 0.0)
"""Somebody who only looks whether it is in use holds the lock for a moment."""


class SqliteJournal:
    """Keeps the state of every action in a file, so that after a crash nothing is sent twice, and nothing is lost.

    Give it to a `ConfirmaClient`, which opens and closes it; or open it by itself, as an asynchronous context manager,
    to look at what is unknown, and to settle it. While it is open it is refused to everybody else: to another client,
    another instance of the same path, another process.

    The file holds the contents of the actions that were not accepted, comments included, and has the mode 0600. An
    accepted action leaves its id and a hash. Beside the file stand its write-ahead log (`-wal`, `-shm`) while it is
    open, or after a crash, which belongs to it and must not be deleted; a mark (`-mark`), by which it is noticed if
    that was deleted, or an old copy put in its place; and a lock file. It has to be on a local disk.

    Args:
        path: The file; it is made if there is none.
        durability: What a written state survives: "power" an outage of the machine, too; "process" the end of the
            process, however it ends. The first waits for the disk at each write.
        account: A label, for those who have several accounts in one environment. A journal is bound to the environment,
            the base URL and the label with which it was first used, and refuses others.
    """

    def __init__(self, path: str | os.PathLike[str], *, durability: Durability = "power", account: str = "") -> None:
        if durability not in ("power", "process"):
            raise ConfigurationError(f"durability takes 'power' or 'process', not {durability!r}.")
        # A link is followed once, so that the log and the lock stand beside the file itself.
        self._path = Path(os.path.realpath(path))
        self._account = account
        self._file = JournalFile(self._path, durability=durability)
        self._lock = FileLock(f"{self._path}.lock", mode=0o600, thread_local=False)
        self._thread: ThreadPoolExecutor | None = None
        self._together: list[Callable[[], Any]] | None = None
        """The changes that the next transaction will hold."""
        self._writing: asyncio.Task[list[Any]] | None = None
        """The newest transaction; the one before it comes first."""
        self._interrupted: Sequence[JournalRecord] = ()

    def __repr__(self) -> str:
        return f"SqliteJournal({str(self._path)!r})"

    # --- life -----------------------------------------------------------------------------------------------------

    async def open(self, target: JournalTarget | None = None) -> None:
        """See `Journal.open`; without a target it is taken as it is.

        What a former process was sending when it ended becomes UNKNOWN.

        Raises:
            JournalError: It is in use, damaged, of another target, of another version of this package, or cannot be
                read or written. Nothing of it was changed.
        """
        if self._thread is not None:
            raise self._in_use()
        if target is not None:
            target = evolve(target, account=self._account)
        thread = self._thread = ThreadPoolExecutor(1, thread_name_prefix="confirma-journal")
        try:
            await self._take_lock()
            await self._look(lambda: self._file.open(target))
            self._interrupted = await self._change(lambda: self._file.recover(time.time()))
        except BaseException:
            await self._let_go(thread)
            raise

    async def _take_lock(self) -> None:
        if not self._path.parent.is_dir():
            # The lock would make it, and a misspelt path would look like a new journal.
            raise JournalError(f"The journal {self._path} could not be opened: there is no such folder.")
        if self._path.is_dir():
            raise JournalError(f"The journal {self._path} could not be opened: it is a folder.")
        for pause in _LOCK_PAUSES:
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                await asyncio.sleep(pause)
            except OSError as error:
                reason = error.strerror or type(error).__name__
                raise JournalError(f"The journal {self._path} could not be locked: {reason}.") from error
            else:
                return
        raise self._in_use()

    async def close(self) -> None:
        """See `Journal.close`. A second call does nothing."""
        thread = self._thread
        if thread is None:
            return
        while self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing])
        await self._let_go(thread)

    async def _let_go(self, thread: ThreadPoolExecutor) -> None:
        """Close the file and give the lock back, also if that is cancelled."""
        self._thread = self._together = self._writing = None

        def let_go() -> None:
            try:
                self._file.close()
            finally:
                self._lock.release()

        try:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(thread, let_go))
        finally:
            thread.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- for a client -----------------------------------------------------------------------------------------------

    async def begin(self, batch: Sequence[Submission]) -> Sequence[Entry | None]:
        """See `Journal.begin`."""
        attempts, now = _attempts(batch), time.time()
        return await self._change(lambda: self._file.begin(attempts, now))

    async def end(self, ends: Sequence[End]) -> None:
        """See `Journal.end`."""
        rows, now = [_ended(*end) for end in ends], time.time()
        await self._change(lambda: self._file.end(rows, now))

    async def enqueue(self, submissions: Sequence[Submission]) -> Sequence[Entry | None]:
        """See `DurableJournal.enqueue`."""
        attempts, now = _attempts(submissions), time.time()
        return await self._change(lambda: self._file.enqueue(attempts, now))

    async def take_interrupted(self) -> Sequence[JournalRecord]:
        """See `DurableJournal.take_interrupted`."""
        interrupted, self._interrupted = self._interrupted, ()
        return interrupted

    # --- for a person -------------------------------------------------------------------------------------------------

    async def target(self) -> JournalTarget | None:
        """Where its actions go; None if it was never used.

        Raises:
            JournalError: It cannot be read, or is not open. So with all the calls that follow.
        """
        return await self._look(self._file.target)

    async def counts(self) -> Mapping[State, int]:
        """How many actions are in each state that any is in."""
        return await self._look(self._file.counts)

    async def records(self, state: State) -> AsyncIterator[JournalRecord]:
        """Yield the actions in `state`, in order of submission; those that enter it meanwhile may be among them."""
        pages = self._file.pages(state)
        while page := await self._look(lambda: next(pages, None)):
            for record in page:
                yield record

    async def resolve(self, action_ids: Collection[str], disposition: Disposition, *, reason: str) -> int:
        """Settle what is UNKNOWN, after a look at the service: all of `action_ids`, or none.

        Args:
            action_ids: Which actions.
            disposition: ACCEPTED if they took effect; NOT_APPLIED if they did not, which lets their ids be sent again.
            reason: How that is known; it is kept.

        Returns:
            How many were settled.

        Raises:
            JournalError: One of them is not there, or not UNKNOWN. Nothing was changed.
            ConfigurationError: The disposition is another one, or the reason is empty.
        """
        if disposition not in (Disposition.ACCEPTED, Disposition.NOT_APPLIED) or not reason.strip():
            raise ConfigurationError("resolve() takes ACCEPTED or NOT_APPLIED, and the reason why.")
        ids, now = self._checked(action_ids), time.time()
        return await self._change(lambda: self._file.settle(ids, State(disposition.value), reason, now))

    async def retry(self, action_ids: Collection[str], *, reason: str = "") -> int:
        """Put what was NOT_APPLIED back in the queue, for `client.actions.resume()`: all of `action_ids`, or none.

        Returns:
            How many were put back.

        Raises:
            JournalError: One of them is not there, or not NOT_APPLIED. Nothing was changed.
        """
        ids, now = self._checked(action_ids), time.time()
        return await self._change(lambda: self._file.settle(ids, State.QUEUED, reason, now))

    async def prune(self, older_than: float, *, compact: bool = False) -> int:
        """Forget ends that are older than so many seconds. What is unknown, or still to be sent, is never forgotten.

        What is forgotten is not recognised any more: an id that comes again is sent again.

        Args:
            older_than: Seconds since the end was written.
            compact: Whether the file is made smaller as well; without it, its room is used again. Needs as much
                room once more for a moment, and nothing else is written meanwhile.

        Returns:
            How many were forgotten.
        """
        before = time.time() - older_than
        forgotten = await self._change(lambda: self._file.prune(before))
        if compact:
            await self._look(self._file.compact)
        return forgotten

    def _checked(self, action_ids: Collection[str]) -> frozenset[str]:
        for action_id in action_ids:
            if not is_action_id(action_id):
                raise JournalError(f"The journal {self._path} has no action with the id {action_id!a}.")
        return frozenset(action_ids)

    # --- the thread -----------------------------------------------------------------------------------------------

    async def _look(self, look: Callable[[], T]) -> T:
        if self._thread is None:
            raise self._not_open()
        return await asyncio.get_running_loop().run_in_executor(self._thread, look)

    async def _change(self, change: Callable[[], T]) -> T:
        """Make a change in a transaction, with those that others ask for meanwhile: they share the wait for the disk.

        Cancelling leaves it to be made.
        """
        if self._thread is None:
            raise self._not_open()
        if self._together is None or len(self._together) >= _MOST_TOGETHER:
            self._together = []
            self._writing = asyncio.create_task(self._write(self._together, after=self._writing))
        index = len(self._together)
        self._together.append(change)
        assert self._writing is not None
        try:
            result = (await asyncio.shield(self._writing))[index]
        except JournalError as error:
            # Each of those who share it raises an error of its own.
            raise JournalError(*error.args) from error.__cause__
        if isinstance(result, Exception):
            raise result
        made: T = result
        return made

    async def _write(
        self, changes: Sequence[Callable[[], Any]], *, after: "asyncio.Task[list[Any]] | None"
    ) -> list[Any]:
        if after is not None:
            await asyncio.wait([after])
        if self._together is changes:
            self._together = None
        return await self._look(lambda: self._file.in_transaction(changes))

    def _in_use(self) -> JournalError:
        return JournalError(
            f"The journal {self._path} is in use by another process, or twice in this one; nothing was sent; wait for "
            "its end."
        )

    def _not_open(self) -> JournalError:
        return JournalError(f"The journal {self._path} is not open.")


def _attempts(submissions: Sequence[Submission]) -> list[Attempt]:
    return [(submission.action_id, submission.encoded, submission.attempts) for submission in submissions]


def _ended(submission: Submission, disposition: Disposition, error: ConfirmaError | None) -> Ended:
    in_charge, otherwise = (state_after(disposition, error, is_durable=is_durable) for is_durable in (True, False))
    return submission.action_id, in_charge, otherwise, submission.attempts
