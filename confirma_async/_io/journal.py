"""The record of each action's state, written before the wire."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from .._core.batch import Submission
from .._core.journal import TRANSITIONS, Entry, State, content_hash, end_state
from ..codes import Disposition

__all__ = ["Journal", "MemoryJournal"]


class Journal(Protocol):
    """What a client needs of a journal. What a call has returned from is kept."""

    async def begin(self, batch: Sequence[Submission]) -> Sequence[Entry | None]:
        """Write down that an attempt with `batch` is about to start, before its first byte leaves.

        Returns:
            For each submission None, or the entry that forbids sending it: it ended before, or its id belongs to
            other content. Those are left as they are.
        """

    async def end(self, ends: Sequence[tuple[Submission, Disposition]]) -> None:
        """Write down how actions ended, before their callers are told."""


class MemoryJournal:
    """Keeps what runs, and the last ends, of actions whose id the caller chose. It dies with the process.

    An id that we give is never submitted twice, so there is nothing to remember of it.
    """

    def __init__(self, remembered_ends: int = 10_000) -> None:
        self._remembered_ends = remembered_ends
        self._running: dict[str, Entry] = {}
        self._ended: OrderedDict[str, Entry] = OrderedDict()

    def __repr__(self) -> str:
        return f"<MemoryJournal running={len(self._running)} ended={len(self._ended)}>"

    async def begin(self, batch: Sequence[Submission]) -> Sequence[Entry | None]:
        """See `Journal.begin`."""
        return [None if submission.action.action_id is None else self._begin(submission) for submission in batch]

    def _begin(self, submission: Submission) -> Entry | None:
        known = self._running.get(submission.action_id) or self._ended.get(submission.action_id)
        content = content_hash(submission.encoded)
        if known is not None and (known.content != content or not _may_be_sent(known, submission)):
            return known
        self._ended.pop(submission.action_id, None)
        self._running[submission.action_id] = Entry(content, State.SENDING, submission.attempts)
        return None

    async def end(self, ends: Sequence[tuple[Submission, Disposition]]) -> None:
        """See `Journal.end`."""
        for submission, disposition in ends:
            running = self._running.pop(submission.action_id, None)
            if running is not None:
                self._ended[submission.action_id] = Entry(running.content, end_state(disposition), submission.attempts)
                if len(self._ended) > self._remembered_ends:
                    self._ended.popitem(last=False)


def _may_be_sent(known: Entry, submission: Submission) -> bool:
    """Whether an attempt may follow what is known; a first one does not follow another client's that runs."""
    is_elsewhere = known.state is State.SENDING and submission.attempts == 0
    return State.SENDING in TRANSITIONS[known.state] and not is_elsewhere
