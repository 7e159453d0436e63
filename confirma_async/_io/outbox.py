"""Sends what the journal took charge of, in the background."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from .._core.batch import Submission
from .._core.journal import JournalRecord, State, content_hash, may_queue, state_after
from ..errors import ActionIdConflictError, ConfirmaError
from ..models import ActionOutcome
from ..policies import BatchPolicy
from .batcher import Batcher
from .journal import DurableJournal
from .log import log
from .push import Owner, Push

__all__ = ["Outbox", "owned", "queued_submissions"]

_PAGE = 500
_PAUSE = 1.0
"""Seconds before what came back is read again. Whether it makes sense to send is the gate's matter."""

Restore = Callable[[JournalRecord], Submission]


async def queued_submissions(
    journal: DurableJournal, restore: Restore, *, up_to: int, after: int = 0
) -> AsyncIterator[Submission]:
    """Read what is to be sent from the journal, in order of submission, as far as it is there by now."""
    while page := await journal.queued(after=after, up_to=up_to, at_most=_PAGE):
        for record in page:
            yield restore(record)
        after = page[-1].number


def owned(submission: Submission, owner: Owner) -> Submission:
    """The same submission, with somebody who is told of its end."""
    submission.owners.append(owner)
    return submission


class Outbox:
    """What this client enqueued: on disk before anything else, and read from there as there is room to send it.

    What comes back without an end, because the service, the token or the journal was not there, is read once more.
    """

    def __init__(self, batcher: Batcher, policy: BatchPolicy, journal: DurableJournal, restore: Restore) -> None:
        self._batcher = batcher
        self._policy = policy
        self._journal = journal
        self._restore = restore
        self._news = asyncio.Event()
        self._finishing = asyncio.Event()
        self._in_hand: set[str] = set()
        self._came_back = False
        self._sender: asyncio.Task[None] | None = None
        self.left = 0
        """Enqueued, and without an end."""

    async def add(self, submissions: Sequence[Submission]) -> None:
        """Keep submissions, and see to it that they are sent.

        Raises:
            ActionIdConflictError: The id of one of them belongs to other content; none of them was kept.
            JournalError: The journal cannot be written; none of them was kept.
        """
        if not submissions:
            return
        known = await self._journal.enqueue(submissions)
        for submission, entry in zip(submissions, known, strict=True):
            if entry is not None and entry.content != content_hash(submission.encoded):
                raise ActionIdConflictError(
                    f"The action id {submission.action_id!r} was used for an action with other content; nothing was "
                    "enqueued; give it an id of its own."
                )
        self.left += sum(map(may_queue, known))
        self._news.set()
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name="confirma-outbox")

    async def finish(self) -> None:
        """Wait until everything that was enqueued has its end, or has come back without one."""
        self._finishing.set()
        self._news.set()
        if self._sender is not None:
            await asyncio.wait([self._sender])

    def stop(self) -> None:
        """Read nothing more: what is left stays in the journal."""
        if self._sender is not None:
            self._sender.cancel()

    async def _send(self) -> None:
        while True:
            push = Push(
                self._batcher,
                self._policy,
                self._queued(),
                prepare=owned,
                action_of=lambda submission: submission.action,
                fatal=(),
                outlasts_drain=True,
            )
            try:
                async for outcome in push.outcomes():
                    self._take(outcome)
            except ConfirmaError as error:
                log.error("What was enqueued cannot be read, and stays in the journal for now: %s", error)
                self._came_back = True
            if self._finishing.is_set():
                return

    def _take(self, outcome: ActionOutcome) -> None:
        self._in_hand.discard(outcome.action_id)
        if state_after(outcome.disposition, outcome.error, is_durable=True) is State.QUEUED:
            self._came_back = True
            self._news.set()
        else:
            self.left -= 1

    async def _queued(self) -> AsyncIterator[Submission]:
        """Everything that is to be sent, and what comes to it, until the end."""
        after = self._journal.last_left
        while True:
            if self._came_back and not self._finishing.is_set():
                await self._pause()
                self._came_back, after = False, self._journal.last_left
            self._news.clear()
            page = await self._journal.queued(after=after, up_to=None, at_most=_PAGE)
            for record in page:
                after = record.number
                if record.action_id not in self._in_hand:
                    self._in_hand.add(record.action_id)
                    yield self._restore(record)
            if not page:
                if self._finishing.is_set():
                    return
                await self._news.wait()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._finishing.wait(), _PAUSE)
