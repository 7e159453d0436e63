"""Does every submitted action have one end, and is that end true, whatever fails on the way?

    python -m benchmarks.soak --seeds N [--first S] [--actions A] [--json]

Each seed is a schedule of faults (`confirma_async.sandbox.FaultSchedule`) and the settings of a client, and 200 mixed
actions of all effect classes go through it, some by `push()`, some by `send()`. What their callers were told is then
compared with what the sandbox received and holds; beside it, what waited never passed its limit, every renewal minted
one token, the account of the client is that of its callers, and its close kept to its grace.

Time is virtual: the policies are the usual ones, with their backoffs, timeouts and outages of up to a minute, and none
of it is waited for. The sandbox runs in the same process.

Not shown: real networks and clocks, a process that is killed, more than one, tokens on disk, and faults that nobody
thought of. With the same seed the same requests meet the same faults; which actions share one is the client's matter.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import looptime
from attrs import Factory, define, frozen

from confirma_async import (
    Action,
    ActionError,
    ActionOutcome,
    AttemptEnded,
    AuthenticationError,
    BatchPolicy,
    ClientStateError,
    ConfirmaClient,
    Disposition,
    DispositionPolicy,
    DrainReport,
    Environment,
    Event,
    MemoryTokenStore,
    RawAction,
    SqliteJournal,
)
from confirma_async.cli.workload import day_of_work
from confirma_async.sandbox import Audit, FaultSchedule, Sandbox

from .measure import machine

__all__ = ["Conditions", "Finding", "soaked"]

ACTIONS = 200

NOT_SHOWN = (
    "real networks and clocks, a process that is killed, more than one, tokens on disk, faults nobody thought of."
)

_SECONDS_BEYOND_GRACE = 1.0

_LONGEST = 7_200.0
"""Beyond all that the policies wait for together."""

_TELLS_THE_TOKEN = {None, "dripping"}
"""The faults of `/renew` after which the new token has arrived all the same."""

_DELAYS_RENEWAL = {"hang_after_applying", "dripping"}


def _chance(purpose: str, seed: int) -> Random:
    return Random(f"{purpose}/{seed}")  # noqa: S311 - it draws a test, no secret


@frozen(kw_only=True)
class Conditions:
    """What one run is like, all of it drawn from its seed."""

    schedule: FaultSchedule
    batch: BatchPolicy
    disposition: DispositionPolicy
    is_journaled: bool
    """Whether the journal is on disk."""
    is_reconciled: bool
    visible_after: float
    """When effects show to the reconciler."""
    renewal_kills_old_token: bool
    closes_after: float | None
    """When the client is closed, whatever is under way; None is when all have ended."""
    grace: float

    @classmethod
    def drawn(cls, seed: int, *, actions: int = ACTIONS) -> "Conditions":
        """The conditions of a seed: always the same."""
        chance = _chance("conditions", seed)
        max_bytes = chance.choice((2_048, 256 * 1024, 256 * 1024))
        return cls(
            schedule=FaultSchedule.drawn(seed, actions=actions),
            batch=BatchPolicy(
                max_actions=chance.choice((1, 5, 30, 100)),
                max_bytes=max_bytes,
                max_waiting_bytes=max(max_bytes, chance.choice((6_000, 16 * 1024 * 1024))),
                max_waiting_actions=chance.choice((5_000, 5_000, 20)),
                linger=chance.choice((0.0, 0.02)),
                lanes=chance.choice((1, 4)),
                alone=chance.choice((frozenset(), frozenset(), frozenset({"DIRECTPAYMENT"}))),
            ),
            disposition=DispositionPolicy(assume_idempotent=chance.random() < 0.1),
            is_journaled=chance.random() < 0.1,
            is_reconciled=chance.random() < 0.25,
            visible_after=chance.choice((0.0, 5.0, 59.0)),
            renewal_kills_old_token=chance.random() < 0.75,
            closes_after=chance.choice((0.01, 0.5, 5.0, 30.0)) if chance.random() < 0.2 else None,
            grace=chance.choice((0.5, 5.0, 25.0)),
        )

    @property
    def close_is_timed(self) -> bool:
        """Whether the grace binds: a renewal's answer, the only copy of a token, is waited for beyond it."""
        names = {planned.fault.name for planned in self.schedule.faults if planned.path == "/renew"}
        return not names & _DELAYS_RENEWAL


@define(kw_only=True)
class Finding:
    """What one run showed."""

    seed: int
    submitted: int
    audit: Audit
    ends: Counter[str]
    faults: Counter[str]
    refusals: Counter[str]
    """What the service itself refused: for its limits, a poisoned action, or a token that ended."""
    verdicts: Counter[str]
    """What the attempts of the client showed."""
    most_waiting: float
    """The most bytes that waited, as a share of their limit."""
    minted: int
    """Tokens issued by renewals."""
    rotations: int
    """Renewals whose answer came."""
    beyond_grace: float
    """How long the client took to close after its grace had passed; 0 if it closed within it, or need not."""
    broken: list[str] = Factory(list)
    """What was not as promised, in words."""


class _Watch:
    """Looks at a client while it works."""

    def __init__(self) -> None:
        self.most_waiting = 0
        self.verdicts: Counter[str] = Counter()
        self.waiting: Callable[[], int] = int

    def look(self) -> None:
        """Take note of how much waits."""
        self.most_waiting = max(self.most_waiting, self.waiting())

    def notice(self, event: Event) -> None:
        """Take note of an event."""
        self.look()
        if isinstance(event, AttemptEnded):
            self.verdicts[event.verdict] += 1


class _Caller:
    """All who submit to one client, and what they are told."""

    def __init__(self, client: ConfirmaClient, chance: Random, on_submit: Callable[[], None]) -> None:
        self._client = client
        self._chance = chance
        self._on_submit = on_submit
        self.submitted: list[Action] = []
        """In the order of their submission."""
        self.outcomes: list[ActionOutcome] = []

    async def submit(self, actions: Iterable[Action]) -> None:
        """Some by `push()`, some by `send()`, those of a case all the same way."""
        pushed: list[Action] = []
        sent: list[Action] = []
        ways: dict[int | None, list[Action]] = {}
        for action in actions:
            ways.setdefault(action.case_id, self._chance.choice((pushed, sent))).append(action)
        await asyncio.gather(self._push(pushed), self._send_all(sent))

    async def _push(self, actions: Sequence[Action]) -> None:
        source = self._read(actions) if self._chance.random() < 0.5 else self._read_with_stalls(actions)
        # Too many a 401, or closed: what was not read by then was not submitted.
        with suppress(AuthenticationError, ClientStateError):
            async for outcome in self._client.actions.push(source):
                self.outcomes.append(outcome)

    def _submitting(self, action: Action) -> Action:
        self.submitted.append(action)
        self._on_submit()
        return action

    def _read(self, actions: Sequence[Action]) -> Iterator[Action]:
        return map(self._submitting, actions)

    async def _read_with_stalls(self, actions: Sequence[Action]) -> AsyncIterator[Action]:
        for action in actions:
            if self._chance.random() < 0.05:
                await asyncio.sleep(self._chance.random())
            yield self._submitting(action)

    async def _send_all(self, actions: Sequence[Action]) -> None:
        sending = []
        for action in actions:
            sending.append(asyncio.create_task(self._send(action)))
            if self._chance.random() < 0.1:
                await asyncio.sleep(self._chance.random() / 10)
        await asyncio.gather(*sending)

    async def _send(self, action: Action) -> None:
        try:
            outcome: ActionOutcome | None = await self._client.actions.send(self._submitting(action))
        except ActionError as error:
            outcome = error.outcome
        except ClientStateError:
            self.submitted.pop()  # Raised before anything else could happen: it was not taken.
            return
        if outcome is not None:
            self.outcomes.append(outcome)


def _work(actions: int, seed: int) -> Iterator[Action]:
    """The demo's day, and here and there a code that has no name in this package."""
    for number, action in enumerate(day_of_work(actions, seed=seed), 1):
        data = {"invoiceNumber": action.invoice_number, "caseId": action.case_id}
        yield action if number % 20 else RawAction(code="REMIND", data=data, comment=action.comment)


async def soaked(conditions: Conditions, *, actions: int = ACTIONS) -> Finding:
    """Run so many actions under these conditions, on the running event loop, and compare."""
    random.seed(conditions.schedule.seed)  # The jitter of the client.
    with TemporaryDirectory() as folder:
        journal = SqliteJournal(Path(folder, "journal"), durability="process") if conditions.is_journaled else None
        return await _soaked(conditions, journal, actions)


async def _soaked(conditions: Conditions, journal: SqliteJournal | None, actions: int) -> Finding:
    seed = conditions.schedule.seed
    watch = _Watch()
    async with Sandbox(
        renewal_kills_old_token=conditions.renewal_kills_old_token, visible_after=conditions.visible_after
    ) as sandbox:
        sandbox.unleash(conditions.schedule)
        client = ConfirmaClient(
            environment=Environment.STAGING,
            token=MemoryTokenStore(sandbox.token),
            base_url=sandbox.base_url,
            batch=conditions.batch,
            disposition=conditions.disposition,
            journal=journal,
            reconciler=sandbox.reconciler() if conditions.is_reconciled else None,
            on_event=watch.notice,
        )
        watch.waiting = lambda: client.statistics().waiting_bytes
        caller = _Caller(client, _chance("caller", seed), watch.look)
        async with client:
            submitting = asyncio.create_task(caller.submit(_work(actions, seed)))
            await asyncio.wait([submitting], timeout=conditions.closes_after or _LONGEST)
            watch.look()
            began = asyncio.get_running_loop().time()
            report = await client.close(conditions.grace)
            seconds_to_close = asyncio.get_running_loop().time() - began
            await _ended(submitting)
        finding = _finding(conditions, sandbox, caller, watch, seconds_to_close)
        finding.broken += _account_mistakes(report, caller.outcomes)
        return finding


async def _ended(submitting: "asyncio.Task[None]") -> None:
    """Wait for those who submitted. Whoever is not told of an end by now never will be: that is a lost action."""
    _, waiting = await asyncio.wait([submitting], timeout=_SECONDS_BEYOND_GRACE)
    if waiting:
        submitting.cancel()
        await asyncio.wait([submitting])
    else:
        submitting.result()


def _finding(
    conditions: Conditions, sandbox: Sandbox, caller: _Caller, watch: _Watch, seconds_to_close: float
) -> Finding:
    audit = sandbox.audit(caller.submitted, caller.outcomes, disposition=conditions.disposition)
    rotations, is_needless = _rotations(sandbox)
    finding = Finding(
        seed=conditions.schedule.seed,
        submitted=len(caller.submitted),
        audit=audit,
        ends=Counter(outcome.disposition.name for outcome in caller.outcomes),
        faults=Counter(request.fault for request in sandbox.requests if request.fault is not None),
        refusals=Counter(
            f"{request.status} {request.path}"
            for request in sandbox.requests
            if request.fault is None and (request.status or 0) >= 400
        ),
        verdicts=watch.verdicts,
        most_waiting=watch.most_waiting / conditions.batch.max_waiting_bytes,
        minted=len(sandbox.tokens) - 1,
        rotations=rotations,
        beyond_grace=max(0.0, seconds_to_close - conditions.grace) if conditions.close_is_timed else 0.0,
        broken=list(audit.contradictions),
    )
    if finding.most_waiting > 1:
        finding.broken.append(f"{watch.most_waiting:,} bytes waited")
    if is_needless:
        finding.broken.append("a token was renewed again after a good successor had arrived")
    if finding.beyond_grace > _SECONDS_BEYOND_GRACE:
        finding.broken.append(f"a close with a grace of {conditions.grace:g} s took {seconds_to_close:.1f} s")
    return finding


def _rotations(sandbox: Sandbox) -> tuple[int, bool]:
    """How many renewals had an answer that came, and whether one was asked for whose token had a good successor."""
    renewed: Counter[str | None] = Counter()
    # A successor that is revoked before it is checked is no good, and the old token is renewed again.
    distrusted = set()
    for request in sandbox.requests:
        if request.path == "/renew" and request.status == 200 and request.fault in _TELLS_THE_TOKEN:
            renewed[request.token] += 1
        elif request.path == "/validate" and request.status == 401:
            distrusted.add(request.token)
    return renewed.total(), renewed.total() - len(renewed) > len(distrusted)


def _account_mistakes(report: DrainReport, outcomes: Sequence[ActionOutcome]) -> Iterator[str]:
    """Where the client's account differs from what its callers were told."""
    told = Counter(
        # What push() had in hand as the client closed was not taken; its consumer is told so, the account is not.
        outcome.disposition
        for outcome in outcomes
        if not isinstance(outcome.error, ClientStateError)
    )
    for disposition in Disposition:
        counted = getattr(report, disposition.value)
        if counted != told[disposition]:
            yield f"the account has {counted} {disposition.name}, and {told[disposition]} were told"


# --- figures ----------------------------------------------------------------------------------------------------------


def _summary(found: Sequence[Finding], seconds: float) -> dict[str, Any]:
    faults: Counter[str] = sum((finding.faults for finding in found), Counter())
    ends: Counter[str] = sum((finding.ends for finding in found), Counter())
    refusals: Counter[str] = sum((finding.refusals for finding in found), Counter())
    verdicts: Counter[str] = sum((finding.verdicts for finding in found), Counter())
    minted, rotations = sum(f.minted for f in found), sum(f.rotations for f in found)
    return {
        "schedules": len(found),
        "seconds": round(seconds, 1),
        "actions": sum(f.submitted for f in found),
        "attempts": dict(verdicts.most_common()),
        "ends": {disposition.name: ends[disposition.name] for disposition in Disposition},
        "effects": sum(f.audit.effects for f in found),
        "lost": sum(f.audit.lost for f in found),
        "false": sum(f.audit.false for f in found),
        "doubled": sum(f.audit.doubled for f in found),
        "disordered": sum(f.audit.disordered for f in found),
        "most_waiting_share": round(max(f.most_waiting for f in found), 3),
        "most_seconds_beyond_grace": round(max(f.beyond_grace for f in found), 3),
        "tokens_minted": minted,
        "rotations": rotations,
        "tokens_lost_on_the_way": minted - rotations,
        "faults": dict(sorted(faults.items())),
        "refusals": dict(sorted(refusals.items())),
        "broken": {str(f.seed): f.broken for f in found if f.broken},
    }


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    yield f"schedules            {summary['schedules']:,} in {summary['seconds']:,.1f} s"
    yield f"actions submitted    {summary['actions']:,}"
    for name, count in summary["ends"].items():
        yield f"  {name:18} {count:,}"
    yield f"effects              {summary['effects']:,}"
    for name in ("lost", "false", "doubled", "disordered"):
        yield f"  {name:18} {summary[name]:,}"
    yield f"bytes waiting        at most {summary['most_waiting_share']:.1%} of their limit"
    yield f"closes               at most {summary['most_seconds_beyond_grace']:g} s after their grace"
    yield (
        f"tokens minted        {summary['tokens_minted']:,} in {summary['rotations']:,} rotations, "
        f"{summary['tokens_lost_on_the_way']:,} of them lost on the way by a fault"
    )
    yield f"faults met           {sum(summary['faults'].values()):,}"
    for name, count in summary["faults"].items():
        yield f"  {count:7,}  {name}"
    yield f"refused on its own   {sum(summary['refusals'].values()):,}"
    for name, count in summary["refusals"].items():
        yield f"  {count:7,}  {name}"
    yield f"attempts             {sum(summary['attempts'].values()):,}"
    for name, count in summary["attempts"].items():
        yield f"  {count:7,}  {name}"
    for seed, broken in summary["broken"].items():
        yield f"BROKEN, seed {seed}: {'; '.join(broken)}"
    yield "The law was broken." if summary["broken"] else "Every action had one end, and every end was true."


def _run(seed: int, actions: int) -> Finding:
    """One seed, on a loop of its own on which no time is waited for."""
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        return runner.run(soaked(Conditions.drawn(seed, actions=actions), actions=actions))


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--actions", type=int, default=ACTIONS, help="actions in each run")
    parser.add_argument("--json", action="store_true", help="print the line of JSON alone")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Run every seed, and print what was found; 1 if the law was broken."""
    wanted = _arguments(given)
    began = time.perf_counter()
    found = [_run(seed, wanted.actions) for seed in range(wanted.first, wanted.first + wanted.seeds)]
    summary = _summary(found, time.perf_counter() - began)
    if not wanted.json:
        print(*_lines(summary), sep="\n", end="\n\n")
        print(f"Not shown: {NOT_SHOWN}", end="\n\n")
    settings = {"seeds": wanted.seeds, "first": wanted.first, "actions": wanted.actions}
    record = {"benchmark": "soak", "settings": settings, "machine": machine(), **summary, "not_shown": NOT_SHOWN}
    print(json.dumps(record))
    return 1 if summary["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
