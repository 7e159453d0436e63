"""Actions in the charge of a durable journal: takes them in, and brings back what was left of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence

from .._core.batch import Place, Submission
from .._core.journal import Entry, JournalRecord, State, content_hash, is_to_be_sent
from .._core.wire import case_of
from ..errors import ActionIdConflictError, OlderActionError
from .batcher import Batcher
from .journal import DurableJournal

__all__ = ["Outbox"]


class Outbox:
    """Stands between the journal and the batcher for what is enqueued, and for what is resumed.

    What was left, by a former process or by this one, is older than anything that is submitted now: a new action of
    the same case is refused until `left()` has brought it back.
    """

    def __init__(
        self, batcher: Batcher, journal: DurableJournal, restore: Callable[[JournalRecord], Submission]
    ) -> None:
        self._batcher = batcher
        self._journal = journal
        self._restore = restore
        self._adding: set[asyncio.Task[None]] = set()
        self._left_cases: Counter[int | None] = Counter()
        batcher.on_left = self._hold

    async def open(self) -> None:
        """Look which cases have actions that a former process left.

        Raises:
            JournalError: The journal cannot be read.
        """
        async for record in self._journal.records(State.QUEUED):
            assert record.content is not None
            if (case := case_of(record.content)) is not None:
                self._left_cases[case] += 1

    # --- what is enqueued -----------------------------------------------------------------------------------------

    async def add(self, submissions: Sequence[Submission]) -> None:
        """Keep submissions, and have them sent; wait for room in memory. Cancelling changes nothing of it.

        Raises:
            ActionIdConflictError: The id of one of them belongs to other content; none of them was kept.
            JournalError: The journal cannot be written; none of them was kept.
        """
        adding = asyncio.create_task(self._add(submissions), name="confirma-enqueue")
        self._adding.add(adding)
        adding.add_done_callback(self._adding.discard)
        await asyncio.shield(adding)

    async def _add(self, submissions: Sequence[Submission]) -> None:
        taken: list[Submission | None] = []
        with self._batcher.reserving(submissions):
            known = await self._journal.enqueue(submissions)
            pairs = list(zip(submissions, known, strict=True))
            _refuse_conflicts(pairs)
            for submission, entry in pairs:
                if is_to_be_sent(entry):
                    await self._batcher.register.wait_for_ending(submission.action_id)
                    taken.append(self._batcher.take_charge(submission))
        for waiting in filter(None, taken):
            await _admission(waiting)

    async def settle(self) -> None:
        """Wait until everything that is being enqueued is kept, and taken in."""
        if self._adding:
            await asyncio.wait(self._adding)

    # --- what was left --------------------------------------------------------------------------------------------

    async def left(self) -> AsyncGenerator[Submission, None]:
        """Yield what is to be settled, or sent, and is not under way.

        First what a former process was sending when it ended, which is `doubted`; then what is queued, in its order.
        """
        for record in await self._journal.take_interrupted():
            interrupted = self._restore(record)
            interrupted.attempts, interrupted.doubted, interrupted.from_journal = record.attempts, True, True
            yield interrupted
        async for record in self._journal.records(State.QUEUED):
            if record.action_id not in self._batcher.register:
                yield self._restore(record)

    def submit_left(self, submission: Submission) -> Submission:
        """Take in what `left()` has yielded."""
        if submission.doubted:
            return self._batcher.adopt(submission)
        taken = self._batcher.submit(submission, may_wait=True)
        case = submission.action.case_id
        self._left_cases[case] -= 1
        if self._left_cases[case] <= 0:
            del self._left_cases[case]
        return taken

    def _hold(self, submission: Submission) -> None:
        """What comes back without an end is older than what comes next, as if a former process had left it."""
        if (case := submission.action.case_id) is not None:
            self._left_cases[case] += 1

    def require_newest(self, case: int | None) -> None:
        """Refuse a new action that would overtake one that was left.

        Raises:
            OlderActionError: There is one of this case that `left()` has not brought back.
        """
        if case in self._left_cases:
            raise OlderActionError(
                f"The journal holds an older action of case {case}, which was left to be sent; the new one was not "
                "sent; take resume() to its end, and submit it again."
            )


def _refuse_conflicts(pairs: Sequence[tuple[Submission, Entry | None]]) -> None:
    for submission, entry in pairs:
        if entry is not None and entry.content != content_hash(submission.encoded):
            raise ActionIdConflictError(
                f"The action id {submission.action_id!r} was used for an action with other content; nothing was "
                "enqueued; give it an id of its own."
            )


async def _admission(submission: Submission) -> None:
    """Wait until a submission has left the hall."""
    if submission.place is not Place.HALL:
        return
    left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    others = submission.on_admitted

    def tell(*_: object) -> None:
        if not left.done():
            left.set_result(None)

    def admitted() -> None:
        tell()
        if others is not None:
            others()

    submission.on_admitted = admitted
    submission.owners.append(tell)
    await left
