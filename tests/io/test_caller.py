"""`client.request()`: calls that are not modelled, repeated only where that is safe, and only under the base URL."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from confirma_async import (
    AmbiguousAnswerError,
    Assumptions,
    AuthenticationError,
    BatchPolicy,
    ClientStateError,
    ConfigurationError,
    ConfirmaClient,
    Environment,
    MemoryTokenStore,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    RefusedError,
    RetryPolicy,
    ServiceUnavailableError,
)
from confirma_async.sandbox import Fault, Sandbox

JSON = {"Content-Type": "application/json"}
PAYMENTS = "/payments"

DROPS = [Fault.DROP_BEFORE_READING, Fault.DROP_AFTER_READING, Fault.DROP_AFTER_APPLYING]
UNCLEAR = [Fault.status(500), Fault.status(502), Fault.status(408), Fault.status(302, headers={"Location": "/x"})]


def named(value: object) -> str | None:
    return value.name if isinstance(value, Fault) else None


def client_with(sandbox: Sandbox, **settings: Any) -> ConfirmaClient:
    return ConfirmaClient(
        environment=Environment.STAGING, token=MemoryTokenStore(sandbox.token), base_url=sandbox.base_url, **settings
    )


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[ConfirmaClient]:
    quick = RetryPolicy(min_backoff=0.001, first_ceiling=0.002, max_ceiling=0.01, first_throttled_ceiling=0.002)
    async with client_with(sandbox, retry=quick) as confirma:
        yield confirma


# --- answers ----------------------------------------------------------------------------------------------------------


async def test_amounts_come_back_exactly(client: ConfirmaClient, sandbox: Sandbox) -> None:
    """Fractional numbers of an answer are Decimals with all their digits, integers are integers."""
    sandbox.inject(Fault.status(200, b'[{"amount": 1234567890123456.78, "caseId": 7}]', headers=JSON), path=PAYMENTS)
    [payment] = await client.request("GET", PAYMENTS)
    assert payment == {"amount": Decimal("1234567890123456.78"), "caseId": 7}
    assert type(payment["amount"]) is Decimal
    assert type(payment["caseId"]) is int


async def test_amounts_go_out_exactly(client: ConfirmaClient, sandbox: Sandbox) -> None:
    """A Decimal in the body is written as a number, with all its digits."""
    sandbox.inject(Fault.status(200), path="/accounting/payment")
    await client.request("post", "/accounting/payment", json={"amount": Decimal("1234567890123456.70")})
    assert sandbox.requests[0].body == b'{"amount":1234567890123456.70}'
    assert (sandbox.requests[0].method, sandbox.requests[0].content_type) == ("POST", "application/json")


async def test_parameters_go_into_the_query(client: ConfirmaClient, sandbox: Sandbox) -> None:
    """Parameters are encoded into the query: nothing in a value reaches beyond it."""
    sandbox.inject(Fault.status(200), path=PAYMENTS)
    await client.request("GET", PAYMENTS, params={"fromDate": "2026-01-01", "all": False, "odd": "a&b=c#d/../é"})
    assert sandbox.requests[0].path == PAYMENTS
    # The sandbox shows it with what does not separate anything decoded.
    assert sandbox.requests[0].query == "fromDate=2026-01-01&all=false&odd=a%26b%3Dc#d/../é"


@pytest.mark.parametrize("status", [200, 204])
async def test_an_answer_without_a_body_is_none(client: ConfirmaClient, sandbox: Sandbox, status: int) -> None:
    """An empty answer, whether 200 or 204, is None."""
    sandbox.inject(Fault.status(status), path="/accounting/ledger")
    assert await client.request("GET", "/accounting/ledger") is None


@pytest.mark.parametrize("body", [b"<html></html>", b'{"cut": ', b"\xff", b"[" * 100_000], ids=lambda body: body[:8])
async def test_an_answer_that_is_not_json_says_so(client: ConfirmaClient, sandbox: Sandbox, body: bytes) -> None:
    """A 200 that is no JSON is an error that says that the call took effect, without showing the answer."""
    sandbox.inject(Fault.status(200, body), path="/invoice")
    with pytest.raises(AmbiguousAnswerError, match="POST /invoice succeeded, and its answer is not JSON") as caught:
        await client.request("POST", "/invoice", json={})
    assert caught.value.status == 200
    assert "html" not in str(caught.value)
    assert len(sandbox.requests) == 1


async def test_an_answer_beyond_the_limit_says_so(client: ConfirmaClient, sandbox: Sandbox) -> None:
    """A 200 larger than is read is an error, and not read again."""
    sandbox.inject(Fault.status(200, b" " * (11 * 1024 * 1024)), path=PAYMENTS)
    with pytest.raises(AmbiguousAnswerError, match="larger than is read"):
        await client.request("GET", PAYMENTS)
    assert len(sandbox.requests) == 1


# --- again, or not ----------------------------------------------------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.parametrize(
    "fault", [*DROPS, *UNCLEAR, Fault.unavailable(), Fault.too_many_requests(), Fault.UNAUTHORIZED], ids=named
)
async def test_a_get_is_repeated(client: ConfirmaClient, sandbox: Sandbox, fault: Fault) -> None:
    """A GET that failed, however, is made again and gives its answer."""
    injection = sandbox.inject(fault, path="/validate")
    assert await client.request("GET", "/validate") == {"isValid": True, "message": "Token is valid"}
    assert injection.remaining == 0


@pytest.mark.parametrize("fault", [*DROPS, *UNCLEAR, Fault.HANG_AFTER_APPLYING], ids=named)
@pytest.mark.looptime
async def test_a_post_in_doubt_is_not_repeated(client: ConfirmaClient, sandbox: Sandbox, fault: Fault) -> None:
    """A POST that may have taken effect is sent once, and its caller is told to look."""
    sandbox.inject(fault, path="/invoice")
    with pytest.raises(OutcomeUnknownError, match="it may have taken effect") as caught:
        await client.request("POST", "/invoice", json={})
    assert isinstance(caught.value.__cause__, AmbiguousAnswerError)
    assert caught.value.outcome is None
    assert [request.path for request in sandbox.requests].count("/invoice") == 1


@pytest.mark.looptime
@pytest.mark.parametrize("fault", [Fault.unavailable(), Fault.too_many_requests(), Fault.UNAUTHORIZED], ids=named)
async def test_a_post_that_was_not_handled_is_repeated(client: ConfirmaClient, sandbox: Sandbox, fault: Fault) -> None:
    """A POST that certainly had no effect is made again."""
    sandbox.inject(fault, path="/invoice")
    sandbox.inject(Fault.status(200, b'{"ok": true}'), path="/invoice")
    assert await client.request("POST", "/invoice", json={}) == {"ok": True}
    assert [request.path for request in sandbox.requests].count("/invoice") == 2


async def test_503_is_in_doubt_where_it_is_not_assumed_otherwise(sandbox: Sandbox) -> None:
    """Without the assumption that a 503 was not handled, a POST answered 503 is in doubt."""
    sandbox.inject(Fault.unavailable(), path="/invoice")
    async with client_with(sandbox, assumptions=Assumptions(unavailable_means_not_handled=False)) as confirma:
        with pytest.raises(OutcomeUnknownError):
            await confirma.request("POST", "/invoice", json={})
    assert [request.path for request in sandbox.requests].count("/invoice") == 1


@pytest.mark.looptime
async def test_a_get_is_not_repeated_without_end(sandbox: Sandbox) -> None:
    """A GET that fails each time is made as often as the retry policy says, and ends with what was found last."""
    sandbox.inject(Fault.status(500), path=PAYMENTS, times=None)
    async with client_with(sandbox, retry=RetryPolicy(attempts=3)) as confirma:
        with pytest.raises(AmbiguousAnswerError, match="500"):
            await confirma.request("GET", PAYMENTS)
    assert [request.path for request in sandbox.requests].count(PAYMENTS) == 3


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, RefusedError), (404, RefusedError), (409, RefusedError), (413, RefusedError), (403, PermissionDeniedError)],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refusal_is_an_error_at_once(
    client: ConfirmaClient, sandbox: Sandbox, method: str, status: int, error: type[RefusedError]
) -> None:
    """A refusal ends the call with its status: it is not repeated, and had no effect."""
    sandbox.inject(Fault.status(status, b"secret detail"), path="/invoice")
    with pytest.raises(error, match=f"{method} /invoice .* {status}.*it had no effect") as caught:
        await client.request(method, "/invoice")
    assert caught.value.status == status
    assert "secret" not in str(caught.value)
    assert [request.path for request in sandbox.requests].count("/invoice") == 1


@pytest.mark.looptime
async def test_a_pause_beyond_patience_is_an_error(sandbox: Sandbox) -> None:
    """A 429 that asks for a longer pause than the policy waits ends the call, and says how long."""
    sandbox.inject(Fault.too_many_requests(retry_after=600), path=PAYMENTS)
    async with client_with(sandbox) as confirma:
        with pytest.raises(RateLimitedError) as caught:
            await confirma.request("GET", PAYMENTS)
    assert (caught.value.status, caught.value.retry_after) == (429, 600.0)


async def test_a_dead_token_is_an_authentication_error(sandbox: Sandbox) -> None:
    """A plain token that ended makes a call an AuthenticationError, without a renewal."""
    sandbox.expire_token()
    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url
    ) as confirma:
        with pytest.raises(AuthenticationError, match="FileTokenStore"):
            await confirma.request("GET", PAYMENTS)
    assert [request.path for request in sandbox.requests] == [PAYMENTS]


@pytest.mark.looptime
async def test_a_call_behind_a_dead_token_does_not_hang(sandbox: Sandbox) -> None:
    """Once a plain token is dead, further calls end soon rather than wait for a token that nobody can bring."""
    sandbox.expire_token()
    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url
    ) as confirma:
        for expected in (AuthenticationError, (AuthenticationError, ServiceUnavailableError)):
            with pytest.raises(expected):
                await confirma.request("POST", "/invoice", json={})
    assert [request.path for request in sandbox.requests].count("/invoice") == 1


# --- where to ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "payments",
        "//evil.example/x",
        "/payments/",
        "/a//b",
        "/..",
        "/../../renew",
        "/invoice/../renew",
        "/./renew",
        "/invoice/./action",
        "/payments?x=1",
        "/payments#x",
        "/pay ments",
        "/payments\r\nX-Evil: 1",
        "/%2e%2e/renew",
        "/\\evil",
        "https://evil.example/payments",
        "@evil.example/x",
        "/é",
        "/renew",
        "/Renew",
        "/RENEW",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_path_stays_under_the_base_url(
    client: ConfirmaClient, sandbox: Sandbox, method: str, path: str
) -> None:
    """A path that would leave the base, carry a query, or renew the token past its store is refused unsent."""
    with pytest.raises(ConfigurationError):
        await client.request(method, path)
    assert sandbox.requests == []


@pytest.mark.parametrize("method", ["", "GET /", "GE\r\nT", "GÉT", "G-T"])
async def test_a_method_is_a_word(client: ConfirmaClient, sandbox: Sandbox, method: str) -> None:
    """A method that would break out of the request line is refused before it is sent."""
    with pytest.raises(ConfigurationError, match="an HTTP method"):
        await client.request(method, PAYMENTS)
    assert sandbox.requests == []


@pytest.mark.parametrize("value", [object, {"x": 1j}, {("a", 1): 2}, float("nan"), [Decimal("NaN")]], ids=repr)
async def test_a_body_that_is_no_json_is_refused(client: ConfirmaClient, sandbox: Sandbox, value: object) -> None:
    """What cannot be written as JSON is refused before anything is sent, and not shown."""
    with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        await client.request("POST", "/invoice", json=value)
    assert sandbox.requests == []


async def test_a_request_needs_an_open_client(sandbox: Sandbox) -> None:
    """Before open and after close a call is refused, and nothing is sent."""
    confirma = client_with(sandbox)
    with pytest.raises(ClientStateError, match="not open"):
        await confirma.request("GET", "/validate")
    await confirma.open()
    await confirma.close()
    with pytest.raises(ClientStateError, match="closed"):
        await confirma.request("GET", "/validate")
    assert sandbox.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "http://integrations.confirmafinance.com/api/v1/partner",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://10.0.0.1/api",
        "http://0.0.0.0/api",
        "http://[::ffff:10.0.0.1]/api",
    ],
)
def test_plain_http_is_refused_beyond_loopback(url: str) -> None:
    """A base URL that would send the token in the clear is refused."""
    with pytest.raises(ConfigurationError, match="in the clear; use https"):
        ConfirmaClient(environment=Environment.STAGING, token="t", base_url=url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://127.1.2.3/api", "http://[::1]:1/api", "http://localhost"]
)
def test_plain_http_is_taken_on_loopback(url: str) -> None:
    """On loopback plain HTTP is taken: that is where the sandbox is."""
    ConfirmaClient(environment=Environment.STAGING, token="t", base_url=url)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/api",
        "host/api",
        "https://",
        "https:///api",
        "https://user:secret@host/api",
        "https://host/api?key=secret",
        "https://host/api#x",
        "https://host/api\r\nX-Evil: 1",
        "https://ho st/api",
        "https://hóst/api",
        "https://host:port/api",
        "https://host:99999/api",
        "https://[::1/api",
        "https://host\\@evil.example",
    ],
)
def test_an_odd_base_url_is_refused(url: str) -> None:
    """A base URL that is none, carries more than a base does, or would break a header is refused, and not shown."""
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        ConfirmaClient(environment=Environment.STAGING, token="t", base_url=url)
    assert "secret" not in str(caught.value)
    assert "Evil" not in str(caught.value)


@pytest.mark.looptime
async def test_a_call_that_waits_at_the_gate_can_be_cancelled(sandbox: Sandbox) -> None:
    """It leaves no lane behind: what comes after it is sent."""
    sandbox.outage()
    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url, batch=BatchPolicy(lanes=1)
    ) as client:
        first = asyncio.create_task(client.request("GET", "/validate"))
        await asyncio.sleep(1.0)
        waiting = asyncio.create_task(client.request("GET", "/validate"))
        await asyncio.sleep(1.0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        sandbox.end_outage()
        assert await first == {"isValid": True, "message": "Token is valid"}
        assert await client.request("GET", "/validate") == {"isValid": True, "message": "Token is valid"}
        assert client.statistics().in_flight_batches == 0


async def test_closing_waits_for_a_call_within_its_grace(client: ConfirmaClient, sandbox: Sandbox) -> None:
    """A call that is in flight has its answer, as a batch has."""
    sandbox.inject(Fault.slow(0.05), path="/validate")
    calling = asyncio.create_task(client.request("GET", "/validate"))
    while not sandbox.requests:
        await asyncio.sleep(0)
    await client.close()
    assert (await calling)["isValid"] is True


async def test_closing_does_not_wait_for_a_backoff(sandbox: Sandbox) -> None:
    """Somebody waits for the end: a pause that the service asked for is cut short."""
    sandbox.inject(Fault.unavailable(retry_after=100), path=PAYMENTS, times=None)
    async with client_with(sandbox) as client:
        calling = asyncio.create_task(client.request("GET", PAYMENTS))
        while not sandbox.requests:
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await client.close(0.1)
            with pytest.raises(ServiceUnavailableError, match=r"sent again|503"):
                await calling
