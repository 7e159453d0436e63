"""An account in words: what became of the actions, and what to do about each that was not accepted. No I/O.

Comment texts appear nowhere in it.
"""

from collections.abc import Iterator

from ..codes import Disposition
from ..errors import (
    ActionIdConflictError,
    AmbiguousAnswerError,
    ConfirmaError,
    JournalError,
    NotSubmittedError,
    ServiceError,
    ServiceUnavailableError,
)
from ..models import ActionOutcome, Statistics
from .account import Account, Problem
from .entry import one_line

__all__ = ["ADVICE", "account_lines", "counted", "name_of", "reason_of", "traffic_line"]

ADVICE = {
    Disposition.UNKNOWN: "it may have taken effect: look at the case before sending it again",
    Disposition.REJECTED: "it had no effect: mend it before sending it again",
    Disposition.NOT_APPLIED: "it had no effect: it may be sent again",
}

_WORST_FIRST = (Disposition.UNKNOWN, Disposition.REJECTED, Disposition.NOT_APPLIED)
_LONGEST_CODE = 20


def counted(number: int, noun: str) -> str:
    """`1 action`, `2,000 actions`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def name_of(disposition: Disposition) -> str:
    """The disposition as people read it."""
    return disposition.value.replace("_", " ")


def account_lines(account: Account, *, unit: str | None) -> Iterator[str]:
    """The account: a count for each disposition, then a line for each of the first that were not accepted.

    Args:
        account: What to tell.
        unit: What an entry's number counts; None has actions told by their ids.
    """
    for disposition in Disposition:
        yield f"{name_of(disposition):<12}{account.counts[disposition]:>11,}{_note(account, disposition)}"
    yield f"{'in all':<12}{account.total:>11,}"
    for disposition in _WORST_FIRST:
        yield from _problem_lines(account, disposition, unit)


def _note(account: Account, disposition: Disposition) -> str:
    if known := account.from_journal[disposition]:
        return f"  ({known:,} of them known from the journal, NOT sent now)"
    if disposition is Disposition.NOT_APPLIED and account.with_mistakes:
        return f"  ({account.with_mistakes:,} with mistakes, which were never sent)"
    return ""


def _problem_lines(account: Account, disposition: Disposition, unit: str | None) -> Iterator[str]:
    problems = account.problems[disposition]
    if not problems:
        return
    yield ""
    for problem in problems:
        yield _problem_line(problem, unit)
    listed_elsewhere = account.with_mistakes if disposition is Disposition.NOT_APPLIED else 0
    more = account.counts[disposition] - listed_elsewhere - len(problems)
    if more:
        yield f"... and {more:,} more {name_of(disposition)}: {ADVICE[disposition]}"


def _problem_line(problem: Problem, unit: str | None) -> str:
    outcome = problem.outcome
    place = f"action {one_line(outcome.action_id)}" if unit is None else f"{unit} {problem.number}"
    case = "" if outcome.action.case_id is None else f", case {outcome.action.case_id}"
    code = one_line(outcome.action.code[:_LONGEST_CODE])
    end = name_of(outcome.disposition)
    reason = "known from the journal" if outcome.from_journal else reason_of(outcome.error)
    return f"{place}, {code}{case}: {end} ({reason}); {_advice(outcome)}"


def _advice(outcome: ActionOutcome) -> str:
    if isinstance(outcome.error, ActionIdConflictError):
        return "it had no effect: give it an action_id of its own"
    if outcome.is_queued:
        return "it had no effect: it stays in the queue of the journal"
    return ADVICE[outcome.disposition]


def reason_of(error: ConfirmaError | None) -> str:
    """Why an action was not accepted, in a few words."""
    match error:
        case ServiceError(status=int(status)):
            return f"answered {status}"
        case AmbiguousAnswerError():
            return "its answer was lost"
        case ServiceUnavailableError():
            return "the service was not reached"
        case NotSubmittedError():
            return "it was not sent"
        case JournalError():
            return "it could not be journaled"
        case ActionIdConflictError():
            return "its action_id was used for other content"
        case _:
            return "no reason known" if error is None else one_line(str(error))


def traffic_line(statistics: Statistics, actions: int) -> str:
    """How the actions travelled; empty if nothing was sent."""
    if not statistics.posts:
        return ""
    ratio = f" ({actions / statistics.posts:,.1f} per POST)" if 1 < statistics.posts < actions else ""
    parts = [f"{counted(actions, 'action')} in {counted(statistics.posts, 'POST')}{ratio}"]
    if statistics.retries:
        parts.append(f"{statistics.retries:,} of them retries")
    if statistics.renewals:
        parts.append(counted(statistics.renewals, "token renewal"))
    return ", ".join(parts)
