"""A look at a journal that changes nothing: also while another process uses it."""

import os
import sqlite3
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import evolve

from .._core.journal import JournalRecord, JournalTarget, State, state_after_crash
from .._io.journal_file import JournalFile

__all__ = ["JournalView"]


class JournalView(JournalFile):
    """A journal that is read only. A context manager.

    What was being sent is UNKNOWN in it, unless a process is still there that sends it.

    Raises:
        JournalError: On entering: there is none, or none of ours; it is damaged, or cannot be read.
    """

    def __init__(self, path: str) -> None:
        super().__init__(Path(os.path.realpath(path)), durability="process")
        self.is_in_use = False
        """Whether another process used it when it was opened."""

    def __enter__(self) -> Self:
        self.open(None)
        self.is_in_use = _is_locked(f"{self._path}.lock")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, target: JournalTarget | None) -> None:  # noqa: ARG002 - it is taken as it is
        with self._failing("opened"):
            if not self._path.is_file():
                raise self._error("opened", "it is no file" if self._path.exists() else "there is no such file")
            self._connection = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, isolation_level=None)
            if self._is_empty():
                raise self._error("opened", "there is nothing in it")
            self._check_format()

    @property
    def size(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        log = Path(f"{self._path}-wal")
        return self._path.stat().st_size + (log.stat().st_size if log.exists() else 0)

    def target(self) -> JournalTarget | None:
        """See `SqliteJournal.target`."""
        with self._failing("read"):
            return super().target()

    def counts(self) -> dict[State, int]:
        """How many actions are in each state that any is in."""
        counts: dict[State, int] = {}
        for state, count in super().counts().items():
            counts[self._seen(state)] = counts.get(self._seen(state), 0) + count
        return counts

    def all_in(self, state: State) -> Iterator[JournalRecord]:
        """Yield the actions in `state`, in order of submission; first those whose process is gone that was sending."""
        for kept in State:
            if self._seen(kept) is state:
                for record in chain.from_iterable(self.pages(kept)):
                    yield record if kept is state else evolve(record, state=state)

    def _seen(self, state: State) -> State:
        return state if self.is_in_use else state_after_crash(state)


def _is_locked(path: str) -> bool:
    try:
        import fcntl  # noqa: PLC0415 - not everywhere
    except ImportError:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Shared, so that two who look do not take one another for a process that sends.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
