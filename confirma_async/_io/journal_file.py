"""The journal's file: a SQLite database. Synchronous; `sqlite_journal` drives it in a thread of its own.

What is kept for good (id, hash, state) and what is dropped once an action was accepted (its content) are two tables, so
that the room of the second is used again.
"""

import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from .._core.journal import (
    Entry,
    JournalRecord,
    JournalTarget,
    State,
    content_hash,
    may_queue,
    may_send,
    may_settle,
    state_after_crash,
)
from .._core.wire import encode_json
from ..codes import Environment
from ..errors import JournalError
from .journal_mark import JournalMark

__all__ = ["Attempt", "Durability", "Ended", "JournalFile"]

Durability = Literal["power", "process"]

Attempt = tuple[str, bytes, int]
"""Of an action that is to be sent: its id, its encoded content, and the attempts that were made."""

Ended = tuple[str, State, State, int]
"""Of an action that was sent: its id, its state if the journal is in charge of it, and otherwise, and the attempts."""

_Row = tuple[str, bytes, int, bytes]
"""What is kept of an action that is new: as `Attempt`, and its content's hash."""

T = TypeVar("T")

_APPLICATION_ID = 0x436F6E66
_SCHEMA = 1
_TABLES = """
CREATE TABLE history (writes INTEGER NOT NULL);
INSERT INTO history VALUES (0);
CREATE TABLE target (environment TEXT NOT NULL, base_url TEXT NOT NULL, account TEXT NOT NULL);
CREATE TABLE action (
    action_id TEXT PRIMARY KEY, hash BLOB NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
    changed REAL NOT NULL, number INTEGER NOT NULL, in_charge INTEGER NOT NULL, reason TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE content (number INTEGER PRIMARY KEY, action_id TEXT NOT NULL, content BLOB NOT NULL);
"""

# Both in the order of their numbers; the first one goes through what still has a content, which is little.
_WITH_CONTENT = "content JOIN action USING (action_id, number)"
_ALL = "action LEFT JOIN content USING (action_id, number)"
_PAGE = 500
_PAGE_OF_ACCEPTED = 50_000
"""They have no content, and each page of them goes through all records."""

_MAY_BE_PRUNED = (State.ACCEPTED, State.REJECTED, State.NOT_APPLIED)

_REASONS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_CORRUPT": "it is damaged",
    "SQLITE_NOTADB": "it is no journal, or is damaged",
    "SQLITE_READONLY": "it may not be written",
    "SQLITE_CANTOPEN": "it cannot be opened for reading and writing",
    "SQLITE_BUSY": "another program has locked it",
}


class JournalFile:
    """One open database. Whatever goes wrong is a `JournalError`, and nothing of the call was kept."""

    def __init__(self, path: Path, *, durability: Durability) -> None:
        self._path = path
        self._durability = durability
        self._connection: sqlite3.Connection | None = None
        self._last_number = 0
        self._identity = (0, 0)
        self._writes = 0
        self._mark = JournalMark(Path(f"{path}-mark"))

    # --- life -----------------------------------------------------------------------------------------------------

    def open(self, target: JournalTarget | None) -> None:
        """Open or make it, and bind it to `target`, or check that it is bound to it; None takes it as it is."""
        try:
            self._open(target)
        except BaseException:
            self.close()
            raise

    def _open(self, target: JournalTarget | None) -> None:
        with self._failing("opened"):
            if target is not None:
                self._create()
            elif not self._path.exists():
                raise self._error("opened", "there is no such file")
            self._connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
            )
            if not self._is_empty():
                self._check_format()
            elif target is None:
                raise self._error("opened", "there is nothing in it")
            # What it holds may be personal: nobody else reads it, whoever made it.
            self._path.chmod(0o600)
            self._set_up()
            if target is not None:
                self._bind(target)
            self._last_number = self._value("SELECT max(number) FROM action") or 0

    def _create(self) -> None:
        """Make an empty file with mode 0600 if there is none."""
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def _is_empty(self) -> bool:
        # Also what a process left that was killed while it made it.
        return not self._value("SELECT count(*) FROM sqlite_schema") and self._value("PRAGMA application_id") == 0

    def _check_format(self) -> None:
        if self._value("PRAGMA application_id") != _APPLICATION_ID:
            raise self._error("opened", "it is a database of another program; name another file")
        schema = self._value("PRAGMA user_version")
        if schema != _SCHEMA:
            age = "an older" if schema < _SCHEMA else "a newer"
            raise self._error(
                "opened",
                f"{age} version of confirma_async wrote it (schema {schema}, this one reads {_SCHEMA}); "
                "finish it with that version, or name another file",
            )
        # What is damaged unseen might forget that something was sent.
        if self._value("PRAGMA quick_check(1)") != "ok":
            raise self._error("opened", "it is damaged; look at what it was to keep before anything is sent again")

    def _set_up(self) -> None:
        if self._value("PRAGMA journal_mode = wal") != "wal":
            raise self._error("opened", "its file system cannot keep a write-ahead log; use a local disk")
        self._run("PRAGMA synchronous = full" if self._durability == "power" else "PRAGMA synchronous = normal")
        self._run("PRAGMA fullfsync = on" if self._durability == "power" else "PRAGMA fullfsync = off")
        if self._is_empty():
            self._run("BEGIN IMMEDIATE")
            self._make_tables()
            self._run("COMMIT")
        self._writes = self._value("SELECT writes FROM history")
        self._mark.open()
        if self._mark.writes > self._writes:
            raise self._error(
                "opened",
                "it lacks what was written last: its log (-wal) is gone, or this is an old copy; what was sent since "
                "then is not known: look at the service before anything is sent again, and "
                f"delete {self._mark} to go on",
            )
        status = self._path.stat()
        self._identity = (status.st_dev, status.st_ino)

    def _make_tables(self) -> None:
        for statement in filter(str.strip, _TABLES.split(";")):
            self._run(statement)
        self._run(f"PRAGMA application_id = {_APPLICATION_ID}")
        self._run(f"PRAGMA user_version = {_SCHEMA}")

    def _bind(self, target: JournalTarget) -> None:
        bound = self.target()
        if bound is None:
            values = (target.environment.value, target.base_url, target.account)
            self._run("INSERT INTO target VALUES (?, ?, ?)", values)
        elif bound != target:
            raise self._error("used", f"it is of {bound}, and not of {target}; name another file")

    def close(self) -> None:
        """Let go of it. A second call does nothing."""
        connection, self._connection = self._connection, None
        self._mark.close()
        if connection is not None:
            with self._failing("closed"):
                connection.close()

    def in_transaction(self, changes: Sequence[Callable[[], T]]) -> list[T | Exception]:
        """Make changes, and keep them together.

        Returns:
            For each what it returned, or the error for which nothing of this one was kept.

        Raises:
            JournalError: Nothing of any of them was kept.
        """
        with self._failing("written"):
            self._require_file()
            self._roll_back()
            self._run("BEGIN IMMEDIATE")
            try:
                results = [self._made(change) for change in changes]
                self._run("UPDATE history SET writes = ?", (self._writes + 1,))
                self._run("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    # It is tried again before the next transaction.
                    self._roll_back()
                raise
            self._writes += 1
            self._mark.keep(self._writes)
            return results

    def _require_file(self) -> None:
        """What is written to a file that has no name any more would be forgotten with this process."""
        status = self._path.stat()
        if (status.st_dev, status.st_ino) != self._identity:
            raise self._error("written", "another file was put in its place while it was in use")

    def _roll_back(self) -> None:
        # Some errors have ended the transaction already.
        if self._open_connection.in_transaction:
            self._run("ROLLBACK")

    def _made(self, change: Callable[[], T]) -> "T | Exception":
        self._run("SAVEPOINT change")
        try:
            return change()
        except sqlite3.Error:
            raise
        except Exception as error:  # A mistake of one, which is nobody else's.
            self._run("ROLLBACK TO change")
            return error
        finally:
            if self._open_connection.in_transaction:
                self._run("RELEASE change")

    # --- sending: to be called in a transaction ------------------------------------------------------------------

    def begin(self, batch: Sequence[Attempt], now: float) -> list[Entry | None]:
        """Note that an attempt is about to start; see `Journal.begin`."""
        known = self._known([action_id for action_id, _, _ in batch])
        answers: list[Entry | None] = []
        first: list[_Row] = []
        again: list[tuple[int, float, str]] = []
        for action_id, content, made in batch:
            entry, fingerprint = known.get(action_id), content_hash(content)
            may_go = may_send(entry, fingerprint, attempts=made)
            answers.append(None if may_go else entry)
            if may_go and entry is None:
                first.append((action_id, content, made + 1, fingerprint))
            elif may_go:
                again.append((made + 1, now, action_id))
        self._insert(first, State.SENDING, now)
        self._run_many("UPDATE action SET state = 'sending', attempts = ?, changed = ? WHERE action_id = ?", again)
        return answers

    def end(self, ends: Sequence[Ended], now: float) -> None:
        """Note what attempts made of actions; see `Journal.end`."""
        # Only what is being sent comes to an end here: what is known of anything else stays.
        self._run_many(
            "UPDATE action SET state = CASE WHEN in_charge THEN ? ELSE ? END, in_charge = in_charge AND ?, "
            "attempts = ?, changed = ? WHERE action_id = ? AND state = 'sending'",
            [
                (in_charge.value, otherwise.value, in_charge is State.QUEUED, attempts, now, action_id)
                for action_id, in_charge, otherwise, attempts in ends
            ],
        )
        self._drop_content_of_accepted([action_id for action_id, _, state, _ in ends if state is State.ACCEPTED])

    def enqueue(self, batch: Sequence[Attempt], now: float) -> list[Entry | None]:
        """Note that actions are to be sent; see `DurableJournal.enqueue`."""
        known: dict[str, Entry] = self._known([action_id for action_id, _, _ in batch])
        answers: list[Entry | None] = []
        rows: list[_Row] = []
        for action_id, content, made in batch:
            entry, fingerprint = known.get(action_id), content_hash(content)
            answers.append(entry)
            if entry is not None and entry.content != fingerprint:
                return [*answers, *([None] * (len(batch) - len(answers)))]
            if may_queue(entry):
                rows.append((action_id, content, made, fingerprint))
                known[action_id] = Entry(fingerprint, State.QUEUED, made)
        self._forget([action_id for action_id, *_ in rows])
        self._insert(rows, State.QUEUED, now)
        # Also of what another submission is sending at the moment.
        self._run_many("UPDATE action SET in_charge = 1 WHERE action_id = ?", [(action_id,) for action_id, *_ in batch])
        return answers

    def recover(self, now: float) -> list[JournalRecord]:
        """Note what a crash means for what a former process was sending; what that was."""
        left = self._records(_WITH_CONTENT, "state = ?", (State.SENDING.value,))
        rows = [(state_after_crash(record.state).value, now, record.action_id) for record in left]
        self._run_many("UPDATE action SET state = ?, changed = ? WHERE action_id = ?", rows)
        return left

    # --- looking ----------------------------------------------------------------------------------------------------

    def target(self) -> JournalTarget | None:
        """Where its actions go; None if nobody has said so yet."""
        row = self._run("SELECT environment, base_url, account FROM target").fetchone()
        return None if row is None else JournalTarget(Environment(row[0]), row[1], row[2])

    def counts(self) -> dict[State, int]:
        """How many records there are in each state."""
        with self._failing("read"):
            rows = self._run("SELECT state, count(*) FROM action GROUP BY state").fetchall()
        return {State(state): count for state, count in rows}

    def records(self, state: State, *, after: int, at_most: int) -> list[JournalRecord]:
        """Records in `state`, in order of submission, with numbers above `after`."""
        source = _ALL if state is State.ACCEPTED else _WITH_CONTENT
        with self._failing("read"):
            return self._records(source, "state = ? AND number > ?", (state.value, after), at_most)

    def pages(self, state: State) -> Iterator[list[JournalRecord]]:
        """The same in pages, each read when it is asked for: nobody holds on to one state of the file for long."""
        after, at_most = 0, _PAGE_OF_ACCEPTED if state is State.ACCEPTED else _PAGE
        while page := self.records(state, after=after, at_most=at_most):
            yield page
            after = page[-1].number

    def _records(self, source: str, where: str, parameters: tuple[Any, ...], at_most: int = -1) -> list[JournalRecord]:
        columns = "number, action_id, state, attempts, changed, content, reason, hash"
        sql = f"SELECT {columns} FROM {source} WHERE {where} ORDER BY number LIMIT ?"  # noqa: S608 - our own text
        return [self._record(row) for row in self._run(sql, (*parameters, at_most))]

    def _record(self, row: tuple[Any, ...]) -> JournalRecord:
        number, action_id, state, attempts, changed, content, reason, fingerprint = row
        if not (content is None or (isinstance(content, bytes) and content_hash(content) == fingerprint)):
            raise self._error("read", f"the content of action {action_id!r} is damaged")
        return JournalRecord(
            number=number,
            action_id=action_id,
            state=State(state),
            attempts=attempts,
            changed=changed,
            content=content,
            reason=reason,
        )

    # --- a person's decisions: to be called in a transaction --------------------------------------------------------

    def settle(self, action_ids: Collection[str], state: State, reason: str, now: float) -> int:
        """Put records into `state`, for `reason`: each must be in one that it may follow."""
        known = self._known(action_ids)
        for action_id in action_ids:
            entry = known.get(action_id)
            if entry is None:
                raise self._error("changed", f"it has no action with the id {action_id!r}")
            if not may_settle(entry.state, state):
                raise self._error("changed", f"action {action_id!r} is {entry.state.name}, and cannot be {state.name}")
        rows = [(state.value, now, reason, state is State.QUEUED, action_id) for action_id in action_ids]
        self._run_many("UPDATE action SET state = ?, changed = ?, reason = ?, in_charge = ? WHERE action_id = ?", rows)
        if state is State.ACCEPTED:
            self._drop_content_of_accepted(action_ids)
        return len(rows)

    def prune(self, before: float) -> int:
        """Forget the ends that were written before `before`, other than what is unknown; how many."""
        states = [state.value for state in _MAY_BE_PRUNED]
        old = "changed < ? AND state IN (SELECT value FROM json_each(?))"
        parameters = (before, encode_json(states).decode())
        self._run(f"DELETE FROM content WHERE action_id IN (SELECT action_id FROM action WHERE {old})", parameters)  # noqa: S608
        return self._run(f"DELETE FROM action WHERE {old}", parameters).rowcount  # noqa: S608

    def compact(self) -> None:
        """Give the room of what was forgotten back to the disk; not to be called in a transaction."""
        with self._failing("written"):
            self._run("VACUUM")

    # --- SQL ----------------------------------------------------------------------------------------------------------

    def _known(self, action_ids: Collection[str]) -> dict[str, Entry]:
        rows = self._run(
            "SELECT action_id, hash, state, attempts FROM action WHERE action_id IN (SELECT value FROM json_each(?))",
            (encode_json(list(action_ids)).decode(),),
        )
        return {action_id: Entry(content, State(state), attempts) for action_id, content, state, attempts in rows}

    def _insert(self, rows: Sequence[_Row], state: State, now: float) -> None:
        numbers = range(self._last_number + 1, self._last_number + 1 + len(rows))
        self._run_many(
            "INSERT INTO action (action_id, hash, state, attempts, changed, number, in_charge) "
            "VALUES (?, ?, ?, ?, ?, ?, 0)",
            [
                (action_id, fingerprint, state.value, attempts, now, number)
                for (action_id, _, attempts, fingerprint), number in zip(rows, numbers, strict=True)
            ],
        )
        self._run_many(
            "INSERT INTO content VALUES (?, ?, ?)",
            [(number, action_id, content) for (action_id, content, *_), number in zip(rows, numbers, strict=True)],
        )
        # A transaction that fails leaves a gap, and never a number that was used.
        self._last_number += len(rows)

    def _forget(self, action_ids: Sequence[str]) -> None:
        rows = [(action_id,) for action_id in action_ids]
        self._run_many("DELETE FROM content WHERE number = (SELECT number FROM action WHERE action_id = ?)", rows)
        self._run_many("DELETE FROM action WHERE action_id = ?", rows)

    def _drop_content_of_accepted(self, action_ids: Collection[str]) -> None:
        self._run_many(
            "DELETE FROM content WHERE number = (SELECT number FROM action WHERE action_id = ? AND state = 'accepted')",
            [(action_id,) for action_id in action_ids],
        )

    def _run(self, sql: str, parameters: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        return self._open_connection.execute(sql, parameters)

    def _run_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            self._open_connection.executemany(sql, rows)

    def _value(self, sql: str) -> Any:
        return self._run(sql).fetchone()[0]

    @property
    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise self._error("used", "it is closed")
        return self._connection

    # --- failures -------------------------------------------------------------------------------------------------

    @contextmanager
    def _failing(self, verb: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            known = next((text for prefix, text in _REASONS.items() if name.startswith(prefix)), None)
            raise self._error(verb, known or str(error)) from error
        except OSError as error:
            raise self._error(verb, error.strerror or type(error).__name__) from error
        except ValueError as error:
            # A text that is no UTF-8, a state that there is not.
            raise self._error(verb, "it is damaged") from error

    def _error(self, verb: str, reason: str) -> JournalError:
        return JournalError(f"The journal {self._path} could not be {verb}: {reason}.")
