"""What is told of an action in a journal."""

import json
import time
from collections.abc import Iterator

import pytest

from confirma_async import Action, Comment, RawAction
from confirma_async._core.assumptions import Assumptions
from confirma_async._core.journal import JournalRecord, State
from confirma_async._core.wire import encode_action
from confirma_async.cli.listing import listed_json, listed_lines
from tests.actions import payment


@pytest.fixture(autouse=True)
def _in_stockholm() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TZ", "Europe/Stockholm")
        time.tzset()
        yield
    time.tzset()


def record(
    action: Action | None, *, state: State = State.UNKNOWN, reason: str = "", attempts: int = 1
) -> JournalRecord:
    return JournalRecord(
        number=1,
        action_id=f"line-{'0' * 32}-1",
        state=state,
        attempts=attempts,
        changed=1_770_000_000.0,
        content=None if action is None else encode_action(action, Assumptions()),
        reason=reason,
    )


def test_three_lines_of_80_columns() -> None:
    """An action is told with its id, code, case, amount and day, attempts, local time, and a person's reason."""
    told = list(listed_lines(record(payment(123_456_789), reason="seen")))
    assert told == [
        "line-00000000000000000000000000000000-1  unknown",
        "    DIRECTPAYMENT, case 123456789, invoice 123456789, 250.75 SEK on 2026-02-09",
        "    1 attempt, 2026-02-02 03:40:00 CET: seen",
    ]
    assert max(map(len, told)) <= 80


def test_json_lines_hold_the_same() -> None:
    """With --json an action is one line of JSON, its amount a number, its time with the offset."""
    assert json.loads(listed_json(record(payment(7)))) == {
        "id": f"line-{'0' * 32}-1",
        "state": "unknown",
        "code": "DIRECTPAYMENT",
        "case": 7,
        "invoice": 7,
        "amount": 250.75,
        "currency": "SEK",
        "date": "2026-02-09",
        "attempts": 1,
        "when": "2026-02-02T03:40:00+01:00",
        "reason": "",
    }


SECRET = "anna@example.com"


@pytest.mark.parametrize(
    "action",
    [
        Comment(invoice_number=1, case_id=2, comment=SECRET),
        RawAction(code="X", data={"reference": SECRET, "currency": SECRET, "paymentDate": SECRET, "caseId": SECRET}),
        RawAction(code="X", comment=SECRET, data={"amount": SECRET, "invoiceNumber": [SECRET]}),
    ],
)
def test_nothing_that_a_person_wrote_is_told(action: Action) -> None:
    """Comments, references, and whatever stands where a number or a currency belongs, stay in the journal."""
    kept = record(action)
    assert SECRET not in listed_json(kept)
    assert SECRET not in "\n".join(listed_lines(kept))


def test_an_accepted_action_has_its_id_alone() -> None:
    """Of what was accepted the content is gone, and the rest is told."""
    assert list(listed_lines(record(None, state=State.ACCEPTED))) == [
        "line-00000000000000000000000000000000-1  accepted",
        "    1 attempt, 2026-02-02 03:40:00 CET",
    ]


def test_what_is_queued_was_not_sent() -> None:
    """An action that waits has no attempts, and is told so."""
    told = list(listed_lines(record(payment(1), state=State.QUEUED, attempts=0)))
    assert told[-1] == "    not sent yet, 2026-02-02 03:40:00 CET"
