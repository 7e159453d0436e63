"""Keeps the journal in step with what is sent: asks it before the wire, and tells ends only once they are kept."""

import asyncio
from collections.abc import Callable, Sequence

from .._core.batch import Place, Submission
from .._core.diagnosis import effect_of_end
from .._core.disposition import Verdict, join
from .._core.journal import Entry, State, content_hash
from ..codes import Disposition
from ..errors import (
    ActionIdConflictError,
    AmbiguousAnswerError,
    ConfirmaError,
    JournalError,
    NotSubmittedError,
    RefusedError,
)
from .journal import DurableJournal, End, Journal
from .log import log

__all__ = ["Bookkeeping", "End"]

_LAST_WORDS_SECONDS = 1.0
"""What the journal of a delivery that was cut short may take."""


class Bookkeeping:
    """Stands between deliveries and the journal.

    A journal that cannot be written before an attempt keeps it from being made. One that cannot be written after it is
    no reason to call unknown what is known: callers are told, and the journal keeps the doubt that it has.
    """

    def __init__(self, journal: Journal, on_ends: Callable[[Sequence[End]], None]) -> None:
        self._journal = journal
        self._on_ends = on_ends
        self._owed: list[End] = []
        """Ends that were told, and could not be written: they go before anything else, as soon as it can be."""

    async def begin(self, submissions: list[Submission], *, spare: Callable[[Submission], bool]) -> list[Submission]:
        """Note an attempt, and return what may go out with it; the rest has its end.

        If it cannot be noted, nothing goes out, and what `spare` is true of goes on without an end.
        """
        try:
            await self.pay()
            known = await self._journal.begin(submissions)
        except Exception as error:  # The user's journal may raise anything.
            log.error("The journal could not be written, and nothing is sent without it: %s", _reason(error))
            unsent = [_unsent(submission, error) for submission in submissions if not spare(submission)]
            self._owe(unsent)
            self._on_ends(unsent)
            return []
        if not any(known):
            return submissions
        pairs = list(zip(submissions, known, strict=True))
        self._on_ends([_known_end(submission, entry) for submission, entry in pairs if entry])
        return [submission for submission, entry in pairs if entry is None]

    async def end(self, ends: Sequence[End]) -> None:
        """Keep how actions ended, and tell it."""
        if not ends:
            return
        for submission, _, _ in ends:
            submission.is_ending = True
        try:
            await self._keep(ends)
        except asyncio.CancelledError:
            # The journal goes on writing; what is known is told.
            self._on_ends(ends)
            raise
        except Exception as error:
            log.error("The journal keeps %d ended actions as unknown for now: %s", len(ends), _reason(error))
            self._owe(ends)
        self._on_ends(ends)

    async def pay(self) -> None:
        """Write what could not be written before.

        Raises:
            JournalError: It still cannot.
        """
        if not self._owed:
            return
        owed, self._owed = self._owed, []
        try:
            await self._journal.end(owed)
        except BaseException:
            self._owed = owed + self._owed
            raise

    async def close(self) -> None:
        """Write what is owed, and let the journal go. For a slow disk it waits a moment; the rest goes on by itself."""
        closing = asyncio.create_task(self._close(), name="confirma-journal-close")
        await asyncio.wait([closing], timeout=_LAST_WORDS_SECONDS)
        if not closing.done():
            log.error("The journal is still being written; it is closed when that is done.")

    async def _close(self) -> None:
        try:
            await self.pay()
        except Exception as error:
            log.error("The journal keeps %d ended actions as unknown: %s", len(self._owed), _reason(error))
        try:
            await self._journal.close()
        except Exception as error:
            # What was written is kept all the same.
            log.error("The journal was not closed in an orderly way: %s", _reason(error))

    def _owe(self, ends: Sequence[End]) -> None:
        # What was in no attempt was never written down.
        self._owed += [end for end in ends if end[0].attempts]

    async def settle(self, end: End) -> None:
        """Keep what was found out of an action that a former process left in doubt, and tell it."""
        submission, disposition, _ = end
        if disposition is not Disposition.UNKNOWN and isinstance(self._journal, DurableJournal):
            try:
                await self._journal.resolve([submission.action_id], disposition, reason="the reconciler found it so")
            except Exception as error:
                log.error("The journal keeps an action as unknown that is not: %s", _reason(error))
        self._on_ends([end])

    async def end_rest(self, batch: Sequence[Submission], error: BaseException) -> None:
        """Give an end to what is left of a batch whose delivery was cut short by `error`."""
        ends = [_end_of_failed(submission, error) for submission in batch if submission.place is not Place.ENDED]
        if not ends:
            return
        try:
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._keep(ends)
        except Exception as failure:
            log.error("The journal keeps %d ended actions as unknown for now: %s", len(ends), _reason(failure))
            self._owe(ends)
        finally:
            self._on_ends(ends)

    def end_unkept(self, batch: Sequence[Submission], error: BaseException) -> None:
        """The same without the journal, which keeps the doubt that it has."""
        self._on_ends(
            [_end_of_failed(submission, error) for submission in batch if submission.place is not Place.ENDED]
        )

    async def _keep(self, ends: Sequence[End]) -> None:
        await self.pay()
        await self._journal.end(ends)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ConfirmaError) else type(error).__name__


def _unsent(submission: Submission, error: Exception) -> End:
    """The end of an action whose attempt could not be noted, and was therefore not made."""
    end = join(Verdict.NOT_SENT, doubted=submission.doubted)
    text = f"The action was not sent{' again' if submission.attempts else ''}, because it could not be journaled"
    return submission, end, JournalError(f"{text} ({_reason(error).removesuffix('.')}); {effect_of_end(end)}.")


def _known_end(submission: Submission, entry: Entry) -> End:
    """How an action ends whose id the journal knows."""
    if entry.content != content_hash(submission.encoded):
        conflict = ActionIdConflictError(
            f"The action id {submission.action_id!r} was used for an action with other content; this one was not sent; "
            "give it an id of its own."
        )
        return submission, Disposition.NOT_APPLIED, conflict
    submission.attempts = entry.attempts
    submission.from_journal = True
    disposition = Disposition.UNKNOWN if entry.state is State.SENDING else Disposition(entry.state.value)
    if disposition is Disposition.ACCEPTED:
        return submission, disposition, None
    text = f"An action with the id {submission.action_id!r} and this content was submitted before"
    kind = RefusedError if disposition is Disposition.REJECTED else AmbiguousAnswerError
    return submission, disposition, kind(f"{text}; {effect_of_end(disposition)}.")


def _end_of_failed(submission: Submission, error: BaseException) -> End:
    """The end of an action whose delivery broke: only one that was in no POST is certainly without effect."""
    reason = (
        "the client was closed" if isinstance(error, asyncio.CancelledError) else f"it failed: {type(error).__name__}"
    )
    if submission.attempts:
        text = f"The action was sent and its delivery was cut short ({reason}); it may have taken effect: look first."
        return submission, Disposition.UNKNOWN, AmbiguousAnswerError(text)
    text = f"The action was not sent: its delivery was cut short ({reason})"
    return submission, Disposition.NOT_APPLIED, NotSubmittedError(f"{text}; {effect_of_end(Disposition.NOT_APPLIED)}.")
