"""Outcomes against a ledger."""

from collections.abc import Sequence

import pytest

from confirma_async import ActionOutcome, Comment, Disposition
from confirma_async.cli.audit import audit
from confirma_async.cli.workload import day_of_work
from confirma_async.codes import ActionCode

A, B, C, D = (Comment(invoice_number=1, case_id=1, comment=text) for text in "abcd")
OTHER = Comment(invoice_number=2, case_id=2, comment="other")


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
        (TRUE, [A, B, C], "1 actions are reported without effect, and are there"),
        (TRUE, [A, B, Comment(invoice_number=9, case_id=9)], "1 actions are there, and nobody submitted them"),
        (TRUE, [B, A], "1 actions are there in another order than that of their case"),
    ],
)
def test_finds_every_contradiction(outcomes: Sequence[ActionOutcome], ledger: Sequence[Comment], told: str) -> None:
    """An account that the ledger does not bear out is told to be untrue, and how."""
    assert audit([A, B, C, D, OTHER], outcomes, ledger).contradictions == (told,)


def test_the_day_of_work_is_mixed_and_repeatable() -> None:
    """The demo's actions are of all seven codes, several to a case, no two alike, and the same each time."""
    work = list(day_of_work(2_000, seed=1))
    assert work == list(day_of_work(2_000, seed=1))
    assert work != list(day_of_work(2_000, seed=2))
    assert {action.code for action in work} == set(ActionCode)
    assert len(set(work)) == len({action.comment for action in work}) == 2_000
    assert 2 < 2_000 / len({action.case_id for action in work}) < 6
