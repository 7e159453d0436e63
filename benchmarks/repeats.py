"""How many effects does one POST have, when it fails on the way and is retried?

    python -m benchmarks.repeats [--posts N] [--json]

The same faults, from the same sandbox, against three retrying clients: tenacity around aiohttp (three attempts, on
aiohttp's errors, timeouts and 5xx), aiohttp-retry (`ExponentialRetry(attempts=3)`, as it comes and with `exceptions`
given), and this package with its usual policies. Each POST asks for one DIRECTPAYMENT, and each fault meets every
attempt at it. A cell is the effects per POST, the attempts, and what the caller is told in the end. All clients have
the same timeouts; time is virtual.

Not shown: faults that pass, which double where those that stay triple; actions whose repeat is harmless, which this
package repeats, too; and that the others can be told to leave POSTs alone, and then lose what was only turned away.
"""

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any, TypeAlias

import aiohttp
import looptime
from aiohttp_retry import ExponentialRetry, RetryClient
from attrs import asdict, frozen
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from confirma_async import Action, Assumptions, ConfirmaClient, Disposition, Environment, Timeouts
from confirma_async._core.request import invoice_actions
from confirma_async._core.wire import encode_action
from confirma_async.sandbox import Fault, Sandbox

from .measure import machine
from .push import payment

NOT_SHOWN = (
    "faults that pass (two effects where these show three), actions whose repeat is harmless (this package repeats "
    "them, too), and clients told to retry no POST, which lose what was only turned away."
)

ATTEMPTS = 3

_USUAL = Timeouts()
_TIMEOUT = aiohttp.ClientTimeout(total=_USUAL.total, connect=_USUAL.connect, sock_read=_USUAL.read)

_LOST = (aiohttp.ClientError, TimeoutError)

_REFUSED = "connection refused"

FAULTS: dict[str, Fault | None] = {
    "apply, then reset": Fault.DROP_AFTER_APPLYING,
    "apply, then hang": Fault.HANG_AFTER_APPLYING,
    "apply, then 502": Fault.BAD_GATEWAY_AFTER_APPLYING,
    "apply, then 200 with a cut body": Fault.CUT_BODY,
    "apply, then 200 with HTML": Fault.HTML,
    "apply, then a slow drip": Fault.dripping(40.0),
    "read, then reset": Fault.DROP_AFTER_READING,
    "reset before reading": Fault.DROP_BEFORE_READING,
    "500": Fault.status(500),
    "503": Fault.unavailable(),
    "429": Fault.too_many_requests(),
    _REFUSED: None,
}
"""What every attempt meets; None is a service that does not listen."""

Post: TypeAlias = Callable[[Action], Awaitable[str]]
"""Posts one action, with whatever retries; returns what its caller is told."""


@frozen
class Cell:
    """What became of POSTs that met one fault, sent by one client."""

    effects: float
    """Per POST."""
    attempts: float
    """Requests that arrived, per POST."""
    told: str
    """What the caller of each was told."""


class _Retried:
    """What the clients that know of no actions have in common: a session, a URL, a token."""

    def __init__(self, session: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        self._session = session
        self._url = f"{sandbox.base_url}/invoice/action"
        self._headers = {"X-Api-Key": sandbox.token, "Content-Type": "application/json"}

    async def with_tenacity(self, action: Action) -> str:
        """The loop that everybody writes."""
        attempts = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(max=8),
            retry=retry_if_exception_type(_LOST),
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                async with self._session.post(self._url, data=_body(action), headers=self._headers) as answer:
                    if answer.status >= 500:
                        answer.raise_for_status()
                    await answer.read()
                    return _told(answer)
        raise AssertionError("tenacity returns, or raises")

    def with_aiohttp_retry(self, options: ExponentialRetry) -> Post:
        """A client that retries by itself."""
        client = RetryClient(client_session=self._session, retry_options=options)

        async def post(action: Action) -> str:
            async with client.post(self._url, data=_body(action), headers=self._headers) as answer:
                await answer.read()
                return _told(answer)

        return post


def _body(action: Action) -> bytes:
    body = invoice_actions([encode_action(action, Assumptions())]).body
    assert body is not None
    return body


def _told(answer: aiohttp.ClientResponse) -> str:
    return "success" if answer.ok else f"status {answer.status}"


@asynccontextmanager
async def _tenacity(sandbox: Sandbox) -> AsyncIterator[Post]:
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        yield _Retried(session, sandbox).with_tenacity


@asynccontextmanager
async def _aiohttp_retry(sandbox: Sandbox) -> AsyncIterator[Post]:
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        yield _Retried(session, sandbox).with_aiohttp_retry(ExponentialRetry(attempts=ATTEMPTS))


@asynccontextmanager
async def _aiohttp_retry_of_errors(sandbox: Sandbox) -> AsyncIterator[Post]:
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        yield _Retried(session, sandbox).with_aiohttp_retry(ExponentialRetry(ATTEMPTS, exceptions=set(_LOST)))


@asynccontextmanager
async def _ours(sandbox: Sandbox) -> AsyncIterator[Post]:
    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url
    ) as client:

        async def post(action: Action) -> str:
            [outcome] = await client.actions.post([action])
            accepted = outcome.disposition is Disposition.ACCEPTED
            return "success" if accepted else outcome.disposition.name

        yield post


CLIENTS: dict[str, Callable[[Sandbox], AbstractAsyncContextManager[Post]]] = {
    "tenacity": _tenacity,
    "aiohttp-retry": _aiohttp_retry,
    "aiohttp-retry, exceptions": _aiohttp_retry_of_errors,
    "confirma_async": _ours,
}


async def measured(
    opened: Callable[[Sandbox], AbstractAsyncContextManager[Post]], fault: Fault | None, posts: int
) -> Cell:
    """Send so many POSTs, one after the other, each of whose attempts meets the fault."""
    told: Counter[str] = Counter()
    async with Sandbox() as sandbox, opened(sandbox) as post:
        if fault is None:
            sandbox.outage(mode="refuse")
        else:
            sandbox.inject(fault, times=None)
        for number in range(posts):
            told[await _end_of(post, payment(number))] += 1
        return Cell(len(sandbox.ledger) / posts, len(sandbox.posts) / posts, " or ".join(sorted(told)))


async def _end_of(post: Post, action: Action) -> str:
    try:
        return await post(action)
    except aiohttp.ClientResponseError as error:
        return f"status {error.status}" if error.status >= 400 else "error"
    except (aiohttp.ClientError, TimeoutError):
        return "error"


def _measured(posts: int) -> dict[str, dict[str, Cell]]:
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        return {
            row: {name: runner.run(measured(opened, fault, posts)) for name, opened in CLIENTS.items()}
            for row, fault in FAULTS.items()
        }


def _lines(found: dict[str, dict[str, Cell]]) -> list[str]:
    first = max(map(len, found))
    widths = {name: max(len(name), 21) for name in CLIENTS}
    lines = [
        "effects per POST of one payment; attempts that arrived; what the caller is told",
        "",
        "  ".join([" " * first, *(f"{name:{widths[name]}}" for name in CLIENTS)]).rstrip(),
    ]
    for row, cells in found.items():
        shown = (
            f"{f'{cell.effects:g}  of {cell.attempts:g}  {cell.told}':{widths[name]}}" for name, cell in cells.items()
        )
        lines.append("  ".join([f"{row:{first}}", *shown]).rstrip())
    return lines


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.repeats", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--posts", type=int, default=20, help="POSTs of each client that meet each fault")
    parser.add_argument("--json", action="store_true", help="print the line of JSON alone")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print what was found."""
    wanted = _arguments(given)
    found = _measured(wanted.posts)
    if not wanted.json:
        print(*_lines(found), sep="\n", end="\n\n")
        print(f"Not shown: {NOT_SHOWN}", end="\n\n")
    record: dict[str, Any] = {
        "benchmark": "repeats",
        "settings": {"posts": wanted.posts, "attempts": ATTEMPTS},
        "machine": {**machine(), **{name: version(name) for name in ("aiohttp-retry", "tenacity")}},
        "unit": "effects and attempts per POST",
        "results": {row: {name: asdict(cell) for name, cell in cells.items()} for row, cells in found.items()},
        "not_shown": NOT_SHOWN,
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
