"""A file as a source of entries."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from confirma_async import Comment
from confirma_async.cli.entry import Mistakes
from confirma_async.cli.layout import InputError
from confirma_async.cli.source import FileSource

LINE = b'{"code":"COMMENT","comment":"c","data":{"invoiceNumber":1,"caseId":2}}\n'
COMMENT = Comment(invoice_number=1, case_id=2, comment="c")


def saved(folder: Path, content: bytes) -> str:
    path = folder / "actions"
    path.write_bytes(content)
    return str(path)


async def read(path: str) -> list[tuple[int, object]]:
    async with FileSource(path) as source:
        return [entry async for entry in source.entries()]


async def test_reads_lines_with_their_numbers(tmp_path: Path) -> None:
    """Blank lines and a byte order mark are passed over, and a line keeps the number an editor shows."""
    entries = await read(saved(tmp_path, b"\xef\xbb\xbf" + LINE + b"\r\n\n" + LINE.strip()))
    assert entries == [(1, COMMENT), (4, COMMENT)]


async def test_a_bad_line_stands_between_good_ones(tmp_path: Path) -> None:
    """A line that is no action is told in its place, and the following ones are read."""
    entries = await read(saved(tmp_path, LINE + b'{"code"\n' + b" " * 1_048_577 + b"\n" + LINE))
    assert [number for number, _ in entries] == [1, 2, 3, 4]
    assert [str(entry) for _, entry in entries if isinstance(entry, Mistakes)] == [
        "it is not complete JSON: it ends in the middle",
        "it is longer than 1,048,576 bytes",
    ]


async def test_reads_a_document_action_by_action(tmp_path: Path) -> None:
    """The actions of a document are counted from 1, and called actions rather than lines."""
    path = saved(tmp_path, b'{\n"actions": [\n' + LINE.strip() + b", 5]}")
    async with FileSource(path) as source:
        assert source.unit == "action"
        entries = [entry async for entry in source.entries()]
    assert entries[0] == (1, COMMENT)
    assert str(entries[1][1]) == "an action is a JSON object, not a number"


@pytest.mark.parametrize("content", [b"", b"\n \n", b"[]", b'{"actions": []}', b"\xef\xbb\xbf"])
async def test_knows_that_there_is_nothing(tmp_path: Path, content: bytes) -> None:
    """A file of nothing, of white space or of no actions is empty."""
    async with FileSource(saved(tmp_path, content)) as source:
        assert source.is_empty


async def test_refuses_a_document_beyond_the_limit(tmp_path: Path) -> None:
    """A document beyond the limit is refused with the advice to write JSON Lines, and lines have no such limit."""
    lines = LINE * 40_000
    with pytest.raises(InputError, match="more than 1 MiB; write it as JSON Lines"):
        async with FileSource(saved(tmp_path, b"[" + lines), max_document_bytes=1024 * 1024):
            pass
    async with FileSource(saved(tmp_path, lines), max_document_bytes=1024 * 1024) as source:
        assert [number async for number, _ in source.entries()] == list(range(1, 40_001))
        assert source.fraction == 1.0


async def test_reads_no_more_than_is_asked_for(tmp_path: Path) -> None:
    """A file is read as its entries are taken, not ahead of them."""
    async with FileSource(saved(tmp_path, LINE * 40_000)) as source:
        entries = source.entries()
        assert (await anext(entries))[0] == 1
        assert source.fraction is not None
        assert source.fraction < 0.1


async def test_says_why_a_file_cannot_be_opened(tmp_path: Path) -> None:
    """A missing file, a folder, and what is no actions are each told in a sentence that names them."""
    for path, told in [
        (str(tmp_path / "missing"), "There is no file"),
        (str(tmp_path), "is a folder; name a file"),
        (saved(tmp_path, b"x"), "is not usable, and nothing was sent: it begins with 'x'"),
    ]:
        with pytest.raises(InputError) as caught:
            await read(path)
        assert told in str(caught.value)
        assert path in str(caught.value)


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return str(path)


async def test_a_pipe_without_a_writer_holds_nobody_up(pipe: str) -> None:
    """While a pipe is waited for, the event loop runs, and stopping ends the waiting."""
    source = FileSource(pipe)
    asyncio.get_running_loop().call_later(0.05, source.stop)
    async with source:
        assert source.is_empty
        assert [entry async for entry in source.entries()] == []
    _release(pipe)


async def test_stops_in_the_middle_of_a_line(pipe: str) -> None:
    """Stopped, a source yields no further entry, and takes no half line for one."""
    written = threading.Event()

    def write() -> None:
        with Path(pipe).open("wb", buffering=0) as writer:
            writer.write(LINE + b'{"code"')
            written.wait(5)

    writer = threading.Thread(target=write)
    writer.start()
    async with FileSource(pipe) as source:
        asyncio.get_running_loop().call_later(0.05, source.stop)
        assert [entry async for entry in source.entries()] == [(1, COMMENT)]
        written.set()
        await asyncio.to_thread(writer.join)


def _release(pipe: str) -> None:
    """Let the thread go that still waits for a writer."""
    os.close(os.open(pipe, os.O_WRONLY))
