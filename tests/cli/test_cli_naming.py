"""Ids for lines that have none."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from confirma_async import Action, Comment, RawAction
from confirma_async.cli.naming import LineNames


def comment(text: str, action_id: str | None = None) -> Comment:
    return Comment(invoice_number=1, case_id=2, comment=text, action_id=action_id)


def names_of(actions: Sequence[Action]) -> list[str | None]:
    with LineNames() as names:
        return [names.named(action).action_id for action in actions]


TEXTS = st.lists(st.sampled_from("abc"), max_size=12)


@given(TEXTS, TEXTS, TEXTS)
def test_other_lines_move_nobodys_id(before: list[str], between: list[str], after: list[str]) -> None:
    """Inserting or deleting other lines leaves the ids of a line's equals as they were."""
    own = [comment("own"), comment("own")]

    def others(texts: Sequence[str]) -> list[Comment]:
        return [comment(text) for text in texts]

    mixed = [*others(before), own[0], *others(between), own[1], *others(after)]
    found = names_of(mixed)
    assert [found[len(before)], found[len(before) + 1 + len(between)]] == names_of(own)
    assert len(set(found)) == len(found)


def test_a_line_is_known_by_what_it_says() -> None:
    """The id is made of the content's hash and of which of its equals it is; an id that is given stays."""
    first, second, own, other = names_of([comment("a"), comment("a"), comment("a", "event-1"), comment("b")])
    assert first is not None
    assert second is not None
    assert first.startswith("line-")
    assert first.endswith("-1")
    assert second == f"{first[:-2]}-2"
    assert own == "event-1"
    assert other is not None
    assert other.endswith("-1")


def test_what_is_no_json_gets_no_id() -> None:
    """An action that cannot be written is left to whoever refuses it."""
    assert names_of([RawAction(code="X", data={"x": float})]) == [None]
