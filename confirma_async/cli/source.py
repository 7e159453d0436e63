"""A file or standard input as a source of entries: opened, told apart, and read as far as they are needed.

Every call that may wait for a disk, a pipe or a person runs in a thread of its own. The threads are daemons, because
one that waits for a person would hold up the end of the process; and they read the descriptor itself, because one
inside Python's buffered reader would be in the way of it.
"""

import asyncio
import contextlib
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from ..models import Action
from .entry import Mistakes, one_line, read_entry
from .layout import MAX_LINE_BYTES, InputError, Layout, LineSplitter, layout_of, read_document, without_bom

__all__ = ["MAX_DOCUMENT_BYTES", "EntrySource", "FileSource"]

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024

_CHUNK = 64 * 1024
_TURN = 100
"""Entries of a document between two turns of the event loop."""


class EntrySource(Protocol):
    """Where a run takes its actions from."""

    @property
    def unit(self) -> str:
        """What an entry's number counts: "line" or "action"."""

    def entries(self) -> AsyncIterator[tuple[int, Action | Mistakes]]:
        """Yield each entry with its number, from 1."""

    def stop(self) -> None:
        """Yield no further entry, also where one is being waited for. May be called from any callback of the loop."""

    @property
    def fraction(self) -> float | None:
        """How much of it was read, from 0 to 1; None where that is not known."""


class FileSource:
    """Actions of a file, or of standard input where its path is `-`.

    An asynchronous context manager: entering opens it, and reads until its layout is known; a document is read whole.

    Args:
        path: The file.
        allow_unknown_codes: Whether codes that the documents do not list are taken as they are.
        max_document_bytes: The largest document that is read.
    """

    def __init__(
        self, path: str, *, allow_unknown_codes: bool = False, max_document_bytes: int = MAX_DOCUMENT_BYTES
    ) -> None:
        self._path = path
        self._allow_unknown_codes = allow_unknown_codes
        self._max_document_bytes = max_document_bytes
        self._descriptor: int | None = None
        self._size: int | None = None
        self._read = 0
        self._head = b""
        self._layout = Layout.EMPTY
        self._elements: Sequence[bytes] = ()
        self._taken = 0
        self._stopped = False
        self._pending: asyncio.Future[Any] | None = None

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return "standard input" if self._path == "-" else one_line(self._path)

    @property
    def unit(self) -> str:
        """See `EntrySource.unit`."""
        return "action" if self._layout is Layout.DOCUMENT else "line"

    @property
    def is_empty(self) -> bool:
        """Whether there is no entry in it."""
        return self._layout is Layout.EMPTY or (self._layout is Layout.DOCUMENT and not self._elements)

    @property
    def fraction(self) -> float | None:
        """See `EntrySource.fraction`."""
        if self._layout is Layout.DOCUMENT:
            return self._taken / max(1, len(self._elements))
        return min(1.0, self._read / self._size) if self._size else None

    def stop(self) -> None:
        """See `EntrySource.stop`."""
        self._stopped = True
        if self._pending is not None and not self._pending.done():
            self._pending.set_exception(_StoppedError())

    # --- opening --------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open it.

        Stopped meanwhile, it is left empty.

        Raises:
            InputError: It cannot be opened or read, is laid out as nothing that is read here, or is a document that is
                broken or too large.
        """
        await self._open()
        try:
            await self._tell_layout()
            if self._layout is Layout.DOCUMENT:
                text = await self._whole()
                self._elements = () if self._stopped else read_document(text)
        except InputError as error:
            self._close()
            raise InputError(f"{self.name} is not usable, and nothing was sent: {error}.") from None
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        # Standard input is not ours to close, and a thread may still wait in a read of it.
        if self._path != "-" and self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    async def _open(self) -> None:
        if self._path == "-":
            if sys.stdin is None:
                # Its descriptor may have become anything by now.
                raise InputError("Standard input is closed; name a file.")
            self._descriptor = 0
            return
        try:
            self._descriptor = await self._wait_for(lambda: os.open(self._path, os.O_RDONLY))
        except FileNotFoundError:
            raise InputError(f"There is no file {self.name}.") from None
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {_reason(error)}.") from None
        except _StoppedError:
            return
        status = os.fstat(self._descriptor)
        if stat.S_ISDIR(status.st_mode):
            self._close()
            raise InputError(f"{self.name} is a folder; name a file, or - for standard input.")
        self._size = status.st_size if stat.S_ISREG(status.st_mode) else None

    async def _tell_layout(self) -> None:
        """Read until the layout is known."""
        layout: Layout | None = None
        while layout is None:
            chunk = await self._chunk()
            self._head += chunk
            layout = layout_of(without_bom(self._head), is_all=not chunk)
        self._layout, self._head = layout, without_bom(self._head)

    async def _whole(self) -> bytes:
        chunks, size = [self._head], len(self._head)
        self._head = b""
        while size <= self._max_document_bytes:
            chunk = await self._chunk()
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)
        raise InputError(
            f"it is a JSON document of more than {self._max_document_bytes // 1024**2} MiB; write it as JSON Lines, "
            "one action per line, which may be of any length"
        )

    async def _chunk(self) -> bytes:
        """The next bytes; none at the end, or once stopped."""
        if self._stopped:
            return b""
        descriptor = self._descriptor
        assert descriptor is not None, "it is used inside its context"
        try:
            chunk: bytes = await self._wait_for(lambda: os.read(descriptor, _CHUNK))
        except _StoppedError:
            return b""
        except OSError as error:
            raise InputError(f"it cannot be read: {_reason(error)}") from None
        self._read += len(chunk)
        return chunk

    async def _wait_for(self, call: Callable[[], Any]) -> Any:
        self._pending = _off_loop(call)
        return await self._pending

    # --- entries --------------------------------------------------------------------------------------------------

    async def entries(self) -> AsyncIterator[tuple[int, Action | Mistakes]]:
        """See `EntrySource.entries`.

        Raises:
            InputError: It cannot be read on.
        """
        async for number, text in self._document() if self._layout is Layout.DOCUMENT else self._lines():
            if self._stopped:
                return
            if text is None:
                yield number, Mistakes.of_whole(f"it is longer than {MAX_LINE_BYTES:,} bytes")
            else:
                yield number, read_entry(text, allow_unknown_codes=self._allow_unknown_codes)

    async def _lines(self) -> AsyncIterator[tuple[int, bytes | None]]:
        splitter = LineSplitter()
        chunk, self._head = self._head, b""
        while chunk:
            for line in splitter.feed(chunk):
                yield line
            try:
                chunk = await self._chunk()
            except InputError as error:
                raise InputError(f"{self.name} broke off, and what follows was not sent: {error}.") from None
        for line in splitter.finish():
            yield line

    async def _document(self) -> AsyncIterator[tuple[int, bytes]]:
        for number, element in enumerate(self._elements, 1):
            self._taken = number
            yield number, bytes(element)
            if number % _TURN == 0:
                await asyncio.sleep(0)


class _StoppedError(Exception):
    """The source was stopped while it waited."""


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _off_loop(call: Callable[[], Any]) -> "asyncio.Future[Any]":
    """Make a call that may wait in a thread of its own, which is left to itself if the future is done before."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def tell(result: Any, error: OSError | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def work() -> None:
        result, failure = None, None
        try:
            result = call()
        except OSError as error:
            failure = error
        # The loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=work, name="confirma-read", daemon=True).start()
    return done
