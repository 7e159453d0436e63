"""Takes a sealed batch to the end of each of its actions: attempt, evidence, plan, and again where that is harmless."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from attrs import Factory, mutable

from .._core.assumptions import Assumptions
from .._core.batch import Place, Submission
from .._core.diagnosis import (
    diagnose,
    diagnose_interrupted,
    diagnose_reconciled,
    diagnose_refused_together,
    effect_of_end,
)
from .._core.disposition import DispositionPolicy, Evidence, Observation, Plan, Verdict, join, plan
from .._core.journal import is_left
from .._core.request import invoice_actions
from .._core.retry import GiveUp, RetryBudget, decide
from ..codes import Disposition
from ..errors import ConfirmaError, NotSubmittedError
from ..events import AttemptEnded, RetryPlanned
from ..policies import ReconcilePolicy, RetryPolicy
from .bookkeeping import Bookkeeping, End
from .emitter import Emitter
from .pacing import Pacing, TurnLostError
from .reconciling import Reconciler, Reconciling
from .retrying import GoAgainError, retrying
from .session import Exchange, Session

__all__ = ["Delivery"]

_CALL = "POST /invoice/action"

_LONE_REFUSALS = 12
"""So many actions in a row refused one by one, and none accepted: the service refuses everything. Stop isolating."""

_INTERRUPTED = Evidence(headers_sent=True, failure="the process that sent it ended")

_EVERYTHING = "the service refuses everything"


@mutable
class _Parcel:
    """Submissions that share their POSTs, and what these have cost so far."""

    submissions: list[Submission]
    may_halve: bool
    looks: asyncio.TaskGroup
    """The reconciler's looks at what attempts left open; they go on beside further attempts."""
    has_lane: bool = False
    attempts: int = 0
    seconds: float = 0.0
    """Spent on attempts and backoffs; not at the gate."""
    drawn: int = 0
    """Credits drawn from the retry budget for the attempt to come."""
    server_errors: int = 0
    refused_with: Evidence | None = None
    """How the batch was refused that this is a half of."""
    halves: list["_Parcel"] = Factory(list)


class Delivery:
    """Delivers batches, each in a task of its own."""

    def __init__(
        self,
        *,
        session: Session,
        pacing: Pacing,
        books: Bookkeeping,
        retry: RetryPolicy,
        disposition: DispositionPolicy,
        assumptions: Assumptions,
        reconciler: Reconciler | None,
        reconcile: ReconcilePolicy,
        emit: Emitter,
    ) -> None:
        self._session = session
        self._pacing = pacing
        self._books = books
        self._retry = retry
        self._disposition = disposition
        self._assumptions = assumptions
        self._emit = emit
        self._hurry = asyncio.Event()
        self._lone_refusals = 0
        self._reconciler = reconciler
        self._reconcile_policy = reconcile
        self.budget = RetryBudget(retry)
        self.posts = 0
        self.retries = 0

    def hurry(self) -> None:
        """Cut backoffs short, those that run and those to come: somebody waits for the end."""
        self._hurry.set()

    async def deliver(self, batch: list[Submission]) -> None:
        """Take every action of `batch`, for which a lane was taken, to its end."""
        # A group is somebody's POST as given; everything else may be cut up.
        may_halve = batch[0].group is None
        async with asyncio.TaskGroup() as looks:
            parcels = [_Parcel(batch, may_halve=may_halve, looks=looks, has_lane=True)]
            while parcels:
                parcel = parcels.pop()
                if parcel.refused_with is not None and self._refuses_everything:
                    await self._end_untried(parcel.submissions, parcel.refused_with, _EVERYTHING)
                    continue
                await self._deliver(parcel)
                # The earlier half first: actions of one case keep their order.
                parcels.extend(reversed(parcel.halves))

    async def settle(self, submission: Submission) -> None:
        """Take to its end what a former process was sending when it ended: it is looked at, and not sent."""
        if self._reconciler is None:
            await self._books.settle((submission, Disposition.UNKNOWN, diagnose_interrupted()))
            return

        await self._look(self._reconciler, [submission], _INTERRUPTED, self._books.settle)

    async def _look(
        self,
        reconciler: Reconciler,
        unclear: list[Submission],
        evidence: Evidence,
        tell: Callable[[End], Awaitable[None]],
    ) -> None:
        """Have the reconciler look at what an attempt left open."""

        async def end(submission: Submission, disposition: Disposition) -> None:
            await tell((submission, disposition, diagnose_reconciled(disposition, evidence, call=_CALL)))

        reconciling = Reconciling(
            reconciler, self._reconcile_policy, pause=self.back_off, in_a_hurry=self._hurry.is_set, end=end
        )
        await reconciling.settle(unclear, evidence)

    async def _tell_one(self, end: End) -> None:
        await self._books.end([end])

    async def _end_untried(self, submissions: list[Submission], evidence: Evidence, why: str) -> None:
        """End actions that were refused together, and are not tried alone: nobody knows which one is at fault."""
        ends: list[End] = []
        for submission in submissions:
            end = join(Verdict.NOT_PROCESSED, doubted=submission.doubted)
            error = diagnose_refused_together(evidence, end, others=len(submissions) - 1, call=_CALL, why=why)
            ends.append((submission, end, error))
        await self._books.end(ends)

    @property
    def _refuses_everything(self) -> bool:
        return self._lone_refusals >= _LONE_REFUSALS

    async def _deliver(self, parcel: _Parcel) -> None:
        try:
            async for attempt in retrying(self.back_off):
                with attempt:
                    await self._attempt(parcel)
        except TurnLostError as lost:
            await self._books.end(
                [(s, join(Verdict.NOT_SENT, doubted=s.doubted), _not_sent(s, lost)) for s in parcel.submissions]
            )

    async def back_off(self, delay: float) -> None:
        """Wait so many seconds, or less if somebody waits for the end."""
        try:
            await asyncio.wait_for(self._hurry.wait(), delay)
        except TimeoutError:
            return

    async def _attempt(self, parcel: _Parcel) -> None:
        """One POST with what is left of the parcel, and what follows from it.

        Raises:
            GoAgainError: What is left of the parcel goes again.
            TurnLostError: There will be no turn for it.
        """
        submissions = parcel.submissions
        if not parcel.has_lane:
            oldest = min(submission.patient_since for submission in submissions)
            await self._pacing.enter(len(submissions), oldest, lambda: any(s.is_wanted for s in submissions))
        parcel.has_lane = False
        try:
            parcel.submissions = await self._books.begin(submissions, spare=self._goes_on)
            if not parcel.submissions:
                self._pacing.unused(len(submissions))
                self._begin_anew(parcel, [s for s in submissions if s.place is not Place.ENDED])
                return
            if self._pacing.is_closed:
                # While the journal was written.
                raise TurnLostError("the client was closed")
            started = asyncio.get_running_loop().time()
            exchange = await self._post(parcel)
            seconds = asyncio.get_running_loop().time() - started
            parcel.seconds += seconds
            decided = self._plan(parcel, exchange.evidence)
            self._emit(
                AttemptEnded(
                    len(parcel.submissions),
                    parcel.attempts,
                    decided.row.verdict.value,
                    exchange.evidence.status,
                    seconds,
                )
            )
            self._pacing.answered(decided.row.gate, exchange.evidence)
        finally:
            self._pacing.leave()
        await self._follow(parcel, decided, exchange)

    async def _post(self, parcel: _Parcel) -> Exchange:
        parcel.attempts += 1
        self.posts += 1
        self.retries += parcel.attempts > 1
        for submission in parcel.submissions:
            submission.attempts += 1
        return await self._session.exchange(invoice_actions([s.encoded for s in parcel.submissions]))

    def _plan(self, parcel: _Parcel, evidence: Evidence) -> Plan[Submission]:
        decided = plan(
            parcel.submissions,
            evidence,
            policy=self._disposition,
            assumptions=self._assumptions,
            server_errors=parcel.server_errors,
            may_halve=parcel.may_halve,
        )
        if decided.observation is Observation.SERVER_ERROR:
            parcel.server_errors += 1
        elif decided.observation is Observation.REFUSED and len(parcel.submissions) == 1:
            self._lone_refusals += 1
        elif decided.observation is Observation.SUCCESS:
            self._lone_refusals = 0
            self.budget.give_back(parcel.drawn)
        return decided

    async def _follow(self, parcel: _Parcel, decided: Plan[Submission], exchange: Exchange) -> None:
        """Do what the plan says."""
        if decided.row.verdict is Verdict.UNKNOWN:
            for submission in parcel.submissions:
                submission.doubted = True
        ends = list(decided.ended)
        if self._reconciler is None:
            ends += [(submission, Disposition.UNKNOWN) for submission in decided.unclear]
        elif decided.unclear:
            look = self._look(self._reconciler, decided.unclear, exchange.evidence, self._tell_one)
            parcel.looks.create_task(look, name="confirma-reconciliation")
        await self._end([(s, end, self._explain(decided, exchange, end)) for s, end in ends], parcel)
        if decided.halves:
            await self._halve(parcel, decided, exchange.evidence)
        if decided.again:
            await self._go_again(parcel, decided, exchange)

    async def _halve(self, parcel: _Parcel, decided: Plan[Submission], evidence: Evidence) -> None:
        whole = [submission for half in decided.halves for submission in half]
        was_refused = decided.observation is Observation.REFUSED
        if was_refused and self._refuses_everything:
            await self._end_untried(whole, evidence, _EVERYTHING)
            return
        cost = self.budget.cost(throttled=False)
        if not self.budget.draw(cost):
            await self._end_untried(whole, evidence, GiveUp.BUDGET.value)
            return
        # Each half gives the credits back if it is accepted: finding one action at fault is free, as long as the others
        # go through.
        refused_with = evidence if was_refused else None
        parcel.halves = [
            _Parcel(
                half,
                may_halve=True,
                looks=parcel.looks,
                seconds=parcel.seconds,
                drawn=cost,
                refused_with=refused_with,
            )
            for half in decided.halves
        ]

    async def _go_again(self, parcel: _Parcel, decided: Plan[Submission], exchange: Exchange) -> None:
        decision = decide(
            self._retry,
            self.budget,
            attempts=parcel.attempts,
            seconds=parcel.seconds,
            throttled=decided.observation.throttled,
            asked_pause=exchange.evidence.retry_after,
            fraction=random.random(),  # noqa: S311 - jitter is no secret
        )
        if isinstance(decision, GiveUp):
            given_up = [(s, join(decided.row.verdict, doubted=s.doubted)) for s in decided.again]
            why = decision.value
            await self._end([(s, end, self._explain(decided, exchange, end, why)) for s, end in given_up], parcel)
            return
        parcel.submissions, parcel.drawn = decided.again, decision.drawn
        parcel.seconds += decision.delay
        self._emit(RetryPlanned(len(decided.again), parcel.attempts + 1, decision.delay))
        raise GoAgainError(decision.delay)

    async def _end(self, ends: list[End], parcel: _Parcel) -> None:
        """End submissions; but what was enqueued begins anew, where the reason is not its own.

        Raises:
            GoAgainError: There is any of that.
        """
        go_on = [end[0] for end in ends if self._goes_on(end[0]) and is_left(end[1], end[2])]
        await self._books.end([end for end in ends if end[0] not in go_on])
        self._begin_anew(parcel, go_on)

    def _goes_on(self, submission: Submission) -> bool:
        return submission.is_enqueued and not self._hurry.is_set() and not self._pacing.is_hopeless

    def _begin_anew(self, parcel: _Parcel, submissions: list[Submission]) -> None:
        if submissions:
            parcel.submissions, parcel.drawn, parcel.attempts, parcel.seconds = submissions, 0, 0, 0.0
            self._emit(RetryPlanned(len(submissions), 1, self._retry.max_ceiling))
            raise GoAgainError(self._retry.max_ceiling)

    def _explain(
        self, decided: Plan[Submission], exchange: Exchange, end: Disposition, why: str = ""
    ) -> ConfirmaError | None:
        if end is Disposition.ACCEPTED:
            return None
        if exchange.error is not None and end is not Disposition.UNKNOWN:
            return exchange.error
        return diagnose(decided.observation, exchange.evidence, end, call=_CALL, why=why)


def _not_sent(submission: Submission, lost: TurnLostError) -> NotSubmittedError:
    end = join(Verdict.NOT_SENT, doubted=submission.doubted)
    return NotSubmittedError(f"The action was not sent again: {lost}; {effect_of_end(end)}.")
