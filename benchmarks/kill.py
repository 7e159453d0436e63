"""Is a push that was killed with SIGKILL, and started again, still true?

    python -m benchmarks.kill [--kills N] [--per-push K] [--actions A] [--first S] [--json]

Each push sends a file of mixed actions with the command `confirma push`, as a process of its own, to a sandbox in this
one. The process is killed while a request is in flight that the sandbox has read and not answered, at a moment that
follows from a seed: which request, before or after it took effect, how long after. Then the same command is started
again, until it comes to its end. At last the command's account, its journal and the sandbox's ledger are compared:
every line has one end, nothing took effect twice, what is ACCEPTED took effect, and UNKNOWN is what was in flight at a
kill, and nothing else.

The journal is the default one, durability "power". Exits with 1 if anything is not true.

Not shown: an outage of the machine, a disk that lies, a service that goes on with a request after its client is gone.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from attrs import evolve, field, frozen

from confirma_async import Action, ActionOutcome, BatchPolicy, Comment, Disposition
from confirma_async._core.assumptions import Assumptions
from confirma_async._core.journal import JournalRecord, State
from confirma_async._core.wire import decode_action, decode_json, encode_action
from confirma_async.cli.journal_view import JournalView
from confirma_async.cli.naming import LineNames
from confirma_async.cli.workload import day_of_work
from confirma_async.sandbox import Fault, Sandbox, audit
from confirma_async.sandbox.audit import actions_in
from confirma_async.sandbox.exchange import ReceivedRequest

from .measure import machine

__all__ = ["KilledPush", "Moment", "lines_of", "moments"]

ACTIONS = 20_000

NOT_SHOWN = "an outage of the machine, a disk that lies, a service that goes on after its client is gone."

_POLICY = BatchPolicy()
_AT_MOST_IN_FLIGHT = _POLICY.lanes * _POLICY.max_actions

_HELD_BEFORE = Fault(name="held_before", delay=float("inf"), drops=True)
_HELD_AFTER = Fault.HANG_AFTER_APPLYING

_COUNT = re.compile(r"^(accepted|rejected|not applied|unknown|in all) +([\d,]+)", re.MULTILINE)

_PATIENCE = 120.0
"""Seconds that one process may take."""


# --- what is pushed ---------------------------------------------------------------------------------------------------


def lines_of(actions: int, *, seed: int) -> list[bytes]:
    """Lines of mixed actions, some with an id of their own, some equal to others."""
    lines = []
    for number, action in enumerate(day_of_work(actions, seed=seed)):
        if number % 100 == 99:
            case = 1 + number // 100 % 50
            lines.append(_line(Comment(invoice_number=case, case_id=case, comment="Reminder sent")))
        elif number % 7 == 0:
            lines.append(_line(evolve(action, action_id=f"event-{number}")))
        else:
            lines.append(_line(action))
    return lines


def _encoded(action: Action) -> bytes:
    return encode_action(action, Assumptions())


def _line(action: Action) -> bytes:
    encoded = _encoded(action)
    return encoded if action.action_id is None else b'{"action_id":"%b",%b' % (action.action_id.encode(), encoded[1:])


# --- when it is killed ------------------------------------------------------------------------------------------------


@frozen
class Moment:
    """When a process is killed."""

    request: int
    """Which of its POSTs it is that is held, from 1."""
    applies: bool
    """Whether that one takes effect before."""
    pause: float
    """Seconds after the sandbox has read it."""


def moments(count: int, *, up_to: int, seed: int) -> list[Moment]:
    """Moments that follow from a seed, within the first POSTs of a process."""
    random = Random(seed)  # noqa: S311 - it makes up a test
    return [
        Moment(random.randint(1, up_to), applies=random.random() < 0.5, pause=random.choice((0, 0.002, 0.01)))
        for _ in range(count)
    ]


# --- a push that is killed --------------------------------------------------------------------------------------------


class KilledPush:
    """The pushes of one file: any number that are killed, then one to its end; and whether all of it is true.

    Args:
        folder: Where the file and its journal stand.
        sandbox: Where they go.
        lines: What the file holds at first.
    """

    def __init__(self, folder: Path, sandbox: Sandbox, lines: Sequence[bytes]) -> None:
        self.path = folder / "actions.jsonl"
        self.journal = Path(f"{self.path}.journal")
        self._sandbox = sandbox
        self._lines: Sequence[bytes] = ()
        self._named: dict[str, Action] = {}
        self._unknown: set[str] = set()
        self.kills = 0
        self.contradictions: list[str] = []
        self.write(lines)

    def write(self, lines: Sequence[bytes]) -> None:
        """Have the file hold these lines from now on."""
        self._lines = lines
        self.path.write_bytes(b"".join(b"%b\n" % line for line in lines))
        self._named |= dict(_named(lines))

    # --- running --------------------------------------------------------------------------------------------------

    async def killed(self, moment: Moment) -> bool:
        """Start it, and kill it at `moment`; false if it came to its end before."""
        reached = asyncio.Event()
        since = len(self._sandbox.posts)

        def is_due(_request: ReceivedRequest) -> bool:
            if len(self._sandbox.posts) - since < moment.request:
                return False
            reached.set()
            return True

        held = self._sandbox.inject(_HELD_AFTER if moment.applies else _HELD_BEFORE, when=is_due)
        process = await self._started(stdout=subprocess.DEVNULL)
        ended = asyncio.create_task(process.wait())
        async with asyncio.timeout(_PATIENCE):
            reaching = asyncio.create_task(reached.wait())
            await asyncio.wait((ended, reaching), return_when=asyncio.FIRST_COMPLETED)
            reaching.cancel()
            if not ended.done():
                await asyncio.sleep(moment.pause)
                process.kill()
            await ended
        held.cancel()
        if process.returncode != -signal.SIGKILL:
            return False
        self.kills += 1
        self._look_at_kill([post.body for post in self._sandbox.posts[since:] if post.status is None])
        return True

    async def finished(self) -> tuple[int, str]:
        """Start it, and let it come to its end; its exit code, and what it printed."""
        process = await self._started(stdout=subprocess.PIPE)
        async with asyncio.timeout(_PATIENCE):
            out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()

    async def _started(self, *, stdout: int) -> asyncio.subprocess.Process:
        bare = {name: value for name, value in os.environ.items() if not name.startswith("CONFIRMA_")}
        variables = {
            **bare,
            "CONFIRMA_ENVIRONMENT": "staging",
            "CONFIRMA_BASE_URL": self._sandbox.base_url,
            "CONFIRMA_TOKEN": self._sandbox.token,
        }
        command = (sys.executable, "-m", "confirma_async", "push", str(self.path))
        return await asyncio.create_subprocess_exec(
            *command, env=variables, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.DEVNULL
        )

    # --- judging --------------------------------------------------------------------------------------------------

    def _look_at_kill(self, held: Iterable[bytes]) -> None:
        """What the journal calls unknown after a kill: all that was in flight, and no more than can be."""
        unknown = [record for record in self._records() if record.state is State.UNKNOWN]
        fresh = [record for record in unknown if record.action_id not in self._unknown]
        self._unknown |= {record.action_id for record in fresh}
        if len(fresh) > _AT_MOST_IN_FLIGHT:
            self.contradictions.append(f"a kill left {len(fresh)} actions unknown, and no more can be in flight")
        known = Counter(record.content or b"" for record in fresh)
        in_flight = Counter(_encoded(action) for body in held for action in actions_in(body))
        if missed := (in_flight - known).total():
            self.contradictions.append(f"{missed} actions were in flight at a kill, and are not unknown")

    def _records(self) -> list[JournalRecord]:
        if not self.journal.exists():
            return []
        with JournalView(str(self.journal)) as view:
            return [record for state in State for record in view.all_in(state)]

    def judge(self, code: int, out: str) -> None:
        """Compare the account of the last run with the journal, and the journal with the ledger."""
        states = {record.action_id: record.state for record in self._records()}
        self.contradictions += [
            *_odd_ends(states, self._unknown),
            *self._untrue(states),
            *_misreported(code, out, [states.get(action_id) for action_id, _ in _named(self._lines)]),
        ]

    def _untrue(self, states: Mapping[str, State]) -> Iterator[str]:
        submitted = [(action_id, action) for action_id, action in self._named.items() if action_id in states]
        ledger = [effect.action for effect in self._sandbox.ledger]
        outcomes = [
            ActionOutcome(action, action_id, Disposition(states[action_id].value), 1) for action_id, action in submitted
        ]
        yield from audit([action for _, action in submitted], outcomes, ledger).contradictions
        # Nothing failed but the process: not even what might be repeated has a reason to be.
        twice = Counter(map(_encoded, ledger)) - Counter(_encoded(action) for _, action in submitted)
        if twice:
            yield f"{twice.total()} effects are more than were submitted"


def _named(lines: Sequence[bytes]) -> Iterator[tuple[str, Action]]:
    """The actions of these lines, mistakes aside, each under the id that the command gives it."""
    with LineNames() as names:
        for line in lines:
            try:
                action = names.named(decode_action(decode_json(line)))
            except ValueError:
                continue
            assert action.action_id is not None
            yield action.action_id, action


def _odd_ends(states: Mapping[str, State], unknown: set[str]) -> Iterator[str]:
    """Nothing fails in such a push but the process: so an end is UNKNOWN by a kill, or ACCEPTED."""
    odd = sum(state is not (State.UNKNOWN if key in unknown else State.ACCEPTED) for key, state in states.items())
    if odd:
        yield f"{odd} actions have another end than their process gave them"


def _misreported(code: int, out: str, states: Sequence[State | None]) -> Iterator[str]:
    """Whether the account of the last run says what the journal holds of the file's lines."""
    told = {name: int(number.replace(",", "")) for name, number in _COUNT.findall(out)}
    if None in states:
        yield f"{states.count(None)} lines are not in the journal"
    for state in (State.ACCEPTED, State.UNKNOWN):
        if told.get(state.value) != states.count(state):
            yield f"the account tells of {told.get(state.value)} {state.value}, the journal of {states.count(state)}"
    if told.get("in all", 0) - told.get("not applied", 0) != len(states):
        yield f"the account tells of {told.get('in all')} in all, and the file has {len(states)}"
    is_all = states.count(State.ACCEPTED) == told.get("in all")
    if code != (0 if is_all else 1):
        yield f"the exit code is {code}"


# --- the benchmark ----------------------------------------------------------------------------------------------------


@frozen
class Figures:
    """What one push showed."""

    seed: int
    kills: int
    processes: int
    seconds: float
    effects: int
    unknown: int
    contradictions: tuple[str, ...] = field(factory=tuple)


async def pushed(*, actions: int, kills: int, seed: int) -> Figures:
    """One push of so many actions, killed so often, resumed to its end."""
    started = time.monotonic()
    # Spread over the file, whatever was sent before.
    up_to = max(1, actions // _POLICY.max_actions * 3 // 4 // kills)
    with TemporaryDirectory() as folder:
        async with Sandbox() as sandbox:
            push = KilledPush(Path(folder), sandbox, lines_of(actions, seed=seed))
            for moment in moments(kills, up_to=up_to, seed=seed):
                await push.killed(moment)
            code, out = await push.finished()
            push.judge(code, out)
            if push.kills < kills:
                push.contradictions.append(f"only {push.kills} of {kills} kills met a request in flight")
            unknown = dict(_COUNT.findall(out)).get("unknown", "0")
            return Figures(
                seed,
                push.kills,
                kills + 1,
                round(time.monotonic() - started, 2),
                len(sandbox.ledger),
                int(unknown.replace(",", "")),
                tuple(push.contradictions),
            )


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kill", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="kills in all")
    parser.add_argument("--per-push", type=int, default=1, help="kills of one push")
    parser.add_argument("--actions", type=int, default=ACTIONS, help="actions in each push")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--json", action="store_true", help="print the line of JSON alone")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Kill, resume, compare; and print what was found."""
    wanted = _arguments(given)
    found: list[Figures] = []
    left, seed = wanted.kills, wanted.first
    while left > 0:
        kills = min(left, wanted.per_push)
        figures = asyncio.run(pushed(actions=wanted.actions, kills=kills, seed=seed))
        found.append(figures)
        if not wanted.json:
            print(_shown(figures), flush=True)
        left -= kills
        seed += 1
    record = _record(wanted, found)
    if not wanted.json:
        print(f"\nNot shown: {NOT_SHOWN}\n")
    print(json.dumps(record))
    return 0 if record["true"] == len(found) else 1


def _shown(figures: Figures) -> str:
    verdict = "true" if not figures.contradictions else f"FALSE: {'; '.join(figures.contradictions)}"
    return (
        f"seed {figures.seed:>3}: {figures.kills} killed, {figures.effects:,} effects, {figures.unknown:,} unknown, "
        f"{figures.seconds:.1f} s: {verdict}"
    )


def _record(wanted: argparse.Namespace, found: Sequence[Figures]) -> dict[str, Any]:
    return {
        "benchmark": "kill",
        "settings": {"kills": wanted.kills, "per_push": wanted.per_push, "actions": wanted.actions},
        "machine": machine(),
        "pushes": len(found),
        "true": sum(not figures.contradictions for figures in found),
        "kills": sum(figures.kills for figures in found),
        "effects": sum(figures.effects for figures in found),
        "unknown": sum(figures.unknown for figures in found),
        "seconds": round(sum(figures.seconds for figures in found), 1),
        "contradictions": {figures.seed: figures.contradictions for figures in found if figures.contradictions},
        "not_shown": NOT_SHOWN,
    }


if __name__ == "__main__":
    sys.exit(main())
