"""`client.actions`: submit actions, from one to any number, and learn how each ended."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from itertools import count
from uuid import uuid4

from .._core.assumptions import Assumptions
from .._core.batch import Submission
from .._core.disposition import DispositionPolicy
from .._core.journal import JournalRecord
from .._core.rules import value_violations, violations
from .._core.wire import BODY_OVERHEAD, encode_action, restore_action
from ..codes import Disposition
from ..errors import (
    ActionError,
    ActionIdConflictError,
    ActionRejectedError,
    ConfigurationError,
    InvalidActionError,
    InvalidFieldError,
    NotAppliedError,
    OutcomeUnknownError,
    QueueFullError,
)
from ..models import Action, ActionOutcome, DrainReport, RawAction, Violation
from ..policies import BatchPolicy
from .batcher import Batcher
from .journal import DurableJournal
from .outbox import Outbox
from .push import Owner, Push

__all__ = ["Actions"]

_ERRORS: dict[Disposition, type[ActionError]] = {
    Disposition.REJECTED: ActionRejectedError,
    Disposition.NOT_APPLIED: NotAppliedError,
    Disposition.UNKNOWN: OutcomeUnknownError,
}


class Actions:
    """Submits invoice actions (POST `/invoice/action`; API, section 4.2).

    Whoever submits, and however: everything is coalesced into the same batches, and actions of one case reach the
    service in the order in which they were submitted.
    """

    def __init__(
        self,
        batcher: Batcher,
        *,
        policy: BatchPolicy,
        disposition: DispositionPolicy,
        assumptions: Assumptions,
        journal: DurableJournal | None,
        require_open: Callable[[], None],
        drain: Callable[[float], "asyncio.Future[DrainReport]"],
    ) -> None:
        self._batcher = batcher
        self._policy = policy
        self._disposition = disposition
        self._assumptions = assumptions
        self._require_open = require_open
        self._drain = drain
        self.outbox = None if journal is None else Outbox(batcher, journal, self._restore)
        self._id_prefix = uuid4().hex
        self._ids = count(1)

    async def send(self, action: Action, *, validate: bool = True) -> ActionOutcome:
        """Submit one action, and wait for its end.

        It waits in an open batch for the linger, and where `BatchPolicy` says that too much waits already, in order of
        arrival, for room. While the gate is shut it waits up to `RetryPolicy.give_up_after`.

        Cancelling takes the action back while its batch is open. Once the batch is sealed the action goes out all the
        same, and its end goes to the account and to events.

        An `action_id` that is submitted again while its action runs joins it, and both callers get the one end; one
        that ended is answered with its end, or goes again if that was NOT_APPLIED.

        Args:
            action: What to submit.
            validate: Whether to check it against the rules of the API's documents; for the day when they are wrong.

        Returns:
            The outcome, which is ACCEPTED.

        Raises:
            InvalidActionError: It breaks rules; nothing was sent. Mend what `violations` names.
            ActionIdConflictError: Its id belongs to an action with other content; nothing was sent.
            OlderActionError: The journal holds an older action of its case; nothing was sent. Call `resume()` first.
            QueueFullError: Too much waits, and `BatchPolicy.when_full` says to raise; nothing was sent. Try later.
            ActionRejectedError: The service refused it. Mend it.
            NotAppliedError: It had no effect. It may be submitted again.
            OutcomeUnknownError: It may have taken effect. Look before it is sent again.
            ClientStateError: The client is not open.
        """
        self._require_open()
        ended: asyncio.Future[ActionOutcome] = asyncio.get_running_loop().create_future()

        def tell(outcome: ActionOutcome) -> None:
            if not ended.done():
                ended.set_result(outcome)

        submission = self._batcher.submit(
            self._prepare(action, tell, lingers=True, validate=validate), may_wait=self._policy.when_full == "wait"
        )
        try:
            outcome = await ended
        except asyncio.CancelledError:
            self._batcher.withdraw(submission, tell)
            raise
        return _accepted(outcome)

    def push(
        self, actions: Iterable[Action] | AsyncIterable[Action], *, validate: bool = True
    ) -> AsyncGenerator[ActionOutcome, None]:
        """Submit everything that `actions` yields, and yield each action's outcome in the order in which they end.

        Batches are sealed when they are full, when the source ends, and when an asynchronous source yields nothing for
        `BatchPolicy.stall`. Memory stays bounded: reading pauses while as many actions wait as `BatchPolicy` allows,
        or their outcomes wait to be taken.

        A single action never raises: what breaks a rule comes back NOT_APPLIED, with an `InvalidActionError`.

        If its consumer stops (closes it, or is cancelled), it stops reading, lets sealed batches end, and takes the
        rest back unsent. A second iteration over the same object is not possible.

        Args:
            actions: Any iterable, asynchronous or not.
            validate: As for `send`.

        Raises:
            AuthenticationError: The token is dead. Raised once, after the outcome of everything that was read.
            PermissionDeniedError: The service does not let this token do it. As above.
            JournalError: The journal cannot be written. As above.
            ClientStateError: The client is not open, or was drained meanwhile: the rest of the source was not read.
            InvalidFieldError: The source yielded something that is no action. Raised like an error of the source.
            Exception: What the source raised, after the outcome of everything that was read before.
        """
        self._require_open()
        if not isinstance(actions, Iterable | AsyncIterable) or isinstance(actions, str | bytes):
            raise InvalidFieldError(f"push() takes an iterable of actions, not a {type(actions).__name__}.")
        push = Push(
            self._batcher,
            self._policy,
            actions,
            prepare=partial(self._prepare, lingers=False, validate=validate),
            action_of=lambda action: action,
        )
        return push.outcomes()

    async def post(self, actions: Iterable[Action], *, validate: bool = True) -> list[ActionOutcome]:
        """Send these actions as one POST, in this order, with no others in it.

        It waits until no earlier action of its cases is in flight, and goes through the same gate. It is never cut up:
        refused, all of it is REJECTED. After an ambiguous answer what may harmlessly be repeated is repeated.

        Cancelling takes the POST back while it waits; once it is sealed it goes out.

        Returns:
            The outcomes, in the order of `actions`; empty, and nothing sent, if there are none.

        Raises:
            InvalidActionError: One of them breaks rules, or together they are larger than one POST may be. Nothing was
                sent.
            ActionIdConflictError: The id of one of them is in use, or twice in this call. Nothing was sent.
            OlderActionError: The journal holds an older action of one of their cases. Nothing was sent.
            ClientStateError: The client is not open.
        """
        self._require_open()
        ended: dict[int, ActionOutcome] = {}
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        submissions: list[Submission] = []

        def teller(index: int) -> Callable[[ActionOutcome], None]:
            def tell(outcome: ActionOutcome) -> None:
                ended[index] = outcome
                if len(ended) == len(submissions) and not done.done():
                    done.set_result(None)

            return tell

        for index, action in enumerate(actions):
            submissions.append(self._prepare(action, teller(index), lingers=False, validate=validate))
        if not submissions:
            return []
        self._check_fits(submissions)
        self._batcher.submit_group(submissions)
        try:
            await done
        except asyncio.CancelledError:
            for submission in submissions:
                self._batcher.withdraw(submission, submission.owners[0])
            raise
        return [ended[index] for index in range(len(submissions))]

    def _check_fits(self, submissions: Sequence[Submission]) -> None:
        size = BODY_OVERHEAD - 1 + sum(len(submission.encoded) + 1 for submission in submissions)
        if len(submissions) > self._policy.max_waiting_actions or size > self._policy.max_bytes:
            raise InvalidActionError(
                f"{len(submissions)} actions of {size} bytes together are more than BatchPolicy lets into one POST; "
                "nothing was sent; use push()."
            )

    async def enqueue(self, actions: Iterable[Action], *, validate: bool = True) -> list[str]:
        """Hand these actions to the journal, and return when they are kept; they are sent in the background.

        From then on they survive this process: what it does not send is sent by `resume()` of another. They are sent
        for as long as it takes, without regard to `RetryPolicy.attempts`, and while the gate is shut wait without end.
        Their ends go to the journal and to `on_event`. Calls at the same time share one wait for the disk; while too
        much waits, as `BatchPolicy` says, a call waits for room, although its actions are kept already.

        An id that the journal knows is not sent again, unless its action ended NOT_APPLIED. Cancelling takes nothing
        back.

        Returns:
            Their ids, in the order of `actions`: the caller's, or the ones that we gave.

        Raises:
            InvalidActionError: One of them breaks rules. None of them was kept, nor is it after any other error.
            ActionIdConflictError: The id of one of them belongs to an action with other content.
            OlderActionError: The journal holds an older action of one of their cases. Call `resume()` first.
            QueueFullError: Too much waits, and `BatchPolicy.when_full` says to raise.
            JournalError: The journal cannot be written.
            ConfigurationError: The client's journal does not outlive the process; give it a `SqliteJournal`.
            ClientStateError: The client is not open.
        """
        self._require_open()
        outbox = self.outbox
        if outbox is None:
            raise _needs_durable_journal("enqueue()")
        submissions = [self._prepare(action, _nobody, lingers=True, validate=validate) for action in actions]
        for submission in submissions:
            submission.is_durable = submission.is_enqueued = True
        await outbox.add(submissions)
        return [submission.action_id for submission in submissions]

    def resume(self) -> AsyncGenerator[ActionOutcome, None]:
        """Send what is left in the journal, by former processes or by this one, and yield outcomes as `push` does.

        Those whose process ended while it was sending them are not sent: they come back as the client's reconciler
        finds them, or UNKNOWN, to be looked at. What was still to be sent is sent now, in its order. What cannot be,
        because the service, the token or this client is not there, comes back NOT_APPLIED with the error that says so,
        marked `is_queued`, and stays in the journal for the next call.

        Call it first, and to its end, in a process that takes over: until it has taken in what was left of a case, new
        actions of that case are refused with an `OlderActionError`, because they would overtake it.

        What ended NOT_APPLIED before is not sent: its caller was told. `SqliteJournal.retry` puts it back.

        Raises:
            AuthenticationError, PermissionDeniedError, JournalError, ClientStateError: As for `push`.
            ConfigurationError: The client's journal does not outlive the process; give it a `SqliteJournal`.
        """
        self._require_open()
        if self.outbox is None:
            raise _needs_durable_journal("resume()")
        return self._resume(self.outbox)

    async def _resume(self, outbox: Outbox) -> AsyncGenerator[ActionOutcome, None]:
        async with aclosing(outbox.left()) as left:
            push = Push(
                self._batcher,
                self._policy,
                left,
                prepare=_owned,
                action_of=lambda submission: submission.action,
                submit=outbox.submit_left,
            )
            async with aclosing(push.outcomes()) as outcomes:
                async for outcome in outcomes:
                    yield outcome

    async def flush(self) -> None:
        """Seal what was submitted before this call, send it, and wait for its end. Submission goes on meanwhile.

        Raises:
            ClientStateError: The client is not open.
        """
        self._require_open()
        await self._batcher.flush()

    async def drain(self, grace: float = 25.0) -> DrainReport:
        """Take no more actions, send what waits, wait for every end, and return the account.

        Terminal: the client takes no actions afterwards. A second call returns the same report. Cancelling leaves the
        drain running.

        Args:
            grace: Seconds to wait. After it, what was not sent is NOT_APPLIED, and what is in flight ends as its
                evidence says, mostly UNKNOWN.
        """
        return await asyncio.shield(self._drain(grace))

    def _prepare(self, action: Action, owner: Owner, *, lingers: bool, validate: bool) -> Submission:
        """Check an action once, and encode it once.

        Raises:
            InvalidActionError: It breaks rules, or is larger than a POST may be.
            OlderActionError: It would overtake what was left of its case.
        """
        if not isinstance(action, Action):
            raise InvalidFieldError(f"An action such as Comment is needed, not a {type(action).__name__}.")
        if self.outbox is not None:
            self.outbox.require_newest(action.case_id)
        if validate and (found := violations(action)):
            raise _invalid(action, found)
        encoded = self._encode(action)
        action_id = action.action_id or f"{self._id_prefix}-{next(self._ids)}"
        return self._submission(action, action_id, encoded, owner, lingers=lingers)

    def _restore(self, record: JournalRecord) -> Submission:
        """A submission of what the journal keeps, as it was encoded then; it has no owner yet."""
        assert record.content is not None
        action = restore_action(record.content, record.action_id)
        submission = self._submission(action, record.action_id, record.content, None, lingers=True)
        submission.is_durable = True
        return submission

    def _submission(
        self, action: Action, action_id: str, encoded: bytes, owner: Owner | None, *, lingers: bool
    ) -> Submission:
        return Submission(
            action=action,
            action_id=action_id,
            encoded=encoded,
            effect=self._disposition.effect_of(action.code),
            entered=asyncio.get_running_loop().time(),
            owners=[] if owner is None else [owner],
            lingers=lingers,
            # The key of the fence: an action without a case stands for itself.
            case=action_id if action.case_id is None else action.case_id,
        )

    def _encode(self, action: Action) -> bytes:
        # Also where rules are waived: what is no JSON would spoil its neighbours' batch.
        if isinstance(action, RawAction) and (found := list(value_violations("data", action.data))):
            raise _invalid(action, found)
        try:
            encoded = encode_action(action, self._assumptions)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise _invalid(action, [Violation("$", f"it cannot be written as JSON ({type(error).__name__})")]) from None
        if len(encoded) + BODY_OVERHEAD > self._policy.max_bytes:
            size = f"{len(encoded)} bytes are more than one POST may hold ({self._policy.max_bytes})"
            raise _invalid(action, [Violation("$", size)])
        return encoded


def _invalid(action: Action, found: Sequence[Violation]) -> InvalidActionError:
    case = "" if action.case_id is None else f" on case {action.case_id}"
    listed = "; ".join(map(str, found))
    return InvalidActionError(f"The {action.code} action{case} was not sent: {listed}.", found)


def _owned(submission: Submission, owner: Owner) -> Submission:
    submission.owners.append(owner)
    return submission


def _nobody(_outcome: ActionOutcome) -> None:
    """Whoever enqueues an action does not wait for its end."""


def _needs_durable_journal(call: str) -> ConfigurationError:
    return ConfigurationError(
        f"{call} needs a journal that outlives the process: ConfirmaClient(journal=SqliteJournal(path)); nothing was "
        "sent."
    )


def _accepted(outcome: ActionOutcome) -> ActionOutcome:
    """The outcome, if it is ACCEPTED; else its error, made for this one caller."""
    if outcome.disposition is Disposition.ACCEPTED:
        return outcome
    cause = outcome.error
    if isinstance(cause, ActionIdConflictError | QueueFullError):
        raise type(cause)(str(cause))
    case = "" if outcome.action.case_id is None else f" on case {outcome.action.case_id}"
    text = f"The {outcome.action.code} action{case} ended {outcome.disposition.name}: {cause}"
    raise _ERRORS[outcome.disposition](text, outcome) from cause
