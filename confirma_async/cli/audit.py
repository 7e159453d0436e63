"""Do the outcomes that a client reported agree with the ledger of the sandbox it sent to? Effect by effect; no I/O."""

from collections import Counter
from collections.abc import Sequence

from attrs import field, frozen

from ..codes import Disposition
from ..models import Action, ActionOutcome

__all__ = ["Audit", "audit"]


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
    contradictions: tuple[str, ...]
    """Where report and ledger contradict one another, in words; empty if they agree."""

    @property
    def agrees(self) -> bool:
        """Whether everything that was reported is true."""
        return not self.contradictions


def audit(submitted: Sequence[Action], outcomes: Sequence[ActionOutcome], ledger: Sequence[Action]) -> Audit:
    """Compare what was submitted, what was reported of it, and what took effect.

    An accepted action must stand in the ledger once, an unknown one at most once, any other not at all; nothing else
    may stand there; and the actions of one case must stand in the order of their submission.

    Args:
        submitted: Every action, in the order of submission; no two are equal.
        outcomes: What was reported, in any order.
        ledger: The actions that took effect, in their order.
    """
    times = Counter(ledger)
    reported = {disposition: [o for o in outcomes if o.disposition is disposition] for disposition in Disposition}
    accepted, unknown = reported[Disposition.ACCEPTED], reported[Disposition.UNKNOWN]
    without_effect = [*reported[Disposition.REJECTED], *reported[Disposition.NOT_APPLIED]]
    order = {action: place for place, action in enumerate(submitted)}
    mistakes = {
        "were submitted and have no outcome": len(set(submitted) - {outcome.action for outcome in outcomes}),
        "have more than one outcome": len(outcomes) - len({outcome.action for outcome in outcomes}),
        "are reported accepted, and are not there": sum(not times[outcome.action] for outcome in accepted),
        "are there more than once": sum(count > 1 for count in times.values()),
        "are reported without effect, and are there": sum(times[outcome.action] > 0 for outcome in without_effect),
        "are there, and nobody submitted them": sum(action not in order for action in times),
        "are there in another order than that of their case": _disorder(ledger, order),
    }
    return Audit(
        effects=len(ledger),
        accepted=len(accepted),
        unknown_applied=tuple(outcome for outcome in unknown if times[outcome.action]),
        unknown_absent=tuple(outcome for outcome in unknown if not times[outcome.action]),
        contradictions=tuple(f"{count:,} actions {text}" for text, count in mistakes.items() if count),
    )


def _disorder(ledger: Sequence[Action], order: dict[Action, int]) -> int:
    """How many effects stand behind one of their case that was submitted later."""
    latest: dict[int | None, int] = {}
    found = 0
    for action in ledger:
        place = order.get(action, -1)
        found += place < latest.get(action.case_id, -1)
        latest[action.case_id] = max(place, latest.get(action.case_id, -1))
    return found
