"""The session: the shape of each request, every failure as evidence, and whose pool it is."""

import asyncio
import inspect
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses
from yarl import URL

from confirma_async import Comment, ConfirmaClient, ConfirmaError, Environment, MemoryTokenStore, Timeouts
from confirma_async._core.request import ApiRequest, invoice_actions, renew_token, validate_token
from confirma_async._io.session import Session, TokenUnusableError
from confirma_async.errors import AuthenticationError
from confirma_async.sandbox import Fault, Sandbox

BASE = "https://staging-integrations.confirmafinance.com/api/v1/partner"


async def pass_on(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    return await handler(request)


@asynccontextmanager
async def session_at(
    base_url: str, middleware: aiohttp.ClientMiddlewareType = pass_on, connector: aiohttp.BaseConnector | None = None
) -> AsyncIterator[Session]:
    session = Session(base_url, Timeouts(), connector)
    await session.open(middleware)
    try:
        yield session
    finally:
        await session.close()


# --- the shape of requests --------------------------------------------------------------------------------------------


class FilledInResponse(aiohttp.ClientResponse):
    """A response as aioresponses builds it, with the writer that newer releases of aiohttp insist on."""

    def __init__(self, method: str, url: URL, **members: Any) -> None:
        if "stream_writer" in inspect.signature(aiohttp.ClientResponse).parameters:
            members["stream_writer"] = Mock(output_size=0)
        super().__init__(method, url, **members)


@pytest.fixture
def wire() -> Iterator[aioresponses]:
    with aioresponses() as wire:
        yield wire


def answer(wire: aioresponses, method: str, url: str, body: str) -> None:
    wire.add(url, method, body=body, response_class=FilledInResponse)


def sent(wire: aioresponses, method: str, url: str) -> dict[str, Any]:
    """How the one request to `url` was made."""
    [call] = wire.requests[method, URL(url)]
    kwargs: dict[str, Any] = call.kwargs
    return kwargs


def client() -> ConfirmaClient:
    return ConfirmaClient(environment=Environment.STAGING, token=MemoryTokenStore("secret"))


async def test_the_shape_of_a_post_of_actions(wire: aioresponses) -> None:
    """Actions go to POST /invoice/action as application/json in an object of one member, the array `actions`."""
    answer(wire, "POST", f"{BASE}/invoice/action", "{}")
    async with client() as confirma:
        await confirma.actions.post([Comment(invoice_number=1, case_id=2, comment="hello")])
    call = sent(wire, "POST", f"{BASE}/invoice/action")
    assert call["data"] == b'{"actions":[{"code":"COMMENT","comment":"hello","data":{"invoiceNumber":1,"caseId":2}}]}'
    assert call["headers"]["Content-Type"] == "application/json"
    assert call["headers"]["Accept"] == "application/json"
    assert call["headers"]["User-Agent"].startswith("confirma_async/")
    assert call["allow_redirects"] is False


async def test_the_shape_of_a_check_of_the_token(wire: aioresponses) -> None:
    """GET /validate carries the token in its header and nowhere else, and has no body."""
    answer(wire, "GET", f"{BASE}/validate", '{"isValid": true, "message": "Token is valid"}')
    async with client() as confirma:
        assert await confirma.token.validate()
    call = sent(wire, "GET", f"{BASE}/validate")
    assert call["headers"]["X-Api-Key"] == "secret"
    assert "Content-Type" not in call["headers"]
    assert call["data"] is call["params"] is None
    assert call["allow_redirects"] is False


async def test_the_shape_of_a_renewal(wire: aioresponses) -> None:
    """GET /renew carries the token that it replaces in its header, and the new one is checked with /validate."""
    answer(wire, "GET", f"{BASE}/renew", '{"Message": "new-secret"}')
    answer(wire, "GET", f"{BASE}/validate", '{"isValid": true, "message": "Token is valid"}')
    async with client() as confirma:
        await confirma.token.renew()
    assert sent(wire, "GET", f"{BASE}/renew")["headers"]["X-Api-Key"] == "secret"
    assert sent(wire, "GET", f"{BASE}/renew")["data"] is None
    assert sent(wire, "GET", f"{BASE}/validate")["headers"]["X-Api-Key"] == "new-secret"


async def test_the_shape_of_a_free_request(wire: aioresponses) -> None:
    """`request()` puts parameters into the query, booleans as JSON has them, and the body as JSON."""
    url = f"{BASE}/settlements?name=a+b&page=2&unfetchedOnly=true"
    answer(wire, "GET", url, "[]")
    answer(wire, "POST", f"{BASE}/accounting/payment", "")
    async with client() as confirma:
        got = await confirma.request("GET", "/settlements", params={"unfetchedOnly": True, "page": 2, "name": "a b"})
        assert got == []
        assert await confirma.request("POST", "/accounting/payment", json={"payments": []}) is None
    assert sent(wire, "GET", url)["params"] == {"unfetchedOnly": "true", "page": "2", "name": "a b"}
    call = sent(wire, "POST", f"{BASE}/accounting/payment")
    assert call["data"] == b'{"payments":[]}'
    assert call["headers"]["Content-Type"] == "application/json"


async def test_production_has_a_base_of_its_own(wire: aioresponses) -> None:
    """Each environment is called at its documented base."""
    base = "https://integrations.confirmafinance.com/api/v1/partner"
    answer(wire, "GET", f"{base}/validate", '{"isValid": true}')
    async with ConfirmaClient(environment=Environment.PRODUCTION, token="secret") as confirma:
        assert await confirma.token.validate()
    assert sent(wire, "GET", f"{base}/validate")["headers"]["X-Api-Key"] == "secret"


# --- every failure is evidence ----------------------------------------------------------------------------------------


def subclasses(root: type[BaseException]) -> set[type[BaseException]]:
    return {root}.union(*(subclasses(child) for child in root.__subclasses__()))


AIOHTTP_ERRORS = sorted(
    (kind for kind in subclasses(aiohttp.ClientError) if kind.__module__.startswith("aiohttp.")),
    key=lambda kind: kind.__name__,
)


def test_the_list_of_errors_is_not_empty() -> None:
    """The errors that are tried below are those of aiohttp, some two dozen of them."""
    assert aiohttp.ClientConnectorError in AIOHTTP_ERRORS
    assert aiohttp.ServerDisconnectedError in AIOHTTP_ERRORS
    assert aiohttp.InvalidURL in AIOHTTP_ERRORS
    assert len(AIOHTTP_ERRORS) >= 20


@pytest.mark.parametrize(
    "kind",
    [*AIOHTTP_ERRORS, TimeoutError, OSError, ssl.SSLError, ValueError, RuntimeError, ConnectionResetError],
    ids=lambda kind: kind.__name__,
)
async def test_no_error_of_the_transport_escapes(sandbox: Sandbox, kind: type[BaseException]) -> None:
    """Whatever aiohttp raises becomes evidence that names it, before and after the request was sent."""

    async def fail_before(_request: aiohttp.ClientRequest, _handler: aiohttp.ClientHandlerType) -> Any:
        raise kind.__new__(kind)

    async def fail_after(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> Any:
        (await handler(request)).release()
        raise kind.__new__(kind)

    async with session_at(sandbox.base_url, fail_before) as session:
        before = (await session.exchange(validate_token())).evidence
    async with session_at(sandbox.base_url, fail_after) as session:
        after = (await session.exchange(validate_token())).evidence
    assert (before.headers_sent, before.status, before.failure) == (False, None, kind.__name__)
    assert (after.headers_sent, after.status, after.failure) == (True, None, kind.__name__)


async def test_a_cancellation_is_raised(sandbox: Sandbox) -> None:
    """Cancelling an attempt is no evidence: it is raised."""
    sandbox.inject(Fault.HANG_AFTER_APPLYING, path="/validate")
    async with session_at(sandbox.base_url) as session:
        running = asyncio.create_task(session.exchange(validate_token(), token=sandbox.token))
        while not sandbox.requests:
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_a_closed_session_is_evidence_too(sandbox: Sandbox) -> None:
    """An attempt after the session was closed was never sent."""
    async with session_at(sandbox.base_url) as session:
        await session.close()
        evidence = (await session.exchange(validate_token(), token=sandbox.token)).evidence
    assert (evidence.headers_sent, evidence.status) == (False, None)
    assert sandbox.requests == []


async def test_a_token_that_cannot_be_used_is_a_401() -> None:
    """Where the token middleware gives up, the attempt was answered 401, and the exchange carries the reason."""
    reason = AuthenticationError("no", 401)

    async def give_up(_request: aiohttp.ClientRequest, _handler: aiohttp.ClientHandlerType) -> Any:
        raise TokenUnusableError(reason, dead=True)

    async with session_at("http://127.0.0.1:9", give_up) as session:
        exchange = await session.exchange(validate_token())
    assert exchange.error is reason
    assert (exchange.evidence.status, exchange.evidence.token_dead) == (401, True)


async def test_an_abort_ends_attempts_and_keeps_what_was_observed(sandbox: Sandbox) -> None:
    """Aborted attempts return their evidence at once; one with a token of its own, a renewal, is left alone."""
    sandbox.inject(Fault.HANG_AFTER_APPLYING, path="/validate")
    slow = sandbox.inject(Fault.slow(0.05), path="/renew")
    async with session_at(sandbox.base_url) as session:
        aborted = asyncio.create_task(session.exchange(ApiRequest(method="GET", path="/validate")))
        spared = asyncio.create_task(session.exchange(renew_token(), token=sandbox.token))
        while len(sandbox.requests) < 2 or slow.remaining:
            await asyncio.sleep(0)
        session.abort()
        evidence = (await aborted).evidence
        assert (evidence.headers_sent, evidence.status) == (True, None)
        assert (await spared).evidence.status == 200


# --- whose pool -------------------------------------------------------------------------------------------------------


async def test_a_borrowed_pool_stays_open(sandbox: Sandbox) -> None:
    """A borrowed connector is open after the session that borrowed it was closed, and closing twice does no harm."""
    connector = aiohttp.TCPConnector()
    async with session_at(sandbox.base_url, connector=connector) as session:
        await session.exchange(validate_token(), token=sandbox.token)
        await session.close()
    assert not connector.closed
    async with session_at(sandbox.base_url, connector=connector) as session:
        assert (await session.exchange(validate_token(), token=sandbox.token)).evidence.status == 200
    await connector.close()


async def test_an_own_pool_is_closed(sandbox: Sandbox) -> None:
    """A session without a borrowed connector leaves no connection behind."""
    async with session_at(sandbox.base_url) as session:
        await session.exchange(validate_token(), token=sandbox.token)
        inner = session._session
        assert inner is not None
    assert inner.closed
    assert inner.connector is None or inner.connector.closed


async def test_no_cookie_is_kept(sandbox: Sandbox) -> None:
    """A cookie that the service sets is not sent back, so that clients that share a pool share nothing else."""
    sandbox.inject(Fault.status(200, b"{}", headers={"Set-Cookie": "a=b; Path=/"}), path="/validate")
    cookies: list[str | None] = []

    async def look(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        cookies.append(request.headers.get("Cookie"))
        return await handler(request)

    async with session_at(sandbox.base_url, look) as session:
        await session.exchange(validate_token())
        await session.exchange(validate_token())
    assert cookies == [None, None]


async def test_a_body_goes_out_as_it_was_encoded(sandbox: Sandbox) -> None:
    """The bytes on the wire are the encoded actions joined, byte for byte."""
    encoded = ['{"code":"COMMENT","comment":"å","data":{"invoiceNumber":1,"caseId":2}}'.encode()] * 2
    async with session_at(sandbox.base_url) as session:
        exchange = await session.exchange(invoice_actions(encoded), token=sandbox.token)
    assert exchange.evidence.status == 200
    assert sandbox.posts[0].body == b'{"actions":[' + b",".join(encoded) + b"]}"
    assert sandbox.posts[0].content_type == "application/json"


def test_an_unusable_token_is_an_error_of_ours() -> None:
    """What the token middleware raises through aiohttp is none of aiohttp's errors."""
    assert issubclass(TokenUnusableError, ConfirmaError)
    assert not issubclass(TokenUnusableError, aiohttp.ClientError | OSError)
