"""The life of a client: opening, closing, settings that are refused, what it tells of itself."""

import asyncio
import gc
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from confirma_async import (
    ActionEnded,
    Assumptions,
    AttemptEnded,
    BatchPolicy,
    ClientStateError,
    Comment,
    ConfigurationError,
    ConfirmaClient,
    Disposition,
    DispositionPolicy,
    EffectClass,
    Environment,
    Event,
    FileTokenStore,
    MemoryTokenStore,
    OutcomeUnknownError,
    RetryPolicy,
    TokenStoreError,
)
from confirma_async.sandbox import Fault, Sandbox
from tests.actions import comment, payment
from tests.conftest import QUICK_RETRY


def make(sandbox: Sandbox) -> ConfirmaClient:
    return ConfirmaClient(environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url)


async def test_a_client_works_between_open_and_close(sandbox: Sandbox) -> None:
    """Before and after it says what to do; a second call of either does no harm."""
    client = make(sandbox)
    assert "not open" in repr(client)
    for call in (
        client.actions.send(comment(1)),
        client.actions.flush(),
        client.token.validate(),
        client.token.renew(),
    ):
        with pytest.raises(ClientStateError, match=r"open\(\) first"):
            await call
    with pytest.raises(ClientStateError):
        await client.request("GET", "/payments")
    with pytest.raises(ClientStateError):
        await client.actions.drain()
    assert (await client.close()).total == 0
    assert await client.open() is await client.open()
    await client.actions.send(comment(1))
    assert await client.close() == await client.close()
    with pytest.raises(ClientStateError, match="closed"):
        await client.actions.send(comment(2))
    with pytest.raises(ClientStateError, match="open another one"):
        await client.open()


async def test_drain_is_the_account_and_takes_no_more(sandbox: Sandbox) -> None:
    """Every action is counted once; a second drain, and close, return the same report."""
    sandbox.poison(lambda action: action.case_id == 3)
    async with make(sandbox) as client:
        async for _ in client.actions.push([comment(1), comment(2), comment(3), comment(-4)]):
            pass
        report = await client.actions.drain()
        assert (report.accepted, report.rejected, report.not_applied, report.unknown) == (2, 1, 1, 0)
        assert [outcome.disposition for outcome in report.not_accepted] == [
            Disposition.NOT_APPLIED,
            Disposition.REJECTED,
        ]
        assert await client.actions.drain() == report
        with pytest.raises(ClientStateError, match="drained"):
            await client.actions.send(comment(5))
    assert await client.close() == report


def test_a_client_belongs_to_the_loop_that_opened_it(sandbox_url: str) -> None:
    """Used from another one, it says so instead of hanging."""
    client = ConfirmaClient(environment=Environment.STAGING, token="token", base_url=sandbox_url)

    async def use() -> None:
        with pytest.raises(ClientStateError, match="another event loop"):
            await client.actions.send(comment(1))

    with asyncio.Runner() as first:
        first.run(client.open())
        with asyncio.Runner() as second:
            second.run(use())
        first.run(client.close())


@pytest.fixture
def sandbox_url() -> str:
    return "http://127.0.0.1:9/api/v1/partner"


async def test_a_borrowed_pool_stays_open_and_an_own_one_does_not_leak(sandbox: Sandbox) -> None:
    """Many clients, of many creditors, share one pool; nobody closes it under the others."""
    pool = aiohttp.TCPConnector(limit=2)
    for _ in range(3):
        async with ConfirmaClient(
            environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url, connector=pool
        ) as client:
            await client.actions.send(comment(1))
    assert not pool.closed
    await pool.close()
    async with make(sandbox) as client:
        await client.actions.send(comment(1))
    gc.collect()


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "tökén", "nul\0", "\ttab"])
def test_a_token_that_cannot_stand_in_a_header_is_refused(token: str) -> None:
    """Before it can become a header of somebody else's making; the token itself is not shown."""
    for given in (token, token):
        with pytest.raises(ConfigurationError, match="as it was issued") as caught:
            ConfirmaClient(environment=Environment.STAGING, token=given)
        assert not token or token not in str(caught.value)
    with pytest.raises(ConfigurationError):
        MemoryTokenStore(token)


def test_the_environment_is_never_guessed() -> None:
    """Neither from a string, nor from the token."""
    with pytest.raises(ConfigurationError, match="not guessed"):
        ConfirmaClient(environment="staging", token="token")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "CONFIRMA_ENVIRONMENT takes staging or production, and none is named"),
        ({"CONFIRMA_ENVIRONMENT": "test"}, "'test' is neither"),
        ({"CONFIRMA_ENVIRONMENT": "staging"}, "There is no token"),
        ({"CONFIRMA_ENVIRONMENT": "staging", "CONFIRMA_TOKEN": "a", "CONFIRMA_TOKEN_FILE": "b"}, "both set"),
        (
            {"CONFIRMA_ENVIRONMENT": "staging", "CONFIRMA_TOKEN": "a", "CONFIRMA_BASE_URL": "http://host"},
            "in the clear",
        ),
    ],
)
def test_from_env_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str) -> None:
    """One sentence names the variable and what it takes."""
    for name in ("CONFIRMA_ENVIRONMENT", "CONFIRMA_TOKEN", "CONFIRMA_TOKEN_FILE", "CONFIRMA_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=said):
        ConfirmaClient.from_env()


async def test_from_env_makes_a_client_that_works(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    """Environment, token and base come from the variables; everything else from the arguments."""
    monkeypatch.setenv("CONFIRMA_ENVIRONMENT", "Staging")
    monkeypatch.setenv("CONFIRMA_TOKEN", f"{sandbox.token}\n")
    monkeypatch.setenv("CONFIRMA_BASE_URL", f"{sandbox.base_url}/")
    monkeypatch.delenv("CONFIRMA_TOKEN_FILE", raising=False)
    async with ConfirmaClient.from_env(batch=BatchPolicy(linger=0)) as client:
        await client.actions.send(comment(1))
    assert len(sandbox.ledger) == 1


async def test_events_tell_what_happened_and_hold_no_comment(sandbox: Sandbox) -> None:
    """One for every attempt and every end, in order."""
    events: list[Event] = []
    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url, on_event=events.append
    ) as client:
        await client.actions.send(comment(7, text="a secret of the debtor", action_id="event-7"))
    assert [type(event) for event in events] == [AttemptEnded, ActionEnded]
    assert isinstance(events[0], AttemptEnded)
    assert (events[0].actions, events[0].attempt, events[0].verdict, events[0].status) == (1, 1, "accepted", 200)
    assert events[1] == ActionEnded("event-7", "COMMENT", 7, Disposition.ACCEPTED, 1, None)
    assert "secret" not in repr(events)


async def test_a_listener_that_fails_harms_nothing(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Its mistake is logged, and the action ends as it would."""

    def fail(_event: Event) -> None:
        raise ZeroDivisionError

    async with ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url, on_event=fail
    ) as client:
        assert (await client.actions.send(comment(1))).disposition is Disposition.ACCEPTED
    assert "on_event failed" in caplog.text


async def test_statistics_show_the_client_at_one_moment(sandbox: Sandbox) -> None:
    """What waits, what is in flight, what has ended."""
    sandbox.inject(Fault.slow(0.05))
    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=sandbox.token,
        base_url=sandbox.base_url,
        batch=BatchPolicy(linger=0, lanes=1),
    ) as client:
        sends = [asyncio.create_task(client.actions.send(comment(number))) for number in (1, 2)]
        while not client.statistics().in_flight_batches:
            await asyncio.sleep(0)
        sends.append(asyncio.create_task(client.actions.send(comment(3))))
        await asyncio.sleep(0)
        now = client.statistics()
        assert (now.in_flight_batches, now.in_flight_actions, now.waiting_actions, now.posts) == (1, 2, 1, 1)
        assert now.waiting_bytes > 0
        await asyncio.gather(*sends)
        assert client.statistics().accepted == 3


async def test_a_repeat_is_made_only_where_it_was_said_to_be_harmless(sandbox: Sandbox) -> None:
    """Strictness is a word; leniency has to be written."""
    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=sandbox.token,
        base_url=sandbox.base_url,
        retry=QUICK_RETRY,
        disposition=DispositionPolicy(assume_idempotent=True, effects={"DIRECTPAYMENT": EffectClass.MONEY}),
    ) as client:
        paying = asyncio.create_task(client.actions.send(payment(1)))
        assert (await client.actions.send(comment(2))).attempts == 2
        with pytest.raises(OutcomeUnknownError):
            await paying
    assert sorted(effect.action.code for effect in sandbox.ledger) == ["COMMENT", "COMMENT", "DIRECTPAYMENT"]


@pytest.mark.parametrize(
    "make_policy",
    [
        lambda: BatchPolicy(linger=-1),
        lambda: BatchPolicy(max_actions=0),
        lambda: BatchPolicy(alone="DIRECTPAYMENT"),  # type: ignore[arg-type]
        lambda: BatchPolicy(when_full="rise"),  # type: ignore[arg-type]
        lambda: BatchPolicy(lanes=2.5),  # type: ignore[arg-type]
        lambda: BatchPolicy(lanes=True),
        lambda: RetryPolicy(attempts=0),
        lambda: RetryPolicy(max_seconds=float("nan")),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(make_policy: "type[BatchPolicy]") -> None:
    """With the name of the setting."""
    with pytest.raises(ConfigurationError, match=r"(Batch|Retry)Policy\.\w+"):
        make_policy()


async def test_a_body_of_more_than_a_mebibyte_goes_out_and_is_replayed(sandbox: Sandbox) -> None:
    """Also after a renewal."""
    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=MemoryTokenStore(sandbox.token),
        base_url=sandbox.base_url,
        batch=BatchPolicy(max_bytes=4 * 1024 * 1024),
    ) as client:
        sandbox.revoke_token()
        await client.actions.send(Comment(invoice_number=1, case_id=1, comment="x" * 2_500_000))
    assert len(sandbox.ledger) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch": None}, "batch takes a BatchPolicy, not NoneType"),
        ({"retry": BatchPolicy()}, "retry takes a RetryPolicy, not BatchPolicy"),
        ({"token": None}, "token takes a string or a store"),
        ({"token": 5}, "token takes a string or a store"),
        ({"base_url": 5}, "not a URL"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_named(settings: dict[str, Any], said: str) -> None:
    """When the client is made, and not in the middle of its work."""
    with pytest.raises(ConfigurationError, match=said):
        ConfirmaClient(**{"environment": Environment.STAGING, "token": "token", **settings})


@pytest.mark.parametrize("name", ["absent_comment", "refused_batch_is_refused_whole"])
def test_an_assumption_takes_what_it_can_be(name: str) -> None:
    """A misspelt one is not taken for the default."""
    with pytest.raises(ConfigurationError, match=rf"Assumptions\.{name} takes one of"):
        Assumptions(**{name: "nul"})  # type: ignore[arg-type]


async def test_opening_twice_at_once_opens_once(sandbox: Sandbox, tmp_path: Path) -> None:
    """Both callers get an open client, or both get the error."""
    path = tmp_path / "token"
    client = ConfirmaClient(environment=Environment.STAGING, token=FileTokenStore(path), base_url=sandbox.base_url)
    failed = await asyncio.gather(client.open(), client.open(), return_exceptions=True)
    assert [type(error) for error in failed] == [TokenStoreError, TokenStoreError]
    path.write_text(sandbox.token)
    assert {await client.open(), *await asyncio.gather(client.open(), client.open())} == {client}
    await client.actions.send(comment(1))
    await client.close()


async def test_a_connector_that_cannot_be_borrowed_is_refused(sandbox: Sandbox) -> None:
    """One that is none when the client is made, one that is closed when it is opened."""
    with pytest.raises(ConfigurationError, match="takes an aiohttp connector, not str"):
        ConfirmaClient(environment=Environment.STAGING, token="token", connector="x")  # type: ignore[arg-type]
    pool = aiohttp.TCPConnector()
    await pool.close()
    client = ConfirmaClient(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url, connector=pool
    )
    with pytest.raises(ConfigurationError, match="is closed"):
        await client.open()
