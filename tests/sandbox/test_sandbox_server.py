import asyncio
import contextlib
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from confirma_async.codes import Disposition
from confirma_async.models import ActionOutcome, Comment
from confirma_async.sandbox import (
    Fault,
    FaultSchedule,
    OneIn,
    PlannedFault,
    PlannedOutage,
    PlannedTokenEnd,
    Sandbox,
)

COMMENT = {"code": "COMMENT", "comment": "hello", "data": {"invoiceNumber": 1, "caseId": 2}}
WITHDRAW = {"code": "WITHDRAW", "data": {"invoiceNumber": 1, "caseId": 3}}


class ConnectionLostError(Exception):
    """The connection was refused, or ended before an answer."""


class Caller:
    """A plain HTTP client that knows the sandbox's address and newest token, and repeats nothing."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self._sandbox = sandbox
        self._session = session
        self.headers: dict[str, str] = {}

    async def call(
        self, method: str, path: str, *, token: str | None = None, headers: dict[str, str] | None = None, **body: Any
    ) -> tuple[int, bytes]:
        """Status and body of the answer; its headers stay in `headers`."""
        sent = {"X-Api-Key": token or self._sandbox.token, **(headers or {})}
        url = self._sandbox.base_url + path
        async with self._session.request(method, url, headers=sent, allow_redirects=False, **body) as answer:
            self.headers = dict(answer.headers)
            return answer.status, await answer.read()

    async def post(self, *elements: object) -> int:
        status, _ = await self.call("POST", "/invoice/action", json={"actions": elements})
        return status


async def no_repeat(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep the HTTP library from sending a GET again by itself when its connection is dropped."""
    try:
        return await handler(request)
    except aiohttp.ClientError as error:
        raise ConnectionLostError from error


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def caller(sandbox: Sandbox) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession(middlewares=[no_repeat]) as session:
        yield Caller(sandbox, session)


async def raw_post(sandbox: Sandbox, head_and_body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send bytes as they are, and leave the connection open."""
    port = int(sandbox.base_url.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head_and_body)
    await writer.drain()
    return reader, writer


UNFINISHED = (
    b"POST /api/v1/partner/invoice/action HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" + b'{"actions"'
)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that the other side of a connection does."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


# --- ordinary days ------------------------------------------------------------------------------------------


async def test_a_batch_is_accepted_as_documented(sandbox: Sandbox, caller: Caller) -> None:
    """POST /invoice/action answers 200 `{}` as JSON, and its actions are in the ledger, in order."""
    answer = await caller.call("POST", "/invoice/action", json={"actions": [COMMENT, WITHDRAW]})
    assert answer == (200, b"{}")
    assert caller.headers["Content-Type"] == "application/json"
    assert [effect.action.code for effect in sandbox.ledger] == ["COMMENT", "WITHDRAW"]


async def test_the_base_url_ends_like_the_service(sandbox: Sandbox) -> None:
    """Paths are appended to the sandbox's base as they are to the documented one."""
    assert sandbox.base_url.startswith("http://127.0.0.1:")
    assert sandbox.base_url.endswith("/api/v1/partner")


async def test_the_first_token_can_be_given() -> None:
    """A token that the test knows works at once; without one the sandbox makes one up."""
    async with Sandbox(token="mine") as sandbox, aiohttp.ClientSession() as session:
        assert (sandbox.token, sandbox.tokens) == ("mine", ("mine",))
        status, _ = await Caller(sandbox, session).call("GET", "/validate", token="mine")
        assert status == 200


async def test_requests_are_recorded_as_they_arrived(sandbox: Sandbox, caller: Caller) -> None:
    """Every request is on record with what was sent and what was answered, also one that found nothing."""
    await caller.call("GET", "/payments?fromDate=2026-01-01")
    await caller.call("POST", "/invoice/action", token="wrong", data=b"anything")
    await caller.post(COMMENT)
    lost, unauthorized, accepted = sandbox.requests
    assert (lost.number, lost.method, lost.path, lost.query) == (1, "GET", "/payments", "fromDate=2026-01-01")
    assert lost.status == 404
    assert (unauthorized.token, unauthorized.body, unauthorized.status) == ("wrong", b"anything", 401)
    assert json.loads(accepted.body) == {"actions": [COMMENT]}
    assert (accepted.token, accepted.fault, accepted.status) == (sandbox.token, None, 200)
    assert sandbox.posts == [unauthorized, accepted]
    assert sandbox.ledger[0].request == accepted.number


async def test_a_path_outside_the_base_is_no_endpoint(sandbox: Sandbox, caller: Caller) -> None:
    """A client with a wrong base URL gets 404, and the record shows where it went."""
    async with aiohttp.request(
        "POST",
        sandbox.base_url.removesuffix("/api/v1/partner") + "/invoice/action",
        json={"actions": [COMMENT]},
        headers={"X-Api-Key": sandbox.token},
    ) as answer:
        assert answer.status == 404
    assert sandbox.requests[0].path == "outside:/invoice/action"
    assert len(sandbox.ledger) == 0


async def test_a_large_batch_is_accepted(sandbox: Sandbox, caller: Caller) -> None:
    """The documents name no limit to a body, and the sandbox has none of its own."""
    batch = io.BytesIO(json.dumps({"actions": [{**COMMENT, "comment": "x" * 3_000_000}]}).encode())
    json_type = {"Content-Type": "application/json"}
    assert await caller.call("POST", "/invoice/action", data=batch, headers=json_type) == (200, b"{}")
    assert len(sandbox.ledger) == 1


async def test_a_counting_sandbox_keeps_no_content() -> None:
    """For long runs effects are only counted, and the bodies of requests are not kept."""
    async with Sandbox(keep_ledger=False) as sandbox, aiohttp.ClientSession() as session:
        await Caller(sandbox, session).post(COMMENT, COMMENT)
        assert len(sandbox.ledger) == 2
        assert sandbox.posts[0].body == b""


# --- life ---------------------------------------------------------------------------------------------------


async def test_the_address_is_known_once_started() -> None:
    """Before it has a port, asking a sandbox for its address is an error rather than a wrong address."""
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = Sandbox().base_url


async def test_a_running_sandbox_is_not_started_again(sandbox: Sandbox) -> None:
    """A second start is an error, and does no harm to the first."""
    with pytest.raises(RuntimeError, match="running already"):
        await sandbox.start()


async def test_a_port_that_is_taken_is_an_error(sandbox: Sandbox, caller: Caller) -> None:
    """A sandbox that cannot have its port says so and can be stopped; the port's owner goes on."""
    port = int(sandbox.base_url.split(":")[2].split("/")[0])
    second = Sandbox(port=port)
    with pytest.raises(OSError, match=r"(?i)address already in use"):
        await second.start()
    await second.stop()
    assert await caller.post(COMMENT) == 200


async def test_a_stopped_sandbox_refuses_connections_and_comes_back(sandbox: Sandbox, caller: Caller) -> None:
    """Stopped, it is not there; started again, it is where it was, and knows what it knew."""
    await caller.post(COMMENT)
    before = sandbox.base_url
    await sandbox.stop()
    await sandbox.stop()
    with pytest.raises(ConnectionLostError):
        await caller.post(COMMENT)
    await sandbox.start()
    assert sandbox.base_url == before
    assert await caller.post(COMMENT) == 200
    assert len(sandbox.ledger) == 2


async def test_stop_does_not_wait_for_anybody(sandbox: Sandbox, caller: Caller) -> None:
    """Neither idle connections nor unfinished requests hold up the end."""
    await caller.post(COMMENT)
    reader, writer = await raw_post(sandbox, UNFINISHED)
    await until(lambda: len(sandbox.requests) == 2)
    began = time.perf_counter()
    await sandbox.stop()
    assert time.perf_counter() - began < 2
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


@pytest.mark.looptime
async def test_delayed_answers_end_with_the_sandbox(sandbox: Sandbox, caller: Caller) -> None:
    """A sandbox that stops drops the requests that wait for their delayed answers at once."""
    sandbox.inject(Fault.slow(3600))
    sandbox.inject(Fault.HANG_AFTER_APPLYING)
    waiting = [asyncio.create_task(caller.post(COMMENT)) for _ in range(2)]
    await until(lambda: len(sandbox.ledger) == 2)
    began = asyncio.get_running_loop().time()
    await sandbox.stop()
    assert asyncio.get_running_loop().time() - began < 0.05
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(end) for end in ends] == [ConnectionLostError] * 2


async def test_a_client_that_leaves_in_the_middle_has_no_effect(
    sandbox: Sandbox, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that never came whole is on record without an answer, and is no failure of the sandbox."""
    _, writer = await raw_post(sandbox, UNFINISHED)
    await until(lambda: len(sandbox.requests) == 1)
    writer.close()
    await writer.wait_closed()
    assert await caller.post(COMMENT) == 200
    assert (sandbox.requests[0].status, sandbox.requests[0].body) == (None, b"")
    assert len(sandbox.ledger) == 1
    assert caplog.records == []


# --- faults -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "effects"),
    [
        (Fault.UNAUTHORIZED, 401, 0),
        (Fault.UNAUTHORIZED_EARLY, 401, 0),
        (Fault.too_many_requests(), 429, 0),
        (Fault.unavailable(), 503, 0),
        (Fault.status(403), 403, 0),
        (Fault.status(413), 413, 0),
        (Fault.redirect("https://example.com/"), 302, 0),
        (Fault.redirect("https://example.com/", 308), 308, 0),
        (Fault.status(502, apply=True), 502, 1),
        (Fault.BAD_GATEWAY_AFTER_APPLYING, 502, 1),
        (Fault.HTML, 200, 1),
        (Fault.slow(0.001), 200, 1),
        (Fault.dripping(0.001), 200, 1),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else str(value),
)
async def test_a_fault_with_an_answer(
    sandbox: Sandbox, caller: Caller, fault: Fault, status: int, effects: int
) -> None:
    """A fault answers what it says and applies what it says, once; the connection and the token stay good."""
    sandbox.inject(fault)
    assert await caller.post(COMMENT) == status
    assert len(sandbox.ledger) == effects
    assert (sandbox.requests[0].fault, sandbox.requests[0].status) == (fault.name, status)
    assert await caller.post(COMMENT) == 200
    assert len(sandbox.ledger) == effects + 1


@pytest.mark.parametrize(
    ("fault", "body_was_read", "effects"),
    [
        (Fault.DROP_BEFORE_READING, False, 0),
        (Fault.DROP_AFTER_READING, True, 0),
        (Fault.DROP_AFTER_APPLYING, True, 1),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else str(value),
)
async def test_a_fault_that_drops_the_connection(
    sandbox: Sandbox, caller: Caller, fault: Fault, body_was_read: bool, effects: int
) -> None:
    """The client sees its connection end without a byte of an answer; what was applied stays applied."""
    handle = sandbox.inject(fault)
    with pytest.raises(ConnectionLostError):
        await caller.post(COMMENT)
    assert handle.remaining == 0
    assert len(sandbox.ledger) == effects
    request = sandbox.requests[0]
    assert (request.fault, request.status, request.body != b"") == (fault.name, None, body_was_read)
    assert await caller.post(COMMENT) == 200


async def test_a_dropped_connection_carries_no_byte(sandbox: Sandbox) -> None:
    """What comes over a dropped connection is its end, not the beginning of an answer."""
    sandbox.inject(Fault.DROP_BEFORE_READING)
    reader, writer = await raw_post(sandbox, UNFINISHED)
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        received += await reader.read()
    assert received == b""
    assert sandbox.requests[0].fault == "drop_before_reading"
    writer.close()


async def test_a_drop_before_reading_does_not_wait_for_the_body(sandbox: Sandbox) -> None:
    """The connection is dropped at the head, while the client still sends."""
    sandbox.inject(Fault.DROP_BEFORE_READING)
    reader, writer = await raw_post(sandbox, UNFINISHED)
    await until(lambda: reader.at_eof() or reader.exception() is not None)
    writer.close()
    assert sandbox.requests[0].body == b""


async def test_an_early_401_does_not_wait_for_the_body(sandbox: Sandbox) -> None:
    """The answer comes while the client still sends."""
    sandbox.inject(Fault.UNAUTHORIZED_EARLY)
    reader, writer = await raw_post(sandbox, UNFINISHED)
    assert (await reader.readline()).startswith(b"HTTP/1.1 401")
    assert sandbox.requests[0].body == b""
    writer.close()
    await writer.wait_closed()


async def test_a_late_401_has_read_the_body(sandbox: Sandbox, caller: Caller) -> None:
    """The other kind comes after the whole request."""
    sandbox.inject(Fault.UNAUTHORIZED)
    await caller.post(COMMENT)
    assert json.loads(sandbox.requests[0].body) == {"actions": [COMMENT]}


async def test_a_cut_body_arrives_as_far_as_it_goes(sandbox: Sandbox) -> None:
    """Half of the promised bytes come, and after them the orderly end of the connection."""
    sandbox.inject(Fault.CUT_BODY, path="/validate")
    head = f"GET /api/v1/partner/validate HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {sandbox.token}\r\n\r\n"
    reader, writer = await raw_post(sandbox, head.encode())
    told, _, body = (await reader.read()).partition(b"\r\n\r\n")
    whole = b'{"isValid":true,"message":"Token is valid"}'
    assert told.startswith(b"HTTP/1.1 200")
    assert f"Content-Length: {len(whole)}".encode() in told
    assert body == whole[: len(whole) // 2]
    writer.close()
    await writer.wait_closed()


async def test_a_cut_answer_was_applied(sandbox: Sandbox, caller: Caller) -> None:
    """A client sees 200, and an answer that is not whole; the effect is there."""
    sandbox.inject(Fault.CUT_BODY)
    with pytest.raises(aiohttp.ClientPayloadError):
        await caller.post(COMMENT)
    assert len(sandbox.ledger) == 1
    assert await caller.post(COMMENT) == 200


async def test_a_page_for_people_is_no_json(sandbox: Sandbox, caller: Caller) -> None:
    """200 with HTML, as a proxy's welcome page has it; what was asked for was done all the same."""
    sandbox.inject(Fault.HTML, path="/renew")
    status, body = await caller.call("GET", "/renew")
    assert (status, body[:15]) == (200, b"<!doctype html>")
    assert caller.headers["Content-Type"] == "text/html"
    assert len(sandbox.tokens) == 2


@pytest.mark.looptime
async def test_a_dripping_answer_comes_byte_by_byte(sandbox: Sandbox, caller: Caller) -> None:
    """Each byte of the body takes its time, by the event loop's clock; all of them come."""
    sandbox.inject(Fault.dripping(10))
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await caller.call("POST", "/invoice/action", json={"actions": [COMMENT]}) == (200, b"{}")
    assert 20 <= loop.time() - began < 21


@pytest.mark.looptime
async def test_a_dripping_answer_ends_with_the_sandbox(sandbox: Sandbox, caller: Caller) -> None:
    """A sandbox that stops does not finish its answers."""
    sandbox.inject(Fault.dripping(3600))
    waiting = asyncio.create_task(caller.post(COMMENT))
    await until(lambda: len(sandbox.ledger) == 1)
    await sandbox.stop()
    with pytest.raises((aiohttp.ClientPayloadError, ConnectionLostError)):
        await waiting


async def test_a_client_that_leaves_a_dripping_answer_is_no_failure(
    sandbox: Sandbox, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody has to wait for an answer that trickles."""
    sandbox.inject(Fault.dripping(0.001).renamed("drip"), path="/validate")
    head = f"GET /api/v1/partner/validate HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {sandbox.token}\r\n\r\n"
    reader, writer = await raw_post(sandbox, head.encode())
    await reader.readline()
    writer.transport.abort()
    assert await caller.post(COMMENT) == 200
    await sandbox.stop()
    assert caplog.records == []


async def test_a_refusal_may_be_cut_too(sandbox: Sandbox, caller: Caller) -> None:
    """How an answer goes out does not depend on what it says."""
    sandbox.inject(Fault.CUT_BODY)
    with pytest.raises(aiohttp.ClientPayloadError):
        await caller.post({"code": "COMMENT"})
    assert sandbox.requests[0].status == 400
    assert len(sandbox.ledger) == 0


async def test_a_renewal_can_be_applied_and_lost(sandbox: Sandbox, caller: Caller) -> None:
    """The new token exists, nobody has it, and the old one is dead."""
    old = sandbox.token
    sandbox.inject(Fault.DROP_AFTER_APPLYING, path="/renew")
    with pytest.raises(ConnectionLostError):
        await caller.call("GET", "/renew")
    assert len(sandbox.tokens) == 2
    status, _ = await caller.call("GET", "/validate", token=old)
    assert status == 401


async def test_retry_after_goes_out_as_a_header(sandbox: Sandbox, caller: Caller) -> None:
    """A throttled answer carries the pause it asks for, and none if it asks for none."""
    sandbox.inject(Fault.too_many_requests("Wed, 21 Oct 2026 07:28:00 GMT"))
    sandbox.inject(Fault.unavailable())
    await caller.post(COMMENT)
    assert caller.headers["Retry-After"] == "Wed, 21 Oct 2026 07:28:00 GMT"
    await caller.post(COMMENT)
    assert "Retry-After" not in caller.headers


async def test_a_status_brings_its_own_body_and_headers(sandbox: Sandbox, caller: Caller) -> None:
    """An answer of any status is sent as it was written."""
    page = Fault.status(500, b"<html>", headers={"Content-Type": "text/html"})
    sandbox.inject(page, path="/validate")
    assert await caller.call("GET", "/validate") == (500, b"<html>")
    assert caller.headers["Content-Type"] == "text/html"


async def test_a_fault_applies_only_what_the_service_would(sandbox: Sandbox, caller: Caller) -> None:
    """A fault that applies does not get a bad token or a bad batch accepted."""
    sandbox.inject(Fault.slow(0.001), times=2)
    status, _ = await caller.call("POST", "/invoice/action", token="wrong", json={"actions": [COMMENT]})
    assert status == 401
    assert await caller.post({"code": "COMMENT"}) == 400
    assert len(sandbox.ledger) == 0


async def test_a_fault_can_be_chosen_by_content(sandbox: Sandbox, caller: Caller) -> None:
    """A predicate sees the body of a request, also for a fault that drops before reading."""
    sandbox.inject(Fault.DROP_BEFORE_READING, when=lambda request: b"WITHDRAW" in request.body)
    assert await caller.post(COMMENT) == 200
    with pytest.raises(ConnectionLostError):
        await caller.post(WITHDRAW)
    assert [effect.action.code for effect in sandbox.ledger] == ["COMMENT"]


async def test_a_fault_can_wait_and_repeat(sandbox: Sandbox, caller: Caller) -> None:
    """A fault lets `after` requests pass and meets the next `times`, unless it is cancelled before."""
    handle = sandbox.inject(Fault.unavailable(), after=1, times=2)
    assert [await caller.post(COMMENT) for _ in range(4)] == [200, 503, 503, 200]
    assert handle.remaining == 0
    sandbox.inject(Fault.unavailable(), times=None).cancel()
    assert await caller.post(COMMENT) == 200


@pytest.mark.looptime
async def test_a_slow_answer_is_applied_before_it_waits(sandbox: Sandbox, caller: Caller) -> None:
    """The effect is there at once; the answer comes after the delay, by the event loop's clock."""
    sandbox.inject(Fault.slow(30))
    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = asyncio.create_task(caller.post(COMMENT))
    await until(lambda: len(sandbox.ledger) == 1)
    assert not answer.done()
    assert loop.time() - began < 29
    assert await answer == 200
    assert loop.time() - began >= 30


async def test_a_hanging_request_was_applied(sandbox: Sandbox, caller: Caller) -> None:
    """A request that hangs has its effect, and holds up neither other requests nor a client that gives up."""
    sandbox.inject(Fault.HANG_AFTER_APPLYING)
    hanging = asyncio.create_task(caller.post(COMMENT))
    await until(lambda: len(sandbox.ledger) == 1)
    assert await caller.post(COMMENT) == 200
    assert not hanging.done()
    hanging.cancel()
    assert len(sandbox.ledger) == 2
    assert sandbox.requests[0].status is None


async def test_a_fault_can_meet_a_drawn_share(sandbox: Sandbox, caller: Caller) -> None:
    """Requests that say the same meet the same faults in every sandbox, and tokens make no difference."""
    bodies = [{**COMMENT, "comment": f"number {number}"} for number in range(40)]
    met = []
    async with Sandbox() as second:
        for each in (sandbox, second):
            caller._sandbox = each
            each.inject(Fault.status(500), times=None, when=OneIn(4, seed=1))
            met.append([await caller.post(body) for body in bodies])
    assert met[0] == met[1]
    assert 3 < met[0].count(500) < 20


async def test_a_schedule_is_let_loose(sandbox: Sandbox, caller: Caller) -> None:
    """Everything that a schedule has happens: faults, an outage, the token's end, poison and limits."""
    comments = (f"number {number}" for number in range(1_000))
    is_poison = FaultSchedule(seed=1, poisons_one_in=100).is_poison
    poison = next(text for text in comments if is_poison(Comment(invoice_number=1, case_id=2, comment=text)))
    sandbox.unleash(
        FaultSchedule(
            seed=1,
            faults=(PlannedFault(fault=Fault.HTML, path="/validate", one_in=1, seed=1),),
            outages=(PlannedOutage(after=2, seconds=3600, mode="unavailable"),),
            token_ends=(PlannedTokenEnd(after=1, renewable=True),),
            poisons_one_in=100,
            max_body_bytes=1_000,
            max_actions=2,
        )
    )
    assert (await caller.call("GET", "/validate"))[1].startswith(b"<!doctype")
    assert await caller.post({**COMMENT, "comment": poison}) == 400
    assert await caller.post(WITHDRAW, WITHDRAW, WITHDRAW) == 413
    assert await caller.post({**WITHDRAW, "comment": "x" * 1_000}) == 413
    assert await caller.post(WITHDRAW) == 200
    assert await caller.post(WITHDRAW) == 401
    await caller.call("GET", "/renew")
    assert await caller.post(WITHDRAW) == 200
    assert await caller.post(WITHDRAW) == 503


# --- outages ------------------------------------------------------------------------------------------------


@pytest.fixture
async def stranger(sandbox: Sandbox) -> AsyncIterator[Caller]:
    """A caller that makes a new connection for each request."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(middlewares=[no_repeat], connector=connector) as session:
        yield Caller(sandbox, session)


async def test_a_service_that_is_gone_refuses_connections(sandbox: Sandbox, stranger: Caller) -> None:
    """Nobody listens, at the path of actions or any other; afterwards somebody does, at the same address."""
    sandbox.outage(mode="refuse")
    for path in ("/invoice/action", "/renew"):
        with pytest.raises(ConnectionLostError) as lost:
            await stranger.call("POST", path)
        assert isinstance(lost.value.__cause__, aiohttp.ClientConnectorError)
    sandbox.end_outage()
    assert await stranger.post(COMMENT) == 200
    assert len(sandbox.requests) == 1


async def test_a_service_that_is_gone_closes_what_stands(sandbox: Sandbox) -> None:
    """An idle connection ends at once; one with a request under way after the answer, which still comes."""
    idle, idle_writer = await raw_post(sandbox, b"")
    await until(lambda: len(sandbox._server.connections) == 1)  # type: ignore[union-attr]
    sandbox.outage_after(actions=1, mode="refuse")
    body = json.dumps({"actions": [COMMENT]})
    head = f"POST /api/v1/partner/invoice/action HTTP/1.1\r\nHost: x\r\nX-Api-Key: {sandbox.token}\r\n"
    whole = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    busy, busy_writer = await raw_post(sandbox, whole.encode())
    assert (await busy.read()).startswith(b"HTTP/1.1 200")
    assert await idle.read() == b""
    for writer in (idle_writer, busy_writer):
        writer.close()
        await writer.wait_closed()


async def test_refusing_can_begin_and_end_at_any_moment(sandbox: Sandbox, stranger: Caller) -> None:
    """Outages that follow one another without a pause leave the sandbox as the last one says."""
    for _ in range(3):
        sandbox.outage(mode="refuse")
        sandbox.end_outage()
    assert await stranger.post(COMMENT) == 200
    sandbox.outage(mode="refuse")
    sandbox.outage(mode="unavailable")
    assert await stranger.post(COMMENT) == 503
    sandbox.outage(mode="refuse")
    with pytest.raises(ConnectionLostError):
        await stranger.post(COMMENT)
    await sandbox.stop()
    await sandbox.start()
    assert await stranger.post(COMMENT) == 200


@pytest.mark.looptime
async def test_a_service_that_is_gone_comes_back_by_itself(sandbox: Sandbox, caller: Caller) -> None:
    """After its time, by the event loop's clock, connections are taken again."""
    sandbox.outage(30, mode="refuse")
    await asyncio.sleep(29)
    with pytest.raises(ConnectionLostError):
        await caller.post(COMMENT)
    await asyncio.sleep(2)
    assert await caller.post(COMMENT) == 200


async def test_an_outage_drops_everything_until_it_ends(sandbox: Sandbox, caller: Caller) -> None:
    """During an outage every path is dropped and nothing is applied; afterwards all is as before."""
    sandbox.outage()
    for method, path in (("POST", "/invoice/action"), ("GET", "/validate"), ("GET", "/renew"), ("GET", "/x")):
        with pytest.raises(ConnectionLostError):
            await caller.call(method, path)
    sandbox.end_outage()
    sandbox.end_outage()
    assert await caller.post(COMMENT) == 200
    assert [request.fault for request in sandbox.requests] == ["outage"] * 4 + [None]
    assert len(sandbox.tokens) == len(sandbox.ledger) == 1


async def test_an_outage_can_lose_what_it_applied(sandbox: Sandbox, caller: Caller) -> None:
    """Every connection is dropped, about half of them after the request was applied."""
    sandbox.outage(mode="lose")
    for number in range(40):
        with pytest.raises(ConnectionLostError):
            await caller.post({**COMMENT, "comment": f"number {number}"})
    assert 5 < len(sandbox.ledger) < 35
    sandbox.end_outage()
    assert await caller.post(COMMENT) == 200


async def test_an_outage_goes_before_injected_faults(sandbox: Sandbox, caller: Caller) -> None:
    """A fault that waits for its request is not used up by an outage."""
    handle = sandbox.inject(Fault.UNAUTHORIZED)
    sandbox.outage(mode="unavailable")
    assert await caller.post(COMMENT) == 503
    assert handle.remaining == 1
    sandbox.end_outage()
    assert await caller.post(COMMENT) == 401


@pytest.mark.looptime
async def test_an_outage_ends_by_itself(sandbox: Sandbox, caller: Caller) -> None:
    """An outage of some seconds is over after them, by the event loop's clock; a second one replaces it."""
    sandbox.outage(30, mode="unavailable")
    assert await caller.post(COMMENT) == 503
    sandbox.outage(60, mode="unavailable")
    await asyncio.sleep(45)
    assert await caller.post(COMMENT) == 503
    await asyncio.sleep(30)
    assert await caller.post(COMMENT) == 200


async def test_an_outage_can_begin_midway(sandbox: Sandbox, caller: Caller) -> None:
    """The batch that reaches the number is accepted and answered; the next request meets the outage."""
    sandbox.outage_after(actions=2, mode="unavailable")
    assert [await caller.post(COMMENT) for _ in range(3)] == [200, 200, 503]
    assert len(sandbox.ledger) == 2


async def test_an_outage_ends_with_the_sandbox(sandbox: Sandbox, caller: Caller) -> None:
    """A sandbox that was stopped during an outage serves when it is started again."""
    sandbox.outage(3600)
    await sandbox.stop()
    await sandbox.start()
    assert await caller.post(COMMENT) == 200


# --- limits ---------------------------------------------------------------------------------------------------


async def test_a_batch_beyond_a_limit_is_too_large() -> None:
    """Limits of a body's bytes and of a batch's actions are answered 413, and nothing is applied."""
    async with Sandbox(max_body_bytes=400, max_actions=3) as sandbox, aiohttp.ClientSession() as session:
        caller = Caller(sandbox, session)
        assert await caller.post(COMMENT, COMMENT, COMMENT) == 200
        assert await caller.post(COMMENT, COMMENT, COMMENT, COMMENT) == 413
        assert await caller.post({**COMMENT, "comment": "x" * 400}) == 413
        assert len(sandbox.ledger) == 3


# --- the audit ------------------------------------------------------------------------------------------------


async def test_a_sandbox_audits_what_was_sent_to_it(sandbox: Sandbox, caller: Caller) -> None:
    """What was applied and what was only received are both held against the reports."""
    sandbox.inject(Fault.DROP_AFTER_READING)
    applied, received, never_sent = (Comment(invoice_number=1, case_id=case, comment="hello") for case in (2, 3, 4))
    with pytest.raises(ConnectionLostError):
        await caller.post({**COMMENT, "data": {"invoiceNumber": 1, "caseId": 3}})
    await caller.post(COMMENT)
    ends = [ActionOutcome(applied, "", Disposition.ACCEPTED, 1), ActionOutcome(received, "", Disposition.UNKNOWN, 1)]
    assert sandbox.audit([applied, received], ends).agrees
    ends.append(ActionOutcome(never_sent, "", Disposition.UNKNOWN, 1))
    assert sandbox.audit([applied, received, never_sent], ends).contradictions == (
        "1 actions are reported unknown, and were never sent",
    )


async def test_an_audit_does_not_judge_what_nobody_read(sandbox: Sandbox, caller: Caller) -> None:
    """Of a body that was dropped unread nobody can say what was in it."""
    sandbox.inject(Fault.DROP_BEFORE_READING)
    with pytest.raises(ConnectionLostError):
        await caller.post(COMMENT)
    lost = Comment(invoice_number=1, case_id=9)
    assert sandbox.audit([lost], [ActionOutcome(lost, "", Disposition.UNKNOWN, 1)]).agrees


# --- tokens and poison --------------------------------------------------------------------------------------


async def test_an_expired_token_can_be_renewed(sandbox: Sandbox, caller: Caller) -> None:
    """Expired, a token gets 401; /renew gives a new one for it, which works."""
    sandbox.expire_token()
    assert await caller.post(COMMENT) == 401
    _, body = await caller.call("GET", "/renew")
    assert sandbox.token == json.loads(body)["Message"]
    assert await caller.post(COMMENT) == 200


async def test_a_token_can_expire_midway(sandbox: Sandbox, caller: Caller) -> None:
    """The batch that reaches the number is accepted whole; the next one gets 401."""
    sandbox.expire_token_after(actions=3)
    assert [await caller.post(COMMENT, COMMENT) for _ in range(3)] == [200, 200, 401]
    assert len(sandbox.ledger) == 4


@pytest.mark.parametrize(("renewable", "renew_status"), [(True, 200), (False, 401)])
async def test_a_revoked_token(sandbox: Sandbox, caller: Caller, renewable: bool, renew_status: int) -> None:
    """Revoked, a token gets 401; whether it may be renewed is the test's choice."""
    sandbox.revoke_token(sandbox.tokens[0], renewable=renewable)
    assert await caller.post(COMMENT) == 401
    status, _ = await caller.call("GET", "/validate")
    assert status == 401
    status, _ = await caller.call("GET", "/renew")
    assert status == renew_status


async def test_poison_is_refused(sandbox: Sandbox, caller: Caller) -> None:
    """A batch that holds a poisoned action is refused 400 whole."""
    sandbox.poison(lambda action: action.case_id == 3)
    assert await caller.post(COMMENT, WITHDRAW) == 400
    assert await caller.post(COMMENT) == 200
    assert len(sandbox.ledger) == 1


async def test_concurrent_batches_are_each_applied_whole(sandbox: Sandbox, caller: Caller) -> None:
    """Batches that arrive together do not mix: the effects of one request stand side by side."""
    await asyncio.gather(*(caller.post(COMMENT, WITHDRAW, COMMENT) for _ in range(50)))
    requests = [effect.request for effect in sandbox.ledger]
    assert len(requests) == 150
    assert [requests[start : start + 3] for start in range(0, 150, 3)] == [[number] * 3 for number in requests[::3]]
    assert len(set(requests)) == 50
