"""What does `push()` cost per action, and `send()`, over raw aiohttp posting equal bodies?

    python -m benchmarks.push [--actions N] [--rounds R] [--batch B …] [--code CODE …] [--json]

The floor posts bodies that were encoded before the clock started, as many at a time as the client has lanes, and reads
the answers. `push()` builds each action, checks it, journals it in memory, encodes it, coalesces it into the same
bodies, posts them, and hands out an outcome for each. `send()` does so for as many tasks as there are actions; beside
it stands its reference: as many tasks that each await a future, plus the floor.

Not shown: a real network, TLS, the service's own time, memory, and latency. On loopback wall time is mostly the
client's own CPU time, and an elapsed millisecond per POST would hide most of the differences. A server that is slow
makes larger batches of concurrent `send()`s than this one does.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal

import aiohttp

from confirma_async import (
    Action,
    Assumptions,
    BatchPolicy,
    Comment,
    ConfirmaClient,
    DirectPayment,
    Disposition,
    Environment,
)
from confirma_async._core.request import invoice_actions
from confirma_async._core.wire import encode_action

from .measure import Candidate, Figure, figures, print_report, rounds_of, running_server

NOT_SHOWN = "network, TLS, the service's own time, memory, latency; the ratio falls as POSTs take longer."

_TOKEN = "benchmark"
_JSON = {"Content-Type": "application/json", "Accept": "application/json", "X-Api-Key": _TOKEN}


def comment(number: int) -> Comment:
    """A comment as systems write them; every action is on a case of its own."""
    return Comment(
        invoice_number=900_000 + number,
        case_id=1 + number,
        comment=f"Customer called about invoice {900_000 + number}; will pay by the end of the month.",
    )


_DAY = date(2026, 3, 15)


def payment(number: int) -> DirectPayment:
    """A payment like the one in the API's own example."""
    return DirectPayment(
        invoice_number=900_000 + number,
        case_id=1 + number,
        comment="Customer made a direct payment",
        payment_method="Bankgiro",
        amount=Decimal("250.75"),
        currency="SEK",
        payment_date=_DAY,
        reference=f"PAY{number:09d}",
        outstanding_capital_amount=Decimal("1000.00"),
        outstanding_interest_amount=Decimal("12.50"),
        outstanding_costs_amount=Decimal("60.00"),
    )


MAKERS: dict[str, Callable[[int], Action]] = {"COMMENT": comment, "DIRECTPAYMENT": payment}


def bodies(make: Callable[[int], Action], actions: int, batch: int) -> list[bytes]:
    """The bodies that the client posts for so many actions, encoded."""
    encoded = [encode_action(make(number), Assumptions()) for number in range(actions)]
    requests = (invoice_actions(encoded[start : start + batch]) for start in range(0, actions, batch))
    return [request.body for request in requests if request.body is not None]


class Bench:
    """One server, one aiohttp session and one client, and the ways to get the same actions across."""

    def __init__(self, session: aiohttp.ClientSession, url: str, client: ConfirmaClient, policy: BatchPolicy) -> None:
        self._session = session
        self._url = f"{url}/invoice/action"
        self._client = client
        self._policy = policy

    def candidates(self, make: Callable[[int], Action], actions: int) -> list[Candidate]:
        """The floor first."""
        posted = bodies(make, actions, self._policy.max_actions)
        return [
            Candidate("raw aiohttp", lambda: self.post(posted)),
            Candidate("push()", lambda: self.push(make, actions)),
            Candidate("tasks, futures, raw aiohttp", lambda: self.post_with_tasks(posted, actions)),
            Candidate("send()", lambda: self.send(make, actions)),
        ]

    async def post(self, posted: Sequence[bytes]) -> None:
        """The floor."""
        waiting = iter(posted)
        await asyncio.gather(*(self._post_each(waiting) for _ in range(self._policy.lanes)))

    async def _post_each(self, waiting: Iterator[bytes]) -> None:
        for body in waiting:
            async with self._session.post(self._url, data=body, headers=_JSON) as answer:
                await answer.read()

    async def post_with_tasks(self, posted: Sequence[bytes], actions: int) -> None:
        """What no `send()` can do without: a task and a future for each caller, and the floor."""
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(actions)]

        async def wait(future: "asyncio.Future[None]") -> None:
            await future

        tasks = [asyncio.create_task(wait(future)) for future in futures]
        await self.post(posted)
        for future in futures:
            future.set_result(None)
        await asyncio.gather(*tasks)

    async def push(self, make: Callable[[int], Action], actions: int) -> None:
        """Build, check, coalesce, post and report so many actions with `push()`."""
        accepted = 0
        async for outcome in self._client.actions.push(map(make, range(actions))):
            accepted += outcome.disposition is Disposition.ACCEPTED
        assert accepted == actions

    async def send(self, make: Callable[[int], Action], actions: int) -> None:
        """The same with a task and a `send()` for each action."""

        async def one(number: int) -> None:
            await self._client.actions.send(make(number))

        await asyncio.gather(*(one(number) for number in range(actions)))


@asynccontextmanager
async def opened(url: str, batch: int) -> AsyncIterator[Bench]:
    """A bench for POSTs of so many actions."""
    policy = BatchPolicy(max_actions=batch, max_bytes=16 * 1024 * 1024)
    client = ConfirmaClient(environment=Environment.STAGING, token=_TOKEN, base_url=url, batch=policy)
    async with aiohttp.ClientSession() as session, client:
        yield Bench(session, url, client, policy)


async def measured(url: str, *, code: str, batch: int, actions: int, rounds: int) -> list[Figure]:
    """The figures of every candidate, for actions of one code in POSTs of one size."""
    async with opened(url, batch) as bench:
        for warm_up in bench.candidates(MAKERS[code], min(actions, 2 * batch)):
            await warm_up.run()
        candidates = bench.candidates(MAKERS[code], actions)
        names = [candidate.name for candidate in candidates]
        return figures(await rounds_of(candidates, rounds=rounds), names, actions)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.push", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--actions", type=int, default=20_000, help="actions in each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, nargs="+", default=[100], help="actions in one POST")
    parser.add_argument("--code", choices=MAKERS, nargs="+", default=list(MAKERS))
    parser.add_argument("--json", action="store_true", help="print the line of JSON alone")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print what was found."""
    wanted = _arguments(given)
    with running_server() as url:
        results = {
            f"{code}, {batch} per POST": asyncio.run(
                measured(url, code=code, batch=batch, actions=wanted.actions, rounds=wanted.rounds)
            )
            for code in wanted.code
            for batch in wanted.batch
        }
    settings = {"actions": wanted.actions, "rounds": wanted.rounds, "batch": wanted.batch, "code": wanted.code}
    print_report("push", results, settings=settings, does_not_show=NOT_SHOWN, only_json=wanted.json)


if __name__ == "__main__":
    main()
