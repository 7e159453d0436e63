"""What is known of an attempt after each way in which it can fail."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from confirma_async import Timeouts
from confirma_async._core.disposition import Evidence
from confirma_async._core.request import ApiRequest, invoice_actions, renew_token, validate_token
from confirma_async._io.evidence import Progress, current_progress
from confirma_async._io.session import MAX_ANSWER_BYTES, Session
from confirma_async.sandbox import Fault, Sandbox

COMMENT = invoice_actions([b'{"code":"COMMENT","data":{"invoiceNumber":1,"caseId":2}}'])


async def pass_on(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    return await handler(request)


@asynccontextmanager
async def session_at(
    base_url: str, timeouts: Timeouts | None = None, *, connector: aiohttp.BaseConnector | None = None
) -> AsyncIterator[Session]:
    session = Session(base_url, timeouts or Timeouts(), connector)
    await session.open(pass_on)
    try:
        yield session
    finally:
        await session.close()


async def attempt(sandbox: Sandbox, request: ApiRequest = COMMENT, timeouts: Timeouts | None = None) -> Evidence:
    """The evidence of one attempt at the sandbox, with its token."""
    async with session_at(sandbox.base_url, timeouts) as session:
        return (await session.exchange(request, token=sandbox.token)).evidence


@asynccontextmanager
async def raw_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A TCP server that does as told with each connection; yields its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def answering(*pieces: bytes, hang: bool = False) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    """Reads a request's head, answers the pieces, and closes the connection, or hangs."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            # Each piece is a segment of its own, read on its own.
            await asyncio.sleep(0.005)
        if hang:
            await asyncio.Event().wait()

    return serve


async def answered(*pieces: bytes, hang: bool = False, timeouts: Timeouts | None = None) -> Evidence:
    """The evidence of one POST to a server that answers so."""
    async with (
        raw_server(answering(*pieces, hang=hang)) as port,
        session_at(f"http://127.0.0.1:{port}", timeouts) as s,
    ):
        return (await s.exchange(COMMENT, token="t")).evidence


# --- never sent -------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_refused_connection_is_never_sent() -> None:
    """A service that refuses connections has received nothing, and the evidence says so."""
    async with session_at(f"http://127.0.0.1:{free_port()}") as session:
        evidence = (await session.exchange(COMMENT, token="t")).evidence
    assert (evidence.headers_sent, evidence.status) == (False, None)
    assert evidence.failure == "ClientConnectorError"


class NoSuchHost(AbstractResolver):
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise OSError(None, "there is no such host")

    async def close(self) -> None:
        pass


async def test_an_unknown_host_is_never_sent() -> None:
    """A host that no resolver knows has received nothing, and the evidence says so."""
    connector = aiohttp.TCPConnector(resolver=NoSuchHost())
    async with session_at("https://confirma.invalid", connector=connector) as session:
        evidence = (await session.exchange(COMMENT, token="t")).evidence
    await connector.close()
    assert (evidence.headers_sent, evidence.status) == (False, None)
    assert evidence.failure == "ClientConnectorDNSError"


async def test_a_failed_tls_handshake_is_never_sent() -> None:
    """A port that does not speak TLS has received no request, and the evidence says so."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with raw_server(plain) as port, session_at(f"https://127.0.0.1:{port}") as session:
        evidence = (await session.exchange(COMMENT, token="t")).evidence
    assert (evidence.headers_sent, evidence.status) == (False, None)


@pytest.mark.looptime
async def test_a_hanging_tls_handshake_is_never_sent() -> None:
    """A handshake that hangs ends with the connect timeout, and nothing was sent."""

    async def mute(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass

    loop = asyncio.get_running_loop()
    started = loop.time()
    async with raw_server(mute) as port, session_at(f"https://127.0.0.1:{port}", Timeouts(connect=5.0)) as session:
        evidence = (await session.exchange(COMMENT, token="t")).evidence
    assert (evidence.headers_sent, evidence.status) == (False, None)
    assert loop.time() - started == pytest.approx(5.0, abs=1.1)


@pytest.mark.looptime
async def test_a_wait_for_a_place_in_the_pool_is_never_sent(sandbox: Sandbox) -> None:
    """Waiting for a place in a borrowed pool ends with the connect timeout, and nothing was sent."""
    connector = aiohttp.TCPConnector(limit=1)
    sandbox.inject(Fault.HANG_AFTER_APPLYING)
    async with session_at(sandbox.base_url, Timeouts(connect=5.0, read=20.0), connector=connector) as session:
        first = asyncio.create_task(session.exchange(COMMENT, token=sandbox.token))
        await asyncio.sleep(0.1)
        second = await session.exchange(COMMENT, token=sandbox.token)
        assert not first.done()
        await first
    await connector.close()
    assert (second.evidence.headers_sent, second.evidence.status) == (False, None)
    assert len(sandbox.posts) == 1


# --- sent, and no answer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "effects"),
    [(Fault.DROP_BEFORE_READING, 0), (Fault.DROP_AFTER_READING, 0), (Fault.DROP_AFTER_APPLYING, 1)],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
async def test_a_dropped_connection_says_sent_and_no_more(sandbox: Sandbox, fault: Fault, effects: int) -> None:
    """Whether the service read, applied or ignored a request and hung up: all that is known is that it was sent."""
    sandbox.inject(fault)
    evidence = await attempt(sandbox)
    assert (evidence.headers_sent, evidence.status) == (True, None)
    assert evidence.failure in ("ServerDisconnectedError", "ClientOSError", "ConnectionResetError")
    assert len(sandbox.ledger) == effects
    assert len(sandbox.posts) == 1


@pytest.mark.looptime
@pytest.mark.parametrize("timeouts", [Timeouts(read=3.0), Timeouts(total=3.0)], ids=["read", "total"])
async def test_a_lost_answer_says_sent(sandbox: Sandbox, timeouts: Timeouts) -> None:
    """An answer that does not come within the read or the total timeout leaves it open what became of the request."""
    sandbox.inject(Fault.HANG_AFTER_APPLYING)
    started = asyncio.get_running_loop().time()
    evidence = await attempt(sandbox, timeouts=timeouts)
    assert (evidence.headers_sent, evidence.status) == (True, None)
    assert asyncio.get_running_loop().time() - started == pytest.approx(3.0, abs=1.1)


async def test_an_answer_that_is_not_http_says_sent() -> None:
    """An answer that is no HTTP leaves it open whether the request was applied."""
    evidence = await answered(b"220 mail.example ESMTP\r\n\r\n")
    assert (evidence.headers_sent, evidence.status) == (True, None)


async def test_a_head_that_is_cut_says_sent() -> None:
    """An answer cut within its head has no status."""
    evidence = await answered(b"HTTP/1.1 200 OK\r\nContent-Le")
    assert (evidence.headers_sent, evidence.status) == (True, None)


# --- answered ---------------------------------------------------------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"{"], id="cut body"),
        pytest.param([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n{}"], id="broken chunks"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n", b"nope"], id="no gzip"
        ),
    ],
)
async def test_an_odd_body_does_not_lose_the_status(pieces: list[bytes]) -> None:
    """A 200 whose body is cut or cannot be read is a 200."""
    evidence = await answered(*pieces)
    assert (evidence.headers_sent, evidence.status) == (True, 200)


@pytest.mark.looptime
@pytest.mark.parametrize("timeouts", [Timeouts(read=3.0), Timeouts(total=3.0)], ids=["read", "total"])
async def test_a_body_that_hangs_does_not_lose_the_status(timeouts: Timeouts) -> None:
    """A 200 whose body never ends is a 200 once the timeout is over."""
    evidence = await answered(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", hang=True, timeouts=timeouts)
    assert (evidence.headers_sent, evidence.status) == (True, 200)


@pytest.mark.looptime
async def test_an_abort_does_not_lose_a_status_that_was_read() -> None:
    """A client that closes while it reads the body of a 200 knows that it was a 200."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"
    async with raw_server(answering(head, hang=True)) as port, session_at(f"http://127.0.0.1:{port}") as session:
        running = asyncio.create_task(session.exchange(COMMENT))
        await asyncio.sleep(0.05)
        session.abort()
        evidence = (await running).evidence
    assert (evidence.headers_sent, evidence.status) == (True, 200)


async def test_html_is_an_answer(sandbox: Sandbox) -> None:
    """A page of HTML with status 200 is a 200, and no JSON."""
    sandbox.inject(Fault.status(200, b"<html>welcome</html>", headers={"Content-Type": "text/html"}))
    async with session_at(sandbox.base_url) as session:
        exchange = await session.exchange(COMMENT, token=sandbox.token)
    assert exchange.evidence.status == 200
    assert exchange.body_is_whole
    assert exchange.json() is None


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_a_body_beyond_the_limit_is_not_read_on(sandbox: Sandbox, packed: bool) -> None:
    """An answer larger than the limit, unpacked, keeps its status, and is not held in memory whole."""
    body = b" " * (MAX_ANSWER_BYTES + 5_000_000)
    headers = {"Content-Encoding": "gzip"} if packed else {}
    sandbox.inject(Fault.status(200, gzip.compress(body) if packed else body, headers=headers))
    async with session_at(sandbox.base_url) as session:
        exchange = await session.exchange(COMMENT, token=sandbox.token)
    assert exchange.evidence.status == 200
    assert not exchange.body_is_whole
    assert len(exchange.body) <= MAX_ANSWER_BYTES


async def test_a_body_at_the_limit_is_whole(sandbox: Sandbox) -> None:
    """An answer that is exactly as large as the limit is read whole."""
    sandbox.inject(Fault.status(200, b" " * MAX_ANSWER_BYTES))
    async with session_at(sandbox.base_url) as session:
        exchange = await session.exchange(COMMENT, token=sandbox.token)
    assert exchange.body_is_whole
    assert len(exchange.body) == MAX_ANSWER_BYTES


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(sandbox: Sandbox, status: int) -> None:
    """A redirect is an answer like any other: where it points nobody sees the token."""
    async with Sandbox() as elsewhere:
        target = f"{elsewhere.base_url}/invoice/action"
        sandbox.inject(Fault.status(status, headers={"Location": target}), path=None, times=2)
        post = await attempt(sandbox)
        get = await attempt(sandbox, validate_token())
        assert elsewhere.requests == []
    assert (post.headers_sent, post.status) == (get.headers_sent, get.status) == (True, status)
    assert len(sandbox.requests) == 2


async def test_retry_after_is_part_of_the_evidence(sandbox: Sandbox) -> None:
    """The pause that an answer asks for is in its evidence."""
    sandbox.inject(Fault.too_many_requests(retry_after=7))
    evidence = await attempt(sandbox)
    assert (evidence.status, evidence.retry_after) == (429, 7.0)


# --- aiohttp repeats nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [validate_token(), renew_token()], ids=["validate", "renew"])
@pytest.mark.parametrize(
    "fault",
    [Fault.DROP_BEFORE_READING, Fault.DROP_AFTER_READING, Fault.DROP_AFTER_APPLYING],
    ids=lambda fault: fault.name,
)
@pytest.mark.parametrize("reused", [False, True], ids=["new connection", "reused connection"])
async def test_a_dropped_get_is_on_the_wire_once(
    sandbox: Sandbox,
    request_: ApiRequest,
    fault: Fault,
    reused: bool,
) -> None:
    """A GET whose connection drops is not repeated behind our back: a second /renew would lose a token."""
    async with session_at(sandbox.base_url) as session:
        if reused:
            await session.exchange(validate_token(), token=sandbox.token)
        before = len(sandbox.requests)
        sandbox.inject(fault, path=request_.path, times=None)
        exchange = await session.exchange(request_, token=sandbox.token)
    assert len(sandbox.requests) - before == 1
    assert (exchange.evidence.headers_sent, exchange.evidence.status) == (True, None)


# --- progress ---------------------------------------------------------------------------------------------------------


async def test_what_counts_after_a_full_answer_is_the_replay(sandbox: Sandbox) -> None:
    """A request that was answered in full and could not be sent a second time was not sent."""
    refused = iter([False, True])

    class SecondRefused(aiohttp.TCPConnector):
        async def connect(self, *args: Any, **kwargs: Any) -> Any:
            if next(refused):
                raise aiohttp.ServerTimeoutError
            return await super().connect(*args, **kwargs)

    async def replay(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        (await handler(request)).release()
        current_progress.get().is_replayed()
        return await handler(request)

    connector = SecondRefused(force_close=True)
    session = Session(sandbox.base_url, Timeouts(), connector)
    await session.open(replay)
    evidence = (await session.exchange(COMMENT)).evidence
    await session.close()
    await connector.close()
    assert len(sandbox.posts) == 1
    assert evidence.headers_sent is False


async def test_concurrent_attempts_have_evidence_of_their_own(sandbox: Sandbox) -> None:
    """Of two attempts at once, the one that never left does not look sent because the other one was."""
    other = asyncio.create_task(attempt(sandbox))
    async with session_at(f"http://127.0.0.1:{free_port()}") as session:
        refused = (await session.exchange(COMMENT, token="t")).evidence
    assert (await other).headers_sent is True
    assert refused.headers_sent is False
    assert Progress().headers_sent is False
