"""Drives the accumulator: one timer, lanes, and a record of every submission until its end.

A sealed batch is delivered by a task of its own, which no caller's cancellation reaches. Whatever happens to that task,
each of its submissions gets an end.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from math import inf
from typing import Any

from .._core.batch import BatchAccumulator, Place, Submission
from .._core.diagnosis import diagnose_left
from .._core.journal import State, state_after
from ..codes import Disposition
from ..errors import (
    AuthenticationError,
    ClientStateError,
    ConfirmaError,
    NotSubmittedError,
    QueueFullError,
)
from ..models import ActionOutcome, DrainReport
from ..policies import BatchPolicy
from .bookkeeping import Bookkeeping, End
from .delivery import Delivery
from .emitter import Emitter
from .log import log
from .pacing import Pacing
from .register import Register
from .tally import Tally

__all__ = ["Batcher", "draining_error"]


_LAST_WORDS_SECONDS = 1.0


class Batcher:
    """Takes submissions, and sees to it that each has exactly one end."""

    def __init__(self, policy: BatchPolicy, *, emit: Emitter) -> None:
        self._policy = policy
        self.register = Register()
        self._accumulator = BatchAccumulator(policy)
        self._tally = Tally(emit)
        self._deliveries: dict[asyncio.Task[None], Sequence[Submission]] = {}
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._pump_is_scheduled = False
        self._is_draining = False
        self._is_over = False
        self.on_left: Callable[[Submission], None] = lambda _: None
        """Called with what comes back without an end."""
        self._readers: set[Callable[[], None]] = set()

    def connect(self, pacing: Pacing, books: Bookkeeping, delivery: Delivery) -> None:
        """Say who hands out lanes, who keeps the journal, and who delivers."""
        self._pacing = pacing
        self._books = books
        self._delivery = delivery

    # --- in -------------------------------------------------------------------------------------------------------

    def submit(self, submission: Submission, *, may_wait: bool) -> Submission:
        """Take a submission in, or join it to one with the same id that has not ended.

        Args:
            submission: What to take in.
            may_wait: Whether it may stand in the hall while too much waits.

        Returns:
            The submission that its caller is to wait for; not the one given, if it joined another.

        Raises:
            ActionIdConflictError: Its id is in use for other content.
            ClientStateError: The client drains.
            QueueFullError: Too much waits, and it may not.
        """
        if self._is_draining:
            raise draining_error()
        return self._take_in(submission, may_wait=may_wait)

    def take_charge(self, submission: Submission) -> Submission | None:
        """The same for a submission that the journal keeps by now: also while the client drains.

        Once that is over, it is only counted, and stays in the journal.
        """
        if self._is_over:
            self._tally.count_left(submission.action_id)
            return None
        return self._take_in(submission, may_wait=True)

    def _take_in(self, submission: Submission, *, may_wait: bool) -> Submission:
        running = self.register.join(submission)
        if running is not None:
            return running
        if not may_wait and not self._accumulator.has_room([submission]):
            raise _full(self._accumulator.waiting_actions)
        if submission.action.code in self._policy.alone:
            submission.group = [submission]
        self._tally.discount_left(submission.action_id)
        self.register.enter(submission)
        self._accumulator.add(submission)
        self.pump_soon()
        return submission

    def adopt(self, submission: Submission) -> Submission:
        """Take in what a former process was sending when it ended: it is not sent, and has an end all the same.

        Raises:
            ActionIdConflictError: Its id is in use.
            ClientStateError: The client drains.
        """
        if self._is_draining:
            raise draining_error()
        running = self.register.join(submission)
        if running is not None:
            return running
        self.register.enter(submission)
        self._accumulator.adopt(submission)
        self._start([submission], self._delivery.settle(submission))
        return submission

    def reserving(self, submissions: Sequence[Submission]) -> AbstractContextManager[None]:
        """Keep the ids of submissions for their contents while the journal writes them down.

        Raises:
            ActionIdConflictError: One of them is in use for other content.
            QueueFullError: Too much waits, and the policy says to raise.
        """
        if self._policy.when_full == "raise" and not self._accumulator.has_room(submissions):
            raise _full(self._accumulator.waiting_actions)
        return self.register.reserving(submissions)

    def submit_group(self, submissions: Sequence[Submission]) -> None:
        """Take submissions in that share one POST, with nobody else in it.

        Raises:
            ActionIdConflictError: The id of one of them is in use, or comes twice.
            ClientStateError: The client drains.
        """
        if self._is_draining:
            raise draining_error()
        self.register.require_free(submissions)
        for submission in submissions:
            submission.group = submissions
            self.register.enter(submission)
        self._accumulator.add(*submissions)
        self.seal()

    def settle(self, outcome: ActionOutcome) -> ActionOutcome:
        """Count an action that ended before it was taken in."""
        self._tally.count(outcome)
        return outcome

    def withdraw(self, submission: Submission, owner: Callable[[ActionOutcome], None]) -> None:
        """Take a caller off a submission; the last one takes an unsealed submission back."""
        if owner in submission.owners:
            submission.owners.remove(owner)
        if not submission.owners and self._accumulator.withdraw(submission):
            self._finish([(submission, Disposition.NOT_APPLIED, _withdrawn("its caller gave it up"))])

    @contextmanager
    def reading(self, stop_reading: Callable[[], None]) -> Iterator[None]:
        """Have `stop_reading` called when nothing more is taken in, so that nobody reads on in vain."""
        self._readers.add(stop_reading)
        try:
            yield
        finally:
            self._readers.discard(stop_reading)

    def seal(self) -> None:
        """Send what waits, however little it is, as soon as there are lanes for it."""
        self._accumulator.seal()
        self.pump_soon()

    async def flush(self) -> None:
        """Seal, and wait until everything submitted so far has ended."""
        self.seal()
        live = self.register.submissions
        if not live:
            return
        newest = max(submission.sequence for submission in live)
        flush = (newest, asyncio.get_running_loop().create_future())
        self._flushes.append(flush)
        try:
            await flush[1]
        finally:
            self._flushes.remove(flush)

    # --- out ------------------------------------------------------------------------------------------------------

    def pump_soon(self) -> None:
        """Look for a batch on the next turn of the loop, so that all who submit in this one are coalesced."""
        if not self._pump_is_scheduled:
            self._pump_is_scheduled = True
            asyncio.get_running_loop().call_soon(self.pump)

    def pump(self) -> None:
        """Start a delivery for every batch that is due, while there are lanes."""
        self._pump_is_scheduled = False
        if self._pacing.is_hopeless:
            self._expire_hopeless()
        # One look at the clock: what is not due now gets a timer for later, and nothing falls in between.
        now = asyncio.get_running_loop().time()
        while self._pacing.has_turn():
            batch = self._accumulator.take(now, self._pacing.gate.trial_size)
            if batch is None:
                break
            self._pacing.start(len(batch))
            self._start(batch, self._delivery.deliver(batch))
        self._arm_timer(now)

    def _start(self, batch: Sequence[Submission], work: Coroutine[Any, Any, None]) -> None:
        delivery = asyncio.create_task(self._deliver(batch, work), name="confirma-delivery")
        self._deliveries[delivery] = batch
        delivery.add_done_callback(self._deliveries.pop)

    def _arm_timer(self, now: float) -> None:
        deadline = self._accumulator.deadline
        if deadline is not None and deadline <= now:
            # It waits for a lane, the gate or the rate, each of which pumps when it is free.
            deadline = None
        if deadline == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._linger_is_over)

    def _linger_is_over(self) -> None:
        self._timer = self._timer_at = None
        self.pump()

    async def _deliver(self, batch: Sequence[Submission], work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
            _require_ends(batch)
        except asyncio.CancelledError as error:
            await self._books.end_rest(batch, error)
            raise
        except Exception as error:
            # A mistake of ours: no caller may be left without an end.
            log.exception("A delivery failed.")
            await self._books.end_rest(batch, error)

    def on_ends(self, ends: Sequence[End]) -> None:
        """Take note of ends of sealed submissions, tell their callers, and lift the fence of their cases.

        What has an end keeps it.
        """
        ends = [end for end in ends if end[0].place is not Place.ENDED]
        for submission, _, _ in ends:
            self._accumulator.ended(submission)
        self._finish(ends)
        self.pump_soon()

    def _finish(self, ends: Sequence[End]) -> None:
        for submission, disposition, error in ends:
            self.register.leave(submission)
            outcome = _outcome(submission, disposition, error)
            self._tally.count(outcome)
            if outcome.is_queued:
                self.on_left(submission)
            for owner in submission.owners:
                owner(outcome)
        if self._flushes:
            self._end_flushes()

    def _end_flushes(self) -> None:
        oldest = next((submission.sequence for submission in self.register.submissions), None)
        for newest, ended in self._flushes:
            if (oldest is None or oldest > newest) and not ended.done():
                ended.set_result(None)

    # --- the end --------------------------------------------------------------------------------------------------

    def expire(self, patient_since: float, reason: str) -> None:
        """End NOT_APPLIED what has been patient since then and is not sealed."""
        self._withdraw_all(self._accumulator.outstanding(patient_since), _withdrawn(reason))

    def withdraw_owned_by(self, owner: Callable[[ActionOutcome], None], reason: str) -> None:
        """End NOT_APPLIED what is not sealed and has no other owner."""
        self._withdraw_all(self._owned_by(owner, self._accumulator.outstanding()), _withdrawn(reason))

    def abandon_owned_by(self, owner: Callable[[ActionOutcome], None], reason: str) -> None:
        """The same because of a token that is dead: what is sealed does not wait for another one, either."""
        self.withdraw_owned_by(owner, reason)
        for submission in self._owned_by(owner, self.register.submissions):
            submission.is_wanted = False
        self._pacing.drop_unwanted()

    @staticmethod
    def _owned_by(owner: Callable[[ActionOutcome], None], submissions: Iterable[Submission]) -> list[Submission]:
        return [s for s in submissions if all(other == owner for other in s.owners)]

    def _expire_hopeless(self) -> None:
        """End what waits for a token that nobody can bring: `push()` must learn of it, and stop reading."""
        text = (
            "The action was not sent: the token is not valid, and nobody can replace it while this client "
            "runs, as they could in a FileTokenStore; it had no effect, and may be submitted again."
        )
        self._withdraw_all(self._accumulator.outstanding(inf), AuthenticationError(text, 401))

    def _withdraw_all(self, submissions: Sequence[Submission], error: ConfirmaError) -> None:
        taken = [submission for submission in submissions if self._accumulator.withdraw(submission)]
        self._finish([(submission, Disposition.NOT_APPLIED, error) for submission in taken])

    def stop_admission(self) -> None:
        """Take nothing more in, and tell those who read."""
        self._is_draining = True
        for stop_reading in tuple(self._readers):
            stop_reading()

    def be_over(self) -> None:
        """Take nothing more in, whoever brings it."""
        self._is_over = True

    async def drain(self) -> None:
        """Wait until nothing waits and nothing is in flight."""
        await self.flush()
        await self.wait_deliveries(None)

    async def wait_deliveries(self, seconds: float | None) -> None:
        """Wait until no delivery runs; cancel those that run for longer than so many seconds."""
        if self._deliveries:
            _, running = await asyncio.wait(self._deliveries, timeout=seconds)
            for delivery in running:
                delivery.cancel()
            if running:
                # Cancelled, each still gives its actions their ends; unless it hangs in somebody else's code.
                _, stuck = await asyncio.wait(running, timeout=_LAST_WORDS_SECONDS)
                for delivery in stuck:
                    self._books.end_unkept(self._deliveries[delivery], asyncio.CancelledError())

    @property
    def waiting_actions(self) -> int:
        """Actions that wait to be sealed."""
        return self._accumulator.waiting_actions

    @property
    def waiting_bytes(self) -> int:
        """Their encoded bytes."""
        return self._accumulator.waiting_bytes

    @property
    def in_flight_actions(self) -> int:
        """Actions that are sealed and have no end yet."""
        return sum(submission.place is Place.SEALED for submission in self.register.submissions)

    def report(self) -> DrainReport:
        """The account so far."""
        return self._tally.report()


def draining_error() -> ClientStateError:
    """The error of whoever submits once the client drains."""
    return ClientStateError("The client drains, and takes no more actions; nothing was sent; open another one.")


def _outcome(submission: Submission, disposition: Disposition, error: ConfirmaError | None) -> ActionOutcome:
    is_queued = submission.is_durable and state_after(disposition, error, is_durable=True) is State.QUEUED
    return ActionOutcome(
        submission.action,
        submission.action_id,
        disposition,
        submission.attempts,
        diagnose_left(error) if is_queued and error is not None else error,
        from_journal=submission.from_journal,
        is_queued=is_queued,
    )


def _require_ends(batch: Sequence[Submission]) -> None:
    if unended := sum(submission.place is not Place.ENDED for submission in batch):
        raise AssertionError(f"{unended} actions were left without an end")


def _full(waiting: int) -> QueueFullError:
    return QueueFullError(
        f"{waiting} actions wait, as many as BatchPolicy allows at large or for one case; the action was not sent; "
        "submit it again later."
    )


def _withdrawn(reason: str) -> NotSubmittedError:
    return NotSubmittedError(
        f"The action was not sent: {reason}; this submission had no effect, and may be made again."
    )
