from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from confirma_async import RatePolicy
from confirma_async._core.disposition import GateReason
from confirma_async._core.rate import Gate, Rate

# --- the gate ---------------------------------------------------------------------------------------------------------


def test_a_new_gate_is_open() -> None:
    """Nothing stops a client that has seen nothing yet, however many batches are in flight."""
    gate = Gate()
    assert gate.state == "open"
    assert gate.admits(0)
    assert gate.admits(100)
    assert repr(gate) == "<Gate open>"


@pytest.mark.parametrize("reason", GateReason)
def test_a_shut_gate_admits_nobody(reason: GateReason) -> None:
    """Shut, the gate stops every lane, and says why."""
    gate = Gate()
    gate.shut(reason, pause=5, now=100)
    assert not gate.admits(0)
    assert gate.state == f"shut: {reason.value}"
    assert gate.probe_at == 105
    assert gate.failures == 1


def test_a_probe_that_succeeds_lets_one_batch_try() -> None:
    """After a probe one batch goes at a time; a plain answer to it opens the gate for all."""
    gate = Gate()
    gate.shut(GateReason.AMBIGUOUS, pause=1, now=0)
    gate.probe_succeeded()
    assert gate.state == "on trial"
    assert gate.admits(0)
    assert not gate.admits(1)
    gate.answered()
    assert gate.state == "open"
    assert gate.admits(3)
    assert gate.failures == 0


def test_an_outage_that_outlives_its_probe_costs_one_batch() -> None:
    """Shut again while on trial, the gate remembers how often it failed, so that its pauses grow."""
    gate = Gate()
    for failures in range(1, 4):
        gate.shut(GateReason.AMBIGUOUS, pause=1, now=0)
        assert gate.failures == failures
        gate.probe_succeeded()
        assert not gate.admits(1)


def test_a_probe_that_fails_keeps_the_gate_shut() -> None:
    """A probe that fails counts, says what it found, and sets the time of the next one."""
    gate = Gate()
    gate.shut(GateReason.AMBIGUOUS, pause=1, now=0)
    gate.probe_failed(GateReason.UNREACHABLE, pause=2, now=1)
    assert gate.state == "shut: the service cannot be reached"
    assert gate.failures == 2
    assert gate.probe_at == 3
    assert not gate.admits(0)


def test_a_pause_never_shortens_one_that_runs() -> None:
    """Batches that were in flight when the gate shut may lengthen its pause, and count as one failure with it."""
    gate = Gate()
    gate.shut(GateReason.THROTTLED, pause=60, now=0)
    gate.shut(GateReason.AMBIGUOUS, pause=1, now=1)
    assert gate.probe_at == 60
    gate.shut(GateReason.AMBIGUOUS, pause=60, now=2)
    assert gate.probe_at == 62
    assert gate.failures == 1


def test_a_dead_token_stays_the_reason() -> None:
    """Once the token is not valid, a late answer of another kind does not hide it."""
    gate = Gate()
    gate.shut(GateReason.TOKEN, pause=1, now=0)
    gate.shut(GateReason.THROTTLED, pause=1, now=0)
    assert gate.reason is GateReason.TOKEN


def test_a_late_plain_answer_does_not_open_a_shut_gate() -> None:
    """A batch that was in flight when the gate shut, and is answered plainly, is no probe."""
    gate = Gate()
    gate.shut(GateReason.AMBIGUOUS, pause=1, now=0)
    gate.answered()
    assert not gate.admits(0)
    assert gate.failures == 1


class GateMachine(RuleBasedStateMachine):
    """Any history of answers and probes."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.now = 0.0
        self.pause_ends = 0.0

    @rule(seconds=st.floats(0, 100))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(reason=st.sampled_from(GateReason), pause=st.floats(0, 100))
    def shut(self, reason: GateReason, pause: float) -> None:
        was_shut, before = self.gate.reason is not None, self.gate.probe_at
        self.gate.shut(reason, pause=pause, now=self.now)
        assert not self.gate.admits(0)
        assert self.gate.probe_at >= self.now + pause
        assert not was_shut or self.gate.probe_at >= before

    @rule(reason=st.sampled_from(GateReason), pause=st.floats(0, 100))
    def probe_failed(self, reason: GateReason, pause: float) -> None:
        if self.gate.reason is not None:
            self.gate.probe_failed(reason, pause=pause, now=self.now)
            assert not self.gate.admits(0)

    @rule()
    def probe_succeeded(self) -> None:
        if self.gate.reason is not None:
            self.gate.probe_succeeded()
            assert self.gate.admits(0)
            assert not self.gate.admits(1)

    @rule()
    def answered(self) -> None:
        before = self.gate.reason
        self.gate.answered()
        assert self.gate.reason is before
        assert before is not None or self.gate.state == "open"

    @invariant()
    def more_in_flight_never_admits_more(self) -> None:
        admitted = [self.gate.admits(in_flight) for in_flight in range(4)]
        assert admitted == sorted(admitted, reverse=True)

    @invariant()
    def an_open_gate_has_forgotten_its_failures(self) -> None:
        assert (self.gate.state == "open") == (self.gate.failures == 0)


TestGateHistories = GateMachine.TestCase
TestGateHistories.settings = settings(max_examples=50, stateful_step_count=30)

# --- the rate ---------------------------------------------------------------------------------------------------------


def test_a_rate_is_unlimited_until_somebody_limits_it() -> None:
    """Without a limit of the caller's, and without a refusal, POSTs follow one another at once."""
    rate = Rate(RatePolicy())
    for _ in range(100):
        assert rate.wait(0) == 0
        rate.started(100, now=0)
        rate.accepted(now=0)
    assert rate.requests_per_second is None
    assert repr(rate) == "<Rate unlimited>"


def test_requests_are_evenly_spaced() -> None:
    """A fixed rate spaces POSTs evenly: no burst after a pause."""
    rate = Rate(RatePolicy(requests_per_second=4))
    rate.started(1, now=10)
    assert rate.wait(10) == 0.25
    assert rate.wait(10.25) == 0
    rate.started(1, now=100)
    assert rate.wait(100) == 0.25
    assert repr(rate) == "<Rate 4>"


def test_a_place_that_is_not_used_is_the_next_ones() -> None:
    """A batch whose actions all have their end already costs nobody any time."""
    rate = Rate(RatePolicy(requests_per_second=2, actions_per_second=100))
    rate.started(10, now=5.0)
    waiting = rate.wait(5.0)
    rate.started(80, now=5.0)
    rate.unused(80)
    assert rate.wait(5.0) == pytest.approx(waiting)


def test_actions_per_second_space_by_size() -> None:
    """A fixed rate of actions makes room after a POST in proportion to its actions."""
    rate = Rate(RatePolicy(actions_per_second=10))
    rate.started(50, now=0)
    assert rate.wait(0) == 5
    rate.started(1, now=5)
    assert rate.wait(5) == pytest.approx(0.1)


def test_the_tighter_limit_holds() -> None:
    """With a limit on POSTs and one on actions, the one that waits longer counts."""
    rate = Rate(RatePolicy(requests_per_second=1, actions_per_second=10))
    rate.started(1, now=0)
    assert rate.wait(0) == 1
    rate.started(100, now=1)
    assert rate.wait(1) == 10


@given(
    limit=st.floats(0.1, 1000),
    steps=st.lists(st.floats(0, 10), min_size=1, max_size=50),
)
def test_whoever_waits_as_told_keeps_to_the_rate(limit: float, steps: list[float]) -> None:
    """POSTs that start when their wait is over are never closer together than the rate allows."""
    rate = Rate(RatePolicy(requests_per_second=limit))
    now, starts = 0.0, []
    for step in steps:
        now += step
        now += rate.wait(now)
        rate.started(1, now=now)
        starts.append(now)
    assert all(later - earlier >= 1 / limit - 1e-9 for earlier, later in pairwise(starts))


def test_a_refusal_takes_a_share_off_the_rate_that_was_refused() -> None:
    """After the first 429 the rate is a share below what was accepted during the last second."""
    rate = Rate(RatePolicy())
    for post in range(20):
        rate.accepted(now=post / 20)
    rate.refused(now=0.99)
    assert rate.requests_per_second == pytest.approx(17)
    assert rate.wait(0.99) == pytest.approx(1 / 17)


def test_acceptances_of_long_ago_do_not_count() -> None:
    """The rate that was refused is measured over the last second alone."""
    rate = Rate(RatePolicy())
    for post in range(100):
        rate.accepted(now=post / 1000)
    for post in range(10):
        rate.accepted(now=5 + post / 100)
    rate.refused(now=5.1)
    assert rate.requests_per_second == pytest.approx(8.5)


def test_each_refusal_takes_the_same_share() -> None:
    """Further refusals lower the rate by the same share, whatever was accepted in between."""
    rate = Rate(RatePolicy())
    for _ in range(20):
        rate.accepted(now=0)
    for refusals in range(1, 4):
        rate.refused(now=0)
        assert rate.requests_per_second == pytest.approx(20 * 0.85**refusals)


def test_acceptances_let_the_rate_creep_up() -> None:
    """Acceptances raise a lowered rate, slowly at first, by the clock and not by their number."""
    rate = Rate(RatePolicy())
    for _ in range(20):
        rate.accepted(now=0)
    rate.refused(now=0)
    rate.accepted(now=1)
    raised = rate.requests_per_second
    assert raised is not None
    assert 17 < raised < 17 * 1.05
    for _ in range(100):
        rate.accepted(now=1)
    assert rate.requests_per_second == raised


def test_the_rate_creeps_faster_the_longer_no_refusal_comes() -> None:
    """A rate that is never refused again is soon no limit; a refusal makes it careful again."""
    rate = Rate(RatePolicy())
    rate.refused(now=0)
    rates = []
    for second in range(1, 241):
        rate.accepted(now=second)
        assert rate.requests_per_second is not None
        rates.append(rate.requests_per_second)
    growth = [later / earlier for earlier, later in pairwise(rates)]
    assert growth[0] < 1.02
    assert growth[-1] == pytest.approx(1 + Rate.FASTEST_CREEP)
    assert all(earlier <= later * (1 + 1e-9) for earlier, later in pairwise(growth))
    rate.refused(now=240)
    lowered = rate.requests_per_second
    rate.accepted(now=241)
    assert lowered is not None
    assert rate.requests_per_second == pytest.approx(lowered * 1.01, rel=0.001)


def test_an_idle_hour_raises_the_rate_by_one_step() -> None:
    """A pause of the caller's own says nothing about what the service bears."""
    rate = Rate(RatePolicy())
    rate.refused(now=0)
    before = rate.requests_per_second
    rate.accepted(now=3600)
    assert before is not None
    assert rate.requests_per_second == pytest.approx(before * (1 + Rate.FASTEST_CREEP))


def test_a_refusal_without_acceptances_is_taken_for_a_slow_service() -> None:
    """Where nothing was accepted in the last second, the rate starts from a guess of one POST in it."""
    rate = Rate(RatePolicy())
    rate.refused(now=100)
    assert rate.requests_per_second == pytest.approx(0.85)


def test_the_rate_never_falls_to_nothing() -> None:
    """However often it refuses, the service is asked once in five seconds."""
    rate = Rate(RatePolicy())
    for _ in range(100):
        rate.refused(now=0)
    assert rate.requests_per_second == 0.2
    assert rate.wait(0) == 5


def test_a_rate_that_does_not_adapt_ignores_refusals() -> None:
    """With `adaptive=False` a fixed rate is the only one, and none is none."""
    rate = Rate(RatePolicy(adaptive=False, requests_per_second=2))
    rate.accepted(now=0)
    rate.refused(now=0)
    assert rate.requests_per_second == 2
    unlimited = Rate(RatePolicy(adaptive=False))
    unlimited.refused(now=0)
    assert unlimited.requests_per_second is None
    assert unlimited.wait(0) == 0


def test_an_adapted_rate_never_passes_a_fixed_one() -> None:
    """The caller's limit holds whatever the service would bear."""
    rate = Rate(RatePolicy(requests_per_second=5))
    for _ in range(100):
        rate.accepted(now=0)
    rate.refused(now=0)
    assert rate.requests_per_second == 5
    rate.accepted(now=1e6)
    assert rate.requests_per_second == 5


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=60))
def test_any_history_of_answers(history: list[tuple[bool, float]]) -> None:
    """In any history the rate stays above its floor, falls on refusals alone, and rises on acceptances alone."""
    rate, now = Rate(RatePolicy()), 0.0
    for accepted, step in history:
        now += step
        before = rate.requests_per_second
        (rate.accepted if accepted else rate.refused)(now=now)
        after = rate.requests_per_second
        if after is None:
            assert before is None
            assert accepted
            continue
        assert after >= Rate.SLOWEST
        if before is not None:
            assert after >= before if accepted else after <= before
        assert rate.wait(now) >= (0 if accepted else 1 / after - 1e-9)
