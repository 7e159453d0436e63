"""Ordinary code of a user, as the strict type checker sees it: it runs over this file with the rest of the tests."""

from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

import pytest
from mypy import api

import confirma_async
from confirma_async import (
    Action,
    ActionEnded,
    ActionError,
    ActionOutcome,
    ActionRejectedError,
    BatchPolicy,
    Comment,
    ConfirmaClient,
    ConfirmaError,
    DirectPayment,
    Disposition,
    DispositionPolicy,
    DrainReport,
    DueDate,
    EffectClass,
    Environment,
    Event,
    FileTokenStore,
    InvalidActionError,
    MemoryTokenStore,
    RateLimitedError,
    RatePolicy,
    RawAction,
    RetryPolicy,
    Statistics,
    Timeouts,
    Violation,
    Withdraw,
    violations,
)

# --- what a user writes; that it checks is the test -------------------------------------------------------------------


def actions_of_a_day() -> list[Action]:
    """Actions of different kinds are one list."""
    paid = DirectPayment(
        invoice_number=123456789,
        case_id=12345,
        comment="Payment received via bank transfer",
        payment_method="Bankgiro",
        amount="250.75",
        currency="SEK",
        payment_date="2026-02-09",
        reference="BANKREF-88921",
        outstanding_capital_amount=0,
        outstanding_interest_amount=Decimal("1.50"),
        outstanding_costs_amount=2.5,
    )
    moved = DueDate(invoice_number=1, case_id=2, due_date=date(2026, 3, 15), action_id="event-77")
    assert_type(paid.amount, Decimal)
    assert_type(paid.payment_date, date)
    assert_type(moved.due_date, date)
    assert_type(moved.case_id, int)
    raw = RawAction(code="TOMORROW", data={"caseId": 7, "more": [Decimal("1.5"), None]})
    assert_type(raw.case_id, int | None)
    actions: list[Action] = [paid, moved, Withdraw(invoice_number=1, case_id=2), raw]
    assert_type(violations(actions[0]), tuple[Violation, ...])
    return actions


def made_client(path: Path) -> ConfirmaClient:
    """A client with every policy set."""

    def listen(event: Event) -> None:
        if isinstance(event, ActionEnded):
            assert_type(event.disposition, Disposition)

    return ConfirmaClient(
        environment=Environment.PRODUCTION,
        token=FileTokenStore(path),
        batch=BatchPolicy(linger=0.05, alone={"DIRECTPAYMENT"}, when_full="raise"),
        retry=RetryPolicy(attempts=1),
        rate=RatePolicy(requests_per_second=5),
        timeouts=Timeouts(total=30),
        disposition=DispositionPolicy(effects={"WITHDRAW": EffectClass.APPEND}),
        on_event=listen,
    )


async def send_and_push(client: ConfirmaClient, stream: AsyncIterator[Action]) -> DrainReport:
    """Both ways to submit, and every error that a caller tells apart."""
    async with client as confirma:
        assert_type(confirma, ConfirmaClient)
        try:
            outcome = await confirma.actions.send(Comment(invoice_number=1, case_id=2, comment="Hei"))
            assert_type(outcome, ActionOutcome)
        except InvalidActionError as error:
            assert_type(error.violations, tuple[Violation, ...])
        except ActionRejectedError as error:
            assert_type(error.outcome, ActionOutcome | None)
        except ActionError as error:
            if error.outcome is not None and isinstance(error.outcome.error, RateLimitedError):
                assert_type(error.outcome.error.retry_after, float | None)
        async for outcome in confirma.actions.push(actions_of_a_day()):
            assert_type(outcome.action, Action)
            assert_type(outcome.error, ConfirmaError | None)
        async for outcome in confirma.actions.push(stream):
            assert_type(outcome, ActionOutcome)
        assert_type(await confirma.actions.post(actions_of_a_day()), list[ActionOutcome])
        await confirma.actions.flush()
        assert_type(await confirma.token.validate(), bool)
        await confirma.token.renew()
        assert_type(await confirma.request("GET", "/payments", params={"fromDate": "2026-01-01"}), Any)
        assert_type(confirma.statistics(), Statistics)
        assert_type(await confirma.actions.drain(grace=5), DrainReport)
    return await client.close()


# --- what runs --------------------------------------------------------------------------------------------------------


def test_ordinary_use_runs_and_checks(tmp_path: Path) -> None:
    """What a user writes without a second thought passes the strict type checker, and does what it says."""
    actions = actions_of_a_day()
    assert [action.code for action in actions] == ["DIRECTPAYMENT", "DUEDATE", "WITHDRAW", "TOMORROW"]
    assert all(violations(action) == () for action in actions)
    assert made_client(tmp_path / "token").statistics().waiting_actions == 0


WRONG_USE = {
    "a case that is text": 'Comment(invoice_number=1, case_id="2")',
    "a payment without its amount": "DueDate(invoice_number=1, case_id=2)",
    "members by position": "Comment(1, 2)",
    "a date that is nothing": "DueDate(invoice_number=1, case_id=2, due_date=None)",
    "a client without an environment": 'ConfirmaClient(token="x")',
    "an environment that is text": 'ConfirmaClient(environment="staging", token="x")',
    "a wish that there is not": 'BatchPolicy(when_full="drop")',
    "a change of a value": "Comment(invoice_number=1, case_id=2).case_id = 3",
    "an outcome that was not awaited": "client().actions.send(Comment(invoice_number=1, case_id=2)).disposition",
}


def test_wrong_use_is_told_before_it_runs(tmp_path: Path) -> None:
    """Each of these mistakes is found by the strict type checker, because the package ships its types."""
    lines = ["from confirma_async import BatchPolicy, Comment, ConfirmaClient, DueDate", ""]
    lines += ["def client() -> ConfirmaClient: ...", "def wrong() -> None:"]
    lines += [f"    {line}" for line in WRONG_USE.values()]
    source = tmp_path / "wrong_use.py"
    source.write_text("\n".join(lines), encoding="utf-8")
    report, problems, status = api.run(
        [
            "--strict",
            "--config-file=",
            "--no-error-summary",
            "--hide-error-context",
            "--follow-imports=silent",
            "--disable-error-code=empty-body",
            f"--cache-dir={tmp_path / 'cache'}",
            str(source),
        ]
    )
    assert (status, problems) == (1, ""), problems or report
    told = {int(line.split(":")[1]) for line in report.splitlines() if ": error: " in line}
    expected = dict(enumerate(WRONG_USE, lines.index("def wrong() -> None:") + 2))
    assert {words for line, words in expected.items() if line not in told} == set()
    assert told == set(expected), report


def test_the_package_says_that_it_is_typed() -> None:
    """The marker that tells type checkers to look is beside the code."""
    assert (Path(confirma_async.__file__).parent / "py.typed").is_file()


async def test_a_client_that_is_not_open_says_so() -> None:
    """The code above on a client that was never opened ends in a clear error, and sends nothing."""
    client = ConfirmaClient(environment=Environment.STAGING, token=MemoryTokenStore("token"))
    with pytest.raises(confirma_async.ClientStateError, match="not open"):
        await client.actions.send(Comment(invoice_number=1, case_id=2))
