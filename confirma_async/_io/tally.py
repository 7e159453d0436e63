"""The account of a client: every action that ended, counted once and told once."""

from collections import Counter

from ..codes import Disposition
from ..events import ActionEnded
from ..models import ActionOutcome, DrainReport
from .emitter import Emitter

__all__ = ["Tally"]

_REPORTED = 1_000
"""Outcomes that a report lists; its counts are complete."""


class Tally:
    """Counts outcomes, and emits them."""

    def __init__(self, emit: Emitter) -> None:
        self._emit = emit
        self._ended = 0
        self._counts: Counter[Disposition] = Counter()
        """Ends other than ACCEPTED."""
        self._not_accepted: list[ActionOutcome] = []
        self._left: set[str] = set()
        """Ids that the journal is in charge of, and that came back without an end."""

    def count(self, outcome: ActionOutcome) -> None:
        """Take note of an outcome: an end, or what stays queued."""
        if outcome.is_queued:
            self._left.add(outcome.action_id)
            return
        self._ended += 1
        if outcome.disposition is not Disposition.ACCEPTED:
            self._counts[outcome.disposition] += 1
            if len(self._not_accepted) < _REPORTED:
                self._not_accepted.append(outcome)
        if self._emit:
            self._emit(
                ActionEnded(
                    outcome.action_id,
                    outcome.action.code,
                    outcome.action.case_id,
                    outcome.disposition,
                    outcome.attempts,
                    None if outcome.error is None else str(outcome.error),
                )
            )

    def count_left(self, action_id: str) -> None:
        """Take note of an action that stays queued without having been taken in."""
        self._left.add(action_id)

    def discount_left(self, action_id: str) -> None:
        """Take note that an action which was left is taken in again, if it was."""
        self._left.discard(action_id)

    def report(self) -> DrainReport:
        """The account so far."""
        counts = self._counts
        return DrainReport(
            accepted=self._ended - counts.total(),
            rejected=counts[Disposition.REJECTED],
            not_applied=counts[Disposition.NOT_APPLIED],
            unknown=counts[Disposition.UNKNOWN],
            queued=len(self._left),
            not_accepted=tuple(self._not_accepted),
        )
