"""The journal on disk: what it keeps, what it refuses, and what a crash leaves of it."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest

from confirma_async import (
    Action,
    ActionIdConflictError,
    ConfigurationError,
    ConfirmaClient,
    Disposition,
    Environment,
    Evidence,
    Finding,
    JournalError,
    JournalRecord,
    JournalState,
    MemoryTokenStore,
    NotAppliedError,
    OutcomeUnknownError,
    PermissionDeniedError,
    ReconcilePolicy,
    SqliteJournal,
)
from confirma_async._core.journal import JournalTarget
from confirma_async._io.journal import DurableJournal
from confirma_async.sandbox import Fault, Sandbox
from tests.actions import comment, due_date, payment

TARGET = JournalTarget(Environment.STAGING, "https://host/api/v1/partner")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def client_of(sandbox: Sandbox, journal: DurableJournal) -> ConfirmaClient:
    return ConfirmaClient(
        environment=Environment.STAGING,
        token=MemoryTokenStore(sandbox.token),
        base_url=sandbox.base_url,
        journal=journal,
    )


async def pushed(client: ConfirmaClient, actions: list[Action]) -> dict[str, Disposition]:
    return {outcome.action_id: outcome.disposition async for outcome in client.actions.push(actions)}


async def states(path: Path) -> dict[JournalState, int]:
    async with SqliteJournal(path) as journal:
        return dict(await journal.counts())


async def records(journal: SqliteJournal, state: JournalState) -> list[JournalRecord]:
    return [record async for record in journal.records(state)]


@asynccontextmanager
async def journal_open(journal: SqliteJournal) -> AsyncIterator[SqliteJournal]:
    """The journal as a client opens it."""
    await journal.open(TARGET)
    try:
        yield journal
    finally:
        await journal.close()


# --- what is kept ---------------------------------------------------------------------------------------------------


async def test_an_id_is_sent_once_however_often_it_is_submitted(sandbox: Sandbox, path: Path) -> None:
    """Also by another client, later: it is answered with its end, and nothing is sent."""
    actions: list[Action] = [comment(number, action_id=f"event-{number}") for number in range(1, 201)]
    async with client_of(sandbox, SqliteJournal(path)) as client:
        await pushed(client, actions)
    posts = len(sandbox.posts)
    async with client_of(sandbox, SqliteJournal(path)) as client:
        outcomes = [outcome async for outcome in client.actions.push(actions)]
    assert {outcome.disposition for outcome in outcomes} == {Disposition.ACCEPTED}
    assert all(outcome.from_journal and outcome.attempts == 1 for outcome in outcomes)
    assert len(sandbox.ledger) == 200
    assert len(sandbox.posts) == posts


async def test_what_was_not_applied_goes_again(sandbox: Sandbox, path: Path) -> None:
    """It had no effect, so its id is free for the same action."""
    sandbox.inject(Fault.status(403), times=1)
    async with client_of(sandbox, SqliteJournal(path)) as client:
        first = await pushed_until_denied(client, comment(1, action_id="event"))
    async with client_of(sandbox, SqliteJournal(path)) as client:
        again = await client.actions.send(comment(1, action_id="event"))
    assert first is Disposition.NOT_APPLIED
    assert again.disposition is Disposition.ACCEPTED
    assert not again.from_journal
    assert len(sandbox.ledger) == 1


async def pushed_until_denied(client: ConfirmaClient, action: Action) -> Disposition:
    ends: list[Disposition] = []
    with pytest.raises(PermissionDeniedError):
        async for outcome in client.actions.push([action]):
            ends.append(outcome.disposition)
    return ends[0]


async def test_a_rejection_and_a_doubt_are_answered_as_they_are(sandbox: Sandbox, path: Path) -> None:
    """Neither is sent again: what was refused has to be mended, and what is unknown to be looked at."""
    sandbox.poison(lambda action: action.case_id == 1)
    sandbox.inject(Fault.DROP_AFTER_APPLYING, when=lambda request: b'"caseId":2' in request.body)
    for _ in range(2):
        async with client_of(sandbox, SqliteJournal(path)) as client:
            ends = await pushed(client, [comment(1, action_id="refused")])
            ends |= await pushed(client, [comment(2, action_id="doubtful")])
            assert ends == {"refused": Disposition.REJECTED, "doubtful": Disposition.UNKNOWN}
    assert len(sandbox.ledger) == 1
    assert len(sandbox.posts) == 2


async def test_an_id_that_comes_back_with_other_content_is_a_conflict(sandbox: Sandbox, path: Path) -> None:
    """Nothing is sent for it: nobody knows which of the two was meant."""
    async with client_of(sandbox, SqliteJournal(path)) as client:
        await client.actions.send(comment(1, action_id="event"))
    async with client_of(sandbox, SqliteJournal(path)) as client:
        with pytest.raises(ActionIdConflictError, match="'event'"):
            await client.actions.send(comment(2, action_id="event"))
    assert len(sandbox.ledger) == 1


async def test_what_was_accepted_leaves_no_content(sandbox: Sandbox, path: Path) -> None:
    """Its id, its hash and its state stay; its comment is on the disk no more."""
    sandbox.inject(Fault.DROP_AFTER_APPLYING, when=lambda request: b"doubtful" in request.body)
    async with client_of(sandbox, SqliteJournal(path)) as client:
        await client.actions.send(comment(1, text="a private matter", action_id="accepted"))
        with pytest.raises(OutcomeUnknownError):
            await client.actions.send(comment(2, text="doubtful", action_id="unknown"))
    async with SqliteJournal(path) as journal:
        [accepted] = await records(journal, JournalState.ACCEPTED)
        [unknown] = await records(journal, JournalState.UNKNOWN)
    assert (accepted.action_id, accepted.content, accepted.attempts) == ("accepted", None, 1)
    assert b"doubtful" in (unknown.content or b"")
    assert "doubtful" not in repr(unknown)


@pytest.mark.parametrize("umask", [0o000, 0o077])
async def test_nobody_else_reads_it(sandbox: Sandbox, path: Path, umask: int) -> None:
    """The file and its log have the mode 0600 whatever the umask, also where the file was there before."""
    before = os.umask(umask)
    try:
        path.touch(mode=0o644)
        async with client_of(sandbox, SqliteJournal(path)) as client:
            await client.actions.send(comment(1))
            files = [file for file in path.parent.iterdir() if file.name.startswith("journal")]
            assert len(files) >= 3
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)


@pytest.mark.parametrize(("durability", "synchronous"), [("power", 2), ("process", 1)])
async def test_durability_says_what_a_write_survives(path: Path, durability: str, synchronous: int) -> None:
    """Against an outage of the machine every write waits for the disk; against the end of the process it need not."""
    journal = SqliteJournal(path, durability=durability)  # type: ignore[arg-type]
    async with journal_open(journal):
        assert journal._file._value("PRAGMA synchronous") == synchronous
        assert journal._file._value("PRAGMA journal_mode") == "wal"


def test_durability_is_one_of_two(path: Path) -> None:
    """A slip of the pen is told when the journal is made."""
    with pytest.raises(ConfigurationError, match="'power' or 'process'"):
        SqliteJournal(path, durability="full")  # type: ignore[arg-type]


async def test_a_mistake_of_one_is_nobody_elses(sandbox: Sandbox, path: Path) -> None:
    """What shares a transaction with a change that is refused is kept all the same."""
    journal = SqliteJournal(path)
    async with client_of(sandbox, journal) as client:
        sends = [client.actions.send(comment(number, action_id=f"event-{number}")) for number in range(1, 40)]
        mistakes = [journal.resolve(["nobody's"], Disposition.ACCEPTED, reason="a slip") for _ in range(20)]
        results = await asyncio.gather(*sends, *mistakes, return_exceptions=True)
        with pytest.raises(JournalError):
            await journal.retry(["nobody's"])
        for odd in ("\ud800", "", 5):
            with pytest.raises(JournalError, match="no action with the id"):
                await journal.resolve([odd], Disposition.ACCEPTED, reason="a slip")  # type: ignore[list-item]
    assert all(not isinstance(result, BaseException) for result in results[:39])
    assert all(isinstance(result, JournalError) for result in results[39:])
    assert await states(path) == {JournalState.ACCEPTED: 39}


async def test_concurrent_writes_share_the_wait_for_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for while a transaction runs goes into the next one, together."""
    journal = SqliteJournal(path)
    async with journal_open(journal):
        sizes: list[int] = []
        in_transaction = journal._file.in_transaction

        def counted(changes: list[object]) -> list[object]:
            sizes.append(len(changes))
            return in_transaction(changes)  # type: ignore[arg-type]

        monkeypatch.setattr(journal._file, "in_transaction", counted)
        await asyncio.gather(*(journal.prune(0) for _ in range(50)))
    assert sizes == [50]


# --- whose it is ----------------------------------------------------------------------------------------------------


async def test_it_is_bound_to_its_target(path: Path) -> None:
    """Environment, base URL and account: what was sent to one says nothing of another."""
    others = [
        (JournalTarget(Environment.PRODUCTION, TARGET.base_url), ""),
        (JournalTarget(Environment.STAGING, "https://other/api/v1/partner"), ""),
        (TARGET, "second account"),
    ]
    async with journal_open(SqliteJournal(path)):
        pass
    for target, account in others:
        with pytest.raises(JournalError, match=r"is of staging at https://host.*and not of"):
            await SqliteJournal(path, account=account).open(target)
    async with journal_open(SqliteJournal(path)) as journal:
        assert await journal.target() == TARGET


async def test_a_second_instance_is_refused_while_it_is_open(path: Path) -> None:
    """Two that do not know of each other would both send what is queued."""
    async with journal_open(SqliteJournal(path)):
        with pytest.raises(JournalError, match="in use by another process, or twice in this one"):
            await SqliteJournal(path).open(TARGET)
    async with journal_open(SqliteJournal(path)):
        pass


async def test_a_second_client_is_refused_the_same_instance(sandbox: Sandbox, path: Path) -> None:
    """One after the other they may use it, also on another event loop."""
    journal = SqliteJournal(path)
    async with client_of(sandbox, journal) as one:
        with pytest.raises(JournalError, match="in use"):
            await client_of(sandbox, journal).open()
        await one.actions.send(comment(1, action_id="event"))
    async with client_of(sandbox, journal) as other:
        assert (await other.actions.send(comment(1, action_id="event"))).from_journal


def test_one_instance_serves_one_event_loop_after_the_other(path: Path) -> None:
    """What belonged to the first loop is gone with it."""
    journal = SqliteJournal(path)

    async def use() -> int:
        async with journal_open(journal):
            return sum(await asyncio.gather(*(journal.prune(0) for _ in range(5))))

    assert asyncio.run(use()) == asyncio.run(use()) == 0


async def test_an_open_that_is_cancelled_leaves_nothing_locked(path: Path) -> None:
    """Wherever it was."""
    for turns in range(12):
        journal = SqliteJournal(path)
        opening = asyncio.create_task(journal.open(TARGET))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        opening.cancel()
        with suppress(asyncio.CancelledError):
            await opening
            await journal.close()
        async with journal_open(SqliteJournal(path)):
            pass


HOLDER = """
import asyncio, sys
from confirma_async import SqliteJournal
from confirma_async._core.journal import JournalTarget
from confirma_async import Environment

async def main():
    journal = SqliteJournal(sys.argv[1])
    await journal.open(JournalTarget(Environment.STAGING, "https://host/api/v1/partner"))
    print("open", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the journal open."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


async def test_a_second_process_is_refused_until_the_first_is_gone(path: Path, holder: "subprocess.Popen[str]") -> None:
    """Also when the first was killed: what it held is free at once."""
    with pytest.raises(JournalError, match="in use by another process"):
        await SqliteJournal(path).open(TARGET)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    async with journal_open(SqliteJournal(path)):
        pass


# --- what cannot be used --------------------------------------------------------------------------------------------


async def refused(path: Path) -> str:
    with pytest.raises(JournalError) as caught:
        await SqliteJournal(path).open(TARGET)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


async def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A misspelt path is told, and leaves nothing behind."""
    assert "no such folder" in await refused(tmp_path / "misspelt" / "journal")
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_is_no_journal(tmp_path: Path) -> None:
    """Nor is anything else that is no file."""
    assert "it is a folder" in await refused(tmp_path)


async def test_another_file_is_not_touched(path: Path) -> None:
    """Not even its mode: the path may be that of the actions themselves."""
    path.write_bytes(b'{"code":"PAUSE"}\n' * 1000)
    path.chmod(0o644)
    assert "it is no journal" in await refused(path)
    assert path.read_bytes() == b'{"code":"PAUSE"}\n' * 1000
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


async def test_the_database_of_another_program_is_not_touched(path: Path) -> None:
    """It may be anything."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    assert "database of another program" in await refused(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("schema", "age"), [(0, "an older"), (99, "a newer")])
async def test_another_versions_journal_is_refused(path: Path, schema: int, age: str) -> None:
    """Nothing of it is converted by guess; the text says what to do."""
    async with journal_open(SqliteJournal(path)):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {schema}")
    connection.close()
    assert f"{age} version of confirma_async wrote it (schema {schema}" in await refused(path)


async def filled(sandbox: Sandbox, path: Path) -> None:
    async with client_of(sandbox, SqliteJournal(path)) as client:
        await pushed(client, [comment(number, action_id=f"event-{number}") for number in range(1, 501)])


async def test_a_damaged_file_is_refused(sandbox: Sandbox, path: Path) -> None:
    """What it has forgotten would be sent again."""
    await filled(sandbox, path)
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 4] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(JournalError, match="damaged"):
        await client_of(sandbox, SqliteJournal(path)).open()


async def test_a_cut_file_is_refused(sandbox: Sandbox, path: Path) -> None:
    """A copy that broke off is no journal."""
    await filled(sandbox, path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(JournalError, match="damaged"):
        await client_of(sandbox, SqliteJournal(path)).open()


async def test_a_damaged_content_is_not_sent(path: Path, sandbox: Sandbox) -> None:
    """A content that does not fit its hash is told, and not sent."""
    async with client_of(sandbox, SqliteJournal(path)) as client:
        sandbox.outage()
        await client.actions.enqueue([payment(1)])
        await client.close(0)
    sandbox.end_outage()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE content SET content = CAST(replace(CAST(content AS TEXT), '250.75', '950.75') AS BLOB)"
        )
    connection.close()
    with pytest.raises(JournalError, match=r"content of action .* is damaged"):
        await client_of(sandbox, SqliteJournal(path)).open()
    assert len(sandbox.ledger) == 0


async def test_a_full_disk_stops_a_push_and_loses_nothing(sandbox: Sandbox, path: Path) -> None:
    """What was sent is kept; what could not be noted is not sent, and goes out when there is room."""
    actions: list[Action] = [comment(number, text="x" * 500, action_id=f"event-{number}") for number in range(1, 2001)]
    journal, ends = SqliteJournal(path), dict[str, Disposition]()
    async with client_of(sandbox, journal) as client:
        await client.actions.send(comment(9_999))
        journal._file._run(f"PRAGMA max_page_count = {journal._file._value('PRAGMA page_count') + 40}")
        with pytest.raises(JournalError, match="the disk is full"):
            async for outcome in client.actions.push(actions):
                ends[outcome.action_id] = outcome.disposition
        sent = len(sandbox.ledger) - 1
        assert sum(end is Disposition.ACCEPTED for end in ends.values()) == sent < 2000
        assert set(ends.values()) == {Disposition.ACCEPTED, Disposition.NOT_APPLIED}
        journal._file._run("PRAGMA max_page_count = 100000")
        assert set((await pushed(client, actions)).values()) == {Disposition.ACCEPTED}
    assert len(sandbox.ledger) == 2001


async def test_a_file_that_is_deleted_while_it_is_used_is_not_written_to(sandbox: Sandbox, path: Path) -> None:
    """What goes into a file without a name is forgotten with the process: nothing more is sent."""
    async with client_of(sandbox, SqliteJournal(path)) as client:
        await client.actions.send(comment(1))
        for name in ("", "-wal", "-shm"):
            Path(f"{path}{name}").unlink(missing_ok=True)
        with pytest.raises(NotAppliedError, match="No such file"):
            await client.actions.send(payment(2))
        path.touch()
        with pytest.raises(NotAppliedError, match="another file was put in its place"):
            await client.actions.send(payment(2))
    assert len(sandbox.ledger) == 1


async def test_a_crash_whose_log_was_deleted_is_told(sandbox: Sandbox, path: Path, tmp_path: Path) -> None:
    """The file alone has forgotten what was sent last. Who has looked deletes the mark, and goes on."""
    copy = tmp_path / "copy"
    await crashed(sandbox, path, copy)
    Path(f"{copy}-wal").unlink()
    for _ in range(2):
        with pytest.raises(JournalError, match=r"its log \(-wal\) is gone.* delete .*copy-mark to go on"):
            await client_of(sandbox, SqliteJournal(copy)).open()
    Path(f"{copy}-mark").unlink()
    async with client_of(sandbox, SqliteJournal(copy)):
        pass


async def test_an_old_copy_is_told(sandbox: Sandbox, path: Path, tmp_path: Path) -> None:
    """A backup that was put back would send again what was sent since."""
    async with client_of(sandbox, SqliteJournal(path)) as client:
        await client.actions.send(comment(1, action_id="one"))
    backup = path.read_bytes()
    async with client_of(sandbox, SqliteJournal(path)) as client:
        await client.actions.send(comment(2, action_id="two"))
    path.write_bytes(backup)
    with pytest.raises(JournalError, match="or this is an old copy"):
        await client_of(sandbox, SqliteJournal(path)).open()


async def test_another_programs_look_after_a_crash_changes_nothing(
    sandbox: Sandbox, path: Path, tmp_path: Path
) -> None:
    """SQLite's own tools merge the log into the file: nothing is lost, and nothing is refused."""
    copy = tmp_path / "copy"
    await crashed(sandbox, path, copy)
    connection = sqlite3.connect(copy)
    connection.execute("SELECT count(*) FROM action").fetchone()
    connection.close()
    assert not Path(f"{copy}-wal").exists()
    async with client_of(sandbox, SqliteJournal(copy)) as client:
        assert len([outcome async for outcome in client.actions.resume()]) == 3


# --- a crash --------------------------------------------------------------------------------------------------------


async def crashed(sandbox: Sandbox, path: Path, copy: Path) -> None:
    """Leave at `copy` what a process would that is killed with one action in flight and two in the queue."""
    async with client_of(sandbox, SqliteJournal(path)) as client:
        await client.actions.send(comment(1, action_id="before"))
        hang = sandbox.inject(Fault.HANG_AFTER_APPLYING)
        sending = asyncio.create_task(client.actions.send(payment_of("in flight")))
        while hang.remaining:
            await asyncio.sleep(0.001)
        await client.actions.enqueue([due_date_of(2, "queued"), due_date_of(2, "queued later")])
        for suffix in ("", "-wal", "-mark"):
            Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
        sending.cancel()
        await client.close(0)


def payment_of(action_id: str) -> Action:
    return attrs.evolve(payment(2), action_id=action_id)


def due_date_of(number: int, action_id: str) -> Action:
    return attrs.evolve(due_date(number, f"2026-03-{10 + len(action_id)}"), action_id=action_id)


async def test_after_a_crash_what_was_in_flight_is_unknown_and_what_was_queued_is_sent(
    sandbox: Sandbox, path: Path, tmp_path: Path
) -> None:
    """`resume()` tells of the first, sends the second in its order, and what had an end keeps it."""
    copy = tmp_path / "copy"
    await crashed(sandbox, path, copy)
    before = len(sandbox.ledger)
    async with client_of(sandbox, SqliteJournal(copy)) as client:
        outcomes = [outcome async for outcome in client.actions.resume()]
        again = [outcome async for outcome in client.actions.resume()]
        with pytest.raises(OutcomeUnknownError):
            await client.actions.send(payment_of("in flight"))
    assert [(outcome.action_id, outcome.disposition) for outcome in outcomes] == [
        ("in flight", Disposition.UNKNOWN),
        ("queued", Disposition.ACCEPTED),
        ("queued later", Disposition.ACCEPTED),
    ]
    assert outcomes[0].action == payment_of("in flight")
    assert outcomes[0].attempts == 1
    assert again == []
    assert [effect.element["data"]["dueDate"] for effect in list(sandbox.ledger)[before:]] == [
        "2026-03-16",
        "2026-03-22",
    ]
    assert await states(copy) == {JournalState.ACCEPTED: 3, JournalState.UNKNOWN: 1}


@pytest.mark.parametrize(
    ("finding", "end", "state"),
    [
        (Finding.APPLIED, Disposition.ACCEPTED, JournalState.ACCEPTED),
        (Finding.NOT_APPLIED, Disposition.NOT_APPLIED, JournalState.NOT_APPLIED),
        (Finding.UNCLEAR, Disposition.UNKNOWN, JournalState.UNKNOWN),
    ],
)
async def test_a_reconciler_looks_at_what_was_in_flight(
    sandbox: Sandbox, path: Path, tmp_path: Path, finding: Finding, end: Disposition, state: JournalState
) -> None:
    """What it finds is kept with the reason; meanwhile later actions of the case wait."""
    copy = tmp_path / "copy"
    await crashed(sandbox, path, copy)

    class Looking:
        async def probe(self, action: Action, evidence: Evidence) -> Finding:
            assert action == payment_of("in flight")
            assert "dueDate" not in str([effect.element for effect in sandbox.ledger])
            return finding

    quick = ReconcilePolicy(
        looks=(0.01, 0.02), look_every=0.02, believe_absence_after=0.02, give_up_after=0.1, look_timeout=1
    )
    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=MemoryTokenStore(sandbox.token),
        base_url=sandbox.base_url,
        journal=SqliteJournal(copy),
        reconciler=Looking(),
        reconcile=quick,
    ) as client:
        ends = {outcome.action_id: outcome.disposition async for outcome in client.actions.resume()}
    assert ends == {"in flight": end, "queued": Disposition.ACCEPTED, "queued later": Disposition.ACCEPTED}
    async with SqliteJournal(copy) as journal:
        found = {record.action_id: record.reason for record in await records(journal, state)}
    assert found["in flight"] == ("" if finding is Finding.UNCLEAR else "the reconciler found it so")


async def test_a_crash_while_it_is_made_leaves_something_that_can_be_used(path: Path) -> None:
    """A file that is empty, or has no tables yet, is made a journal of."""
    path.touch()
    async with journal_open(SqliteJournal(path)):
        pass
    path.unlink()
    Path(f"{path}-mark").unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = wal")
    connection.close()
    async with journal_open(SqliteJournal(path)) as journal:
        assert await journal.counts() == {}


# --- a person ---------------------------------------------------------------------------------------------------------


async def with_doubts(sandbox: Sandbox, path: Path) -> None:
    sandbox.inject(Fault.DROP_AFTER_READING)
    async with client_of(sandbox, SqliteJournal(path)) as client:
        await pushed(client, [comment(1, action_id="one"), comment(2, action_id="two"), comment(3, action_id="three")])


async def test_a_person_settles_what_is_unknown(sandbox: Sandbox, path: Path) -> None:
    """Each as it is seen, with a reason that is kept; what had no effect can be sent again."""
    await with_doubts(sandbox, path)
    async with SqliteJournal(path) as journal:
        assert [record.action_id for record in await records(journal, JournalState.UNKNOWN)] == ["one", "two", "three"]
        assert await journal.resolve(["one"], Disposition.ACCEPTED, reason="seen in the portal") == 1
        assert await journal.resolve(["two", "three"], Disposition.NOT_APPLIED, reason="not there") == 2
        [accepted] = await records(journal, JournalState.ACCEPTED)
        assert (accepted.action_id, accepted.reason, accepted.content) == ("one", "seen in the portal", None)
        assert await journal.retry(["two"]) == 1
    async with client_of(sandbox, SqliteJournal(path)) as client:
        assert [outcome.action_id async for outcome in client.actions.resume()] == ["two"]
        assert (await client.actions.send(comment(1, action_id="one"))).from_journal
        assert not (await client.actions.send(comment(3, action_id="three"))).from_journal
    assert len(sandbox.ledger) == 2


@pytest.mark.parametrize("action_id", ["nobody's", "accepted"])
async def test_nothing_is_settled_that_is_not_unknown(sandbox: Sandbox, path: Path, action_id: str) -> None:
    """One wrong id, and nothing is changed at all."""
    await with_doubts(sandbox, path)
    async with client_of(sandbox, SqliteJournal(path)) as client:
        await client.actions.send(comment(4, action_id="accepted"))
    async with SqliteJournal(path) as journal:
        with pytest.raises(JournalError, match=action_id):
            await journal.resolve(["one", action_id], Disposition.NOT_APPLIED, reason="a slip")
        with pytest.raises(JournalError, match="one"):
            await journal.retry(["one"])
        assert await journal.counts() == {JournalState.UNKNOWN: 3, JournalState.ACCEPTED: 1}


@pytest.mark.parametrize(
    ("disposition", "reason"),
    [(Disposition.UNKNOWN, "why"), (Disposition.REJECTED, "why"), (Disposition.ACCEPTED, " ")],
)
async def test_a_decision_is_one_of_two_and_has_a_reason(path: Path, disposition: Disposition, reason: str) -> None:
    """Somebody will ask one day."""
    async with journal_open(SqliteJournal(path)) as journal:
        with pytest.raises(ConfigurationError):
            await journal.resolve([], disposition, reason=reason)


async def test_pruning_forgets_old_ends_and_never_a_doubt(sandbox: Sandbox, path: Path) -> None:
    """What is unknown, or still to be sent, stays, however old; an id that is forgotten is sent again."""
    await with_doubts(sandbox, path)
    sandbox.poison(lambda action: action.case_id == 5)
    async with client_of(sandbox, SqliteJournal(path)) as client:
        await pushed(client, [comment(4, action_id="accepted"), comment(5, action_id="refused")])
        sandbox.outage()
        await client.actions.enqueue([comment(6, action_id="queued")])
        await client.close(0)
    sandbox.end_outage()
    async with SqliteJournal(path) as journal:
        assert await journal.prune(3600) == 0
        assert await journal.prune(0, compact=True) == 2
        assert await journal.counts() == {JournalState.UNKNOWN: 3, JournalState.QUEUED: 1}
    async with client_of(sandbox, SqliteJournal(path)) as client:
        assert not (await client.actions.send(comment(4, action_id="accepted"))).from_journal


async def test_the_room_of_what_was_accepted_is_used_again(sandbox: Sandbox, path: Path) -> None:
    """A journal grows by ids and hashes, not by contents."""
    async with client_of(sandbox, SqliteJournal(path)) as client:
        for start in range(0, 5000, 1000):
            await pushed(client, [comment(start + number, text="x" * 2000) for number in range(1, 1001)])
    assert path.stat().st_size < 5000 * 2000 / 3


async def test_a_journal_that_is_not_there_is_not_made_by_looking(path: Path) -> None:
    """Without a target there is nothing to make it for."""
    with pytest.raises(JournalError, match="there is no such file"):
        await SqliteJournal(path).open()
    assert not path.exists()


async def test_a_journal_that_is_not_open_says_so(path: Path) -> None:
    """A call too early or too late is no crash."""
    journal = SqliteJournal(path)
    with pytest.raises(JournalError, match="is not open"):
        await journal.counts()
    await journal.close()
    async with journal_open(journal):
        pass
    with pytest.raises(JournalError, match="is not open"):
        await journal.prune(0)


async def test_a_link_is_followed(sandbox: Sandbox, path: Path, tmp_path: Path) -> None:
    """The log and the lock stand beside the file itself, whichever name it was opened by."""
    link = tmp_path / "link"
    link.symlink_to(path)
    async with journal_open(SqliteJournal(path)):
        with pytest.raises(JournalError, match="in use"):
            await SqliteJournal(link).open(TARGET)


async def test_times_are_those_of_the_wall_clock(sandbox: Sandbox, path: Path) -> None:
    """A person reads them, and pruning counts from them."""
    before = time.time()
    await with_doubts(sandbox, path)
    async with SqliteJournal(path) as journal:
        [record, *_] = await records(journal, JournalState.UNKNOWN)
    assert before <= record.changed <= time.time()
