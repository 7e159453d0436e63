import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from confirma_async import RetryPolicy
from confirma_async._core.retry import GiveUp, Retry, RetryBudget, backoff, decide, give_up, retry_after

POLICY = RetryPolicy()
DATE = "Sun, 09 Feb 2026 10:00:00 GMT"


def pause(
    failures: int,
    fraction: float,
    *,
    throttled: bool = False,
    asked_pause: float | None = None,
    policy: RetryPolicy = POLICY,
) -> float:
    return backoff(policy, failures=failures, throttled=throttled, asked_pause=asked_pause, fraction=fraction)


# --- backoff ----------------------------------------------------------------------------------------------------------


def test_the_ceiling_doubles_up_to_its_own() -> None:
    """The longest backoff doubles with each failure, from 0.5 s to 8 s, and from 1 s to 20 s where throttled."""
    assert [pause(failures, 1) for failures in range(1, 8)] == [0.5, 1, 2, 4, 8, 8, 8]
    assert [pause(failures, 1, throttled=True) for failures in range(1, 8)] == [1, 2, 4, 8, 16, 20, 20]


@given(failures=st.integers(1, 10**6), throttled=st.booleans(), fraction=st.floats(0, 1))
def test_a_backoff_is_between_its_floor_and_its_ceiling(*, failures: int, throttled: bool, fraction: float) -> None:
    """Full jitter: anything from the floor to the ceiling, in proportion to the random number."""
    shortest, found, longest = (pause(failures, f, throttled=throttled) for f in (0, fraction, 1))
    assert shortest == POLICY.min_backoff == 0.1
    assert shortest <= found <= longest <= (20 if throttled else 8)
    assert found == pytest.approx(shortest + fraction * (longest - shortest))


@given(asked=st.floats(0, 120), fraction=st.floats(0, 1), failures=st.integers(1, 9), throttled=st.booleans())
def test_an_asked_pause_is_kept_and_a_little_more(
    *, asked: float, fraction: float, failures: int, throttled: bool
) -> None:
    """A pause that the service asks for is never cut short, and not all come back at once."""
    found = pause(failures, fraction, throttled=throttled, asked_pause=asked)
    assert asked <= found <= asked + max(1, asked / 10)


def test_the_spread_of_an_asked_pause() -> None:
    """What is added to an asked pause is up to one second, or a tenth where that is more."""
    assert pause(1, 1, asked_pause=0) == 1
    assert pause(1, 1, asked_pause=5) == 6
    assert pause(1, 1, asked_pause=100) == 110


def test_a_floor_above_the_ceiling_is_kept() -> None:
    """Whoever sets a floor above the ceiling waits for the floor."""
    assert pause(1, 1, policy=RetryPolicy(min_backoff=3)) == 3


# --- giving up --------------------------------------------------------------------------------------------------------


def test_attempts_end() -> None:
    """The number of attempts is the number of POSTs, the first one included; 1 turns retry off."""
    assert give_up(POLICY, attempts=3, seconds=0, asked_pause=None) is None
    assert give_up(POLICY, attempts=4, seconds=0, asked_pause=None) is GiveUp.ATTEMPTS
    assert give_up(RetryPolicy(attempts=1), attempts=1, seconds=0, asked_pause=None) is GiveUp.ATTEMPTS


def test_time_ends() -> None:
    """Once attempts and backoffs have taken the time for them, there is no further one."""
    assert give_up(POLICY, attempts=1, seconds=59.9, asked_pause=None) is None
    assert give_up(POLICY, attempts=1, seconds=60, asked_pause=None) is GiveUp.TIME


def test_a_pause_that_is_too_long_ends() -> None:
    """A pause is obeyed up to the longest one that the policy waits, and beyond it the call ends at once."""
    assert give_up(POLICY, attempts=1, seconds=0, asked_pause=120) is None
    assert give_up(POLICY, attempts=1, seconds=0, asked_pause=120.1) is GiveUp.RETRY_AFTER
    assert give_up(POLICY, attempts=4, seconds=99, asked_pause=1e9) is GiveUp.RETRY_AFTER


# --- the budget -------------------------------------------------------------------------------------------------------


@given(
    capacity=st.integers(0, 60),
    history=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60),
)
def test_the_budget_stays_between_nothing_and_all(capacity: int, history: list[tuple[bool, bool]]) -> None:
    """Whatever is drawn and given back, the budget is never negative and never above its capacity."""
    budget = RetryBudget(RetryPolicy(budget=capacity))
    for throttled, succeeds in history:
        before, cost = budget.credits, budget.cost(throttled=throttled)
        drawn = cost if budget.draw(cost) else 0
        assert bool(drawn) == (cost <= before)
        assert budget.credits == before - drawn
        if succeeds:
            budget.give_back(drawn)
            assert budget.credits == min(capacity, before - drawn + max(1, drawn))
        assert 0 <= budget.credits <= capacity


def test_what_a_retry_costs() -> None:
    """A retry costs 14 credits, and 5 where the service itself asked for a pause; a success gives one back."""
    budget = RetryBudget(POLICY)
    assert budget.credits == 500
    assert (budget.cost(throttled=False), budget.cost(throttled=True)) == (14, 5)
    assert budget.draw(14)
    budget.give_back(0)
    assert budget.credits == 487


def test_retries_that_help_are_free() -> None:
    """A call that succeeds after a retry gives back what the retry drew."""
    budget = RetryBudget(POLICY)
    for _ in range(1_000):
        assert budget.draw(14)
        budget.give_back(14)
    assert budget.credits == 500


def test_a_service_on_which_nothing_helps_is_left_alone() -> None:
    """When no retry succeeds, the budget pays for a few dozen of them and then for none."""
    budget = RetryBudget(POLICY)
    assert sum(budget.draw(14) for _ in range(1_000)) == 35
    assert not budget.draw(14)
    assert budget.draw(5), "what is left still pays for a cheaper one"
    assert repr(budget) == "<RetryBudget 5 of 500>"


# --- Retry-After ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "30"}, 30),
        ({"Retry-After": " 30 "}, 30),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "-inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "1e999"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After-Ms": "1500"}, 1.5),
        ({"Retry-After-Ms": "-1"}, 0),
        ({"Retry-After-Ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After-Ms": "soon", "Retry-After": "9"}, 9),
        ({"Retry-After-Ms": "nan", "Retry-After": "9"}, 9),
        ({"Retry-After-Ms": "inf"}, None),
        ({"Retry-After": "Sun, 09 Feb 2026 10:00:30 GMT", "Date": DATE}, 30),
        ({"Retry-After": "Sun, 09 Feb 2026 11:00:30 +0100", "Date": DATE}, 30),
        ({"Retry-After": "Sunday, 09-Feb-26 10:00:30 GMT", "Date": DATE}, 30),
        ({"Retry-After": "Sun Feb  9 10:00:30 2026", "Date": DATE}, 30),
        ({"Retry-After": "Sun, 09 Feb 2026 09:00:00 GMT", "Date": DATE}, 0),
        ({"Retry-After": "Sun, 09 Feb 2026 10:00:30 GMT"}, None),
        ({"Retry-After": "Sun, 09 Feb 2026 10:00:30 GMT", "Date": "yesterday"}, None),
        ({"Retry-After": "Sun, 99 Feb 2026 10:00:30 GMT", "Date": DATE}, None),
    ],
)
def test_the_forms_of_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds, seconds and dates are understood; the past is now; what is none of them asks for nothing."""
    assert retry_after(429, headers) == seconds


@given(
    sent=st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - Hypothesis adds UTC
    seconds=st.integers(-(10**6), 10**6),
)
def test_a_date_is_read_against_the_date_of_the_answer(sent: datetime, seconds: int) -> None:
    """A date asks for the time between it and the answer's own date, whatever our clock says."""
    sent = sent.replace(microsecond=0)
    until = sent + timedelta(seconds=seconds)
    headers = {"Retry-After": format_datetime(until, usegmt=True), "Date": format_datetime(sent, usegmt=True)}
    assert retry_after(429, headers) == max(0, seconds)


DATE_WORDS = st.integers(0, 99_999).map(str) | st.sampled_from(
    ["Sun,", "Feb", "GMT", "+9999", "-0000", ":", "10:00:30"]
)
DATE_LIKE = st.lists(DATE_WORDS).map(" ".join)
HEADER = st.text() | DATE_LIKE | st.floats().map(repr)


@given(text=HEADER, milliseconds=st.none() | HEADER, date=st.none() | HEADER | st.just(DATE))
@example(text="Sun, 09 Feb 99999 10:00:30 GMT", milliseconds=None, date=DATE)
def test_no_retry_after_breaks_anything(text: str, milliseconds: str | None, date: str | None) -> None:
    """Whatever an answer says, what is read of it is a finite number of seconds from 0, or nothing."""
    headers = {"Retry-After": text, "Retry-After-Ms": milliseconds, "Date": date}
    found = retry_after(503, {name: value for name, value in headers.items() if value is not None})
    assume(found is not None)
    assert found is not None
    assert math.isfinite(found)
    assert found >= 0


def test_a_retry_that_is_decided_has_drawn_its_credits() -> None:
    """One decision holds the limits, the budget and the backoff together."""
    policy = RetryPolicy(budget=20, attempts=3, min_backoff=1.0, first_ceiling=1.0, max_ceiling=1.0)
    budget = RetryBudget(policy)

    def ask(attempts: int, *, throttled: bool = False, asked_pause: float | None = None) -> Retry | GiveUp:
        return decide(
            policy,
            budget,
            attempts=attempts,
            seconds=0.0,
            throttled=throttled,
            asked_pause=asked_pause,
            fraction=0.5,
        )

    assert ask(3) is GiveUp.ATTEMPTS
    assert ask(1, asked_pause=1_000.0) is GiveUp.RETRY_AFTER
    assert budget.credits == 20
    assert ask(1) == Retry(1.0, 14)
    assert ask(2, throttled=True, asked_pause=4.0) == Retry(4.5, 5)
    assert budget.credits == 1
    assert ask(1) is GiveUp.BUDGET
    assert budget.credits == 1
