"""Coalescing: which waiting actions form the next batch, and when it is due.

The accumulator keeps one queue per case and a heap of the cases that may send, by the age of their oldest action.
Sealing a batch takes the oldest actions whose case has none in flight, in the order in which they were submitted. That
is the fence: actions of one case never overtake one another, and actions of other cases pass a case that waits.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from enum import Enum
from heapq import heappop, heappush, heapreplace
from itertools import chain
from math import inf

from attrs import field, mutable

from ..codes import EffectClass
from ..models import Action, ActionOutcome
from ..policies import BatchPolicy
from .wire import BODY_OVERHEAD

__all__ = ["BatchAccumulator", "Place", "Submission"]


class Place(Enum):
    """Where a submission is on its way."""

    HALL = "hall"
    """Not admitted yet: as many actions wait as may."""
    WAITING = "waiting"
    SEALED = "sealed"
    """In a batch; it goes out, whatever its caller does."""
    ENDED = "ended"


@mutable(eq=False, kw_only=True)
class Submission:
    """One submitted action on its way to its end."""

    action: Action = field(repr=False)
    action_id: str
    encoded: bytes = field(repr=False)
    effect: EffectClass
    entered: float
    """When it was submitted, on the loop's clock."""
    owners: list[Callable[[ActionOutcome], None]] = field(repr=False)
    """Who is told of its end; more than one where an id was submitted again while it ran."""
    lingers: bool = True
    """Whether the linger seals it; `push()` seals its actions itself."""
    group: "Sequence[Submission] | None" = field(default=None, repr=False)
    """The submissions that share a POST with this one, and with nobody else; None coalesces."""
    on_admitted: Callable[[], None] | None = field(default=None, repr=False)
    """Called when it leaves the hall."""
    case: Hashable
    """The key of the fence."""
    sequence: int = 0
    place: Place = Place.HALL
    attempts: int = 0
    is_wanted: bool = True
    """False once its caller stopped waiting because of a dead token: it does not wait for another one."""
    doubted: bool = False
    """An attempt with it was UNKNOWN: only ACCEPTED, or a reconciler, can make its end better than that."""
    is_durable: bool = False
    """The journal took charge of it: what is not sent now is sent by another process."""
    is_enqueued: bool = False
    """Nobody waits for it: it is sent for as long as it takes."""
    is_ending: bool = False
    """Its end is being written down."""
    from_journal: bool = False
    """The journal knew its end: this submission was not sent."""

    @property
    def patient_since(self) -> float:
        """When its patience with a shut gate began; what was enqueued has no end of it."""
        return inf if self.is_enqueued else self.entered


class BatchAccumulator:
    """The waiting actions. It never drops one: each leaves by `take` or by `withdraw`."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._queues: dict[Hashable, deque[Submission]] = {}
        self._ready: list[tuple[int, Hashable]] = []
        """Heap of (oldest sequence, case); entries that no longer hold are dropped when they surface."""
        self._in_flight: dict[Hashable, int] = {}
        """How many sealed submissions of a case have not ended: the fence."""
        self._hall: deque[Sequence[Submission]] = deque()
        self._hall_cases: dict[Hashable, int] = {}
        self._hall_is_blocked = False
        """The hall's next submission waits for room at large, so nobody may pass it."""
        self._ready_actions = 0
        self._ready_bytes = 0
        self._last_sequence = 0
        self._due_up_to = 0
        self._lingering: list[tuple[int, Submission]] = []
        """Heap of (sequence, submission) of what the linger is to seal; those that it is not to any more surface."""
        self.waiting_actions = 0
        self.waiting_bytes = 0

    def __repr__(self) -> str:
        return (
            f"<BatchAccumulator waiting={self.waiting_actions} ready={self._ready_actions} "
            f"hall={len(self._hall)} cases_in_flight={len(self._in_flight)}>"
        )

    # --- in -------------------------------------------------------------------------------------------------------

    def has_room(self, unit: Sequence[Submission]) -> bool:
        """Whether `unit` would be admitted at once."""
        return (
            not self._hall_is_blocked
            and not (self._hall and any(submission.case in self._hall_cases for submission in unit))
            and self._fits_at_large(unit)
            and self._fits_its_case(unit)
        )

    def add(self, *unit: Submission) -> None:
        """Take submissions in: they wait, or stand in the hall until there is room, in order of arrival.

        Several are admitted together, whatever their cases hold; they are taken for one POST if they are a `group`.
        More than may ever wait at once would never be admitted: the caller checks that.
        """
        for submission in unit:
            self._last_sequence += 1
            submission.sequence = self._last_sequence
        if self.has_room(unit):
            self._admit(unit)
            return
        self._hall.append(unit)
        for submission in unit:
            self._hall_cases[submission.case] = self._hall_cases.get(submission.case, 0) + 1
        if self._fits_its_case(unit) and not self._fits_at_large(unit):
            self._hall_is_blocked = True

    def _fits_its_case(self, unit: Sequence[Submission]) -> bool:
        if len(unit) > 1:
            return True
        queue = self._queues.get(unit[0].case)
        return queue is None or len(queue) < self._policy.max_waiting_per_case

    def _fits_at_large(self, unit: Sequence[Submission]) -> bool:
        if not self.waiting_actions:
            # What was journaled under other limits may be beyond them by itself; it must not wait for ever.
            return True
        size = len(unit[0].encoded) if len(unit) == 1 else sum(len(submission.encoded) for submission in unit)
        return (
            self.waiting_actions + len(unit) <= self._policy.max_waiting_actions
            and self.waiting_bytes + size <= self._policy.max_waiting_bytes
        )

    def _admit(self, unit: Sequence[Submission]) -> None:
        for submission in unit:
            self._admit_one(submission)

    def _admit_one(self, submission: Submission) -> None:
        submission.place = Place.WAITING
        size = len(submission.encoded)
        self.waiting_actions += 1
        self.waiting_bytes += size
        queue = self._queues.get(submission.case)
        if queue is None:
            queue = self._queues[submission.case] = deque()
        queue.append(submission)
        if submission.case not in self._in_flight:
            self._ready_actions += 1
            self._ready_bytes += size
            if len(queue) == 1:
                heappush(self._ready, (submission.sequence, submission.case))
            if submission.lingers:
                heappush(self._lingering, (submission.sequence, submission))

    def _admit_from_hall(self) -> None:
        """Let in those for whom there is room now: in order of arrival, passing only those whose case is full."""
        self._hall_is_blocked = False
        passed: list[Sequence[Submission]] = []
        passed_cases: set[Hashable] = set()
        while self._hall:
            unit = self._hall[0]
            cases = {submission.case for submission in unit}
            if cases & passed_cases or not self._fits_its_case(unit):
                passed_cases |= cases
                passed.append(self._hall.popleft())
                continue
            if not self._fits_at_large(unit):
                self._hall_is_blocked = True
                break
            self._hall.popleft()
            self._admit_unit_from_hall(unit)
        self._hall.extendleft(reversed(passed))

    def _admit_unit_from_hall(self, unit: Sequence[Submission]) -> None:
        for submission in unit:
            self._leave_hall(submission)
        self._admit(unit)
        for submission in unit:
            if submission.on_admitted is not None:
                submission.on_admitted()

    def _leave_hall(self, submission: Submission) -> None:
        remaining = self._hall_cases[submission.case] - 1
        if remaining:
            self._hall_cases[submission.case] = remaining
        else:
            del self._hall_cases[submission.case]

    # --- out ------------------------------------------------------------------------------------------------------

    def seal(self) -> None:
        """Make everything submitted so far due, however few they are."""
        self._due_up_to = self._last_sequence

    @property
    def deadline(self) -> float | None:
        """When the open batch becomes due by its linger; None while nothing lingers."""
        while self._lingering:
            sequence, submission = self._lingering[0]
            is_ready = submission.place is Place.WAITING and submission.case not in self._in_flight
            if is_ready and sequence > self._due_up_to:
                return submission.entered + self._policy.linger
            heappop(self._lingering)
        return None

    def take(self, now: float, at_most: int | None = None) -> list[Submission] | None:
        """Seal the next batch, if one is due: the oldest actions whose case is not in flight, in their order.

        The cases of the batch are fenced until `ended` was called for each of its submissions.

        Args:
            now: The time, on the clock of `Submission.entered`.
            at_most: Fewer actions than the policy allows. A group is taken whole all the same.
        """
        head = self._oldest()
        if head is None or not self._is_due(head, now):
            return None
        most = self._policy.max_actions
        batch = self._collect(most if at_most is None else min(most, at_most))
        if not batch:
            return None
        self._fence(batch)
        if self._hall:
            self._admit_from_hall()
        return batch

    def _is_due(self, head: Submission, now: float) -> bool:
        deadline = self.deadline
        if deadline is not None and now >= deadline:
            self.seal()
        return (
            head.sequence <= self._due_up_to
            or self._ready_actions >= self._policy.max_actions
            or self._ready_bytes + self._ready_actions + BODY_OVERHEAD > self._policy.max_bytes
        )

    def _oldest(self) -> Submission | None:
        """The oldest submission that may be sent now."""
        while self._ready:
            sequence, case = self._ready[0]
            queue = self._queues.get(case)
            if queue is not None and case not in self._in_flight and queue[0].sequence == sequence:
                return queue[0]
            heappop(self._ready)
        return None

    def _collect(self, at_most: int) -> list[Submission]:
        batch: list[Submission] = []
        size = BODY_OVERHEAD - 1  # one comma less than actions
        passed: list[tuple[int, Hashable]] = []
        while len(batch) < at_most and (head := self._oldest()) is not None:
            if head.group is not None:
                if not batch and self._is_complete(head.group):
                    batch = self._take_group(head.group)
                    break
                passed.append(heappop(self._ready))
                continue
            size += len(head.encoded) + 1
            if batch and size > self._policy.max_bytes:
                break
            batch.append(self._pop(head.case))
        for entry in passed:
            heappush(self._ready, entry)
        return batch

    def _is_complete(self, group: Sequence[Submission]) -> bool:
        """Whether the whole group may be sent now: its cases are free, and nothing stands before it in them."""
        return all(
            submission.case not in self._in_flight and self._queues[submission.case][0].group is group
            for submission in group
            if submission.place is Place.WAITING
        )

    def _take_group(self, group: Sequence[Submission]) -> list[Submission]:
        return [self._pop(submission.case) for submission in group if submission.place is Place.WAITING]

    def _pop(self, case: Hashable) -> Submission:
        queue = self._queues[case]
        submission = queue.popleft()
        if not queue:
            del self._queues[case]
        elif self._ready[0] == (submission.sequence, case):
            heapreplace(self._ready, (queue[0].sequence, case))
        else:
            heappush(self._ready, (queue[0].sequence, case))
        self._count_out(submission)
        self._ready_actions -= 1
        self._ready_bytes -= len(submission.encoded)
        submission.place = Place.SEALED
        return submission

    def _count_out(self, submission: Submission) -> None:
        self.waiting_actions -= 1
        self.waiting_bytes -= len(submission.encoded)

    def _fence(self, batch: Sequence[Submission]) -> None:
        in_flight = self._in_flight
        for submission in batch:
            count = in_flight.get(submission.case, 0)
            in_flight[submission.case] = count + 1
            if count == 0 and (queue := self._queues.get(submission.case)) is not None:
                self._ready_actions -= len(queue)
                self._ready_bytes -= sum(len(waiting.encoded) for waiting in queue)

    def adopt(self, submission: Submission) -> None:
        """Fence the case of a submission that a former process sealed, until `ended` was called for it."""
        self._last_sequence += 1
        submission.sequence = self._last_sequence
        submission.place = Place.SEALED
        self._fence([submission])

    def ended(self, submission: Submission) -> None:
        """Lift the fence of a submission's case once all of its sealed submissions have ended."""
        submission.place = Place.ENDED
        case = submission.case
        remaining = self._in_flight[case] - 1
        if remaining:
            self._in_flight[case] = remaining
            return
        del self._in_flight[case]
        queue = self._queues.get(case)
        if queue is not None:
            self._ready_actions += len(queue)
            self._ready_bytes += sum(len(waiting.encoded) for waiting in queue)
            heappush(self._ready, (queue[0].sequence, case))
            for waiting in queue:
                if waiting.lingers:
                    heappush(self._lingering, (waiting.sequence, waiting))

    def withdraw(self, submission: Submission) -> bool:
        """Take back a submission that is not sealed yet; False if it is, and therefore goes out."""
        if submission.place is Place.HALL:
            self._remove_from_hall(submission)
        elif submission.place is Place.WAITING:
            self._remove(submission)
        else:
            return False
        submission.place = Place.ENDED
        self._admit_from_hall()
        return True

    def _remove_from_hall(self, submission: Submission) -> None:
        units = ([s for s in unit if s is not submission] for unit in self._hall)
        self._hall = deque(unit for unit in units if unit)
        self._leave_hall(submission)

    def _remove(self, submission: Submission) -> None:
        queue = self._queues[submission.case]
        was_head = queue[0] is submission
        queue.remove(submission)
        self._count_out(submission)
        if not queue:
            del self._queues[submission.case]
        if submission.case not in self._in_flight:
            self._ready_actions -= 1
            self._ready_bytes -= len(submission.encoded)
            if queue and was_head:
                heappush(self._ready, (queue[0].sequence, submission.case))

    def outstanding(self, patient_since: float = inf) -> list[Submission]:
        """What has not been sealed, in order of submission; only what has been patient since then, if said."""
        unsealed = chain.from_iterable((*self._queues.values(), *self._hall))
        found = [submission for submission in unsealed if submission.patient_since <= patient_since]
        return sorted(found, key=lambda submission: submission.sequence)
