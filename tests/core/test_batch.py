from collections.abc import Sequence
from functools import partial
from itertools import count

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from confirma_async import BatchPolicy, Comment, EffectClass
from confirma_async._core.batch import BatchAccumulator, Place, Submission
from confirma_async._core.wire import BODY_OVERHEAD, actions_body

_ids = count(1)


def submission(case: int, *, at: float = 0.0, size: int = 10, lingers: bool = True) -> Submission:
    """A submission on a case whose encoded action has so many bytes."""
    return Submission(
        action=Comment(invoice_number=1, case_id=case),
        action_id=f"action-{next(_ids)}",
        encoded=b"x" * size,
        effect=EffectClass.APPEND,
        entered=at,
        owners=[],
        lingers=lingers,
        case=case,
    )


def grouped(*members: Submission) -> tuple[Submission, ...]:
    """The submissions as one group, which shares a POST."""
    for member in members:
        member.group = members
    return members


def accumulator(**limits: float) -> BatchAccumulator:
    return BatchAccumulator(BatchPolicy(**limits))  # type: ignore[arg-type]


def end(accumulator: BatchAccumulator, batch: Sequence[Submission] | None) -> None:
    for member in batch or ():
        accumulator.ended(member)


# --- when a batch is due ----------------------------------------------------------------------------------------------


def test_nothing_waits_and_nothing_is_due() -> None:
    """An empty accumulator gives no batch, at no time, sealed or not."""
    waiting = accumulator()
    assert waiting.take(1e9) is None
    waiting.seal()
    assert waiting.take(1e9) is None
    assert waiting.deadline is None


def test_a_batch_is_due_when_its_linger_is_over() -> None:
    """One action alone waits for the linger, to the moment, and then goes."""
    waiting = accumulator(linger=4)
    waiting.add(only := submission(1, at=10))
    assert waiting.deadline == 14
    assert waiting.take(13.999) is None
    assert waiting.take(14) == [only]


def test_linger_counts_from_the_first_action() -> None:
    """The linger does not start again with each action, so a steady trickle cannot hold a batch open."""
    waiting = accumulator(linger=4)
    trickle = [submission(case, at=case) for case in range(4)]
    for member in trickle:
        waiting.add(member)
        assert waiting.deadline == 4
    assert waiting.take(4) == trickle


def test_linger_of_the_next_batch_counts_from_its_own_first_action() -> None:
    """What a full batch leaves behind waits for its own linger, from the time at which it was submitted."""
    waiting = accumulator(linger=4, max_actions=2)
    first, second, third = submission(1, at=0), submission(2, at=0), submission(3, at=1)
    for member in (first, second, third):
        waiting.add(member)
    assert waiting.take(1) == [first, second]
    assert waiting.deadline == 5
    assert waiting.take(4.9) is None
    assert waiting.take(5) == [third]


def test_no_linger_is_due_at_once() -> None:
    """With a linger of 0 an action is due at the moment at which it is submitted."""
    waiting = accumulator(linger=0)
    waiting.add(only := submission(1, at=7))
    assert waiting.take(7) == [only]


def test_count_seals() -> None:
    """Reaching the count makes a batch due, whatever its linger."""
    waiting = accumulator(max_actions=3)
    members = [submission(case) for case in range(3)]
    waiting.add(members[0])
    waiting.add(members[1])
    assert waiting.take(0) is None
    waiting.add(members[2])
    assert waiting.take(0) == members


def test_bytes_seal_before_the_action_that_would_pass_them() -> None:
    """The action that would take the body past its bytes seals the batch and starts the next one."""
    waiting = accumulator(max_bytes=1024)
    members = [submission(case, size=400) for case in range(3)]
    waiting.add(members[0])
    waiting.add(members[1])
    assert waiting.take(0) is None
    waiting.add(members[2])
    assert waiting.take(0) == members[:2]
    assert waiting.take(0) is None, "the third has its own linger to wait for"
    assert waiting.take(1) == members[2:]


def test_a_body_of_exactly_the_limit_is_one_post() -> None:
    """The byte limit is the body's, its brackets and commas included, and a body that just reaches it is sent whole."""
    waiting = accumulator(max_bytes=1024)
    half = (1024 - BODY_OVERHEAD - 1) // 2
    members = [submission(1, size=half), submission(2, size=1024 - BODY_OVERHEAD - 1 - half)]
    assert len(actions_body([member.encoded for member in members])) == 1024
    for member in members:
        waiting.add(member)
    assert waiting.take(0) == members


def test_one_byte_more_than_the_limit_is_two_posts() -> None:
    """A body that passes the byte limit by a single byte is cut."""
    waiting = accumulator(max_bytes=1024)
    half = (1024 - BODY_OVERHEAD - 1) // 2
    members = [submission(1, size=half), submission(2, size=1024 - BODY_OVERHEAD - half)]
    for member in members:
        waiting.add(member)
    assert waiting.take(0) == members[:1]


def test_seal_makes_due_what_was_submitted_before_it() -> None:
    """Flush makes everything submitted so far due, and nothing that is submitted afterwards."""
    waiting = accumulator()
    waiting.add(before := submission(1))
    waiting.seal()
    assert waiting.take(0) == [before]
    waiting.add(submission(2))
    assert waiting.take(0) is None


def test_seal_reaches_what_is_fenced_or_in_the_hall() -> None:
    """Flush makes due also what cannot go yet: behind its own case, or before a full queue."""
    waiting = accumulator(max_waiting_actions=2)
    running, fenced, other, outside = submission(1), submission(1), submission(2), submission(3)
    waiting.add(running)
    waiting.seal()
    batch = waiting.take(0)
    assert batch == [running]
    for member in (fenced, other, outside):
        waiting.add(member)
    assert outside.place is Place.HALL
    waiting.seal()
    assert waiting.take(0) == [other]
    assert waiting.take(0) == [outside]
    end(waiting, batch)
    assert waiting.take(0) == [fenced]


def test_what_does_not_linger_waits_for_a_seal() -> None:
    """An action of `push()` is sealed by `push()` alone, not by a linger."""
    waiting = accumulator(linger=1)
    waiting.add(only := submission(1, lingers=False))
    assert waiting.deadline is None
    assert waiting.take(1e9) is None
    waiting.seal()
    assert waiting.take(0) == [only]


def test_an_action_that_lingers_takes_along_what_does_not() -> None:
    """Actions of `send()` and of `push()` are coalesced; the linger of the one seals for both."""
    waiting = accumulator(linger=4)
    pushed, sent = submission(1, lingers=False), submission(2, at=1)
    waiting.add(pushed)
    waiting.add(sent)
    assert waiting.deadline == 5
    assert waiting.take(5) == [pushed, sent]


def test_a_linger_survives_full_batches_before_it() -> None:
    """What `send()` submitted keeps its linger behind what `push()` submitted, however much goes before both."""
    waiting = accumulator(linger=4, max_actions=3)
    sealed = [submission(case) for case in range(6)]
    for member in sealed:
        waiting.add(member)
    waiting.seal()
    waiting.add(pushed := submission(6, lingers=False))
    waiting.add(sent := submission(7))
    assert waiting.take(0) == sealed[:3]
    assert waiting.take(0) == sealed[3:]
    assert waiting.deadline == 4
    assert waiting.take(3.9) is None
    assert waiting.take(4) == [pushed, sent]


def test_a_linger_survives_the_withdrawal_of_what_stood_before_it() -> None:
    """What lingers is due in its time also when what was to go before it is taken back."""
    waiting = accumulator(linger=4, max_actions=2)
    sealed = [submission(case) for case in range(3)]
    for member in sealed:
        waiting.add(member)
    waiting.seal()
    waiting.add(sent := submission(3))
    assert waiting.take(0) == sealed[:2]
    assert waiting.withdraw(sealed[2])
    assert waiting.deadline == 4
    assert waiting.take(4) == [sent]


def test_a_linger_behind_a_fence_is_not_forgotten() -> None:
    """What lingers behind its own case, and behind what does not linger, is due once the case is free."""
    waiting = accumulator(linger=4)
    waiting.add(running := submission(1))
    waiting.seal()
    batch = waiting.take(0)
    assert batch == [running]
    waiting.add(pushed := submission(1, at=1, lingers=False))
    waiting.add(sent := submission(1, at=1))
    end(waiting, batch)
    assert waiting.deadline is not None
    assert waiting.deadline <= 5
    assert waiting.take(5) == [pushed, sent]


def test_an_action_that_a_fence_held_back_keeps_its_age() -> None:
    """An action whose case was in flight lingers from its submission, not from that of a younger one."""
    waiting = accumulator(linger=4)
    waiting.add(submission(1))
    waiting.seal()
    batch = waiting.take(0)
    waiting.add(old := submission(1, at=1))
    waiting.add(young := submission(2, at=3))
    end(waiting, batch)
    assert waiting.deadline == 5
    assert waiting.take(5) == [old, young]


# --- order, and the fence ---------------------------------------------------------------------------------------------


def test_order_inside_a_batch_is_that_of_submission() -> None:
    """Inside a batch the order of submission stands, across cases and within one."""
    waiting = accumulator()
    members = [submission(case) for case in (3, 1, 3, 2, 1, 3)]
    for member in members:
        waiting.add(member)
    waiting.seal()
    assert waiting.take(0) == members


def test_a_case_in_flight_is_fenced() -> None:
    """At most one batch that holds a given case is in flight; its next one waits for every end in the first."""
    waiting = accumulator()
    first, second, third = submission(1), submission(1), submission(1)
    waiting.add(first)
    waiting.add(second)
    waiting.seal()
    assert waiting.take(0) == [first, second]
    waiting.add(third)
    waiting.seal()
    assert waiting.take(0) is None
    waiting.ended(first)
    assert waiting.take(0) is None
    waiting.ended(second)
    assert waiting.take(0) == [third]


def test_actions_of_other_cases_pass_a_parked_one() -> None:
    """A case in flight holds up nobody else."""
    waiting = accumulator()
    running, parked, other = submission(1), submission(1), submission(2)
    waiting.add(running)
    waiting.seal()
    waiting.take(0)
    waiting.add(parked)
    waiting.add(other)
    waiting.seal()
    assert waiting.take(0) == [other]
    assert parked.place is Place.WAITING


def test_parked_actions_do_not_count_as_a_full_batch() -> None:
    """Actions that may not be sent now do not make a batch of others due before its time."""
    waiting = accumulator(max_actions=3)
    waiting.add(submission(1))
    waiting.seal()
    waiting.take(0)
    for _ in range(3):
        waiting.add(submission(1))
    waiting.add(submission(2))
    assert waiting.take(0) is None


@pytest.mark.parametrize("size", [10, 300])
def test_what_a_full_batch_leaves_behind_its_fence_does_not_count(size: int) -> None:
    """The rest of a case whose first actions are in flight does not make a batch of others due before its time."""
    waiting = accumulator(max_actions=3, max_bytes=1024)
    for _ in range(5):
        waiting.add(submission(1, size=size))
    batch = waiting.take(0)
    assert batch is not None
    assert len(batch) == 3
    waiting.add(submission(2, size=size))
    assert waiting.take(0) is None
    end(waiting, batch)
    rest = waiting.take(0)
    assert rest is not None
    assert len(rest) == 3
    end(waiting, rest)
    waiting.add(submission(3, size=size))
    waiting.add(submission(4, size=size))
    assert waiting.take(0) is None


def test_a_batch_goes_on_coalescing_while_nobody_takes_it() -> None:
    """While every lane is busy a due batch takes in what comes, and is full when a lane is free."""
    waiting = accumulator(linger=1, max_actions=50)
    members = [submission(case, at=case) for case in range(50)]
    for member in members:
        waiting.add(member)
    assert waiting.take(1_000) == members


# --- groups -----------------------------------------------------------------------------------------------------------


def test_a_group_goes_alone_and_whole() -> None:
    """The actions of `post()` are one POST as given, and what waits before and after them is in others."""
    waiting = accumulator()
    before, after = submission(1), submission(4)
    group = grouped(submission(2), submission(3), submission(2))
    waiting.add(before)
    waiting.add(*group)
    waiting.add(after)
    waiting.seal()
    assert waiting.take(0) == [before, after]
    assert waiting.take(0) == list(group)
    assert waiting.take(0) is None


def test_a_group_waits_for_every_one_of_its_cases() -> None:
    """A group goes once no case of it is in flight, and stands still for nobody else."""
    waiting = accumulator()
    waiting.add(running := submission(1))
    waiting.seal()
    waiting.take(0)
    group = grouped(submission(2), submission(1))
    waiting.add(*group)
    waiting.add(behind := submission(2))
    waiting.add(other := submission(3))
    waiting.seal()
    assert waiting.take(0) == [other]
    assert waiting.take(0) is None
    waiting.ended(running)
    assert waiting.take(0) == list(group)
    end(waiting, group)
    assert waiting.take(0) == [behind]


def test_an_action_that_goes_alone_waits_like_any_other() -> None:
    """An action of a code that gets a POST of its own has its linger, and its place in the order of its case."""
    waiting = accumulator(linger=4)
    first, alone, last = submission(1), *grouped(submission(1)), submission(1, at=1)
    for member in (first, alone, last):
        waiting.add(member)
    assert waiting.take(3) is None
    for expected in (first, alone, last):
        batch = waiting.take(5)
        assert batch == [expected]
        assert waiting.take(5) is None, "its case is in flight"
        end(waiting, batch)


def test_a_group_goes_without_what_was_withdrawn_from_it() -> None:
    """The rest of a group of which an action was taken back is still one POST."""
    waiting = accumulator()
    first, second, third = group = grouped(submission(1), submission(2), submission(3))
    waiting.add(*group)
    waiting.seal()
    assert waiting.withdraw(second)
    assert waiting.take(0) == [first, third]


# --- the limits of waiting --------------------------------------------------------------------------------------------


def test_too_many_wait_in_the_hall_in_order_of_arrival() -> None:
    """At the limit nothing is dropped: it stands in the hall, and is let in as room comes, first come first served."""
    waiting = accumulator(max_waiting_actions=2, max_actions=2)
    members = [submission(case) for case in range(5)]
    admitted: list[Submission] = []
    for member in members:
        member.on_admitted = partial(admitted.append, member)
        waiting.add(member)
    assert [member.place for member in members] == [Place.WAITING] * 2 + [Place.HALL] * 3
    assert waiting.take(0) == members[:2]
    assert admitted == members[2:4]
    assert waiting.take(0) == members[2:4]
    waiting.seal()
    assert waiting.take(0) == members[4:]
    assert admitted == members[2:], "who never stood in the hall is not called in"


def test_too_many_bytes_wait_in_the_hall() -> None:
    """The limit on waiting bytes is kept as that on actions is."""
    waiting = accumulator(max_bytes=1024, max_waiting_bytes=1024)
    inside, outside, small = submission(1, size=1000), submission(2, size=500), submission(3, size=1)
    for member in (inside, outside, small):
        waiting.add(member)
    assert (inside.place, outside.place) == (Place.WAITING, Place.HALL)
    assert small.place is Place.HALL, "nobody passes whoever waits for room at large"
    assert waiting.waiting_bytes == 1000


def test_waiting_bytes_reach_their_limit_and_do_not_pass_it() -> None:
    """The last byte that may wait is used, and one more is too many."""
    waiting = accumulator(max_bytes=1024, max_waiting_bytes=1024)
    waiting.add(submission(1, size=1000))
    assert not waiting.has_room([submission(2, size=25)])
    assert waiting.has_room([submission(2, size=24)])


def test_one_case_holds_a_tenth() -> None:
    """One case may hold a tenth of what may wait, and whoever else comes passes what it has too many."""
    waiting = accumulator(max_waiting_actions=30)
    crowd = [submission(1) for _ in range(5)]
    for member in crowd:
        waiting.add(member)
    assert [member.place for member in crowd] == [Place.WAITING] * 3 + [Place.HALL] * 2
    waiting.add(other := submission(2))
    assert other.place is Place.WAITING
    assert not waiting.has_room([submission(1)])
    assert waiting.has_room([submission(3)])


def test_the_order_of_a_case_holds_through_the_hall() -> None:
    """Actions that stood in the hall go in their order of submission, after those of their case that did not."""
    waiting = accumulator(max_waiting_actions=10)
    members = [submission(1) for _ in range(4)]
    for member in members:
        waiting.add(member)
    waiting.seal()
    taken: list[Submission] = []
    while batch := waiting.take(0):
        taken += batch
        end(waiting, batch)
    assert taken == members


def test_withdrawing_from_the_hall_leaves_the_door_open() -> None:
    """A caller who gives up in the hall blocks nobody who comes later, also when the hall is empty behind it."""
    waiting = accumulator(max_waiting_actions=1)
    inside, impatient = submission(1), submission(2)
    waiting.add(inside)
    waiting.add(impatient)
    assert impatient.place is Place.HALL
    assert waiting.withdraw(impatient)
    waiting.seal()
    assert waiting.take(0) == [inside]
    assert waiting.has_room([submission(3)])
    waiting.add(later := submission(4))
    waiting.seal()
    assert waiting.take(0) == [later]


# --- withdrawing ------------------------------------------------------------------------------------------------------


def test_a_withdrawn_action_never_goes() -> None:
    """An action that its caller takes back before the seal is in no batch; another one takes its place."""
    waiting = accumulator()
    first, second = submission(1), submission(1)
    waiting.add(first)
    waiting.add(second)
    assert waiting.withdraw(first)
    assert first.place is Place.ENDED
    waiting.seal()
    assert waiting.take(0) == [second]


def test_a_sealed_action_is_not_withdrawn() -> None:
    """After the seal the action goes out, whatever its caller does; nor is it taken back twice."""
    waiting = accumulator()
    waiting.add(only := submission(1))
    waiting.seal()
    waiting.take(0)
    assert not waiting.withdraw(only)
    assert only.place is Place.SEALED
    waiting.ended(only)
    assert not waiting.withdraw(only)


def test_a_withdrawal_makes_room() -> None:
    """Taking back what waits lets the next one in from the hall."""
    waiting = accumulator(max_waiting_actions=1)
    inside, outside = submission(1), submission(2)
    waiting.add(inside)
    waiting.add(outside)
    waiting.withdraw(inside)
    assert outside.place is Place.WAITING


def test_outstanding_names_what_is_not_sealed() -> None:
    """What waits, and what stands in the hall, is listed in order of submission, up to a time if one is named."""
    waiting = accumulator(max_waiting_actions=20)
    members = [submission(case, at=at) for at, case in enumerate((1, 1, 1, 2, 3))]
    for member in members:
        waiting.add(member)
    assert members[2].place is Place.HALL
    assert waiting.outstanding() == members
    assert waiting.outstanding(2) == members[:3]
    waiting.seal()
    taken = waiting.take(0)
    assert taken == [members[0], members[1], members[3], members[4]]
    assert waiting.outstanding() == [members[2]]


def test_an_accumulator_shows_its_state() -> None:
    """Its repr says how many wait, may go, and stand in the hall, and shows no action."""
    waiting = accumulator(max_waiting_actions=1)
    waiting.add(submission(1))
    waiting.add(submission(2))
    assert repr(waiting) == "<BatchAccumulator waiting=1 ready=1 hall=1 cases_in_flight=0>"


# --- against a model --------------------------------------------------------------------------------------------------

LINGER = 4.0
MAX_BYTES = 1024
CASES = range(5)
LARGEST = MAX_BYTES - BODY_OVERHEAD
SIZES = (1, 10, 300, (LARGEST - 1) // 2, (LARGEST - 1) // 2 + 1, LARGEST - 1, LARGEST)


def body_size(members: Sequence[Submission]) -> int:
    return len(actions_body([member.encoded for member in members]))


class Model:
    """What the accumulator does, written for the reader and not for speed."""

    def __init__(self, policy: BatchPolicy) -> None:
        self.policy = policy
        self.all: list[Submission] = []
        self.hall: list[list[Submission]] = []
        self.waiting: list[Submission] = []
        self.sealed: list[Submission] = []
        self.ended: list[Submission] = []
        self.called_in: list[Submission] = []
        self.sequence: dict[Submission, int] = {}
        self.surely_due_up_to = self.perhaps_due_up_to = 0
        self.lingers_from: list[float] = []
        """Since when, at the earliest, something lingers or lingered in the open batch."""

    # - places -

    def add(self, unit: Sequence[Submission]) -> None:
        for member in unit:
            self.all.append(member)
            self.sequence[member] = len(self.all)
            if member.lingers:
                self.lingers_from.append(member.entered)
        self.hall.append(list(unit))
        self.let_in(newcomer=unit[0])

    def let_in(self, newcomer: Submission | None = None) -> None:
        """Follow those who were let in, if that was right, and those who were not, if there is a reason."""
        someone_needs_room = someone_may_need_room = False
        full_cases: set[object] = set()
        for unit in self.hall[:]:
            cases = {member.case for member in unit}
            case_is_full = bool(cases & full_cases) or (len(unit) == 1 and self.is_full(unit[0].case))
            if unit[0].place is Place.WAITING:
                assert self.fits(unit)
                assert not case_is_full, "passed its own case, or holds more than a tenth"
                assert not someone_needs_room, "passed one who came first"
                self.hall.remove(unit)
                self.waiting += unit
                if newcomer not in unit:
                    self.called_in += unit
                continue
            fits = self.fits(unit)
            assert case_is_full or not fits or someone_may_need_room, "left outside for no reason"
            full_cases |= cases
            someone_may_need_room |= not fits
            someone_needs_room |= not (fits or case_is_full)

    def fits(self, unit: Sequence[Submission]) -> bool:
        inside = [*self.waiting, *unit]
        return (
            len(inside) <= self.policy.max_waiting_actions
            and sum(len(member.encoded) for member in inside) <= self.policy.max_waiting_bytes
        )

    def is_full(self, case: object) -> bool:
        return sum(member.case == case for member in self.waiting) >= self.policy.max_waiting_per_case

    def withdraw(self, member: Submission) -> bool:
        if member in self.waiting:
            self.waiting.remove(member)
        elif any(member in unit for unit in self.hall):
            rests = ([other for other in unit if other is not member] for unit in self.hall)
            self.hall = [unit for unit in rests if unit]
        else:
            return False
        self.ended.append(member)
        self.let_in()
        return True

    def end(self, member: Submission) -> None:
        self.sealed.remove(member)
        self.ended.append(member)

    # - batches -

    @property
    def in_order(self) -> list[Submission]:
        return sorted(self.waiting, key=self.sequence.__getitem__)

    @property
    def ready(self) -> list[Submission]:
        in_flight = {member.case for member in self.sealed}
        return [member for member in self.in_order if member.case not in in_flight]

    @property
    def lingering(self) -> list[Submission]:
        return [m for m in self.ready if m.lingers and self.sequence[m] > self.perhaps_due_up_to]

    @property
    def latest_deadline(self) -> float | None:
        """When the linger has sealed the open batch, at the latest: nothing that may go lingers for longer."""
        return min((m.entered + LINGER for m in self.lingering), default=None)

    def must_be_due(self, now: float) -> bool:
        ready, latest = self.ready, self.latest_deadline
        return bool(ready) and (
            self.sequence[ready[0]] <= self.surely_due_up_to
            or len(ready) >= self.policy.max_actions
            or body_size(ready) >= MAX_BYTES
            or (latest is not None and now >= latest)
        )

    def linger_may_be_over(self, now: float) -> bool:
        return bool(self.lingers_from) and now >= min(self.lingers_from) + LINGER

    def may_be_due(self, now: float) -> bool:
        return (
            self.must_be_due(now)
            or self.linger_may_be_over(now)
            or any(self.sequence[member] <= self.perhaps_due_up_to for member in self.ready)
        )

    def seal(self) -> None:
        self.surely_due_up_to = self.perhaps_due_up_to = len(self.all)
        self.lingers_from = []

    def next_batch(self) -> list[Submission]:
        batch: list[Submission] = []
        passed: set[object] = set()
        for member in self.ready:
            if member.case in passed:
                continue
            if member.group is not None:
                rest = [other for other in member.group if other in self.waiting]
                if not batch and self.may_go_whole(rest):
                    return rest
                passed.add(member.case)
                continue
            if len(batch) == self.policy.max_actions or (batch and body_size([*batch, member]) > MAX_BYTES):
                break
            batch.append(member)
        return batch

    def may_go_whole(self, rest: Sequence[Submission]) -> bool:
        ready = self.ready
        return all(next((m for m in ready if m.case == member.case), None) in rest for member in rest)

    def take(self, batch: Sequence[Submission], now: float) -> None:
        for member in batch:
            self.waiting.remove(member)
            self.sealed.append(member)
        lingered = bool(self.lingers_from)
        self.lingers_from = [m.entered for m in (*self.waiting, *(m for unit in self.hall for m in unit)) if m.lingers]
        if lingered:
            self.lingers_from.append(now)
        self.let_in()


class AccumulatorMachine(RuleBasedStateMachine):
    """Any history of submissions, withdrawals, seals, batches and ends, against the model."""

    @initialize(
        max_actions=st.integers(1, 5),
        max_waiting_actions=st.integers(1, 40) | st.just(120),
        max_waiting_bytes=st.sampled_from([MAX_BYTES, 3000, 100_000]),
    )
    def start(self, max_actions: int, max_waiting_actions: int, max_waiting_bytes: int) -> None:
        self.policy = BatchPolicy(
            linger=LINGER,
            max_actions=max_actions,
            max_bytes=MAX_BYTES,
            max_waiting_actions=max_waiting_actions,
            max_waiting_bytes=max_waiting_bytes,
        )
        self.real = BatchAccumulator(self.policy)
        self.model = Model(self.policy)
        self.now = 0.0
        self.called_in: list[Submission] = []
        self.last_of_case: dict[object, int] = {}

    def make(self, case: int, size: int, *, lingers: bool) -> Submission:
        made = submission(case, at=self.now, size=size, lingers=lingers)
        made.on_admitted = lambda: self.called_in.append(made)
        return made

    @rule(case=st.sampled_from(CASES), size=st.sampled_from(SIZES), lingers=st.booleans())
    def add(self, case: int, size: int, lingers: bool) -> None:
        made = self.make(case, size, lingers=lingers)
        has_room = self.real.has_room([made])
        self.real.add(made)
        assert has_room == (made.place is Place.WAITING)
        self.model.add([made])

    @rule(case=st.sampled_from(CASES), number=st.integers(2, 12))
    def add_many(self, case: int, number: int) -> None:
        for _ in range(number):
            self.add(case, 10, lingers=True)

    @rule(cases=st.lists(st.sampled_from(CASES), min_size=1, max_size=4))
    def add_group(self, cases: list[int]) -> None:
        group = grouped(*(self.make(case, 40, lingers=False) for case in cases[: self.policy.max_waiting_actions]))
        self.real.add(*group)
        self.model.add(group)
        self.seal()

    @rule(case=st.sampled_from(CASES), lingers=st.booleans())
    def add_alone(self, case: int, lingers: bool) -> None:
        """An action of a code that gets POSTs of its own: a group of one, that nobody seals."""
        (made,) = grouped(self.make(case, 10, lingers=lingers))
        self.real.add(made)
        self.model.add([made])

    @rule()
    def seal(self) -> None:
        self.real.seal()
        self.model.seal()
        assert self.real.deadline is None

    @rule(seconds=st.integers(1, 5))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        expected = self.model.next_batch()
        must, may = self.model.must_be_due(self.now), self.model.may_be_due(self.now)
        if self.model.linger_may_be_over(self.now):
            self.model.perhaps_due_up_to = len(self.model.all)
        batch = self.real.take(self.now)
        if batch is None:
            assert not (must and expected), f"due and not taken: {expected}"
            return
        assert may, "taken before it was due"
        assert batch == expected
        self.check(batch)
        self.model.take(batch, self.now)

    def check(self, batch: Sequence[Submission]) -> None:
        assert batch
        in_flight = {member.case for member in self.model.sealed}
        assert not in_flight & {member.case for member in batch}, "a case is in two batches"
        group = batch[0].group
        assert all(member.group is group for member in batch)
        if group is None:
            assert len(batch) <= self.policy.max_actions
        assert body_size(batch) <= MAX_BYTES
        for member in batch:
            sequence = self.model.sequence[member]
            assert sequence > self.last_of_case.get(member.case, 0), "a case's order is broken"
            self.last_of_case[member.case] = sequence

    @precondition(lambda self: self.model.sealed)
    @rule(data=st.data())
    def end_one(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(self.model.sealed)))

    @precondition(lambda self: self.model.sealed)
    @rule()
    def end_all(self) -> None:
        for member in self.model.sealed[:]:
            self.end(member)

    def end(self, member: Submission) -> None:
        self.real.ended(member)
        self.model.end(member)

    @precondition(lambda self: self.model.all)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(self.model.all))
        assert self.real.withdraw(member) == self.model.withdraw(member)

    @precondition(lambda self: self.model.hall)
    @rule(data=st.data())
    def withdraw_from_hall(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from([member for unit in self.model.hall for member in unit]))
        assert self.real.withdraw(member)
        assert self.model.withdraw(member)

    @invariant()
    def each_submission_is_in_exactly_one_place(self) -> None:
        model = self.model
        hall = [member for unit in model.hall for member in unit]
        places = {Place.HALL: hall, Place.WAITING: model.waiting, Place.SEALED: model.sealed, Place.ENDED: model.ended}
        assert sum(map(len, places.values())) == len(model.all)
        assert all(member.place is place for place, members in places.items() for member in members)
        unsealed = sorted([*hall, *model.waiting], key=model.sequence.__getitem__)
        assert self.real.outstanding() == unsealed

    @invariant()
    def what_waits_is_counted_and_limited(self) -> None:
        waiting = self.model.waiting
        assert self.real.waiting_actions == len(waiting) <= self.policy.max_waiting_actions
        assert self.real.waiting_bytes == sum(len(m.encoded) for m in waiting) <= self.policy.max_waiting_bytes

    @invariant()
    def one_case_holds_a_tenth_at_most(self) -> None:
        single = [member.case for member in self.model.waiting if member.group is None]
        assert all(single.count(case) <= self.policy.max_waiting_per_case for case in CASES)

    @invariant()
    def the_hall_calls_in_order_of_arrival(self) -> None:
        assert self.called_in == self.model.called_in

    @invariant()
    def what_lingers_has_a_deadline(self) -> None:
        latest, deadline = self.model.latest_deadline, self.real.deadline
        assert latest is None or (deadline is not None and deadline <= latest)

    def teardown(self) -> None:
        """Nothing starves: sealed, and each batch ended, everything goes."""
        if not hasattr(self, "model"):
            return
        self.seal()
        for _ in range(2 * len(self.model.all) + 2):
            self.take()
            for member in self.model.sealed[:]:
                self.end(member)
        assert not self.model.hall
        assert not self.model.waiting
        assert self.real.waiting_actions == self.real.waiting_bytes == 0
        assert self.real.outstanding() == []
        assert self.real.take(self.now + 1e9) is None


TestAccumulatorAgainstModel = AccumulatorMachine.TestCase
TestAccumulatorAgainstModel.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    phases=set(Phase) - {Phase.explain},
)
