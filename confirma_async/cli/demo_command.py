"""`confirma demo`: a day's work against a sandbox on which things go wrong, and whether the account of it is true."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from random import Random

from .._core.disposition import DispositionPolicy
from ..codes import Disposition, EffectClass
from ..models import Action, ActionOutcome
from ..policies import RetryPolicy
from ..sandbox import Audit, Sandbox
from .account import Account
from .connection import Connection
from .display import Display
from .interruption import Interruption
from .output import write_lines
from .run import Run
from .summary import account_lines, counted, traffic_line
from .work import SourceWork

__all__ = ["demo", "demo_lines"]

ACTIONS = 10_000

_SEED = 2026
_REFUSED = 3
_OUTAGE_SECONDS = 2.0
_SHOWN_UNKNOWN = 5
_TURN = 100
"""Actions between two turns of the event loop."""

_ONCE = DispositionPolicy(effects=dict.fromkeys(("WITHDRAW", "DUEDATE", "PAUSE"), EffectClass.APPEND))
"""On this day nothing is to take effect twice, be it as harmless as it may."""

_RETRY = RetryPolicy(max_ceiling=1.0)
"""The usual pauses between two looks grow to several seconds, which is long to watch."""


async def demo(display: Display, *, actions: int = ACTIONS) -> int:
    """Push a made-up day's work to a sandbox, with an outage, an expiring token and refusals, and check the account.

    Args:
        display: Where to tell how it goes.
        actions: How many to push.

    Returns:
        The exit code: 0 if account and ledger agree, 1 if not, 130 or 143 if it was interrupted.
    """
    from .workload import day_of_work  # noqa: PLC0415 - no other command needs it

    work = list(day_of_work(actions, seed=_SEED))
    outcomes: list[ActionOutcome] = []
    source = _ListSource(work)
    async with Sandbox() as sandbox:
        _prepare(sandbox, work)
        with Interruption(display) as interruption:
            write_lines(_opening(sandbox, work))
            run = Run(
                connection=Connection.to(sandbox),
                work=SourceWork(source),
                display=display,
                interruption=interruption,
                retry=_RETRY,
                on_outcome=outcomes.append,
            )
            ending = await run.carry_out()
        found = sandbox.audit(work[: source.taken], outcomes, disposition=_ONCE)
        write_lines(demo_lines(run.account, found))
        write_lines(_way_lines(run, found))
    if ending.error is not None:
        display.error(ending.error)
    if ending.exit_code is not None:
        return ending.exit_code
    return 0 if found.agrees and ending.error is None else 1


class _ListSource:
    """Actions at hand as a source of entries."""

    unit = "action"

    def __init__(self, actions: Sequence[Action]) -> None:
        self._actions = actions
        self._stopped = False
        self.taken = 0

    async def entries(self) -> AsyncIterator[tuple[int, Action]]:
        """See `EntrySource.entries`."""
        for number, action in enumerate(self._actions, 1):
            if self._stopped:
                return
            self.taken = number
            yield number, action
            if number % _TURN == 0:
                await asyncio.sleep(0)

    def stop(self) -> None:
        """See `EntrySource.stop`."""
        self._stopped = True

    @property
    def fraction(self) -> float:
        """See `EntrySource.fraction`."""
        return self.taken / max(1, len(self._actions))


def _prepare(sandbox: Sandbox, work: Sequence[Action]) -> None:
    """Say what shall go wrong: an outage after a third, the token's end halfway, and a few refusals after that."""
    sandbox.outage_after(actions=max(1, len(work) // 3), seconds=_OUTAGE_SECONDS)
    sandbox.expire_token_after(actions=max(1, len(work) // 2))
    # Late, so that none of them is under way when the outage begins, and ends unknown instead.
    late = work[len(work) * 2 // 3 :]
    refused = set(Random(_SEED).sample(late, min(_REFUSED, len(late))))  # noqa: S311 - it makes up a demo
    sandbox.poison(refused.__contains__)


# --- what it tells ----------------------------------------------------------------------------------------------------


def _opening(sandbox: Sandbox, work: Sequence[Action]) -> Iterator[str]:
    cases = len({action.case_id for action in work})
    yield f"{counted(len(work), 'action')} on {counted(cases, 'case')} go to a sandbox of the service on this machine,"
    yield f"{sandbox.base_url}."
    yield f"On the way the service is gone for {_OUTAGE_SECONDS:g} s, the token expires, and {_REFUSED} are refused."
    yield ""


def demo_lines(account: Account, found: Audit) -> Iterator[str]:
    """The account, what became of the unknown ones, and whether the ledger agrees."""
    # The unknown ones come below, each with what the ledger says of it.
    shown = Account(account.counts, problems={**account.problems, Disposition.UNKNOWN: []})
    yield from account_lines(shown, unit="action")
    yield from _unknown_lines(found)
    yield ""
    yield from _verdict_lines(found)


def _unknown_lines(found: Audit) -> Iterator[str]:
    applied, absent = found.unknown_applied, found.unknown_absent
    if not applied and not absent:
        return
    yield ""
    yield f"{len(applied) + len(absent):,} unknown: sent as the connection was lost, and a repeat might count twice."
    yield f"The ledger has {len(applied):,} of them, and {len(absent):,} not; only a look at it can tell, such as:"
    for text, outcomes in (("in the ledger", applied), ("not in the ledger", absent)):
        for outcome in outcomes[:_SHOWN_UNKNOWN]:
            yield f"  {outcome.action.code}, case {outcome.action.case_id}: unknown; {text}"


def _verdict_lines(found: Audit) -> Iterator[str]:
    yield f"ledger: {counted(found.effects, 'effect')}"
    if found.agrees:
        yield f"Each of the {found.accepted:,} accepted actions stands in it once, in the order of its case;"
        yield "none that was refused or not applied stands in it; nothing stands in it twice."
        yield "Account and ledger agree."
    else:
        yield "Account and ledger do NOT agree:"
        yield from (f"  {contradiction}" for contradiction in found.contradictions)


def _way_lines(run: Run, found: Audit) -> Iterator[str]:
    yield ""
    yield f"On the way: {traffic_line(run.statistics, run.account.sent)}"
    yield (
        f"outage: {_OUTAGE_SECONDS:g} s; nothing new was sent for {run.gate.shut_seconds:.1f} s, and "
        f"{counted(len(found.unknown_applied) + len(found.unknown_absent), 'action')} ended unknown."
    )
