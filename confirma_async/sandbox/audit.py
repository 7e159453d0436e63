"""Do the outcomes that a client reported agree with what the service received and holds? Effect by effect; no I/O.

This is the law: every submitted action has exactly one end, and that end is true.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from attrs import Factory, define, field, frozen

from .._core.disposition import DispositionPolicy
from .._core.wire import JsonError, decode_action, decode_json
from ..codes import Disposition
from ..errors import InvalidActionError
from ..models import Action, ActionOutcome
from .ledger import content_of

__all__ = ["Audit", "actions_in", "audit"]


@frozen(kw_only=True)
class Audit:
    """What a comparison of outcomes with effects showed."""

    effects: int
    """All that the ledger holds."""
    accepted: int
    """Actions that were reported accepted."""
    unknown_applied: tuple[ActionOutcome, ...] = field(repr=False)
    """Reported unknown, and the ledger has them."""
    unknown_absent: tuple[ActionOutcome, ...] = field(repr=False)
    """Reported unknown, and the ledger does not have them."""
    lost: int = 0
    """Actions that have no outcome, or more than one, and outcomes of actions that nobody submitted."""
    false: int = 0
    """Outcomes that are not true."""
    doubled: int = 0
    """Effects beyond the one that each action may have, and effects that nobody asked for."""
    disordered: int = 0
    """Actions whose first effect stands behind that of a later one of their case."""
    contradictions: tuple[str, ...]
    """Where report and ledger contradict one another, in words; empty if they agree."""

    @property
    def agrees(self) -> bool:
        """Whether everything that was reported is true."""
        return not self.contradictions


def audit(
    submitted: Sequence[Action],
    outcomes: Sequence[ActionOutcome],
    ledger: Sequence[Action],
    *,
    received: Iterable[Action] | None = None,
    disposition: DispositionPolicy = DispositionPolicy(),  # noqa: B008 - frozen
) -> Audit:
    """Compare what was submitted, what was reported of it, and what took effect.

    - Every action has one outcome.
    - An accepted one stands in the ledger, an unknown one may, and any other does not.
    - One whose repeat would do harm stands there once at most.
    - An unknown one was in a body that the service received.
    - Nothing else stands there.
    - Those of one case stand there, by their first effects, in the order of their submission.

    Actions are told apart by their content, which is all that the service has. Of several that are equal it is counted
    how many there may be, and their order is not looked at.

    Args:
        submitted: Every action, in the order of submission.
        outcomes: What was reported, in any order.
        ledger: The actions that took effect, in their order.
        received: The actions of every body that the service received; None if that is not known, and then an unknown
            action is not asked whether it was sent.
        disposition: What the client was told about repeats. Where one is harmless, more than one effect is allowed.
    """
    tallies = _tallied(submitted, outcomes, ledger)
    known = None if received is None else {content_of(action) for action in received}
    counts = _Counts()
    for content, tally in tallies.items():
        harmless = disposition.effect_of(tally.action.code).repeatable
        counts.add(tally, harmless=harmless, was_received=known is None or content in known)
    counts.disordered = _disorder(tallies, ledger)
    unknown = [outcome for outcome in outcomes if outcome.disposition is Disposition.UNKNOWN]
    applied = {id(outcome) for outcome in unknown if tallies[content_of(outcome.action)].effects}
    return Audit(
        effects=len(ledger),
        accepted=sum(outcome.disposition is Disposition.ACCEPTED for outcome in outcomes),
        unknown_applied=tuple(outcome for outcome in unknown if id(outcome) in applied),
        unknown_absent=tuple(outcome for outcome in unknown if id(outcome) not in applied),
        lost=counts.without_outcome + counts.with_several,
        false=counts.missing + counts.denied + counts.never_sent,
        doubled=counts.repeated + counts.foreign,
        disordered=counts.disordered,
        contradictions=tuple(counts.in_words()),
    )


def actions_in(body: bytes) -> Iterator[Action]:
    """The actions that a body holds; none, if it is none of ours."""
    try:
        value = decode_json(body)
    except JsonError:
        return
    elements = value.get("actions") if isinstance(value, dict) else None
    for element in elements if isinstance(elements, list) else ():
        try:
            yield decode_action(element)
        except InvalidActionError:
            continue


@define
class _Tally:
    """All there is about actions of one content."""

    action: Action
    submitted: int = 0
    reported: Counter[Disposition] = Factory(Counter)
    effects: int = 0
    place: int = -1
    """The place of the last one in the order of submission."""

    @property
    def allowed(self) -> int:
        """How many of them may have taken effect, by what was reported."""
        return self.reported[Disposition.ACCEPTED] + self.reported[Disposition.UNKNOWN]


def _tallied(
    submitted: Sequence[Action], outcomes: Sequence[ActionOutcome], ledger: Sequence[Action]
) -> dict[bytes, _Tally]:
    tallies: dict[bytes, _Tally] = {}

    def tally_of(action: Action) -> _Tally:
        return tallies.setdefault(content_of(action), _Tally(action))

    for place, action in enumerate(submitted):
        tally = tally_of(action)
        tally.submitted += 1
        tally.place = place
    for outcome in outcomes:
        tally_of(outcome.action).reported[outcome.disposition] += 1
    for action in ledger:
        tally_of(action).effects += 1
    return tallies


@define
class _Counts:
    """How many actions contradict what was reported of them, by how they do."""

    without_outcome: int = 0
    with_several: int = 0
    missing: int = 0
    repeated: int = 0
    denied: int = 0
    never_sent: int = 0
    foreign: int = 0
    disordered: int = 0

    def add(self, tally: _Tally, *, harmless: bool, was_received: bool) -> None:
        """Count in what speaks against the reports on one content."""
        reported = tally.reported.total()
        self.without_outcome += max(0, tally.submitted - reported)
        self.with_several += max(0, reported - tally.submitted)
        accepted = min(tally.reported[Disposition.ACCEPTED], tally.submitted)
        self.missing += max(0, accepted - tally.effects)
        if not was_received:
            self.never_sent += tally.reported[Disposition.UNKNOWN]
        if not tally.submitted:
            self.foreign += tally.effects
            return
        once = min(tally.effects, tally.submitted)
        if not harmless:
            self.repeated += tally.effects - once
        # Where a repeat is harmless, the effects of one among equals may be many.
        if reported and not (harmless and tally.allowed):
            self.denied += max(0, once - tally.allowed)

    def in_words(self) -> Iterator[str]:
        """What was counted, as a person reads it."""
        words = {
            "were submitted and have no outcome": self.without_outcome,
            "have more than one outcome": self.with_several,
            "are reported accepted, and are not there": self.missing,
            "are there more than once": self.repeated,
            "are reported without effect, and are there": self.denied,
            "are reported unknown, and were never sent": self.never_sent,
            "are there, and nobody submitted them": self.foreign,
            "are there in another order than that of their case": self.disordered,
        }
        return (f"{count:,} actions {text}" for text, count in words.items() if count)


def _disorder(tallies: dict[bytes, _Tally], ledger: Sequence[Action]) -> int:
    """How many first effects stand behind one of their case that was submitted later."""
    latest: defaultdict[int, int] = defaultdict(int)
    found = 0
    for tally in map(tallies.__getitem__, dict.fromkeys(map(content_of, ledger))):
        case = tally.action.case_id
        if case is not None and tally.submitted == 1:
            found += tally.place < latest[case]
            latest[case] = max(tally.place, latest[case])
    return found
