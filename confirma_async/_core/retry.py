"""When a call goes again: backoff, the retry budget, and what `Retry-After` says."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from math import inf, isfinite

from attrs import frozen

from ..policies import RetryPolicy

__all__ = ["GiveUp", "Retry", "RetryBudget", "backoff", "decide", "give_up", "retry_after"]


class GiveUp(Enum):
    """Why a call that might be repeated is not repeated."""

    ATTEMPTS = "all attempts are used up"
    TIME = "the time for retries is used up"
    BUDGET = "the retry budget is used up"
    RETRY_AFTER = "the service asks for a longer pause than the retry policy waits"


class RetryBudget:
    """The share of calls that may be retries.

    A retry draws credits; when it succeeds it gives them back, and a call that succeeds without a retry gives back one.
    So retries that help are free, and a service on which nothing helps is soon left alone.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.credits = policy.budget

    def __repr__(self) -> str:
        return f"<RetryBudget {self.credits} of {self._policy.budget}>"

    def cost(self, *, throttled: bool) -> int:
        """What a retry costs; less after the service itself asked for a pause."""
        return self._policy.throttled_retry_cost if throttled else self._policy.retry_cost

    def draw(self, cost: int) -> bool:
        """Take `cost` credits, if they are there."""
        if cost > self.credits:
            return False
        self.credits -= cost
        return True

    def give_back(self, drawn: int) -> None:
        """A call succeeded for whose last attempt so many credits were drawn."""
        self.credits = min(self._policy.budget, self.credits + max(1, drawn))


@frozen
class Retry:
    """The call is to be repeated."""

    delay: float
    """Seconds of backoff before the next attempt."""
    drawn: int
    """Credits drawn from the budget for it."""


def decide(
    policy: RetryPolicy,
    budget: RetryBudget,
    *,
    attempts: int,
    seconds: float,
    throttled: bool,
    asked_pause: float | None,
    fraction: float,
) -> Retry | GiveUp:
    """Whether a call that may be repeated is repeated; if so, its credits are drawn.

    The arguments are those of `give_up` and `backoff`.
    """
    why = give_up(policy, attempts=attempts, seconds=seconds, asked_pause=asked_pause)
    if why is not None:
        return why
    cost = budget.cost(throttled=throttled)
    if not budget.draw(cost):
        return GiveUp.BUDGET
    delay = backoff(policy, failures=attempts, throttled=throttled, asked_pause=asked_pause, fraction=fraction)
    return Retry(delay, cost)


def give_up(policy: RetryPolicy, *, attempts: int, seconds: float, asked_pause: float | None) -> GiveUp | None:
    """Why a call is not to be repeated, or None if it may be, the budget permitting.

    Args:
        policy: The limits.
        attempts: Attempts made so far.
        seconds: Time spent on them and on the backoffs between them, time at the gate excluded.
        asked_pause: What the service asked for, in seconds.
    """
    if asked_pause is not None and asked_pause > policy.max_retry_after:
        return GiveUp.RETRY_AFTER
    if attempts >= policy.attempts:
        return GiveUp.ATTEMPTS
    return GiveUp.TIME if seconds >= policy.max_seconds else None


def backoff(
    policy: RetryPolicy, *, failures: int, throttled: bool, asked_pause: float | None, fraction: float
) -> float:
    """Seconds to wait before the next attempt.

    Args:
        policy: The limits.
        failures: Attempts that failed so far, at least 1.
        throttled: Whether the service asked to slow down.
        asked_pause: For how long, if it said so: then that, and a little more, so that not all come back at once.
        fraction: A random number from 0 to 1: the jitter.
    """
    if asked_pause is not None:
        return asked_pause + fraction * max(1.0, asked_pause / 10)
    first, longest = (
        (policy.first_throttled_ceiling, policy.max_throttled_ceiling)
        if throttled
        else (policy.first_ceiling, policy.max_ceiling)
    )
    # The exponent is bounded, for a client that has been knocking for a month.
    ceiling = min(longest, first * 2.0 ** min(failures - 1, 60))
    return policy.min_backoff + fraction * max(0.0, ceiling - policy.min_backoff)


def retry_after(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds that a 429 or 503 asks to wait: in milliseconds, in seconds, or as a date against the answer's own.

    What lies in the past is 0. What is no number and no date, or not finite, is None: the answer asked for nothing.
    """
    if status not in (429, 503):
        return None
    milliseconds = _number(headers.get("Retry-After-Ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    text = headers.get("Retry-After")
    if text is None:
        return None
    seconds = _number(text)
    return max(0.0, seconds) if seconds is not None else _until(text, headers.get("Date"))


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else inf
    except ValueError:
        return None
    return value if isfinite(value) else None


def _until(text: str, sent: str | None) -> float | None:
    """Seconds between two HTTP dates. Without the answer's own date no clock of ours is trusted with it."""
    until, since = _date(text), _date(sent)
    return None if until is None or since is None else max(0.0, (until - since).total_seconds())


def _date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
