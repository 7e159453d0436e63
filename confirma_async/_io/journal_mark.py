"""By which a journal is recognised that has forgotten something."""

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["JournalMark"]


class JournalMark:
    """A file beside the journal that says how often it was written.

    The journal's newest writes stand in its log. Without that log, or as an old copy, it looks whole, and would have
    what was sent since then sent once more. The mark is written after each write, and so never ahead of a whole
    journal.
    """

    _WIDTH = 20

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self.writes = 0

    def __str__(self) -> str:
        return str(self._path)

    def open(self) -> None:
        """Read it, or make it."""
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        text = os.pread(self._descriptor, self._WIDTH, 0)
        self.writes = int(text) if text.isdigit() else 0

    def keep(self, writes: int) -> None:
        """Note that the journal was written so often. A mark that cannot be written is behind, which does no harm."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.pwrite(self._descriptor, f"{writes:0{self._WIDTH}d}".encode(), 0)

    def close(self) -> None:
        """Let go of it. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
