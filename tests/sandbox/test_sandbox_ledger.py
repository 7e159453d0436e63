import pytest

from confirma_async.models import Comment, RawAction, Withdraw
from confirma_async.sandbox import Ledger


def comment(case_id: int) -> Comment:
    return Comment(invoice_number=1, case_id=case_id, comment="private")


def filled() -> Ledger:
    ledger = Ledger()
    ledger.append(3, [comment(1), comment(2)], [{"n": 1}, {"n": 2}])
    ledger.append(7, [Withdraw(invoice_number=1, case_id=1)], [{"n": 3}])
    return ledger


def test_effects_are_numbered_in_order_of_application() -> None:
    """An effect tells its place in the ledger, the request that brought it, and what the wire said."""
    ledger = filled()
    told = [(effect.sequence, effect.request, effect.element["n"]) for effect in ledger]
    assert told == [(1, 3, 1), (2, 3, 2), (3, 7, 3)]
    assert ledger[2].action == Withdraw(invoice_number=1, case_id=1)
    assert len(ledger) == 3


def test_effects_is_a_snapshot() -> None:
    """The tuple of effects does not grow with the ledger."""
    ledger = filled()
    before = ledger.effects
    ledger.append(8, [comment(9)], [{}])
    assert len(before) == 3
    assert len(ledger.effects) == 4


def test_a_case_has_its_effects_in_order() -> None:
    """The effects on one case are found without the others, in their order; an unknown case has none."""
    ledger = filled()
    assert [effect.sequence for effect in ledger.for_case(1)] == [1, 3]
    assert ledger.for_case(99) == ()


def test_actions_without_a_case_are_found_too() -> None:
    """Effects of raw actions whose data names no case are those of the case None."""
    ledger = filled()
    ledger.append(8, [RawAction(code="NEW", data={})], [{}])
    assert [effect.sequence for effect in ledger.for_case(None)] == [4]


def test_count_counts_what_the_predicate_finds() -> None:
    """Effects are counted by any property of theirs."""
    assert filled().count(lambda effect: effect.action.code == "COMMENT") == 2


def test_a_counting_ledger_counts_and_refuses_to_guess() -> None:
    """A ledger that keeps no effects still counts, and raises rather than answer that there are none."""
    ledger = Ledger(keep_effects=False)
    ledger.append(1, [comment(1), comment(2)], [{}, {}])
    assert len(ledger) == 2
    for question in (
        lambda: ledger.effects,
        lambda: list(ledger),
        lambda: ledger[0],
        lambda: ledger.for_case(1),
        lambda: ledger.count(bool),
    ):
        with pytest.raises(RuntimeError, match="keep_ledger=False"):
            question()


def test_an_effect_tells_when_its_request_arrived() -> None:
    """The moment is that of the request, the same for all effects of its batch."""
    ledger = Ledger()
    ledger.append(1, [comment(1), comment(2)], [{}, {}], at=12.5)
    assert [effect.at for effect in ledger] == [12.5, 12.5]


def test_repr_shows_no_content() -> None:
    """Neither a ledger nor an effect shows comment texts."""
    ledger = Ledger()
    ledger.append(1, [comment(1)], [{"comment": "private"}])
    assert "private" not in f"{ledger!r}{ledger[0]!r}"
    assert "1 effects" in repr(ledger)
