"""What must not get out: tokens and personal data; and what must not get in: redirects, floods, other people's headers.

`tests/io/test_logging.py` holds the single cases; here is the sweep.
"""

import asyncio
import gc
import json
import logging
import pickle
import traceback
import tracemalloc
import warnings
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import confirma_async.errors
from confirma_async import (
    Action,
    ActionError,
    AmbiguousAnswerError,
    BatchPolicy,
    Comment,
    ConfigurationError,
    ConfirmaClient,
    ConfirmaError,
    DirectPayment,
    Disposition,
    Environment,
    Event,
    FileTokenStore,
    MemoryTokenStore,
    Objection,
    OutcomeUnknownError,
    RawAction,
    RetryPolicy,
    ServiceError,
    SqliteJournal,
    TokenLostError,
)
from confirma_async._core.request import validate_token
from confirma_async.sandbox import Fault, Sandbox
from tests.actions import PAYMENT_MEMBERS

# --- what must not get out --------------------------------------------------------------------------------------------

EMAIL = "maija.virtanen@example.com"
PERSON = "131052-308T"
TEXT = "she cannot pay before summer"
SECRET_ANSWER = "an answer that quotes"
MARKERS = (EMAIL, PERSON, TEXT, SECRET_ANSWER)
EVERYTHING = ", ".join(MARKERS)


def comment(case: int = 1, **members: Any) -> Comment:
    return Comment(**{"invoice_number": 1, "case_id": case, "comment": EVERYTHING, **members})


def payment(case: int = 2) -> DirectPayment:
    return DirectPayment(invoice_number=1, case_id=case, comment=EVERYTHING, **PAYMENT_MEMBERS)


def raw(case: int = 3) -> RawAction:
    data = {"invoiceNumber": 1, "caseId": case, "to": EMAIL, "parties": [{"personalIdentityNumber": PERSON}]}
    return RawAction(code="NOTIFY", data=data, comment=EVERYTHING)


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and everything that stands behind it, whether or not Python would show it."""
    seen: list[BaseException] = []
    ahead: list[BaseException | None] = [error]
    while ahead:
        found = ahead.pop()
        if found is None or found in seen:
            continue
        seen.append(found)
        ahead += [found.__cause__, found.__context__, *getattr(found, "exceptions", ())]
    yield from seen


def shown(error: BaseException) -> str:
    """All that a log, a debugger or an error tracker makes of an error."""
    parts = traceback.format_exception(error)
    for link in chain(error):
        parts += [str(link), repr(link), repr(link.args), repr(vars(link)), *getattr(link, "__notes__", ())]
        if isinstance(link, ConfirmaError) and type(link).__module__ == "confirma_async.errors":
            parts.append(repr(pickle.loads(pickle.dumps(link))))  # noqa: S301 - it is ours
    return "\n".join(parts)


class World:
    """A client in trouble, and all that anybody could see of it."""

    def __init__(self, sandbox: Sandbox, client: ConfirmaClient, path: Path) -> None:
        self.sandbox = sandbox
        self.client = client
        self.path = path
        self.seen: list[str] = []
        self.met: set[type[BaseException]] = set()

    def see(self, *things: object) -> None:
        self.seen += map(repr, things)

    def meet(self, error: BaseException) -> None:
        self.seen.append(shown(error))
        self.met |= {type(link) for link in chain(error)}

    def look_around(self) -> None:
        """Tasks, timers and everything else that the loop holds, as its debug mode would print them."""
        loop: Any = asyncio.get_running_loop()
        self.see(*asyncio.all_tasks(), *loop._ready, *loop._scheduled)
        self.see(self.client, self.client.statistics(), self.client.actions, self.client.token)
        for part in vars(self.client).values():
            self.see(part, *getattr(part, "__dict__", {}).values())

    async def call(self, *calls: Awaitable[Any]) -> list[Any]:
        """Let these calls run to their ends, looking around at every turn that something happens."""
        running = [asyncio.ensure_future(call) for call in calls]
        while not all(call.done() for call in running):
            self.look_around()
            await asyncio.wait(running, timeout=5.0)
        ends = await asyncio.gather(*running, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                self.meet(end)
        self.see(*ends, *running)
        return ends

    async def send(self, *actions: Action) -> list[Any]:
        return await self.call(*map(self.client.actions.send, actions or (comment(), payment(), raw())))

    async def push(self, *actions: Any) -> None:
        outcomes = self.client.actions.push(iter(actions))
        try:
            async for outcome in outcomes:
                self.see(outcome)
                if outcome.error is not None:
                    self.meet(outcome.error)
        except Exception as error:
            self.meet(error)

    def refuse(self, make: Callable[[], object]) -> None:
        """Something that is refused where it is made."""
        with pytest.raises(ConfirmaError) as caught:
            make()
        self.meet(caught.value)


Scenario = Callable[[World], Awaitable[object]]


def faulty(fault: Fault, *, path: str = "/invoice/action", times: int | None = None) -> Scenario:
    async def scenario(world: World) -> None:
        world.sandbox.inject(fault, path=path, times=times)
        if path == "/renew":
            world.sandbox.expire_token()
        await world.send()
        await world.push(comment(11), payment(12), raw(13))
        await world.call(
            world.client.actions.post([comment(21), raw(22)]),
            world.client.request("POST", "/invoice", json={"x": EVERYTHING}),
            world.client.request("GET", "/payments", params={"who": EVERYTHING}),
            world.client.token.validate(),
            world.client.token.renew(),
        )

    return scenario


async def a_good_day(world: World) -> None:
    world.sandbox.expire_token()
    await world.send()
    await world.push(comment(11), raw(12))
    await world.call(world.client.token.renew(), world.client.token.validate(), world.client.actions.flush())


async def rules_are_broken(world: World) -> None:
    broken: list[Action] = [
        comment(-1, invoice_number=0),
        RawAction(code="NOTIFY", data={"caseId": 1, "amount": 0.1, "to": EVERYTHING}, comment=EVERYTHING),
        RawAction(code="NOTIFY", data={"caseId": 1, "odd": {EVERYTHING.encode()}}),
        comment(1, comment=EVERYTHING * 10_000),
        Objection(invoice_number=1, case_id=1),
    ]
    await world.send(*broken)
    await world.push(*broken)
    await world.push(comment(1), EVERYTHING)


async def values_are_of_the_wrong_kind(world: World) -> None:
    for members in ({"comment": [EVERYTHING]}, {"case_id": EVERYTHING}, {"action_id": [EVERYTHING]}):
        world.refuse(lambda members=members: comment(**members))  # type: ignore[misc]
    world.refuse(lambda: RawAction(code="NOTIFY", data=EVERYTHING))  # type: ignore[arg-type]
    world.refuse(lambda: RawAction(code=[EVERYTHING], data={}))  # type: ignore[arg-type]


async def settings_are_wrong(world: World) -> None:
    for token in (f"{EVERYTHING}\n", EVERYTHING, [EVERYTHING], f"{PERSON}ö"):
        world.refuse(lambda token=token: ConfirmaClient(environment=Environment.STAGING, token=token))  # type: ignore[misc]
    for url in (f"https://{EMAIL}/", f"https://host/?{PERSON}", f"https://host/ {TEXT}", f"{PERSON}://host"):
        world.refuse(
            lambda url=url: ConfirmaClient(  # type: ignore[misc]
                environment=Environment.STAGING, token="token", base_url=url
            )
        )
    await world.call(
        world.client.request("GET", f"/payments?{EVERYTHING}"),
        world.client.request(EVERYTHING, "/payments"),
        world.client.request("POST", "/payments", json={"x": {EVERYTHING}}),
    )


async def too_much_waits(world: World) -> None:
    world.sandbox.inject(Fault.slow(1.0))
    client = make_client(world.sandbox, batch=BatchPolicy(max_waiting_actions=1, lanes=1, when_full="raise"))
    async with client:
        await world.call(*(client.actions.send(comment(number)) for number in range(1, 6)))


async def everything_is_refused(world: World) -> None:
    world.sandbox.inject(Fault.status(400), times=None)
    await world.push(*(comment(number) for number in range(1, 41)))


async def an_id_is_used_twice(world: World) -> None:
    first, second = comment(1, action_id="event-1"), comment(2, action_id="event-1")
    await world.send(first, second)
    await world.call(world.client.actions.post([first, second]), world.client.actions.send(second))


async def a_store_is_damaged(world: World) -> None:
    token = world.sandbox.token.encode()
    person = PERSON.encode()
    for content in (
        b"\xff\xfe" + token,
        b'{"token": "' + token,
        b'{"token": "' + token + b'", "candidate": 5}',
        b'{"token": "' + token + b'", "environment": "' + person + b'"}',
        token + b" " + person,
        token + b"\r\nX-Evil: " + person,
    ):
        world.path.write_bytes(content)
        await world.call(make_client(world.sandbox, token=FileTokenStore(world.path)).open())
        # While a client runs, too.
        world.path.write_text(world.sandbox.token)
        async with make_client(world.sandbox, token=FileTokenStore(world.path)) as client:
            world.path.write_bytes(content)
            await world.call(client.token.renew())


async def a_journal_cannot_be_used(world: World) -> None:
    world.path.write_bytes(EVERYTHING.encode() * 1_000)
    await world.call(make_client(world.sandbox, journal=SqliteJournal(world.path)).open())
    path = world.path.with_name("journal")
    journal = SqliteJournal(path)
    async with make_client(world.sandbox, journal=journal) as client:
        world.sandbox.inject(Fault.DROP_AFTER_APPLYING)
        await world.call(client.actions.send(comment(1, action_id="event-1")))
        await world.call(client.actions.send(comment(2, action_id="event-1")))
        await world.call(client.actions.enqueue([comment(3), raw(4), payment(5)]), client.actions.flush())
        world.see(journal, *vars(journal).values())
    await world.call(make_client(world.sandbox, journal=SqliteJournal(path, account="another")).open())


async def an_older_action_was_left(world: World) -> None:
    journal = world.path.with_name("journal")
    await world.sandbox.stop()
    async with make_client(world.sandbox, journal=SqliteJournal(journal)) as client:
        await client.actions.enqueue([comment(7)])
        world.see(await client.close(0))
    await world.sandbox.start()
    async with make_client(world.sandbox, journal=SqliteJournal(journal)) as client:
        await world.call(client.actions.send(comment(7)), client.actions.enqueue([comment(7)]))


async def a_plain_token_ends(world: World) -> None:
    async with make_client(world.sandbox, token=world.sandbox.token) as client:
        world.sandbox.expire_token()
        await world.call(client.actions.send(comment()), client.token.renew())
        world.see(client, *vars(client).values())


async def the_client_is_closed_early(world: World) -> None:
    world.sandbox.inject(Fault.HANG_AFTER_APPLYING, times=None)
    client = make_client(world.sandbox, batch=BatchPolicy(lanes=1, max_actions=1))
    await client.open()
    calls = [client.actions.send(comment(number)) for number in range(1, 6)]
    closing = asyncio.get_running_loop().call_later(1.0, lambda: asyncio.ensure_future(client.close(0.5)))
    await world.call(*calls)
    closing.cancel()
    await world.call(client.actions.send(comment()), client.close())
    world.see(await client.close(), *(await client.close()).not_accepted)


async def a_client_is_forgotten(world: World) -> None:
    client = await make_client(world.sandbox, token=world.sandbox.token).open()
    world.sandbox.inject(Fault.slow(1.0))
    await world.call(client.actions.send(comment()), client.request("GET", "/validate"))
    del client
    gc.collect()


async def an_answer_is_garbage(world: World) -> None:
    heads = [
        b"HTTP/1.1 200 OK\r\nBad Header " + EVERYTHING.encode() + b"\r\n\r\n",
        b"HTTP/1.1 " + EVERYTHING.encode() + b"\r\n\r\n",
        EVERYTHING.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 101\r\n\r\n" + EVERYTHING.encode(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + EVERYTHING.encode(),
        b"HTTP/1.1 200 " + EVERYTHING.encode() + b"\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[" + EVERYTHING.encode() + b"\r\nContent-Length: 0\r\n\r\n",
    ]
    for head in heads:
        async with raw_service(head) as base_url, make_client(world.sandbox, base_url=base_url) as client:
            await world.call(
                client.actions.send(comment()),
                client.request("POST", "/payments", json={"x": EVERYTHING}),
                client.token.renew(),
            )


ANSWER = EVERYTHING.encode()
QUOTING = b'{"message": "' + ANSWER + b'", "isValid": "' + ANSWER + b'", "Message": "' + ANSWER + b'"}'

FAULTS: list[Fault] = [
    Fault.DROP_BEFORE_READING,
    Fault.DROP_AFTER_APPLYING,
    Fault.HANG_AFTER_APPLYING,
    Fault.UNAUTHORIZED,
    Fault.too_many_requests(retry_after=1_000),
    Fault.unavailable(),
    *(Fault.status(status, QUOTING) for status in (200, 400, 403, 413, 500)),
    Fault.status(302, headers={"Location": f"https://evil.example/?{PERSON}"}),
]

FAULTS_OF_TOKENS = [
    Fault.DROP_AFTER_APPLYING,
    Fault.HANG_AFTER_APPLYING,
    Fault.UNAUTHORIZED,
    *(Fault.status(status, QUOTING) for status in (200, 400, 500)),
]

SCENARIOS: dict[str, Scenario] = {
    **{f"action {fault.name}": faulty(fault) for fault in FAULTS},
    **{f"renewal {fault.name}": faulty(fault, path="/renew") for fault in FAULTS_OF_TOKENS},
    **{f"check {fault.name}": faulty(fault, path="/validate") for fault in FAULTS_OF_TOKENS},
    **{
        scenario.__name__: scenario
        for scenario in (
            a_good_day,
            rules_are_broken,
            values_are_of_the_wrong_kind,
            settings_are_wrong,
            too_much_waits,
            everything_is_refused,
            an_id_is_used_twice,
            a_store_is_damaged,
            a_journal_cannot_be_used,
            an_older_action_was_left,
            a_plain_token_ends,
            the_client_is_closed_early,
            a_client_is_forgotten,
            an_answer_is_garbage,
        )
    },
}


def make_client(sandbox: Sandbox, **settings: Any) -> ConfirmaClient:
    settings = {
        "token": MemoryTokenStore(sandbox.token),
        "base_url": sandbox.base_url,
        "batch": BatchPolicy(linger=0.001),
        "retry": RetryPolicy(give_up_after=5.0),
        **settings,
    }
    return ConfirmaClient(environment=Environment.STAGING, **settings)


@asynccontextmanager
async def raw_service(answer: bytes) -> AsyncIterator[str]:
    """A service that answers whatever it is asked with these very bytes, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api"


async def everything_seen(scenario: Scenario, path: Path, caplog: pytest.LogCaptureFixture) -> World:
    """What can be seen while `scenario` plays, asyncio's debug mode at its most talkative."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    events: list[Event] = []
    async with Sandbox() as sandbox:
        world = World(sandbox, make_client(sandbox, on_event=events.append), path)
        loop.slow_callback_duration = 0.0
        async with world.client:
            await scenario(world)
            report = await world.client.close(5.0)
        world.see(report, *report.not_accepted, *events)
        loop.slow_callback_duration = 3600.0
    world.seen.append(caplog.text)
    return world


MET: set[type[BaseException]] = set()


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.looptime
async def test_nothing_secret_gets_out(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No token, e-mail address, identity number or comment in any log, repr, event, error behind errors, or warning."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        world = await everything_seen(SCENARIOS[name], tmp_path / "token", caplog)
    assert any(warning.category is ResourceWarning for warning in warned) == (name == "a_client_is_forgotten")
    everything = "\n".join([*world.seen, *(str(warning.message) for warning in warned)])
    assert "confirma-" in everything
    for secret in (*MARKERS, *world.sandbox.tokens):
        assert secret not in everything
    MET.update(world.met)


def test_the_sweep_has_met_every_error() -> None:
    """Every class of error that this package raises was among those whose texts were read."""
    if len(MET) < 10:
        pytest.skip("the sweep did not run before this")
    named = (getattr(confirma_async.errors, name) for name in confirma_async.errors.__all__)
    assert {kind for kind in named if kind not in MET} == {ConfirmaError, ActionError, ServiceError}


# --- what must not get in ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/invoice/action", "/renew", "/validate", "/payments"])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(sandbox: Sandbox, path: str, code: int) -> None:
    """Whatever is redirected, and however: the other host is asked nothing, and is not given the key."""
    async with Sandbox() as elsewhere, make_client(sandbox, retry=RetryPolicy(attempts=1)) as client:
        location = f"{elsewhere.base_url}{path}"
        sandbox.inject(Fault.status(code, headers={"Location": location}), path=path, times=None)
        ends = await asyncio.gather(
            client.actions.send(comment()) if path == "/invoice/action" else asyncio.sleep(0),
            client.request("GET", "/payments"),
            client.request("POST", "/payments", json={}),
            client.token.validate(),
            client.token.renew(),
            return_exceptions=True,
        )
        await client.close(1.0)
    assert elsewhere.requests == []
    errors = [end for end in ends if isinstance(end, BaseException)]
    assert errors
    if path == "/invoice/action":
        assert isinstance(ends[0], OutcomeUnknownError)
    assert location not in "\n".join(map(shown, errors))


PIECE = 64 * 1024


def length(size: int) -> Iterator[bytes]:
    yield b"Content-Length: %d\r\n\r\n" % size
    yield from (b" " * PIECE for _ in range(size // PIECE))


def chunked(size: int) -> Iterator[bytes]:
    yield b"Transfer-Encoding: chunked\r\n\r\n"
    yield from (b"%x\r\n%b\r\n" % (PIECE, b" " * PIECE) for _ in range(size // PIECE))
    yield b"0\r\n\r\n"


def until_closed(size: int) -> Iterator[bytes]:
    yield b"Connection: close\r\n\r\n"
    yield from (b" " * PIECE for _ in range(size // PIECE))


@cache
def squeezed(size: int, wbits: int) -> bytes:
    squeezer = zlib.compressobj(1, zlib.DEFLATED, wbits)
    return b"".join(squeezer.compress(b" " * PIECE) for _ in range(size // PIECE)) + squeezer.flush()


def compressed(size: int, encoding: bytes, wbits: int) -> Iterator[bytes]:
    body = squeezed(size, wbits)
    yield b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b" % (encoding, len(body), body)


FLOODS: dict[str, Callable[[int], Iterator[bytes]]] = {
    "length": length,
    "chunked": chunked,
    "until closed": until_closed,
    "gzip": lambda size: compressed(size, b"gzip", 31),
    "deflate": lambda size: compressed(size, b"deflate", 15),
}

LIMIT = 10 * 1024 * 1024
FLOOD = 10 * LIMIT


@asynccontextmanager
async def service_that_answers(pieces: Callable[[], Iterator[bytes]]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A service that answers 200 with these pieces; and the heads of the requests that it got."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            for piece in pieces():
                writer.write(piece)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api", heads


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_an_answer_beyond_the_limit_is_an_error_and_not_memory(sandbox: Sandbox, flood: Any) -> None:
    """100 MiB of answer cost a few times the limit at most, however they come; what was asked is not misjudged."""
    next(flood(FLOOD))  # What is compressed is made before memory is watched.
    async with (
        service_that_answers(lambda: flood(FLOOD)) as (base_url, _),
        make_client(sandbox, base_url=base_url) as client,
    ):
        tracemalloc.start()
        with pytest.raises(AmbiguousAnswerError, match="larger than is read"):
            await client.request("GET", "/payments")
        outcome = await client.actions.send(comment())
        with pytest.raises(ConfirmaError):
            await client.token.renew()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert outcome.disposition is Disposition.ACCEPTED
    assert peak < 4 * LIMIT


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("size", [0, PIECE, LIMIT])
async def test_an_answer_up_to_the_limit_is_read(sandbox: Sandbox, flood: Any, size: int) -> None:
    """However it is transferred and compressed, it is read whole."""
    async with (
        service_that_answers(lambda: flood(size)) as (base_url, heads),
        make_client(sandbox, base_url=base_url) as client,
    ):
        exchange = await client._session.exchange(validate_token())
    assert exchange.body == b" " * size
    assert exchange.body_is_whole
    assert b"\r\nAccept-Encoding: gzip\r\n" in heads[0]


WHOLE = zlib.compress(b'{"isValid": true}', wbits=31)


@pytest.mark.parametrize("body", [WHOLE[:-1], WHOLE[:-20], WHOLE[:5], WHOLE + WHOLE, WHOLE + b"x", b"{}"])
async def test_a_compressed_answer_without_its_proper_end_is_not_taken_for_whole(sandbox: Sandbox, body: bytes) -> None:
    """Although it is as long as was announced."""
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with (
        service_that_answers(lambda: iter([head, body])) as (base_url, _),
        make_client(sandbox, base_url=base_url) as client,
    ):
        exchange = await client._session.exchange(validate_token())
    assert exchange.evidence.status == 200
    assert not exchange.body_is_whole


async def test_a_flood_behind_a_401_is_not_read_either(sandbox: Sandbox) -> None:
    """Before the replay a 401 is drained only as far as is cheap."""
    flood = squeezed(FLOOD, 31)
    sandbox.inject(Fault.status(401, flood, headers={"Content-Encoding": "gzip"}))
    async with make_client(sandbox) as client:
        tracemalloc.start()
        outcome = await client.actions.send(comment())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert outcome.disposition is Disposition.ACCEPTED
    assert peak < LIMIT


INJECTIONS = ["\r", "\n", "\r\nX-Evil: 1", "\0", "\t", " ", "\x7f", "\x85", "\u2028", "ö", "ÿ", "漢", "\ud800"]


@pytest.mark.parametrize("injection", INJECTIONS, ids=ascii)
def test_no_token_breaks_out_of_its_header(tmp_path: Path, injection: str) -> None:
    """At its start, in its middle or at its end: refused when the client is made, and not shown."""
    for token in (f"{injection}abcdef", f"abc{injection}def", f"abcdef{injection}"):
        for make in (MemoryTokenStore, lambda given: ConfirmaClient(environment=Environment.STAGING, token=given)):
            with pytest.raises(ConfigurationError) as caught:
                make(token)
            assert "abc" not in shown(caught.value)


@pytest.mark.parametrize("injection", INJECTIONS, ids=ascii)
def test_no_base_url_breaks_out_of_the_request(injection: str) -> None:
    """In the host, in the path or at the end: refused when the client is made."""
    for url in (f"https://ho{injection}st/api", f"https://host/a{injection}pi", f"https://host/api{injection}"):
        with pytest.raises(ConfigurationError):
            ConfirmaClient(environment=Environment.STAGING, token="token", base_url=url)


@pytest.mark.parametrize("injection", INJECTIONS, ids=ascii)
async def test_no_request_breaks_out_of_its_line(sandbox: Sandbox, injection: str) -> None:
    """Method and path are refused; parameters are escaped."""
    answer = [b"Content-Length: 2\r\n\r\n{}"]
    async with (
        service_that_answers(lambda: iter(answer)) as (base_url, heads),
        make_client(sandbox, base_url=base_url) as client,
    ):
        for method, path in ((f"GET{injection}", "/payments"), ("GET", f"/pay{injection}ments")):
            with pytest.raises(ConfigurationError):
                await client.request(method, path)
        assert heads == []
        with suppress(ConfirmaError):
            await client.request("GET", "/payments", params={f"a{injection}b": f"c{injection}d"})
    for head in heads:
        line, *headers = head.decode("ascii").split("\r\n")
        assert line.isprintable()
        assert line.startswith("GET /api/payments?a")
        assert [header.partition(":")[0] for header in headers if header] == [
            *("Host", "Accept", "Accept-Encoding", "User-Agent", "X-Api-Key")
        ]


@pytest.mark.parametrize("injection", INJECTIONS, ids=ascii)
@pytest.mark.looptime
async def test_no_renewed_token_breaks_out_of_its_header(injection: str) -> None:
    """What the service gives for a token and could not stand in a header is neither kept nor sent."""
    async with Sandbox() as sandbox:
        body = json.dumps({"Message": f"abc{injection}def"}).encode()
        sandbox.inject(Fault.status(200, body, apply=True), path="/renew")
        store = MemoryTokenStore(sandbox.token)
        async with make_client(sandbox, token=store) as client:
            with pytest.raises(TokenLostError) as caught:
                await client.token.renew()
    assert "abc" not in shown(caught.value)
    assert (await store.load()).current == sandbox.tokens[0]
    assert {request.token for request in sandbox.requests} == {sandbox.tokens[0]}
