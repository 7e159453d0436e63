"""Outcomes against a ledger."""

from collections.abc import Sequence

import pytest

from confirma_async import Action, ActionOutcome, Comment, Disposition, DispositionPolicy, DueDate, RawAction, Withdraw
from confirma_async.cli.workload import day_of_work
from confirma_async.codes import ActionCode
from confirma_async.sandbox import audit
from confirma_async.sandbox.audit import actions_in

A, B, C, D = (Comment(invoice_number=1, case_id=1, comment=text) for text in "abcd")
OTHER = Comment(invoice_number=2, case_id=2, comment="other")
FOREIGN = Comment(invoice_number=9, case_id=9)


def ended(disposition: Disposition, *actions: Comment) -> list[ActionOutcome]:
    return [ActionOutcome(action, "", disposition, 1) for action in actions]


TRUE = [
    *ended(Disposition.ACCEPTED, B, A),
    *ended(Disposition.REJECTED, C),
    *ended(Disposition.UNKNOWN, D, OTHER),
]


def test_a_true_account_agrees() -> None:
    """Accepted actions stand in the ledger once, refused ones not, and of the unknown ones it tells which do."""
    found = audit([A, B, C, D, OTHER], TRUE, [A, OTHER, B])
    assert found.agrees
    assert (found.effects, found.accepted) == (3, 2)
    assert [outcome.action for outcome in found.unknown_applied] == [OTHER]
    assert [outcome.action for outcome in found.unknown_absent] == [D]


@pytest.mark.parametrize(
    ("outcomes", "ledger", "told"),
    [
        (TRUE[1:], [A], "1 actions were submitted and have no outcome"),
        ([*TRUE, TRUE[0]], [A, B], "1 actions have more than one outcome"),
        (TRUE, [A], "1 actions are reported accepted, and are not there"),
        (TRUE, [A, B, B], "1 actions are there more than once"),
        (TRUE, [A, B, D, D], "1 actions are there more than once"),
        ([*TRUE, *ended(Disposition.REJECTED, FOREIGN)], [A, B], "1 actions have more than one outcome"),
        (TRUE, [A, B, C], "1 actions are reported without effect, and are there"),
        (TRUE, [A, B, FOREIGN], "1 actions are there, and nobody submitted them"),
        (TRUE, [B, A], "1 actions are there in another order than that of their case"),
    ],
)
def test_finds_every_contradiction(outcomes: Sequence[ActionOutcome], ledger: Sequence[Comment], told: str) -> None:
    """An account that the ledger does not bear out is told to be untrue, and how."""
    assert audit([A, B, C, D, OTHER], outcomes, ledger).contradictions == (told,)


def test_an_unknown_action_was_in_a_body() -> None:
    """Where the bodies are known, an action that was in none of them cannot be unknown."""
    submitted = [A, B, C, D, OTHER]
    assert audit(submitted, TRUE, [A, B], received=[A, B, D, OTHER]).agrees
    found = audit(submitted, TRUE, [A, B], received=[A, B, D])
    assert found.contradictions == ("1 actions are reported unknown, and were never sent",)
    assert (found.lost, found.false, found.doubled, found.disordered) == (0, 1, 0, 0)


def test_a_harmless_action_may_take_effect_again() -> None:
    """A withdrawal may stand there twice, a comment only where the client was told that it does no harm."""
    withdrawal = Withdraw(invoice_number=1, case_id=1)
    outcomes = [ActionOutcome(action, "", Disposition.ACCEPTED, 2) for action in (withdrawal, A)]
    assert audit([withdrawal, A], outcomes, [withdrawal, A, withdrawal]).agrees
    assert audit([withdrawal, A], outcomes, [withdrawal, A, A]).doubled == 1
    lenient = DispositionPolicy(assume_idempotent=True)
    assert audit([withdrawal, A], outcomes, [withdrawal, A, A], disposition=lenient).agrees


def test_a_harmless_action_without_effect_has_none() -> None:
    """Refused, even a withdrawal stands nowhere."""
    withdrawal = Withdraw(invoice_number=1, case_id=1)
    refused = [ActionOutcome(withdrawal, "", Disposition.REJECTED, 1)]
    assert audit([withdrawal], refused, [withdrawal, withdrawal]).contradictions == (
        "1 actions are reported without effect, and are there",
    )


def test_equal_actions_are_counted() -> None:
    """Of several equal ones there may be as many as were accepted or are unknown."""
    ends = [*ended(Disposition.ACCEPTED, A, A), *ended(Disposition.NOT_APPLIED, A), *ended(Disposition.UNKNOWN, A)]
    for effects, told in ((1, "accepted, and are not there"), (4, "without effect, and are there"), (5, "more than")):
        assert any(told in words for words in audit([A] * 4, ends, [A] * effects).contradictions)
    assert audit([A] * 4, ends, [A] * 2).agrees
    assert audit([A] * 4, ends, [A] * 3).agrees


def test_an_order_is_that_of_first_effects_within_a_case() -> None:
    """A repeat may come late; another case, or no case at all, has no order."""
    first, second = (DueDate(invoice_number=1, case_id=1, due_date=day) for day in ("2026-01-01", "2026-01-02"))
    raw = [RawAction(code="NEW", data={"n": n}) for n in range(2)]
    submitted: list[Action] = [first, second, *raw]
    outcomes = [ActionOutcome(action, "", Disposition.ACCEPTED, 1) for action in submitted]
    assert audit(submitted, outcomes, [raw[1], first, second, raw[0], first]).agrees
    assert audit(submitted, outcomes, [*raw, second, first]).disordered == 1


def test_actions_are_told_apart_by_what_the_wire_says() -> None:
    """An id does not count, nor an empty comment; a raw action is the named one that it spells."""
    spelled = RawAction(code="COMMENT", data={"caseId": 1, "invoiceNumber": 1}, comment="a", action_id="mine")
    empty = Comment(invoice_number=3, case_id=3, comment="")
    ends = [ActionOutcome(action, "", Disposition.ACCEPTED, 1) for action in (spelled, empty)]
    assert audit([spelled, empty], ends, [A, Comment(invoice_number=3, case_id=3)]).agrees


def test_a_raw_action_that_spells_no_action_stands_for_itself() -> None:
    """What was sent unchecked, and is no action the service knows, is audited like any other."""
    broken = RawAction(code="COMMENT", data={"n": 1})
    assert audit([broken], [ActionOutcome(broken, "", Disposition.REJECTED, 1)], []).agrees


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b"{}", b'{"actions":1}', b'{"actions":[1,{"code":1}]}'])
def test_a_body_that_is_none_of_ours_holds_no_action(body: bytes) -> None:
    """Whatever else was sent to a sandbox does not disturb its audit."""
    assert list(actions_in(body)) == []


def test_the_day_of_work_is_mixed_and_repeatable() -> None:
    """The demo's actions are of all seven codes, several to a case, no two alike, and the same each time."""
    work = list(day_of_work(2_000, seed=1))
    assert work == list(day_of_work(2_000, seed=1))
    assert work != list(day_of_work(2_000, seed=2))
    assert {action.code for action in work} == set(ActionCode)
    assert len(set(work)) == len({action.comment for action in work}) == 2_000
    assert 2 < 2_000 / len({action.case_id for action in work}) < 6
