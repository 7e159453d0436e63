"""Each entry counted once, by its end."""

from confirma_async import ActionOutcome, Comment, Disposition, NotSubmittedError, RefusedError
from confirma_async.cli.account import Account, NumberBook


def comment(number: int, action_id: str | None = None) -> Comment:
    return Comment(invoice_number=number, case_id=number, comment="c", action_id=action_id)


def test_counts_everything_and_keeps_the_first_problems() -> None:
    """The counts are complete, and the first 20 problems of each disposition are kept with their numbers."""
    account = Account()
    account.add_mistaken()
    for number in range(1, 31):
        account.add(number, ActionOutcome(comment(number), "", Disposition.REJECTED, 1, RefusedError("no", 400)))
        account.add(number, ActionOutcome(comment(number), "", Disposition.ACCEPTED, 1))
    assert (account.total, account.accepted, account.with_mistakes) == (61, 30, 1)
    assert [problem.number for problem in account.problems[Disposition.REJECTED]] == list(range(1, 21))
    assert account.problems[Disposition.ACCEPTED] == []


def test_tells_what_was_sent_from_what_was_known() -> None:
    """What the journal knew from before, and what was never sent, is not counted as sent."""
    account = Account()
    account.add(1, ActionOutcome(comment(1), "", Disposition.ACCEPTED, 2))
    account.add(2, ActionOutcome(comment(2), "", Disposition.ACCEPTED, 1, from_journal=True))
    account.add(3, ActionOutcome(comment(3), "", Disposition.NOT_APPLIED, 0, NotSubmittedError("closed")))
    assert (account.total, account.sent, account.not_sent_now) == (3, 1, 1)
    assert account.from_journal == {Disposition.ACCEPTED: 1}


def test_finds_the_entry_of_an_outcome() -> None:
    """An outcome finds its entry by its action, also where equal actions are under way, and is then forgotten."""
    book = NumberBook()
    first, second = comment(1), comment(1)
    book.note(first, 10)
    book.note(second, 20)
    assert (book.take(second), book.take(first)) == (20, 10)
    assert len(book) == 0


def test_an_id_that_came_twice_has_two_entries() -> None:
    """Two entries of one id end with the action of the first, and each is told of once."""
    book = NumberBook()
    first, again = comment(1, "e"), comment(1, "e")
    book.note(first, 10)
    book.note(again, 20)
    assert (book.take(first), book.take(first)) == (10, 20)
    assert len(book) == 0


def test_an_id_used_for_other_content_keeps_its_own_entry() -> None:
    """Where a second action of an id ends by itself, it is told with its own number."""
    book = NumberBook()
    first, other = comment(1, "e"), comment(2, "e")
    book.note(first, 10)
    book.note(other, 20)
    assert (book.take(other), book.take(first)) == (20, 10)
