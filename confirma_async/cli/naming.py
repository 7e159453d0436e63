"""Ids for the entries of an input that have none: from what they say, and which of those that say the same they are.

So an entry is the same action as in an earlier run of the same input, or of a mended one, whatever stands around it.
"""

import sqlite3
from types import TracebackType
from typing import Self

from attrs import evolve

from .._core.assumptions import Assumptions
from .._core.journal import content_hash
from .._core.wire import encode_action
from ..models import Action
from .entry import line_id
from .layout import InputError

__all__ = ["LineNames"]

_CACHE_KIB = 4096

_SET_UP = f"""
PRAGMA journal_mode = off;
PRAGMA synchronous = off;
PRAGMA cache_size = -{_CACHE_KIB};
CREATE TABLE said (content BLOB PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID;
"""


class LineNames:
    """Gives actions without an id one. A context manager.

    What was said, and how often, stands in a temporary database: an input of any length takes a bounded amount of
    memory, and beyond it room where temporary files go. It holds hashes alone, and is gone with the process.
    """

    def __init__(self) -> None:
        # A nameless database is on disk as soon as it outgrows its cache.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(_SET_UP)
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def named(self, action: Action) -> Action:
        """The action under its own id, or the one that follows from what it says.

        Raises:
            InputError: There is no room left for temporary files.
        """
        if action.action_id is not None:
            return action
        try:
            content = content_hash(encode_action(action, Assumptions()))
        except (TypeError, ValueError, OverflowError, RecursionError):
            # It is no JSON, and will be refused as such: it needs no id.
            return action
        return evolve(action, action_id=line_id(content, self._ordinal(content)))

    def _ordinal(self, content: bytes) -> int:
        try:
            found = self._database.execute("SELECT times FROM said WHERE content = ?", (content,)).fetchone()
            times = 1 if found is None else found[0] + 1
            self._database.execute("REPLACE INTO said VALUES (?, ?)", (content, times))
        except sqlite3.Error as error:
            raise InputError(f"Equal lines cannot be told apart, for want of temporary room: {error}.") from error
        return int(times)
