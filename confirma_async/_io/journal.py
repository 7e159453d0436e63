"""The record of each action's state, written before the wire."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Protocol, runtime_checkable

from .._core.batch import Submission
from .._core.journal import Entry, JournalRecord, JournalTarget, State, content_hash, may_send, state_after
from ..codes import Disposition
from ..errors import ConfirmaError, JournalError

__all__ = ["DurableJournal", "End", "Journal", "MemoryJournal"]


End = tuple[Submission, Disposition, ConfirmaError | None]
"""How a submission ended, and why not as ACCEPTED."""


class Journal(Protocol):
    """What a client needs of a journal. What a call has returned from is kept; cancelling it leaves it to be done."""

    async def open(self, target: JournalTarget) -> None:
        """Get ready to keep what one client sends to `target`, until it closes the journal.

        Raises:
            JournalError: It cannot be used, is in use elsewhere, or belongs to another target.
        """

    async def close(self) -> None:
        """Let go of it, once everything that was asked of it is kept."""

    async def begin(self, batch: Sequence[Submission]) -> Sequence[Entry | None]:
        """Write down that an attempt with `batch` is about to start, before its first byte leaves.

        Returns:
            For each submission None, or the entry that forbids sending it: it ended before, or its id belongs to
            other content. Those are left as they are.

        Raises:
            JournalError: Nothing of it could be kept.
        """

    async def end(self, ends: Sequence[End]) -> None:
        """Write down what attempts made of actions, before callers are told.

        What the journal is in charge of, and had no effect for a reason that is not its own, is to be sent again.

        Raises:
            JournalError: Nothing of it could be kept.
        """


@runtime_checkable
class DurableJournal(Journal, Protocol):
    """A journal that outlives the process, and can therefore take charge of actions that are still to be sent."""

    async def enqueue(self, submissions: Sequence[Submission]) -> Sequence[Entry | None]:
        """Keep actions that are to be sent, all of them or, if an id belongs to other content, none.

        Returns:
            For each submission None, or what was known of its id before: the entry is left as it is, save that an
            action that was NOT_APPLIED is to be sent again.

        Raises:
            JournalError: Nothing of it could be kept.
        """

    def records(self, state: State) -> AsyncIterator[JournalRecord]:
        """Yield the actions in `state`, in order of submission; those that enter it meanwhile may be among them.

        Raises:
            JournalError: It cannot be read.
        """

    async def resolve(self, action_ids: Collection[str], disposition: Disposition, *, reason: str) -> int:
        """Settle what is UNKNOWN: ACCEPTED or NOT_APPLIED, all of `action_ids` or none; how many.

        Raises:
            JournalError: One of them is not there, or not UNKNOWN.
        """

    async def take_interrupted(self) -> Sequence[JournalRecord]:
        """What a former process was sending when it ended, and is UNKNOWN now. Each is told once.

        Raises:
            JournalError: It cannot be read.
        """


class MemoryJournal:
    """Keeps what runs, and the last ends, of actions whose id the caller chose. It dies with the process.

    An id that we give is never submitted twice, so there is nothing to remember of it. Clients use it one after the
    other.
    """

    def __init__(self, remembered_ends: int = 10_000) -> None:
        self._remembered_ends = remembered_ends
        self._target: JournalTarget | None = None
        self._is_open = False
        self._running: dict[str, Entry] = {}
        self._ended: OrderedDict[str, Entry] = OrderedDict()

    def __repr__(self) -> str:
        return f"<MemoryJournal running={len(self._running)} ended={len(self._ended)}>"

    async def open(self, target: JournalTarget) -> None:
        """See `Journal.open`."""
        if self._is_open:
            raise JournalError("This journal is in use by another client; nothing was sent; give each its own.")
        if self._target not in (None, target):
            raise JournalError(
                f"This journal is of {self._target}, and not of {target}; nothing was sent; give each its own."
            )
        self._target = target
        self._is_open = True

    async def close(self) -> None:
        """See `Journal.close`."""
        self._is_open = False

    async def begin(self, batch: Sequence[Submission]) -> Sequence[Entry | None]:
        """See `Journal.begin`."""
        return [None if submission.action.action_id is None else self._begin(submission) for submission in batch]

    def _begin(self, submission: Submission) -> Entry | None:
        known = self._running.get(submission.action_id) or self._ended.get(submission.action_id)
        content = content_hash(submission.encoded)
        if not may_send(known, content, attempts=submission.attempts):
            return known
        self._ended.pop(submission.action_id, None)
        self._running[submission.action_id] = Entry(content, State.SENDING, submission.attempts + 1)
        return None

    async def end(self, ends: Sequence[End]) -> None:
        """See `Journal.end`."""
        for submission, disposition, error in ends:
            running = self._running.pop(submission.action_id, None)
            if running is not None:
                self._ended[submission.action_id] = Entry(
                    running.content, state_after(disposition, error, is_durable=False), submission.attempts
                )
                if len(self._ended) > self._remembered_ends:
                    self._ended.popitem(last=False)
