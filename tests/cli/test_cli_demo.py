"""`confirma demo`: a day's work, and an account that the ledger bears out."""

import re

import pytest

from confirma_async import ActionOutcome, Comment, Disposition
from confirma_async.cli import demo_command
from confirma_async.cli.account import Account
from confirma_async.cli.app import run
from confirma_async.cli.demo_command import demo_lines
from confirma_async.sandbox import Ledger, audit


def _counts(told: str) -> list[tuple[str, str]]:
    return re.findall(r"^(\w.*?)  +([\d,]+)$", told, re.MULTILINE)


def test_the_demo_agrees_with_its_ledger(capsys: pytest.CaptureFixture[str]) -> None:
    """10,000 actions, an outage, an expired token and three refusals end in an account that the ledger bears out."""
    assert run(["demo"]) == 0
    told = capsys.readouterr().out
    counts = {name: int(number.replace(",", "")) for name, number in _counts(told)}
    assert counts["in all"] == 10_000
    assert counts["rejected"] == 3
    assert 0 < counts["unknown"] <= 400, "no more than was in flight as the outage began"
    assert counts["accepted"] == 10_000 - 3 - counts["unknown"]
    assert f"ledger: {counts['accepted']:,} effects" in told
    assert "Account and ledger agree." in told
    assert f"The ledger has 0 of them, and {counts['unknown']:,} not" in told
    assert "1 token renewal" in told


def test_a_false_account_is_told_and_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Were an accepted action missing from the ledger, the demo would say so and exit with 1."""
    monkeypatch.setattr(demo_command, "ACTIONS", 300)
    monkeypatch.setattr(demo_command, "_OUTAGE_SECONDS", 0.1)
    monkeypatch.setattr(Ledger, "__iter__", lambda ledger: iter(ledger.effects[1:]))
    assert run(["demo"]) == 1
    told = capsys.readouterr().out
    assert "Account and ledger do NOT agree:\n  1 actions are reported accepted, and are not there" in told


def test_unknown_actions_are_told_with_what_the_ledger_has() -> None:
    """Of each unknown action that is shown, the demo says whether it took effect after all."""
    applied, absent = (Comment(invoice_number=1, case_id=number, comment="c") for number in (1, 2))
    outcomes = [ActionOutcome(action, "", Disposition.UNKNOWN, 1) for action in (applied, absent)]
    account = Account()
    for number, outcome in enumerate(outcomes, 1):
        account.add(number, outcome)
    told = list(demo_lines(account, audit([applied, absent], outcomes, [applied])))
    assert "The ledger has 1 of them, and 1 not; only a look at it can tell, such as:" in told
    assert "  COMMENT, case 1: unknown; in the ledger" in told
    assert "  COMMENT, case 2: unknown; not in the ledger" in told
