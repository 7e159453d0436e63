"""Who shares a token renews it once: clients with one store, stores with one file, processes with one file."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from confirma_async import BatchPolicy, Comment, ConfirmaClient, Disposition, Environment, FileTokenStore
from confirma_async.sandbox import Fault, Sandbox

WORKER = """
import asyncio, sys
from confirma_async import BatchPolicy, Comment, ConfirmaClient, Environment, FileTokenStore

def client(path, base_url):
    return ConfirmaClient(
        environment=Environment.STAGING, token=FileTokenStore(path), base_url=base_url, batch=BatchPolicy(linger=0.001)
    )

async def main(path, base_url, first):
    async with client(path, base_url) as one, client(path, base_url) as other:
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        comments = [Comment(invoice_number=1, case_id=case, comment="x") for case in range(first, first + 50)]
        await asyncio.gather(*map(one.actions.send, comments[:25]), *map(other.actions.send, comments[25:]))
        ends = one.statistics(), other.statistics()
        print(sum(end.accepted for end in ends), sum(end.renewals for end in ends), flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def client(sandbox: Sandbox, store: FileTokenStore) -> ConfirmaClient:
    return ConfirmaClient(
        environment=Environment.STAGING, token=store, base_url=sandbox.base_url, batch=BatchPolicy(linger=0.001)
    )


def comment(case: int) -> Comment:
    return Comment(invoice_number=1, case_id=case, comment="x")


def renewals(sandbox: Sandbox) -> int:
    return [request.path for request in sandbox.requests].count("/renew")


@pytest.fixture
def path(sandbox: Sandbox, tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(sandbox.token)
    return path


@pytest.mark.parametrize("share_the_object", [True, False], ids=["one store", "two stores of one file"])
async def test_two_clients_renew_once(sandbox: Sandbox, path: Path, *, share_the_object: bool) -> None:
    """Two clients in one process, with one store or with two of the same file, cost one renewal between them."""
    first = FileTokenStore(path)
    second = first if share_the_object else FileTokenStore(path)
    async with client(sandbox, first) as one, client(sandbox, second) as other:
        sandbox.expire_token()
        outcomes = await asyncio.gather(
            *(who.actions.send(comment(case)) for case in range(1, 21) for who in (one, other))
        )
        assert one.statistics().renewals + other.statistics().renewals == 1
    assert {outcome.disposition for outcome in outcomes} == {Disposition.ACCEPTED}
    assert renewals(sandbox) == 1
    assert len(sandbox.ledger) == 40


async def start(path: Path, sandbox: Sandbox, first: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER, str(path), sandbox.base_url, str(first)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"
    return process


async def test_processes_renew_once(sandbox: Sandbox, path: Path) -> None:
    """Three processes of two clients each, whose token ends at the same time, cost one renewal, and all go on."""
    sandbox.inject(Fault.slow(0.1), path="/renew")
    workers = await asyncio.gather(*(start(path, sandbox, first) for first in (1, 1001, 2001)))
    sandbox.expire_token()
    ends = await asyncio.gather(*(worker.communicate(b"go\n") for worker in workers))
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sorted(end[0].split() for end in ends) == [[b"50", b"0"], [b"50", b"0"], [b"50", b"1"]]
    assert renewals(sandbox) == 1
    assert len(sandbox.ledger) == 150
    assert json.loads(path.read_text())["token"] == sandbox.tokens[1]
