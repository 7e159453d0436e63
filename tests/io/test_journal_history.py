"""The journal's file against a model of it, through histories of attempts, ends, decisions and crashes."""

import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from confirma_async import Environment, JournalError
from confirma_async._core.journal import JournalTarget, State
from confirma_async._io.journal_file import JournalFile

TARGET = JournalTarget(Environment.STAGING, "https://host")
ENDS = [State.ACCEPTED, State.REJECTED, State.NOT_APPLIED, State.UNKNOWN]

ids = st.lists(
    st.sampled_from(["a", "b", "c", "d", "e", "å 'quoted\"", "x" * 255]), min_size=1, max_size=5, unique=True
)
contents = st.sampled_from([b"one", b"two"])


@define
class Known:
    content: bytes
    state: State
    attempts: int
    in_charge: bool = False


class JournalHistory(RuleBasedStateMachine):
    """What was written is what is read, and nothing is sent that must not be."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="journal-history-"))
        self.path = self.folder / "journal"
        self.file = self.opened()
        self.model: dict[str, Known] = {}
        self.crashes = 0
        self.now = 0.0

    def opened(self) -> JournalFile:
        file = JournalFile(self.path, durability="process")
        file.open(TARGET)
        return file

    def teardown(self) -> None:
        self.file.close()
        shutil.rmtree(self.folder)

    def runs(self, action_id: str) -> bool:
        return action_id in self.model and self.model[action_id].state is State.SENDING

    @rule(action_ids=ids, content=contents)
    def begin(self, action_ids: list[str], content: bytes) -> None:
        """An attempt starts, the next one of those that are being sent."""
        batch = [(i, content, self.model[i].attempts if self.runs(i) else 0) for i in action_ids]
        [answers] = self.file.in_transaction([lambda: self.file.begin(batch, self.now)])
        assert isinstance(answers, list)
        for (action_id, _, made), answer in zip(batch, answers, strict=True):
            known = self.model.get(action_id)
            if known is None or (
                known.content == content and known.state in (State.QUEUED, State.SENDING, State.NOT_APPLIED)
            ):
                assert answer is None
                self.model[action_id] = Known(content, State.SENDING, made + 1, known is not None and known.in_charge)
            else:
                assert answer is not None
                assert (answer.state, answer.attempts) == (known.state, known.attempts)

    @rule(action_ids=ids, state=st.sampled_from(ENDS), is_left=st.booleans())
    def end(self, action_ids: list[str], state: State, is_left: bool) -> None:
        """An attempt is over; what was not being sent stays, and what the journal is in charge of may go again."""
        in_charge = State.QUEUED if is_left and state is State.NOT_APPLIED else state
        ends = [(i, in_charge, state, self.model[i].attempts if i in self.model else 0) for i in action_ids]
        self.file.in_transaction([lambda: self.file.end(ends, self.now)])
        for known in [self.model[i] for i in filter(self.runs, action_ids)]:
            known.state = in_charge if known.in_charge else state
            known.in_charge = known.in_charge and known.state is State.QUEUED

    @rule(action_ids=ids, content=contents)
    def enqueue(self, action_ids: list[str], content: bytes) -> None:
        """Actions are handed over, all of them or none."""
        batch = [(i, content, 0) for i in action_ids]
        self.file.in_transaction([lambda: self.file.enqueue(batch, self.now)])
        if all(self.model[i].content == content for i in action_ids if i in self.model):
            for action_id in action_ids:
                known = self.model.get(action_id)
                if known is None or known.state is State.NOT_APPLIED:
                    self.model.pop(action_id, None)
                    self.model[action_id] = Known(content, State.QUEUED, 0)
                self.model[action_id].in_charge = True

    @rule(action_ids=ids, state=st.sampled_from([State.ACCEPTED, State.NOT_APPLIED, State.QUEUED]))
    def settle(self, action_ids: list[str], state: State) -> None:
        """A person decides, about all of them or none."""
        before = State.NOT_APPLIED if state is State.QUEUED else State.UNKNOWN
        may = all(i in self.model and self.model[i].state is before for i in action_ids)
        [result] = self.file.in_transaction([lambda: self.file.settle(action_ids, state, "because", self.now)])
        assert isinstance(result, JournalError) is not may
        if may:
            for action_id in action_ids:
                self.model[action_id].state = state
                self.model[action_id].in_charge = state is State.QUEUED

    @rule()
    def fail(self) -> None:
        """A transaction that fails at its end leaves nothing of what was done before."""

        def broken() -> Sequence[object]:
            raise sqlite3.OperationalError("disk I/O error")

        with pytest.raises(JournalError, match="disk I/O error"):
            self.file.in_transaction(
                [lambda: self.file.enqueue([("a", b"lost", 0), ("new", b"lost", 0)], self.now), broken]
            )

    @rule()
    def prune(self) -> None:
        """Ends are forgotten, and nothing else is."""
        self.now += 1
        self.file.in_transaction([lambda: self.file.prune(self.now)])
        forgotten = (State.ACCEPTED, State.REJECTED, State.NOT_APPLIED)
        self.model = {i: known for i, known in self.model.items() if known.state not in forgotten}

    @rule(dies=st.booleans())
    def end_of_process(self, dies: bool) -> None:
        """It is closed, or its process dies: what was being sent is unknown then, and nothing else changes."""
        old, self.crashes = self.path, self.crashes + 1
        if dies:
            self.path = self.folder / f"journal-{self.crashes}"
            for suffix in ("", "-wal", "-mark"):
                if Path(f"{old}{suffix}").exists():
                    shutil.copy(f"{old}{suffix}", f"{self.path}{suffix}")
        self.file.close()
        self.file = self.opened()
        [left] = self.file.in_transaction([lambda: self.file.recover(self.now)])
        assert isinstance(left, list)
        running = {i for i, known in self.model.items() if known.state is State.SENDING}
        assert {record.action_id for record in left} == running
        for action_id in running:
            self.model[action_id].state = State.UNKNOWN

    @invariant()
    def what_is_kept_is_what_was_written(self) -> None:
        found = {
            record.action_id: record for state in State for record in self.file.records(state, after=0, at_most=-1)
        }
        assert {i: (record.state, record.attempts) for i, record in found.items()} == {
            i: (known.state, known.attempts) for i, known in self.model.items()
        }
        for action_id, record in found.items():
            known = self.model[action_id]
            assert record.content == (None if known.state is State.ACCEPTED else known.content)
        assert sum(self.file.counts().values()) == len(self.model)

    @invariant()
    def what_is_queued_stands_in_its_order(self) -> None:
        records = self.file.records(State.QUEUED, after=0, at_most=-1)
        assert [record.number for record in records] == sorted({record.number for record in records})


JournalHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_what_was_written_is_what_is_read = JournalHistory.TestCase
