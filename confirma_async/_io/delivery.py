"""Takes a sealed batch to the end of each of its actions: attempt, evidence, plan, and again where that is harmless."""

import asyncio
import random
from collections.abc import Callable, Sequence

from attrs import Factory, mutable

from .._core.assumptions import Assumptions
from .._core.batch import Submission
from .._core.diagnosis import diagnose, diagnose_reconciled, diagnose_refused_together, effect_of_end
from .._core.disposition import DispositionPolicy, Evidence, Observation, Plan, Verdict, join, plan
from .._core.journal import Entry, State, content_hash
from .._core.request import invoice_actions
from .._core.retry import GiveUp, RetryBudget, decide
from ..codes import Disposition
from ..errors import ActionIdConflictError, AmbiguousAnswerError, ConfirmaError, NotSubmittedError, RefusedError
from ..events import AttemptEnded, RetryPlanned
from ..policies import ReconcilePolicy, RetryPolicy
from .emitter import Emitter
from .journal import Journal
from .pacing import Pacing, TurnLostError
from .reconciling import Reconciler, Reconciling
from .retrying import GoAgainError, retrying
from .session import Exchange, Session

__all__ = ["Delivery", "End"]

_CALL = "POST /invoice/action"

_LONE_REFUSALS = 12
"""So many actions in a row refused one by one, and none accepted: the service refuses everything. Stop isolating."""

_EVERYTHING = "the service refuses everything"

End = tuple[Submission, Disposition, ConfirmaError | None]


@mutable
class _Parcel:
    """Submissions that share their POSTs, and what these have cost so far."""

    submissions: list[Submission]
    may_halve: bool
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
    unclear: list[Submission] = Factory(list)
    """For the reconciler."""
    exchange: Exchange | None = None
    """The last attempt."""


class Delivery:
    """Delivers batches, each in a task of its own."""

    def __init__(
        self,
        *,
        session: Session,
        pacing: Pacing,
        journal: Journal,
        retry: RetryPolicy,
        disposition: DispositionPolicy,
        assumptions: Assumptions,
        reconciler: Reconciler | None,
        reconcile: ReconcilePolicy,
        on_ends: Callable[[Sequence[End]], None],
        emit: Emitter,
    ) -> None:
        self._session = session
        self._pacing = pacing
        self._journal = journal
        self._retry = retry
        self._disposition = disposition
        self._assumptions = assumptions
        self._on_ends = on_ends
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
        parcels = [_Parcel(batch, may_halve, has_lane=True)]
        looks: list[asyncio.Task[None]] = []
        while parcels:
            parcel = parcels.pop()
            if parcel.refused_with is not None and self._refuses_everything:
                await self._end_untried(parcel.submissions, parcel.refused_with, _EVERYTHING)
                continue
            await self._deliver(parcel)
            if parcel.unclear:
                looks.append(asyncio.create_task(self._settle(parcel), name="confirma-reconciliation"))
            # The earlier half first: actions of one case keep their order.
            parcels.extend(reversed(parcel.halves))
        await asyncio.gather(*looks)

    async def _settle(self, parcel: _Parcel) -> None:
        """Have the reconciler look at what an attempt left open."""
        assert self._reconciler is not None
        assert parcel.exchange is not None
        evidence = parcel.exchange.evidence

        async def end(submission: Submission, disposition: Disposition) -> None:
            await self._end([(submission, disposition, diagnose_reconciled(disposition, evidence, call=_CALL))])

        reconciling = Reconciling(
            self._reconciler,
            self._reconcile_policy,
            pause=self._back_off,
            in_a_hurry=self._hurry.is_set,
            end=end,
        )
        await reconciling.settle(parcel.unclear, evidence)

    async def _end_untried(self, submissions: list[Submission], evidence: Evidence, why: str) -> None:
        """End actions that were refused together, and are not tried alone: nobody knows which one is at fault."""
        ends: list[End] = []
        for submission in submissions:
            end = join(Verdict.NOT_PROCESSED, doubted=submission.doubted)
            error = diagnose_refused_together(evidence, end, others=len(submissions) - 1, call=_CALL, why=why)
            ends.append((submission, end, error))
        await self._end(ends)

    @property
    def _refuses_everything(self) -> bool:
        return self._lone_refusals >= _LONE_REFUSALS

    async def _deliver(self, parcel: _Parcel) -> None:
        try:
            async for attempt in retrying(self._back_off):
                with attempt:
                    await self._attempt(parcel)
        except TurnLostError as lost:
            await self._end(
                [(s, join(Verdict.NOT_SENT, doubted=s.doubted), _not_sent(s, lost)) for s in parcel.submissions]
            )

    async def _back_off(self, delay: float) -> None:
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
            oldest = min(submission.entered for submission in submissions)
            await self._pacing.enter(len(submissions), oldest, lambda: any(s.is_wanted for s in submissions))
        started = asyncio.get_running_loop().time()
        parcel.has_lane = False
        try:
            submissions = parcel.submissions = await self._begin(submissions)
            if not submissions:
                return
            exchange = await self._post(parcel)
            seconds = asyncio.get_running_loop().time() - started
            parcel.seconds += seconds
            decided = self._plan(parcel, exchange.evidence)
            self._emit(
                AttemptEnded(
                    len(submissions), parcel.attempts, decided.row.verdict.value, exchange.evidence.status, seconds
                )
            )
            self._pacing.answered(decided.row.gate, exchange.evidence)
        finally:
            self._pacing.leave()
        await self._follow(parcel, decided, exchange)

    async def _begin(self, submissions: list[Submission]) -> list[Submission]:
        """Journal the attempt; what the journal knows already ends as it says. The rest goes out."""
        known = await self._journal.begin(submissions)
        if not any(known):
            return submissions
        pairs = list(zip(submissions, known, strict=True))
        await self._end([_known_end(submission, entry) for submission, entry in pairs if entry], journal=False)
        return [submission for submission, entry in pairs if entry is None]

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
        else:
            parcel.unclear, parcel.exchange = decided.unclear, exchange
        await self._end([(s, end, self._explain(decided, exchange, end)) for s, end in ends])
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
            _Parcel(half, may_halve=True, seconds=parcel.seconds, drawn=cost, refused_with=refused_with)
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
            ends = [(s, join(decided.row.verdict, doubted=s.doubted)) for s in decided.again]
            await self._end([(s, end, self._explain(decided, exchange, end, decision.value)) for s, end in ends])
            return
        parcel.submissions, parcel.drawn = decided.again, decision.drawn
        parcel.seconds += decision.delay
        self._emit(RetryPlanned(len(decided.again), parcel.attempts + 1, decision.delay))
        raise GoAgainError(decision.delay)

    def _explain(
        self, decided: Plan[Submission], exchange: Exchange, end: Disposition, why: str = ""
    ) -> ConfirmaError | None:
        if end is Disposition.ACCEPTED:
            return None
        if exchange.error is not None and end is not Disposition.UNKNOWN:
            return exchange.error
        return diagnose(decided.observation, exchange.evidence, end, call=_CALL, why=why)

    async def _end(self, ends: list[End], *, journal: bool = True) -> None:
        if not ends:
            return
        if journal:
            await self._journal.end([(submission, disposition) for submission, disposition, _ in ends])
        self._on_ends(ends)


def _not_sent(submission: Submission, lost: TurnLostError) -> NotSubmittedError:
    end = join(Verdict.NOT_SENT, doubted=submission.doubted)
    return NotSubmittedError(f"The action was not sent again: {lost}; {effect_of_end(end)}.")


def _known_end(submission: Submission, entry: Entry) -> End:
    """How an action ends whose id the journal knows."""
    if entry.content != content_hash(submission.encoded):
        conflict = ActionIdConflictError(
            f"The action id {submission.action_id!r} was used for an action with other content; this one was not sent; "
            "give it an id of its own."
        )
        return submission, Disposition.NOT_APPLIED, conflict
    submission.attempts = entry.attempts
    disposition = Disposition.UNKNOWN if entry.state is State.SENDING else Disposition(entry.state.value)
    if disposition is Disposition.ACCEPTED:
        return submission, disposition, None
    text = f"An action with the id {submission.action_id!r} and this content was submitted before"
    kind = RefusedError if disposition is Disposition.REJECTED else AmbiguousAnswerError
    return submission, disposition, kind(f"{text}; {effect_of_end(disposition)}.")
