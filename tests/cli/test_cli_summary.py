"""An account in words."""

import pytest

from confirma_async import (
    ActionIdConflictError,
    ActionOutcome,
    AmbiguousAnswerError,
    Comment,
    ConfirmaError,
    Disposition,
    NotSubmittedError,
    RawAction,
    RefusedError,
    ServiceUnavailableError,
)
from confirma_async.cli.account import Account
from confirma_async.cli.summary import account_lines, reason_of
from confirma_async.models import Action


def told(disposition: Disposition, error: ConfirmaError | None, action: Action | None = None, times: int = 1) -> str:
    action = action or Comment(invoice_number=1, case_id=7, comment="the secret comment")
    account = Account()
    for number in range(17, 17 + times):
        account.add(number, ActionOutcome(action, "", disposition, 1, error))
    return "\n".join(account_lines(account, unit="line"))


def test_counts_every_disposition() -> None:
    """The summary has a line for each of the four ends, and one for all of them."""
    account = Account()
    account.add_mistaken()
    for _ in range(1234):
        account.add(1, ActionOutcome(Comment(invoice_number=1, case_id=1), "", Disposition.ACCEPTED, 1))
    assert list(account_lines(account, unit="line")) == [
        "accepted          1,234",
        "rejected              0",
        "not applied           1  (1 with mistakes, which were never sent)",
        "unknown               0",
        "in all            1,235",
    ]


@pytest.mark.parametrize(
    ("disposition", "error", "line"),
    [
        (
            Disposition.UNKNOWN,
            AmbiguousAnswerError("…"),
            (
                "line 17, COMMENT, case 7: unknown (its answer was lost); "
                "it may have taken effect: look at the case before sending it again"
            ),
        ),
        (
            Disposition.REJECTED,
            RefusedError("…", 400),
            "line 17, COMMENT, case 7: rejected (answered 400); it had no effect: mend it before sending it again",
        ),
        (
            Disposition.NOT_APPLIED,
            NotSubmittedError("…"),
            "line 17, COMMENT, case 7: not applied (it was not sent); it had no effect: it may be sent again",
        ),
        (
            Disposition.NOT_APPLIED,
            ActionIdConflictError("…"),
            (
                "line 17, COMMENT, case 7: not applied (its action_id was used for other content); "
                "it had no effect: give it an action_id of its own"
            ),
        ),
    ],
)
def test_says_what_to_do_about_each(disposition: Disposition, error: ConfirmaError, line: str) -> None:
    """Whatever was not accepted is told with its place, code and case, and with what to do about it."""
    assert told(disposition, error).splitlines()[-1] == line


def test_what_was_not_sent_now_stands_beside_its_count() -> None:
    """Ends that the journal knew from before are told with each count, and with each action."""
    account = Account()
    for number in range(3):
        account.add(number, ActionOutcome(Comment(invoice_number=1, case_id=7), "a", Disposition.UNKNOWN, 1))
    known = ActionOutcome(Comment(invoice_number=1, case_id=7), "id-4", Disposition.UNKNOWN, 1, from_journal=True)
    account.add(4, known)
    told = list(account_lines(account, unit=None))
    assert "unknown               4  (1 of them known from the journal, NOT sent now)" in told
    assert told[-1].startswith("action id-4, COMMENT, case 7: unknown (known from the journal); it may have")


def test_tells_no_more_than_twenty_of_a_kind() -> None:
    """After 20 of a kind the rest is told by its number."""
    lines = told(Disposition.UNKNOWN, AmbiguousAnswerError("…"), times=25).splitlines()
    assert sum("case 7: unknown" in line for line in lines) == 20
    assert lines[-1].startswith("... and 5 more unknown: it may have taken effect")


def test_comments_are_never_told() -> None:
    """A summary holds no comment text."""
    assert "secret" not in told(Disposition.REJECTED, RefusedError("…", 400))


def test_a_strange_code_is_made_harmless() -> None:
    """A code that a file made up cannot fill the screen, or steer the terminal."""
    line = told(Disposition.UNKNOWN, None, RawAction(code="\x1b[31m" + "x" * 500, data={})).splitlines()[-1]
    assert line.startswith("line 17, \\x1b[31m")
    assert len(line) < 200


def test_reasons_are_a_few_words() -> None:
    """Why an action was not accepted is told by what the service answered, where it did."""
    assert reason_of(ServiceUnavailableError("…", 503)) == "answered 503"
    assert reason_of(ServiceUnavailableError("…")) == "the service was not reached"
