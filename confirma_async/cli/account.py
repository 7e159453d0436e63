"""What became of the entries of an input: each counted once, the first of those not accepted kept. No I/O."""

from collections import Counter

from attrs import Factory, define, frozen

from ..codes import Disposition
from ..models import Action, ActionOutcome

__all__ = ["Account", "NumberBook", "Problem"]

_KEPT = 20
"""Problems of each disposition that are shown one by one; their counts are complete."""


@frozen
class Problem:
    """An action that was sent, or was to be, and was not accepted."""

    number: int
    """Its entry's place in the input."""
    outcome: ActionOutcome


@define
class Account:
    """Every entry that was read, counted once by its end."""

    counts: Counter[Disposition] = Factory(Counter)
    from_journal: Counter[Disposition] = Factory(Counter)
    """Those of them whose end the journal had from before, and which were not sent now."""
    sent: int = 0
    """Those that were sent in this run, once or more."""
    with_mistakes: int = 0
    """Those of NOT_APPLIED that have mistakes, and were therefore never sent."""
    problems: dict[Disposition, list[Problem]] = Factory(lambda: {disposition: [] for disposition in Disposition})
    """The first of those that were not accepted, those with mistakes aside."""

    @property
    def total(self) -> int:
        """All entries that have an end."""
        return self.counts.total()

    @property
    def accepted(self) -> int:
        """How many were accepted."""
        return self.counts[Disposition.ACCEPTED]

    @property
    def not_sent_now(self) -> int:
        """How many were not sent, because the journal had their ends from before."""
        return self.from_journal.total()

    def add_mistaken(self) -> None:
        """Count an entry with mistakes."""
        self.counts[Disposition.NOT_APPLIED] += 1
        self.with_mistakes += 1

    def add(self, number: int, outcome: ActionOutcome) -> None:
        """Count the outcome of the entry at `number`."""
        self.counts[outcome.disposition] += 1
        if outcome.from_journal:
            self.from_journal[outcome.disposition] += 1
        elif outcome.attempts:
            self.sent += 1
        if outcome.disposition is Disposition.ACCEPTED:
            return
        problems = self.problems[outcome.disposition]
        if len(problems) < _KEPT:
            problems.append(Problem(number, outcome))


class NumberBook:
    """Finds the entry that an outcome belongs to, while its action is under way."""

    def __init__(self) -> None:
        self._by_object: dict[int, int] = {}
        self._by_action_id: dict[str, list[tuple[Action, int]]] = {}

    def __len__(self) -> int:
        return len(self._by_object) + sum(map(len, self._by_action_id.values()))

    def note(self, action: Action, number: int) -> None:
        """Take note of an action before it is submitted."""
        if action.action_id is None:
            self._by_object[id(action)] = number
        else:
            self._by_action_id.setdefault(action.action_id, []).append((action, number))

    def take(self, action: Action) -> int:
        """The number of the entry whose outcome has this action; asked once for each outcome.

        An id that was submitted again while it ran has one end for both, with the action of the first: the number of
        the first is told first.
        """
        if action.action_id is None:
            return self._by_object.pop(id(action))
        noted = self._by_action_id[action.action_id]
        index = next((index for index, (known, _) in enumerate(noted) if known is action), 0)
        _, number = noted.pop(index)
        if not noted:
            del self._by_action_id[action.action_id]
        return number
