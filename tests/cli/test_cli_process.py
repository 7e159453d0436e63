"""The command as a process: exit codes, streams, signals."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from confirma_async import SqliteJournal
from confirma_async._core.journal import State
from confirma_async.sandbox import Fault, Sandbox
from tests.documents import EXAMPLE

LINE = b'{"code":"COMMENT","comment":"c","data":{"invoiceNumber":1,"caseId":2}}\n'


def variables(sandbox: Sandbox | None = None) -> Mapping[str, str]:
    """The environment of a process that sends to `sandbox`."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("CONFIRMA_")}
    if sandbox is None:
        return bare
    return {
        **bare,
        "CONFIRMA_ENVIRONMENT": "staging",
        "CONFIRMA_BASE_URL": sandbox.base_url,
        "CONFIRMA_TOKEN": sandbox.token,
    }


@contextlib.asynccontextmanager
async def confirma(
    *arguments: str, sandbox: Sandbox | None = None, **streams: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command as a running process, which does not outlive the block."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "confirma_async", *arguments, env=variables(sandbox), **pipes
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    return process.returncode, (out or b"").decode(), (err or b"").decode()


def in_order(text: str | bytes) -> object:
    """A JSON value in which the order of members, and the digits of numbers, can be compared."""
    return json.loads(text, parse_float=Decimal, object_pairs_hook=lambda pairs: pairs)


async def test_the_documents_example_is_one_post(sandbox: Sandbox, tmp_path: Path) -> None:
    """The example of the API's document makes one POST, equal to it value for value and in order."""
    path = tmp_path / "example.json"
    path.write_text(EXAMPLE)
    async with confirma("push", str(path), sandbox=sandbox) as process:
        code, out, err = await ended(process)
    assert (code, err) == (0, "")
    assert "7 actions in 1 POST" in out
    assert [in_order(post.body) for post in sandbox.posts] == [in_order(EXAMPLE)]
    assert [request.path for request in sandbox.requests] == ["/invoice/action"]


async def test_reads_standard_input_as_it_comes(sandbox: Sandbox) -> None:
    """Lines from a pipe are sent while the pipe stays open, and an end of the pipe ends the run."""
    async with confirma("push", "-", "--no-journal", sandbox=sandbox, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(LINE * 3)
        async with asyncio.timeout(10):
            while len(sandbox.ledger) < 3:
                await asyncio.sleep(0.02)
        process.stdin.write(LINE)
        process.stdin.close()
        code, out, err = await ended(process)
    assert (code, err) == (0, "")
    assert len(sandbox.ledger) == 4
    assert "accepted              4" in out


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
async def test_a_signal_ends_with_a_true_account(sandbox: Sandbox, tmp_path: Path, number: int, code: int) -> None:
    """Ctrl-C and SIGTERM stop reading, let what was read end, and print the account; the exit code tells which."""
    journal = str(tmp_path / "journal")
    async with confirma("push", "-", "--journal", journal, sandbox=sandbox, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(LINE * 3 + b'{"code":')
        async with asyncio.timeout(10):
            while len(sandbox.ledger) < 3:
                await asyncio.sleep(0.02)
        process.send_signal(number)
        assert process.stdout is not None
        out = (await process.stdout.read()).decode()
        assert await process.wait() == code
    assert "accepted              3" in out
    assert "in all                3" in out
    assert "Ended early: what follows line 3 was not read, and not sent." in out
    assert "The same command goes on from here" in out


@contextlib.asynccontextmanager
async def hanging_push(sandbox: Sandbox, path: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A push whose one action was applied, and never gets an answer."""
    path.write_bytes(LINE)
    sandbox.inject(Fault.HANG_AFTER_APPLYING)
    async with confirma("push", str(path), *options, sandbox=sandbox) as process:
        async with asyncio.timeout(10):
            while not len(sandbox.ledger):
                await asyncio.sleep(0.02)
        yield process


@pytest.mark.parametrize(("number", "code"), SIGNALS)
async def test_a_second_signal_ends_at_once(sandbox: Sandbox, tmp_path: Path, number: int, code: int) -> None:
    """A second signal waits for nothing, says that what was in flight may have taken effect, and leaves it UNKNOWN."""
    path = tmp_path / "actions"
    async with hanging_push(sandbox, path) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"Interrupted" in await process.stderr.readline()
        process.send_signal(number)
        async with asyncio.timeout(2):
            assert await process.wait() == code
        assert b"may have taken effect, and is unknown in the journal" in await process.stderr.read()
    async with SqliteJournal(f"{path}.journal") as journal:
        assert await journal.counts() == {State.UNKNOWN: 1}


async def test_a_second_signal_without_a_journal(sandbox: Sandbox, tmp_path: Path) -> None:
    """Without a journal, too, a second Ctrl-C ends at once, and says what that means."""
    async with hanging_push(sandbox, tmp_path / "actions", "--no-journal") as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"Interrupted" in await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(2):
            assert await process.wait() == 130
        assert (await process.stderr.read()).endswith(b"what was in flight may have taken effect.\n")


async def test_a_second_process_is_refused_and_may_look(sandbox: Sandbox, tmp_path: Path) -> None:
    """While a push runs, another of the same file sends nothing, and nothing is settled; looking is allowed."""
    path = tmp_path / "actions"
    journal = f"{path}.journal"
    async with hanging_push(sandbox, path):
        refused = {
            "push": ("push", str(path)),
            "resolve": ("journal", "resolve", journal, "--all", "--applied", "--reason", "seen"),
            "prune": ("journal", "prune", journal, "--older-than", "30d"),
        }
        for arguments in refused.values():
            async with confirma(*arguments, sandbox=sandbox) as other:
                code, out, err = await ended(other)
            assert (code, out) == (2, "")
            assert "is in use by another process" in err
            assert err.count("\n") == 1
        async with confirma("journal", "status", journal) as looking:
            code, out, err = await ended(looking)
        assert (code, err) == (0, "")
        assert "in use by a process that runs" in out
        assert "sending               1" in out
        async with confirma("journal", "list", journal, "--state", "all", "--json") as looking:
            code, out, err = await ended(looking)
        assert (code, err) == (0, "")
        assert json.loads(out)["state"] == "sending"
    assert len(sandbox.posts) == 1


async def test_a_killed_retry_is_looked_at_and_settled(sandbox: Sandbox, tmp_path: Path) -> None:
    """A retry ends by a signal as a push does, and what it was sending is told as UNKNOWN by the next one."""
    path = tmp_path / "actions"
    journal = f"{path}.journal"
    async with hanging_push(sandbox, path) as process:
        process.kill()
    for verb in (("resolve", "--all", "--not-applied", "--reason", "not there"), ("retry", "--all")):
        if verb[0] == "retry":
            sandbox.inject(Fault.HANG_AFTER_APPLYING)
        async with confirma("journal", verb[0], journal, *verb[1:], sandbox=sandbox) as process:
            if verb[0] == "retry":
                async with asyncio.timeout(10):
                    while len(sandbox.ledger) < 2:
                        await asyncio.sleep(0.02)
                for _ in range(2):
                    process.send_signal(signal.SIGTERM)
                    await asyncio.sleep(0.3)
            code, _, _ = await ended(process)
            assert code == (143 if verb[0] == "retry" else 0)
    async with confirma("journal", "retry", journal, "--all", sandbox=sandbox) as process:
        code, out, _ = await ended(process)
    assert code == 0
    assert "nothing to send" in out
    assert f"confirma journal list {journal}" in out
    assert len(sandbox.ledger) == 2


async def test_a_listing_ends_with_its_reader(sandbox: Sandbox, tmp_path: Path) -> None:
    """A reader that has seen enough of a listing ends it without a word."""
    path = tmp_path / "actions"
    path.write_bytes(LINE * 2_000)
    async with confirma("push", str(path), sandbox=sandbox) as process:
        assert (await ended(process))[0] == 0
    command = f"{sys.executable} -m confirma_async journal list {path}.journal --state accepted | head -1"
    process = await asyncio.create_subprocess_shell(
        command, env=variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    code, out, err = await ended(process)
    assert (code, err) == (0, "")
    assert out.endswith("-1  accepted\n")


async def test_nobody_reading_the_summary_is_no_error(tmp_path: Path) -> None:
    """A closed pipe behind the command brings no traceback, and the exit code still tells how the actions ended."""
    path = tmp_path / "actions"
    path.write_bytes(LINE)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        async with confirma("push", str(path), "--sandbox", stdout=writing) as process:
            assert await ended(process) == (0, "", "")
    finally:
        os.close(writing)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
async def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    """A summary that cannot be written is told in one sentence, and is no success."""
    path = tmp_path / "actions"
    path.write_bytes(LINE)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        async with confirma("push", str(path), "--sandbox", stdout=full) as process:
            code, _, err = await ended(process)
    finally:
        os.close(full)
    assert (code, err) == (1, "Error: The result could not be written: No space left on device.\n")


async def test_a_closed_standard_input_is_one_sentence() -> None:
    """Standard input that is closed is told, rather than some other file being read in its place."""
    command = f"exec {sys.executable} -m confirma_async push - --sandbox <&-"
    process = await asyncio.create_subprocess_shell(
        command, env=variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert await ended(process) == (2, "", "Error: Standard input is closed; name a file.\n")


async def test_the_sandbox_tells_how_to_send_to_it(tmp_path: Path) -> None:
    """What `confirma sandbox` prints is what another command needs; Ctrl-C ends it, as it says."""
    path = tmp_path / "actions"
    path.write_bytes(LINE * 2)
    async with confirma("sandbox") as sandbox:
        assert sandbox.stdout is not None
        shown = b""
        while b"confirma push" not in shown:
            shown += await sandbox.stdout.readline()
        exports = [text.strip() for text in shown.decode().splitlines() if "export " in text]
        command = "\n".join([*exports, f"exec {sys.executable} -m confirma_async push {path}"])
        pushing = await asyncio.create_subprocess_shell(
            command, env=variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        code, out, _ = await ended(pushing)
        sandbox.send_signal(signal.SIGINT)
        sandbox_code, _, err = await ended(sandbox)
    assert code == 0
    assert "accepted              2" in out
    assert (sandbox_code, err) == (0, "The sandbox has ended; 2 actions took effect in it.\n")


async def test_without_the_extra_it_says_what_to_install() -> None:
    """Without typer or rich the command is one sentence that says what to install; the library needs neither."""
    script = (
        "import sys; sys.modules['typer'] = sys.modules['rich'] = None\n"
        "import confirma_async\n"
        "from confirma_async.__main__ import main\n"
        "main()"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env=variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    code, out, err = await ended(process)
    assert (code, out) == (2, "")
    assert err == "Error: the command confirma needs the extra cli: pip install 'confirma_async[cli]'\n"


def test_a_closed_standard_output_is_one_sentence(tmp_path: Path) -> None:
    """As some schedulers start programs: what was sent stands, and no traceback is shown."""
    path = tmp_path / "actions.jsonl"
    path.write_bytes(LINE)
    command = f"exec {sys.executable} -m confirma_async push {path} --sandbox >&-"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603, S607
    assert "standard output is closed" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.returncode != 0
