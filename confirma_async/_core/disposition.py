"""May it be sent again? This file decides, and nothing else does.

The service has no idempotency key: a POST that *may* have arrived must not simply be repeated, or a payment is booked
twice. So the question is answered in three steps, each a pure function over values:

1. `observe(evidence)`: what one attempt showed, as one of a dozen observations. How far the request got decides, not
   the type of an exception: the same timeout means "never sent" before the headers went out, and "perhaps applied"
   after.
2. `DispositionPolicy.table`: for each observation a verdict, and what follows from it for actions whose repeat is
   harmless (SET_STATE) and for all others (APPEND, MONEY). Read the last column from top to bottom: a payment goes
   again only in rows whose verdict says that the attempt certainly had no effect.
3. `plan(...)`: applies a row to every action of the attempt, and `join(...)` ends an action with respect to what its
   earlier attempts showed: once one of them was UNKNOWN, only ACCEPTED improves it.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from attrs import Attribute, Factory, field, frozen, mutable

from ..codes import ActionCode, Disposition, EffectClass
from ..errors import ConfigurationError
from .assumptions import Assumptions

__all__ = [
    "TABLE",
    "DispositionPolicy",
    "Evidence",
    "GateReason",
    "Observation",
    "Plan",
    "Row",
    "Step",
    "Verdict",
    "join",
    "observe",
    "plan",
]


@frozen(kw_only=True)
class Evidence:
    """What was observed of one attempt."""

    headers_sent: bool
    """Whether any byte of the request may have left us. Errs on the safe side: true just before the first one."""
    status: int | None = None
    """The status of the answer; None if none arrived."""
    retry_after: float | None = None
    """Seconds that the answer asks us to wait."""
    token_dead: bool = False
    """The answer was 401, and the token cannot be renewed."""
    failure: str = ""
    """The name of what went wrong on the way, for a person to read."""


class Observation(Enum):
    """What an attempt showed."""

    NEVER_SENT = "never sent"
    LOST = "sent, and no answer came"
    SUCCESS = "2xx"
    UNAUTHORIZED = "401 after a renewal"
    TOKEN_DEAD = "401, and the token cannot be renewed"  # noqa: S105 - no token
    DENIED = "403, 407"
    THROTTLED = "425, 429"
    UNAVAILABLE = "503"
    TOO_LARGE = "413"
    REFUSED = "any other 4xx"
    REFUSED_PERHAPS_IN_PART = "any other 4xx, not assumed to refuse the whole batch"
    SERVER_ERROR = "any other 5xx"
    ODD = "408, 3xx, 1xx"

    @property
    def throttled(self) -> bool:
        """Whether the service asks to slow down."""
        return self in (Observation.THROTTLED, Observation.UNAVAILABLE)


class Verdict(Enum):
    """What an attempt means for the actions it held."""

    NOT_SENT = "not sent"
    NOT_PROCESSED = "not processed"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Step(Enum):
    """What happens next to an action."""

    END = "end"
    """It ends, as `join` says."""
    AGAIN = "again"
    """It is sent again, after a backoff."""
    HALVE = "halve"
    """It is sent again in half of its batch, to find the action at fault; alone, it ends."""
    RECONCILE = "reconcile"
    """It must not be sent again. A reconciler looks whether it took effect; without one it ends UNKNOWN."""


class GateReason(Enum):
    """Why nothing new is sent for a while."""

    THROTTLED = "the service asks for a pause"
    UNREACHABLE = "the service cannot be reached"
    AMBIGUOUS = "an answer was lost or unclear"
    DENIED = "the service denies access"
    UNAUTHORIZED = "the token was refused, and could not be renewed yet"
    TOKEN = "the token is not valid"  # noqa: S105 - no token


@frozen
class Row:
    """One row of the table: what an observation means, and what follows."""

    verdict: Verdict
    set_state: Step
    """For actions whose repeat is harmless."""
    append_or_money: Step
    """For all others."""
    gate: GateReason | None = None
    """Why the gate shuts for new batches, if it does."""


_E, _A, _H, _R = Step.END, Step.AGAIN, Step.HALVE, Step.RECONCILE

TABLE: Mapping[Observation, Row] = MappingProxyType(
    {
        #                                            verdict                SET_STATE  APPEND, MONEY  gate
        Observation.NEVER_SENT: Row(Verdict.NOT_SENT, _A, _A, GateReason.UNREACHABLE),
        Observation.SUCCESS: Row(Verdict.ACCEPTED, _E, _E),
        Observation.UNAUTHORIZED: Row(Verdict.NOT_PROCESSED, _A, _A, GateReason.UNAUTHORIZED),
        Observation.TOKEN_DEAD: Row(Verdict.NOT_PROCESSED, _E, _E, GateReason.TOKEN),
        Observation.DENIED: Row(Verdict.NOT_PROCESSED, _E, _E, GateReason.DENIED),
        Observation.THROTTLED: Row(Verdict.NOT_PROCESSED, _A, _A, GateReason.THROTTLED),
        Observation.UNAVAILABLE: Row(Verdict.NOT_PROCESSED, _A, _A, GateReason.THROTTLED),
        Observation.TOO_LARGE: Row(Verdict.NOT_PROCESSED, _H, _H),
        Observation.REFUSED: Row(Verdict.REFUSED, _H, _H),
        # Everything below may have taken effect: the last column never says "again".
        Observation.REFUSED_PERHAPS_IN_PART: Row(Verdict.UNKNOWN, _H, _R),
        Observation.ODD: Row(Verdict.UNKNOWN, _A, _R, GateReason.AMBIGUOUS),
        Observation.SERVER_ERROR: Row(Verdict.UNKNOWN, _A, _R, GateReason.AMBIGUOUS),
        Observation.LOST: Row(Verdict.UNKNOWN, _A, _R, GateReason.AMBIGUOUS),
    }
)

_EFFECTS: Mapping[str, EffectClass] = MappingProxyType(
    {
        ActionCode.WITHDRAW: EffectClass.SET_STATE,
        ActionCode.DUEDATE: EffectClass.SET_STATE,
        ActionCode.PAUSE: EffectClass.SET_STATE,
        ActionCode.COMMENT: EffectClass.APPEND,
        ActionCode.OBJECTION: EffectClass.APPEND,
        ActionCode.PAYMENTPLAN: EffectClass.APPEND,
        ActionCode.DIRECTPAYMENT: EffectClass.MONEY,
    }
)

_BY_STATUS: Mapping[int, Observation] = MappingProxyType(
    {
        401: Observation.UNAUTHORIZED,
        403: Observation.DENIED,
        407: Observation.DENIED,
        408: Observation.ODD,
        413: Observation.TOO_LARGE,
        425: Observation.THROTTLED,
        429: Observation.THROTTLED,
        503: Observation.UNAVAILABLE,
    }
)

_STRICTNESS = tuple(EffectClass)


def _is_mapping(_instance: object, attribute: "Attribute[Any]", value: object) -> None:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"DispositionPolicy.{attribute.name} takes a mapping, not {type(value).__name__}.")


@frozen(kw_only=True)
class DispositionPolicy:
    """Which actions may be repeated, and after what.

    An action may be made stricter: `DispositionPolicy(effects={"WITHDRAW": EffectClass.APPEND})`. More lenient only
    by writing `assume_idempotent=True`, which says: a repeat of any action does no harm, or `effects` says otherwise.
    """

    effects: Mapping[str, EffectClass] = field(factory=dict, validator=_is_mapping)
    """Effect classes by action code, over the built-in ones."""
    assume_idempotent: bool = False
    table: Mapping[Observation, Row] = field(default=TABLE, repr=False)
    """What follows from each observation."""

    def __attrs_post_init__(self) -> None:
        if missing := set(Observation) - set(self.table):
            names = ", ".join(sorted(observation.name for observation in missing))
            raise ConfigurationError(f"DispositionPolicy.table has no row for {names}.")
        for code, effect in self.effects.items():
            if not isinstance(effect, EffectClass):
                raise ConfigurationError(f"DispositionPolicy.effects takes an EffectClass for {code}, not {effect!r}.")
        if not self.assume_idempotent:
            self._refuse_leniency()

    def _refuse_leniency(self) -> None:
        """Refuse what would send something again that the built-in table and classes would not."""
        advice = "write assume_idempotent=True if a repeat really does no harm"
        for code, effect in self.effects.items():
            usual = _EFFECTS.get(code, EffectClass.APPEND)
            if _STRICTNESS.index(effect) < _STRICTNESS.index(usual):
                raise ConfigurationError(
                    f"DispositionPolicy.effects makes {code} {effect.name}, more lenient than {usual.name}; {advice}."
                )
        for observation, row in self.table.items():
            in_doubt = TABLE[observation].verdict is Verdict.UNKNOWN
            if in_doubt and (row.verdict is not Verdict.UNKNOWN or row.append_or_money in (Step.AGAIN, Step.HALVE)):
                raise ConfigurationError(
                    f"DispositionPolicy.table repeats after {observation.name}, which may have taken effect; {advice}."
                )

    def effect_of(self, code: str) -> EffectClass:
        """What a repeat of an action of this code would do; APPEND for codes that nobody told us about."""
        usual = EffectClass.SET_STATE if self.assume_idempotent else _EFFECTS.get(code, EffectClass.APPEND)
        return self.effects.get(code, usual)


def observe(evidence: Evidence, assumptions: Assumptions, *, actions: int = 1) -> Observation:
    """Name what an attempt that held so many actions showed."""
    status = evidence.status
    if status is None:
        return Observation.LOST if evidence.headers_sent else Observation.NEVER_SENT
    if 200 <= status <= 299:
        return Observation.SUCCESS
    if status == 401 and evidence.token_dead:
        return Observation.TOKEN_DEAD
    if status == 503 and not assumptions.unavailable_means_not_handled:
        return Observation.SERVER_ERROR
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status <= 499:
        whole = assumptions.refused_batch_is_refused_whole or actions == 1
        return Observation.REFUSED if whole else Observation.REFUSED_PERHAPS_IN_PART
    return Observation.SERVER_ERROR if status >= 500 else Observation.ODD


def join(verdict: Verdict, *, doubted: bool) -> Disposition:
    """End an action after its last attempt; `doubted` says that an earlier attempt's verdict was UNKNOWN."""
    if verdict is Verdict.ACCEPTED:
        return Disposition.ACCEPTED
    if doubted or verdict is Verdict.UNKNOWN:
        return Disposition.UNKNOWN
    return Disposition.REJECTED if verdict is Verdict.REFUSED else Disposition.NOT_APPLIED


class Repeatable(Protocol):
    """What a plan needs to know of an action."""

    @property
    def effect(self) -> EffectClass:
        """What a repeat would do."""

    @property
    def doubted(self) -> bool:
        """Whether an earlier attempt may have taken effect."""


ActionT = TypeVar("ActionT", bound=Repeatable)


@mutable
class Plan(Generic[ActionT]):
    """What follows from one attempt; every action of it stands in exactly one of the lists."""

    observation: Observation
    row: Row
    ended: list[tuple[ActionT, Disposition]] = Factory(list)
    again: list[ActionT] = Factory(list)
    """To be sent again in one POST, after a backoff."""
    halves: list[list[ActionT]] = Factory(list)
    """To be sent again at once, each list in a POST of its own, one after the other."""
    unclear: list[ActionT] = Factory(list)
    """For the reconciler; without one they end UNKNOWN."""


def plan(
    actions: Sequence[ActionT],
    evidence: Evidence,
    *,
    policy: DispositionPolicy,
    assumptions: Assumptions,
    server_errors: int = 0,
    may_halve: bool = True,
) -> Plan[ActionT]:
    """Decide what follows from an attempt that held `actions`.

    Args:
        actions: The actions of the attempt, in their order, which every list of the plan keeps.
        evidence: What was observed of it.
        policy: The table and the effect classes.
        assumptions: What is taken for true although it is not documented.
        server_errors: How many earlier attempts with these actions were answered by a 5xx. After the second one they
            go on in halves, so that one action that breaks the service does not take its neighbours along.
        may_halve: Whether halving is allowed; if not, what would be halved ends.
    """
    observation = observe(evidence, assumptions, actions=len(actions))
    row = policy.table[observation]
    result: Plan[ActionT] = Plan(observation, row)
    to_halve: list[ActionT] = []
    for action in actions:
        step = row.set_state if action.effect.repeatable else row.append_or_money
        if step is Step.AGAIN and observation is Observation.SERVER_ERROR and server_errors > 0:
            step = Step.HALVE
        if step is Step.HALVE:
            to_halve.append(action)
        elif step is Step.AGAIN:
            result.again.append(action)
        elif step is Step.RECONCILE:
            result.unclear.append(action)
        else:
            result.ended.append((action, join(row.verdict, doubted=action.doubted)))
    if may_halve and len(to_halve) > 1:
        middle = len(to_halve) // 2
        result.halves = [to_halve[:middle], to_halve[middle:]]
    elif observation is Observation.SERVER_ERROR:
        result.again.extend(to_halve)
    else:
        result.ended.extend((action, join(row.verdict, doubted=action.doubted)) for action in to_halve)
    return result
