"""The limits: each setting, its default, and what happens at it. Durations are seconds as floats."""

from collections.abc import Set as AbstractSet
from typing import Any, Literal

from attrs import Attribute, field, frozen

from .errors import ConfigurationError

__all__ = ["BatchPolicy", "RatePolicy", "ReconcilePolicy", "RetryPolicy", "Timeouts"]


def _at_least(minimum: float) -> Any:
    """A number from `minimum` on: a whole one where the minimum is an int."""
    kind, name = (int, "a whole number") if isinstance(minimum, int) else (int | float, "a number")

    def check(instance: object, attribute: "Attribute[Any]", value: float) -> None:
        # `not >=` rather than `<`, so that NaN is caught too.
        if isinstance(value, bool) or not isinstance(value, kind) or not value >= minimum:
            raise ConfigurationError(
                f"{type(instance).__name__}.{attribute.name} takes {name} from {minimum:g} on, not {value!r}."
            )

    return check


def _one_of(*choices: str) -> Any:
    def check(instance: object, attribute: "Attribute[Any]", value: str) -> None:
        if value not in choices:
            listed = " or ".join(map(repr, choices))
            raise ConfigurationError(f"{type(instance).__name__}.{attribute.name} takes {listed}, not {value!r}.")

    return check


def _ascending(instance: object, attribute: "Attribute[Any]", value: tuple[float, ...]) -> None:
    if not isinstance(value, tuple) or list(value) != sorted(value) or not all(moment >= 0 for moment in value):
        raise ConfigurationError(
            f"{type(instance).__name__}.{attribute.name} takes seconds in ascending order, not {value!r}."
        )


def _to_codes(codes: AbstractSet[str]) -> AbstractSet[str]:
    if not isinstance(codes, AbstractSet):
        raise ConfigurationError(f"BatchPolicy.alone takes a set of codes such as {{'DIRECTPAYMENT'}}, not {codes!r}.")
    return frozenset(codes)


def _positive_or_none(instance: object, attribute: "Attribute[Any]", value: float | None) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and value > 0):
        raise ConfigurationError(f"{type(instance).__name__}.{attribute.name} must be above 0, or None, not {value!r}.")


@frozen(kw_only=True)
class BatchPolicy:
    """How actions are coalesced into batches, and how many may wait."""

    linger: float = field(default=0.020, validator=_at_least(0.0))
    """Longest time an open batch waits for more, counted from its first action.

    0 sends on the next turn of the event loop when a lane is free, and coalesces while none is.
    """
    max_actions: int = field(default=100, validator=_at_least(1))
    """Actions in one POST; reaching it seals the batch. The API documents no limit."""
    max_bytes: int = field(default=256 * 1024, validator=_at_least(1024))
    """Bytes of one POST's body. An action that would pass it starts the next batch.

    One that is larger by itself is refused when it is submitted.
    """
    max_waiting_actions: int = field(default=5_000, validator=_at_least(1))
    """Actions that may wait to be sent; of these one case may hold a tenth. At the limit, see `when_full`."""
    max_waiting_bytes: int = field(default=16 * 1024 * 1024, validator=_at_least(1024))
    """Encoded bytes that may wait to be sent. At the limit, see `when_full`."""
    when_full: Literal["wait", "raise"] = field(default="wait", validator=_one_of("wait", "raise"))
    """At the limit, `send()` waits in order of arrival, or raises `QueueFullError`. Nothing is ever dropped."""
    lanes: int = field(default=4, validator=_at_least(1))
    """Batches that may be in flight at once. A case is in one of them at most."""
    stall: float = field(default=0.200, validator=_at_least(0.0))
    """A source given to `push()` that yields nothing for this long has what it yielded sent."""
    alone: AbstractSet[str] = field(default=frozenset(), converter=_to_codes)
    """Codes whose actions each get a POST of their own: the smallest possible circle of doubt."""

    def __attrs_post_init__(self) -> None:
        if self.max_waiting_bytes < self.max_bytes:
            raise ConfigurationError(
                f"BatchPolicy.max_waiting_bytes ({self.max_waiting_bytes}) must hold one full POST ({self.max_bytes})."
            )

    @property
    def max_waiting_per_case(self) -> int:
        """The share of the waiting actions that one case may hold, so that it cannot keep others out."""
        return max(1, self.max_waiting_actions // 10)


@frozen(kw_only=True)
class RetryPolicy:
    """When a call that may be repeated is repeated. Which calls may be is `DispositionPolicy`'s matter."""

    attempts: int = field(default=4, validator=_at_least(1))
    """Attempts in all; 1 turns retry off."""
    max_seconds: float = field(default=60.0, validator=_at_least(0.0))
    """Time for all attempts and backoffs of one call. Time at the gate is not counted."""
    min_backoff: float = field(default=0.1, validator=_at_least(0.0))
    """A backoff is drawn uniformly from here to the ceiling."""
    first_ceiling: float = field(default=0.5, validator=_at_least(0.0))
    """The ceiling of the first backoff; it doubles with each retry, up to `max_ceiling`."""
    max_ceiling: float = field(default=8.0, validator=_at_least(0.0))
    first_throttled_ceiling: float = field(default=1.0, validator=_at_least(0.0))
    """The same after the service said "slow down" without saying for how long."""
    max_throttled_ceiling: float = field(default=20.0, validator=_at_least(0.0))
    max_retry_after: float = field(default=120.0, validator=_at_least(0.0))
    """The longest `Retry-After` obeyed. Beyond it the call ends with `RateLimitedError`."""
    give_up_after: float = field(default=900.0, validator=_at_least(0.0))
    """How long an action waits at a shut gate, counted from its submission, before it ends NOT_APPLIED."""
    budget: int = field(default=500, validator=_at_least(0))
    """The retry budget of a client, in credits; an empty one ends retries until calls succeed again."""
    retry_cost: int = field(default=14, validator=_at_least(0))
    throttled_retry_cost: int = field(default=5, validator=_at_least(0))


@frozen(kw_only=True)
class RatePolicy:
    """How fast POSTs may follow one another. Without limits of yours, only the service's answers slow them."""

    requests_per_second: float | None = field(default=None, validator=_positive_or_none)
    """A fixed limit on POSTs, first come first served."""
    actions_per_second: float | None = field(default=None, validator=_positive_or_none)
    """A fixed limit on actions, first come first served."""
    adaptive: bool = True
    """After a 429, keep to a rate below the one that was refused, and creep up from there."""


@frozen(kw_only=True)
class Timeouts:
    """How long one attempt may take."""

    connect: float = field(default=5.0, validator=_at_least(0.001))
    """Until a connection stands, a place in the pool and TLS included."""
    read: float = field(default=30.0, validator=_at_least(0.001))
    """Between two pieces of an answer."""
    total: float = field(default=60.0, validator=_at_least(0.001))
    """For all of it."""
    keep_alive: float = field(default=4.0, validator=_at_least(0.0))
    """How long an idle connection is kept.

    Servers close idle connections after 5 s or more. A POST on one that was just closed ends UNKNOWN.
    """
    renew_lock: float = field(default=60.0, validator=_at_least(0.001))
    """How long to wait for another process that is renewing the token."""


@frozen(kw_only=True)
class ReconcilePolicy:
    """When a reconciler looks at an action that may have taken effect, and when what it sees is believed."""

    looks: tuple[float, ...] = field(default=(2.0, 10.0, 60.0), validator=_ascending)
    """Seconds after the lost answer at which to look first."""
    look_every: float = field(default=60.0, validator=_at_least(0.001))
    """Seconds between the looks after those."""
    believe_absence_after: float = field(default=120.0, validator=_at_least(0.0))
    """From here on "not applied" is believed, if looks agree."""
    agreeing: int = field(default=2, validator=_at_least(1))
    """How many looks in a row have to agree on that."""
    give_up_after: float = field(default=600.0, validator=_at_least(0.0))
    """After this the action is handed back as UNKNOWN. Its case stays fenced until then."""
    look_timeout: float = field(default=30.0, validator=_at_least(0.001))
    """How long one look may take."""
