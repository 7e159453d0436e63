"""A look at a journal that changes nothing."""

from pathlib import Path

from confirma_async import Comment, Environment, SqliteJournal
from confirma_async._core.assumptions import Assumptions
from confirma_async._core.batch import Submission
from confirma_async._core.journal import JournalTarget, State
from confirma_async._core.wire import encode_action
from confirma_async.cli.journal_view import JournalView
from confirma_async.codes import EffectClass

TARGET = JournalTarget(Environment.STAGING, "https://x/y")


def submission(number: int) -> Submission:
    action = Comment(invoice_number=number, case_id=number, comment="c", action_id=f"id-{number}")
    return Submission(
        action=action,
        action_id=f"id-{number}",
        encoded=encode_action(action, Assumptions()),
        effect=EffectClass.APPEND,
        entered=0.0,
        owners=[],
        lingers=False,
        case=number,
    )


async def test_what_is_being_sent_depends_on_who_is_there(tmp_path: Path) -> None:
    """While its process is there, an action is being sent; without it, it is UNKNOWN, and stays written as it was."""
    path = tmp_path / "journal"
    journal = SqliteJournal(path)
    await journal.open(TARGET)
    await journal.begin([submission(number) for number in range(1, 4)])
    with JournalView(str(path)) as view:
        assert view.is_in_use
        assert view.counts() == {State.SENDING: 3}
    # As a crash leaves it: the log stands beside it.
    for name in ("journal", "journal-wal"):
        (tmp_path / f"left-{name}").write_bytes((tmp_path / name).read_bytes())
    await journal.close()
    for _ in range(2):
        with JournalView(str(tmp_path / "left-journal")) as view:
            assert not view.is_in_use
            assert view.counts() == {State.UNKNOWN: 3}
            assert [record.action_id for record in view.all_in(State.UNKNOWN)] == ["id-1", "id-2", "id-3"]
            assert list(view.all_in(State.SENDING)) == []


async def test_reads_page_by_page(tmp_path: Path) -> None:
    """A journal of any size is read in order, a page at a time."""
    path = tmp_path / "journal"
    journal = SqliteJournal(path, durability="process")
    await journal.open(TARGET)
    await journal.enqueue([submission(number) for number in range(1, 1_202)])
    await journal.close()
    with JournalView(str(path)) as view:
        assert view.target() == TARGET
        assert [record.number for record in view.all_in(State.QUEUED)] == list(range(1, 1_202))
        assert view.size > 100_000
