"""From UNKNOWN to applied or not applied: when to look at the service, and when to believe what is seen.

An early look at such a service says "not there yet". So what is there is believed at once, and what is not there only
late, and only when two looks in a row agree.
"""

from collections.abc import Iterator

from ..codes import Disposition, Finding
from ..policies import ReconcilePolicy

__all__ = ["Reconciliation", "look_times"]


def look_times(policy: ReconcilePolicy) -> Iterator[float]:
    """When to look, in seconds since the answer was lost, up to the moment at which the action is handed back."""
    moment = 0.0
    for moment in policy.looks:
        if moment <= policy.give_up_after:
            yield moment
    while (moment := moment + policy.look_every) <= policy.give_up_after:
        yield moment


class Reconciliation:
    """What the looks at one action have shown so far."""

    def __init__(self, policy: ReconcilePolicy) -> None:
        self._policy = policy
        self._absent_in_a_row = 0

    def found(self, finding: Finding, seconds: float) -> Disposition | None:
        """Take note of a look so many seconds after the answer was lost; the action's end, once it is clear."""
        if finding is Finding.APPLIED:
            return Disposition.ACCEPTED
        self._absent_in_a_row = self._absent_in_a_row + 1 if finding is Finding.NOT_APPLIED else 0
        late_enough = seconds >= self._policy.believe_absence_after
        return Disposition.NOT_APPLIED if late_enough and self._absent_in_a_row >= self._policy.agreeing else None
