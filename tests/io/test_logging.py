"""No token and no personal data in anything that is logged, told, raised or shown."""

import asyncio
import logging
import pickle
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from confirma_async import (
    Action,
    BatchPolicy,
    Comment,
    ConfirmaClient,
    ConfirmaError,
    Environment,
    Event,
    FileTokenStore,
    GateOpened,
    GateShut,
    MemoryTokenStore,
    RawAction,
    RetryPolicy,
    TokenStore,
)
from confirma_async.sandbox import Fault, Sandbox

SECRETS = ("maija.virtanen@example.com", "131052-308T", "she cannot pay before summer")
TEXT = ", ".join(SECRETS)

QUICK = RetryPolicy(
    min_backoff=0.001, first_ceiling=0.002, max_ceiling=0.02, first_throttled_ceiling=0.002, max_throttled_ceiling=0.02
)


def client_with(sandbox: Sandbox, store: str | TokenStore, events: list[Event], **settings: Any) -> ConfirmaClient:
    settings = {"batch": BatchPolicy(linger=0.001), "retry": QUICK, **settings}
    return ConfirmaClient(
        environment=Environment.STAGING, token=store, base_url=sandbox.base_url, on_event=events.append, **settings
    )


def comment(case: int) -> Action:
    return Comment(invoice_number=1, case_id=case, comment=TEXT, action_id=f"event-{case}")


def raw(case: int) -> Action:
    return RawAction(code="NOTIFY", data={"invoiceNumber": 1, "caseId": case, "to": TEXT}, comment=TEXT)


def all_of(error: BaseException | None) -> Iterable[str]:
    """Everything that a person might see of an error and of what stands behind it."""
    while error is not None:
        yield f"{error} {error!r} {error.args!r}"
        yield "".join(traceback.format_exception(error, chain=True))
        if type(error).__module__ == "confirma_async.errors":
            yield repr(pickle.loads(pickle.dumps(error)))  # noqa: S301 - it is ours
        error = error.__cause__ or error.__context__


async def ends_of(client: ConfirmaClient, *actions: Action) -> list[str]:
    """Everything that a caller might print of how these actions ended."""
    ends = await asyncio.gather(*map(client.actions.send, actions), return_exceptions=True)
    shown = [repr(end) for end in ends]
    for end in ends:
        if isinstance(end, BaseException):
            shown += all_of(end)
    return shown


def assert_clean(sandbox: Sandbox, *shown: str) -> None:
    everything = "\n".join(shown)
    for secret in (*SECRETS, *sandbox.tokens):
        assert secret not in everything


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


async def test_nothing_secret_is_shown_when_all_goes_well(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A day on which tokens are renewed and actions accepted leaves no token and no comment anywhere."""
    events: list[Event] = []
    path = tmp_path / "token"
    path.write_text(sandbox.token)
    store = FileTokenStore(path)
    async with client_with(sandbox, store, events) as confirma:
        sandbox.expire_token()
        shown = await ends_of(confirma, comment(1), raw(2))
        pushed = [repr(outcome) async for outcome in confirma.actions.push([comment(3), raw(4)])]
        await confirma.token.renew()
        things = map(repr, (confirma, store, confirma.statistics(), await confirma.actions.drain()))
        shown += [*pushed, *things, *map(repr, events)]
    assert len(sandbox.tokens) == 3
    assert len(sandbox.ledger) == 4
    assert "The token was renewed; this is generation" in caplog.text
    assert_clean(sandbox, caplog.text, *shown)


@pytest.mark.parametrize(
    "fault",
    [
        Fault.DROP_BEFORE_READING,
        Fault.DROP_AFTER_APPLYING,
        Fault.UNAUTHORIZED,
        Fault.status(500),
        Fault.status(400, TEXT.encode()),
        Fault.status(403, TEXT.encode()),
        Fault.status(302, headers={"Location": "https://evil.example/?" + SECRETS[1]}),
        Fault.status(200, TEXT.encode()),
        Fault.unavailable(),
        Fault.too_many_requests(retry_after=1000),
    ],
    ids=lambda fault: fault.name,
)
@pytest.mark.looptime
async def test_nothing_secret_is_shown_when_a_post_fails(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """However a POST fails, errors, events and logs hold no token, no comment, and nothing of the answer."""
    events: list[Event] = []
    sandbox.inject(fault, times=4)
    async with client_with(sandbox, MemoryTokenStore(sandbox.token), events) as confirma:
        shown = await ends_of(confirma, comment(1), raw(2))
        calls = await asyncio.gather(confirma.request("POST", "/invoice", json={"x": TEXT}), return_exceptions=True)
        for error in calls:
            assert isinstance(error, ConfirmaError)
            shown += all_of(error)
        report = await confirma.actions.drain()
    shown += [repr(report), repr(report.not_accepted), *map(repr, events)]
    assert len(events) >= 3
    assert_clean(sandbox, caplog.text, *shown)


@pytest.mark.parametrize(
    "fault",
    [Fault.DROP_AFTER_APPLYING, Fault.status(400), Fault.status(200, b'{"Message": "new secret"}'), Fault.status(500)],
    ids=lambda fault: fault.name,
)
@pytest.mark.looptime
async def test_nothing_secret_is_shown_when_a_renewal_fails(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """However a renewal fails, errors, events and logs hold no token."""
    events: list[Event] = []
    sandbox.inject(fault, path="/renew", times=None)
    async with client_with(sandbox, MemoryTokenStore(sandbox.token), events) as confirma:
        sandbox.expire_token()
        shown = await ends_of(confirma, comment(1))
        [error] = await asyncio.gather(confirma.token.renew(), return_exceptions=True)
        shown += all_of(error)
    assert isinstance(error, ConfirmaError)
    assert any(isinstance(event, GateShut) for event in events)
    assert "new secret" not in caplog.text
    assert_clean(sandbox, caplog.text, *shown, *map(repr, events))


async def test_nothing_secret_is_shown_of_what_is_refused_here(
    client: ConfirmaClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """An action that breaks rules is refused without its texts."""
    broken: list[Action] = [
        Comment(invoice_number=0, case_id=-1, comment=TEXT),
        RawAction(code="NOTIFY", data={"caseId": 1, "amount": 0.1, "to": TEXT}, comment=TEXT),
        RawAction(code="NOTIFY", data={"caseId": 1, "odd": {TEXT.encode()}}),
        Comment(invoice_number=1, case_id=1, comment=TEXT * 10_000),
    ]
    shown = await ends_of(client, *broken)
    assert sum("InvalidActionError" in line for line in shown) >= 4
    assert_clean(sandbox, caplog.text, *shown)


async def test_a_listener_that_fails_is_logged_without_secrets(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in `on_event` is logged with its traceback, does no harm, and shows no token and no comment."""

    def listen(_event: Event) -> None:
        raise ValueError("a mistake of the listener")

    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=MemoryTokenStore(sandbox.token),
        base_url=sandbox.base_url,
        on_event=listen,
    ) as confirma:
        await confirma.actions.send(comment(1))
    assert "a mistake of the listener" in caplog.text
    assert len(sandbox.ledger) == 1
    assert_clean(sandbox, caplog.text)


async def test_the_log_is_one_logger(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Everything that this package logs goes to the logger `confirma_async`, and a good day logs no warning."""
    events: list[Event] = []
    async with client_with(sandbox, MemoryTokenStore(sandbox.token), events) as confirma:
        sandbox.expire_token()
        await ends_of(confirma, comment(1))
    ours = [record for record in caplog.records if "confirma_async" in record.pathname]
    assert ours
    assert {record.name for record in ours} == {"confirma_async"}
    assert max(record.levelno for record in ours) < logging.WARNING


@pytest.mark.looptime
async def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A person who reads the log sees that sending stopped and why, and that it goes on: not a line for each action."""
    events: list[Event] = []
    sandbox.outage(10)
    async with client_with(sandbox, MemoryTokenStore(sandbox.token), events, retry=RetryPolicy()) as confirma:
        await ends_of(confirma, *map(comment, range(1, 501)))
    ours = [record.getMessage() for record in caplog.records if record.name == "confirma_async"]
    assert any("Nothing new is sent for now" in line for line in ours)
    assert any("The service is there again" in line for line in ours)
    assert sum("Nothing new is sent for now" in line for line in ours) < 20
    assert any(isinstance(event, GateOpened) for event in events)
    assert_clean(sandbox, *ours)
