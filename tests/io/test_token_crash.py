"""A client that is stopped between any two steps of a renewal, or whose disk is full, loses no token in silence."""

import asyncio
import errno
import json
import math
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from confirma_async import (
    BatchPolicy,
    Comment,
    ConfirmaClient,
    Disposition,
    Environment,
    FileTokenStore,
    MemoryTokenStore,
    NotAppliedError,
    TokenLostError,
    TokenStore,
)
from confirma_async._core.token import TokenRecord
from confirma_async.sandbox import Fault, Sandbox
from tests.conftest import QUICK_RETRY

WHAT_TO_DO = "Ask those who issue tokens, and put the token that counts now into the store"

HANG_BEFORE_APPLYING = Fault(name="hang before applying", delay=math.inf, drops=True)


def client(sandbox: Sandbox, store: TokenStore) -> ConfirmaClient:
    return ConfirmaClient(
        environment=Environment.STAGING,
        token=store,
        base_url=sandbox.base_url,
        batch=BatchPolicy(linger=0),
        retry=QUICK_RETRY,
    )


def comment(case: int) -> Comment:
    return Comment(invoice_number=1, case_id=case, comment="x")


def renewals(sandbox: Sandbox) -> int:
    return [request.path for request in sandbox.requests].count("/renew")


def write(path: Path, token: str) -> None:
    """The file as a client leaves it."""
    path.write_text(json.dumps({"token": token, "candidate": None, "environment": "staging", "renewing": False}))


async def end_tasks(*others: "asyncio.Task[Any]") -> None:
    """Stop everything that a client has running, as the end of the event loop does, and what that sets going."""
    tasks = {*others}
    while tasks:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0)
        tasks = {task for task in asyncio.all_tasks() if task.get_name().startswith("confirma-")}


async def next_life(sandbox: Sandbox, store: TokenStore, case: int = 2) -> str:
    """What becomes of a client that is started afterwards: it works, or says that the token is lost."""
    confirma = client(sandbox, store)
    try:
        await confirma.open()
    except TokenLostError as lost:
        return "lost" if WHAT_TO_DO in str(lost) else str(lost)
    async with confirma:
        outcome = await confirma.actions.send(comment(case))
    assert outcome.disposition is Disposition.ACCEPTED
    assert [effect.action.case_id for effect in sandbox.ledger][-1] == case
    return "works"


# --- stopped at every step --------------------------------------------------------------------------------------------


class Life:
    """The life of a process: it goes from step to step, and stops for good before it takes a given one."""

    def __init__(self, last: str = "") -> None:
        self._last = last
        self.steps: list[str] = []
        self.is_over = asyncio.Event()

    async def step(self, name: str) -> None:
        if name in self.steps:
            name = f"{name} again"
        self.steps.append(name)
        if name == self._last:
            self.is_over.set()
        if self.is_over.is_set():
            await asyncio.Event().wait()

    def watch(self, confirma: ConfirmaClient) -> None:
        """Take every call of the client for two steps."""
        session = confirma._session
        exchange = session.exchange

        async def exchange_in_steps(request: Any, **options: Any) -> Any:
            await self.step(f"ask {request.path}")
            answer = await exchange(request, **options)
            await self.step(f"{request.path} answered")
            return answer

        session.exchange = exchange_in_steps  # type: ignore[method-assign]


class SteppingStore(FileTokenStore):
    """A file whose every use is a step of a life."""

    def __init__(self, path: Path, life: Life, first_token: str) -> None:
        super().__init__(path)
        self._life = life
        self._first_token = first_token

    @asynccontextmanager
    async def lock(self, timeout: float) -> AsyncIterator[None]:
        await self._life.step("lock")
        async with super().lock(timeout):
            yield

    async def load(self) -> TokenRecord:
        await self._life.step("load")
        return await super().load()

    async def save(self, record: TokenRecord) -> None:
        what = self._name(record)
        await self._life.step(f"save {what}")
        await super().save(record)
        await self._life.step(f"{what} saved")

    def _name(self, record: TokenRecord) -> str:
        if record.candidate is not None:
            return "candidate"
        if record.renewing:
            return "mark"
        return "old token" if record.current == self._first_token else "promotion"


async def live(sandbox: Sandbox, path: Path, life: Life) -> None:
    """A client that is asked to send, whose token is answered 401, until its life or its task is over."""
    confirma = client(sandbox, SteppingStore(path, life, sandbox.tokens[0]))
    life.watch(confirma)

    async def work() -> None:
        await confirma.open()
        await confirma.actions.send(comment(1))
        await confirma.close()

    working = asyncio.create_task(work())
    stopping = asyncio.create_task(life.is_over.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        await working
    await end_tasks(working, stopping)
    await confirma._session.close()


STEPS = [
    "lock",
    "load",
    "ask /invoice/action",
    "lock again",
    "load again",
    "save mark",
    "mark saved",
    "ask /renew",
    "/renew answered",
    "save candidate",
    "candidate saved",
    "ask /validate",
    "/validate answered",
    "save promotion",
    "promotion saved",
    "/invoice/action answered",
]

LOSING = {"mark saved", "ask /renew", "/renew answered", "save candidate"}
"""Here nobody can know afterwards whether a token was issued: the old one is asked about, and if it is dead, people."""


async def test_the_steps_of_a_renewal_are_those_that_are_tried(sandbox: Sandbox, tmp_path: Path) -> None:
    """A life that nothing stops has exactly the steps of the list, in its order."""
    write(tmp_path / "token", sandbox.token)
    sandbox.expire_token()
    life = Life()
    await live(sandbox, tmp_path / "token", life)
    assert life.steps == STEPS


@pytest.mark.parametrize("last", STEPS)
async def test_a_client_that_is_stopped_while_its_token_is_dead_loses_nothing_in_silence(
    sandbox: Sandbox, tmp_path: Path, last: str
) -> None:
    """The next client goes on with a good token, or says that it is lost and what to do; none asks for a second one."""
    path = tmp_path / "token"
    write(path, sandbox.token)
    sandbox.expire_token()
    await live(sandbox, path, Life(last))
    end = await next_life(sandbox, FileTokenStore(path))
    assert end == ("lost" if last in LOSING else "works")
    assert renewals(sandbox) == (0 if last in ("mark saved", "ask /renew") else 1)
    assert len(sandbox.tokens) == 1 + renewals(sandbox)
    if end == "lost":
        # What the error says to do, helps.
        sandbox._service.tokens.renew(sandbox.tokens[0], kills_old_token=True)
        path.write_text(sandbox.token)
        assert await next_life(sandbox, FileTokenStore(path)) == "works"
    kept = json.loads(path.read_text())
    assert kept == {"token": sandbox.token, "candidate": None, "environment": "staging", "renewing": False}


@pytest.mark.parametrize("last", STEPS)
async def test_a_client_that_is_stopped_while_its_token_holds_loses_nothing_at_all(tmp_path: Path, last: str) -> None:
    """Where a renewal leaves the old token alive the next client always works, and asks for no other one."""
    path = tmp_path / "token"
    async with Sandbox(renewal_kills_old_token=False) as sandbox:
        write(path, sandbox.token)
        refusal = sandbox.inject(Fault.UNAUTHORIZED)
        await live(sandbox, path, Life(last))
        refusal.cancel()
        assert await next_life(sandbox, FileTokenStore(path)) == "works"
        assert renewals(sandbox) == (0 if last in STEPS[:8] else 1)
        kept = json.loads(path.read_text())
        assert (kept["candidate"], kept["renewing"]) == (None, False)
        assert kept["token"] in sandbox.tokens


SETTLING = {
    "mark saved": ["lock", "load", "ask /validate", "/validate answered", "save old token", "old token saved"],
    "candidate saved": ["lock", "load", "ask /validate", "/validate answered", "save promotion", "promotion saved"],
}


@pytest.mark.parametrize(("first", "second"), [(first, last) for first, steps in SETTLING.items() for last in steps])
async def test_a_client_that_is_stopped_while_it_settles_a_renewal_loses_nothing(
    tmp_path: Path, first: str, second: str
) -> None:
    """Stopped in a renewal, and stopped again while it finds out how that ended: the third client works."""
    path = tmp_path / "token"
    async with Sandbox(renewal_kills_old_token=first == "candidate saved") as sandbox:
        write(path, sandbox.token)
        sandbox.inject(Fault.UNAUTHORIZED)
        await live(sandbox, path, Life(first))
        asked = renewals(sandbox)
        life = Life(second)
        await live(sandbox, path, life)
        assert life.steps[-1] == second
        assert await next_life(sandbox, FileTokenStore(path)) == "works"
        assert renewals(sandbox) == asked


# --- cancelled at every turn ------------------------------------------------------------------------------------------


class TurningStore(MemoryTokenStore):
    """A store that outlives its clients, and takes several turns of the loop for everything."""

    replaceable = True

    async def load(self) -> TokenRecord:
        await asyncio.sleep(0)
        return await super().load()

    async def save(self, record: TokenRecord) -> None:
        await asyncio.sleep(0)
        await super().save(record)
        await asyncio.sleep(0)


async def end_after_cancellation(turns: int) -> tuple[str, bool]:
    """How a client goes on whose forerunner was cancelled so many turns after its token was answered 401."""
    async with Sandbox() as sandbox:
        store = TurningStore(sandbox.token)
        confirma = await client(sandbox, store).open()
        sandbox.expire_token()
        sending = asyncio.create_task(confirma.actions.send(comment(1)))
        for _ in range(turns):
            await asyncio.sleep(0)
        was_done = sending.done()
        await end_tasks(sending)
        await confirma._session.close()
        end = await next_life(sandbox, store)
        assert renewals(sandbox) <= 1
        assert end == "lost" or store._record.current == sandbox.token
        return end, was_done


async def test_a_client_that_is_cancelled_at_any_turn_loses_nothing_in_silence() -> None:
    """As the end of an event loop does it: whatever was running, the next client works, or says what is lost."""
    ends: list[str] = []
    was_done = False
    while not was_done:
        end, was_done = await end_after_cancellation(turns=len(ends))
        ends.append(end)
    assert 20 < len(ends) < 500
    assert ends[0] == ends[-1] == "works"
    assert "lost" in ends


# --- killed -----------------------------------------------------------------------------------------------------------

WORKER = """
import asyncio, sys
from confirma_async import BatchPolicy, Comment, ConfirmaClient, Environment, FileTokenStore

async def main(path, base_url):
    client = ConfirmaClient(
        environment=Environment.STAGING, token=FileTokenStore(path), base_url=base_url, batch=BatchPolicy(linger=0)
    )
    async with client:
        await client.actions.send(Comment(invoice_number=1, case_id=1, comment="x"))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


async def killed(path: Path, fault: Fault, at: str, *, old_holds: bool, is_replay: bool = False) -> tuple[str, int]:
    """How a client goes on whose forerunner was killed when `fault` met its request; and how often was renewed."""
    async with Sandbox(renewal_kills_old_token=not old_holds) as sandbox:
        write(path, sandbox.token)
        if old_holds:
            sandbox.inject(Fault.UNAUTHORIZED)
        else:
            sandbox.expire_token()
        renamed = fault.renamed("the end")
        sandbox.inject(renamed, path=at, when=lambda request: not is_replay or request.token != sandbox.tokens[0])
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, str(path), sandbox.base_url)
        while not any(request.fault == "the end" for request in sandbox.requests):
            assert process.returncode is None
            await asyncio.sleep(0.005)
        process.kill()
        await process.wait()
        async with asyncio.timeout(10):  # The lock of a process that is dead is free.
            return await next_life(sandbox, FileTokenStore(path)), renewals(sandbox)


async def test_a_process_that_is_killed_while_it_renews_loses_nothing_in_silence(tmp_path: Path) -> None:
    """Killed outright at each request of a renewal: the next process works, or says that the token is lost."""
    hang = Fault.HANG_AFTER_APPLYING
    ends = await asyncio.gather(
        killed(tmp_path / "1", HANG_BEFORE_APPLYING, "/renew", old_holds=False),
        killed(tmp_path / "2", hang, "/renew", old_holds=False),
        killed(tmp_path / "3", hang, "/renew", old_holds=True),
        killed(tmp_path / "4", hang, "/validate", old_holds=False),
        killed(tmp_path / "5", hang, "/invoice/action", old_holds=False, is_replay=True),
    )
    assert [*ends] == [("lost", 1), ("lost", 1), ("works", 1), ("works", 1), ("works", 1)]


# --- a disk that is full ----------------------------------------------------------------------------------------------


class Disk:
    """The disk under `os.fsync`: it fails from a given call on until it is mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sync: Callable[[int], None] = os.fsync
        self._left = math.inf
        monkeypatch.setattr(os, "fsync", self._fsync)

    def fails_after(self, calls: float) -> None:
        self._left = calls

    def _fsync(self, descriptor: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sync(descriptor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


SAVES = ["mark", "mark, half-way", "candidate", "candidate, half-way", "promotion", "promotion, half-way"]
"""A save syncs the new file, moves it into place, syncs the folder. Half-way it is done, and said to have failed."""


@pytest.mark.parametrize("synced", range(6), ids=SAVES)
async def test_a_disk_that_is_full_for_a_while_costs_no_token(
    sandbox: Sandbox, tmp_path: Path, disk: Disk, synced: int
) -> None:
    """Whichever write of a renewal fails: the action has a true end, and once there is room the next one goes out."""
    path = tmp_path / "token"
    write(path, sandbox.token)
    async with client(sandbox, FileTokenStore(path)) as confirma:
        sandbox.expire_token()
        disk.fails_after(synced)
        with pytest.raises(NotAppliedError, match="No space left on device"):
            await confirma.actions.send(comment(1))
        assert len(sandbox.ledger) == 0
        assert renewals(sandbox) == (0 if synced < 2 else 1)
        disk.fails_after(math.inf)
        await confirma.actions.send(comment(2))
    assert renewals(sandbox) == 1
    assert json.loads(path.read_text())["token"] == sandbox.tokens[1]


@pytest.mark.parametrize("synced", range(6), ids=SAVES)
async def test_a_disk_that_stays_full_until_the_end_costs_no_token_in_silence(
    sandbox: Sandbox, tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture, synced: int
) -> None:
    """A client that cannot keep a new token until it is closed says that it is lost, and so does the next one."""
    path = tmp_path / "token"
    write(path, sandbox.token)
    async with client(sandbox, FileTokenStore(path)) as confirma:
        sandbox.expire_token()
        disk.fails_after(synced)
        with pytest.raises(NotAppliedError, match="No space left on device"):
            await confirma.actions.send(comment(1))
    was_said = "A renewed token is lost" in caplog.text
    disk.fails_after(math.inf)
    end = await next_life(sandbox, FileTokenStore(path))
    # Half-way through, the mark stands in the file, and nobody is left who knows that nothing was asked.
    assert end == ("lost" if SAVES[synced] in ("mark, half-way", "candidate") else "works")
    assert was_said == (SAVES[synced] == "candidate")
    assert renewals(sandbox) == (0 if SAVES[synced] == "mark, half-way" else 1)


@pytest.mark.parametrize("synced", [2, 3], ids=["wiping the mark", "wiping the mark, half-way"])
@pytest.mark.parametrize("fault", [Fault.unavailable(), Fault.status(400)], ids=lambda fault: fault.name)
async def test_a_mark_that_cannot_be_wiped_is_no_lost_token(
    sandbox: Sandbox, tmp_path: Path, disk: Disk, fault: Fault, synced: int
) -> None:
    """Where the service said that it issued nothing, and the disk will not have it, that is not forgotten."""
    path = tmp_path / "token"
    write(path, sandbox.token)
    async with client(sandbox, FileTokenStore(path)) as confirma:
        sandbox.expire_token()
        sandbox.inject(fault, path="/renew")
        disk.fails_after(synced)
        with pytest.raises(NotAppliedError, match="No space left on device"):
            await confirma.actions.send(comment(1))
        disk.fails_after(math.inf)
        await confirma.actions.send(comment(2))
    assert len(sandbox.tokens) == 2
    assert json.loads(path.read_text())["token"] == sandbox.tokens[1]


async def test_a_folder_that_is_gone_stops_a_renewal_before_it_is_asked_for(sandbox: Sandbox, tmp_path: Path) -> None:
    """A file in the place of the token's folder: nothing is asked for; with the folder back, all goes on."""
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "token", sandbox.token)
    async with client(sandbox, FileTokenStore(folder / "token")) as confirma:
        sandbox.expire_token()
        folder.rename(tmp_path / "elsewhere")
        folder.write_text("")
        with pytest.raises(NotAppliedError, match="there is no such folder"):
            await confirma.actions.send(comment(1))
        assert renewals(sandbox) == 0
        folder.unlink()
        (tmp_path / "elsewhere").rename(folder)
        await confirma.actions.send(comment(2))
    assert renewals(sandbox) == 1
