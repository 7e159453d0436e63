"""How fast: the gate that shuts for everybody, and the rate that POSTs keep to."""

from collections import deque
from math import exp2

from ..policies import RatePolicy
from .disposition import GateReason

__all__ = ["Gate", "Rate"]


class Gate:
    """The shared pause of a client.

    OPEN → SHUT when an answer says so; SHUT → TRIAL when a probe shows that the service is there; TRIAL → OPEN when a
    batch has had a plain answer. On trial one batch goes at a time, and after an outage a new one holds one action: an
    outage that outlives its probe costs that one, and neither all lanes nor a full batch.
    """

    def __init__(self) -> None:
        self.reason: GateReason | None = None
        """Why the gate is shut; None while it is not."""
        self.on_trial = False
        self._was_throttled = False
        """The gate was shut last because of a pause that the service asked for, which leaves nothing in doubt."""
        self.failures = 0
        """How often it was shut, or a probe failed, since the last plain answer to a batch."""
        self.probe_at = 0.0
        """When to probe, on the clock that `now` is of; meaningful while shut."""

    def __repr__(self) -> str:
        return f"<Gate {self.state}>"

    @property
    def state(self) -> str:
        """What a person calls it."""
        if self.reason is not None:
            return f"shut: {self.reason.value}"
        return "on trial" if self.on_trial else "open"

    def shut(self, reason: GateReason, *, pause: float, now: float) -> None:
        """Shut, or stay shut; a pause never shortens one that runs."""
        if self.reason is None:
            self.failures += 1
            self.probe_at = now + pause
        else:
            self.probe_at = max(self.probe_at, now + pause)
        if self.reason is not GateReason.TOKEN:
            self.reason = reason

    def probe_failed(self, reason: GateReason, *, pause: float, now: float) -> None:
        """The probe showed that it is too early."""
        self.failures += 1
        self.reason = reason
        self.probe_at = now + pause

    def probe_succeeded(self) -> None:
        """The service is there: one batch may try."""
        self._was_throttled = self.reason is GateReason.THROTTLED
        self.reason = None
        self.on_trial = True

    def answered(self) -> None:
        """A batch had a plain answer."""
        if self.reason is None:
            self.on_trial = False
            self.failures = 0

    @property
    def trial_size(self) -> int | None:
        """How many actions a new batch may hold; None is as many as it likes."""
        return 1 if self.on_trial and not self._was_throttled else None

    def admits(self, in_flight: int) -> bool:
        """Whether a batch may be sent while so many are in flight."""
        return self.reason is None and not (self.on_trial and in_flight)


class Rate:
    """When the next POST may start: evenly spaced, first come first served.

    Unlimited until a limit is set or the service refuses one. The adaptive part then takes the rate at which POSTs were
    accepted during the last second, a share off, as its own; lowers it by the same share at each further refusal; and
    creeps up in between, the faster the longer no refusal comes.
    """

    WINDOW = 1.0
    SHARE_KEPT = 0.85
    FIRST_ESTIMATE = 1.0
    """Where nothing was accepted in the last second, there is nothing to learn from it."""
    SLOWEST = 0.2
    CREEP = 0.01
    """Growth per second right after a refusal."""
    CREEP_DOUBLES_AFTER = 15.0
    FASTEST_CREEP = 0.5

    def __init__(self, policy: RatePolicy) -> None:
        self._policy = policy
        self._next_start = 0.0
        self._accepted: deque[float] = deque()
        self._adapted: float | None = None
        self._adapted_at = 0.0
        self._refused_at = 0.0

    def __repr__(self) -> str:
        return f"<Rate {'unlimited' if self.requests_per_second is None else self.requests_per_second}>"

    @property
    def requests_per_second(self) -> float | None:
        """The limit on POSTs in force; None is unlimited."""
        limits = [limit for limit in (self._policy.requests_per_second, self._adapted) if limit is not None]
        return min(limits, default=None)

    def wait(self, now: float) -> float:
        """Seconds until the next POST may start; 0 if it may now."""
        return max(0.0, self._next_start - now)

    def started(self, actions: int, *, now: float) -> None:
        """A POST with so many actions starts."""
        if spacing := self._spacing(actions):
            self._next_start = max(now, self._next_start) + spacing

    def unused(self, actions: int) -> None:
        """The POST that started last is not made: the next one may have its place."""
        self._next_start -= self._spacing(actions)

    def _spacing(self, actions: int) -> float:
        limit = self.requests_per_second
        spacing = 0.0 if limit is None else 1 / limit
        if self._policy.actions_per_second is not None:
            spacing = max(spacing, actions / self._policy.actions_per_second)
        return spacing

    def accepted(self, *, now: float) -> None:
        """A POST was answered without a word about its rate."""
        if not self._policy.adaptive:
            return
        self._accepted.append(now)
        self._forget(now)
        if self._adapted is not None:
            self._adapted *= 1 + self._creep(now) * min(1.0, now - self._adapted_at)
            self._adapted_at = now

    def _creep(self, now: float) -> float:
        doublings = min(20.0, (now - self._refused_at) / self.CREEP_DOUBLES_AFTER)
        return min(self.FASTEST_CREEP, self.CREEP * exp2(doublings))

    def refused(self, *, now: float) -> None:
        """A POST was refused for its rate."""
        if not self._policy.adaptive:
            return
        self._forget(now)
        measured = max(self.FIRST_ESTIMATE, len(self._accepted) / self.WINDOW)
        current = measured if self._adapted is None else self._adapted
        self._adapted = max(self.SLOWEST, self.SHARE_KEPT * current)
        self._adapted_at = self._refused_at = now
        self._next_start = max(self._next_start, now + 1 / self._adapted)

    def _forget(self, now: float) -> None:
        while self._accepted and self._accepted[0] <= now - self.WINDOW:
            self._accepted.popleft()
