"""Work through a client, up to the end of each action; and what may end it early: a signal, a token, patience."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing

from attrs import frozen

from .._core.journal import State, state_after_crash
from .._io.sqlite_journal import SqliteJournal
from ..codes import Disposition
from ..errors import ClientStateError, ConfirmaError, InvalidActionError, JournalError, NotSubmittedError
from ..events import Event
from ..models import ActionOutcome, Statistics, Violation
from ..policies import RetryPolicy
from .account import Account
from .connection import Connection
from .display import Display, GateWatch, RateMeter, Status, status_line
from .entry import Mistakes
from .interruption import Interruption
from .work import Work

__all__ = ["Ending", "GaveUpError", "MistakeLines", "Run"]

GRACE = 10.0
"""Seconds that what was read has to come to its end, once reading was stopped early."""

_SHOWN_MISTAKES = 20


class MistakeLines:
    """Tells the mistakes of entries: the first ones each, the rest by their number."""

    def __init__(self, say: Callable[[str], None], unit: str) -> None:
        self._say = say
        self._unit = unit
        self._told = 0
        self._untold: Counter[str] = Counter()

    def tell(self, number: int, mistakes: Mistakes) -> None:
        """Tell what is wrong with an entry, or count it."""
        if self._told < _SHOWN_MISTAKES:
            self._told += 1
            self._say(f"{self._unit} {number}: {mistakes}")
        else:
            self._untold[mistakes.path] += 1

    def finish(self) -> None:
        """Tell how many were only counted."""
        if self._untold:
            kinds = ", ".join(f"{count:,} at {path}" for path, count in self._untold.most_common(5))
            self._say(f"... and {self._untold.total():,} more {self._unit}s with mistakes: {kinds}")


@frozen
class Ending:
    """Why a run ended early, if it did."""

    error: ConfirmaError | None = None
    exit_code: int | None = None
    """That of an interruption."""


class GaveUpError(ConfirmaError):
    """The service was not there for longer than we were to bear with it."""


class Run:
    """One run: work, through a client, into an account.

    Args:
        connection: Where to send.
        work: What to send.
        display: Where to tell how it goes.
        interruption: What may ask for an early end.
        retry: How long to bear with the service.
        journal: Where each action's state is kept; None keeps it in memory.
        before: Called once the client is open. What it raises ends the run before anything is sent.
        on_outcome: Called with each action's outcome, beside the account.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        work: Work,
        display: Display,
        interruption: Interruption,
        retry: RetryPolicy,
        journal: SqliteJournal | None = None,
        before: Callable[[], Awaitable[object]] | None = None,
        on_outcome: Callable[[ActionOutcome], None] = lambda _: None,
    ) -> None:
        self._work = work
        self._display = display
        self._interruption = interruption
        self._journal = journal
        self._before = before
        self._on_outcome = on_outcome
        self._mistakes = MistakeLines(display.say, work.unit or "action")
        self._meter = RateMeter()
        self._draining: asyncio.Task[object] | None = None
        self._stopped_by: ConfirmaError | None = None
        self._patience = retry.give_up_after
        self._patience_end: asyncio.TimerHandle | None = None
        self._client = connection.client(retry=retry, journal=journal, on_event=self._notice)
        self._loop = asyncio.get_running_loop()
        self.gate = GateWatch(self._loop.time)
        self.account = Account()
        self.journaled: Mapping[State, int] = {}
        """What the whole journal held at the end, the actions of other runs included; empty if it cannot be read.

        What it could not be told the end of is UNKNOWN in it.
        """

    @property
    def statistics(self) -> Statistics:
        """The client's numbers."""
        return self._client.statistics()

    async def carry_out(self) -> Ending:
        """Send everything that there is to do, and wait for the end of each.

        Raises:
            ConfirmaError: The client could not be opened, or `before` raised it; nothing was sent.
        """
        error: ConfirmaError | None = None
        async with self._display.following(self._status):
            await self._open()
            try:
                async with self._client:
                    error = await self._do_all()
            except ConfirmaError as failure:
                # The client could not be closed as it should. What was told of the actions stands.
                error = error or failure
        return Ending(error or self._stopped_by, self._interruption.exit_code)

    async def _open(self) -> None:
        await self._client.open()
        if self._before is None:
            return
        try:
            await self._before()
        except BaseException:
            await self._client.close()
            raise

    async def _do_all(self) -> ConfirmaError | None:
        self._interruption.call(self._on_interruption)
        self._meter.rate(self._loop.time(), 0)
        error = await self._take_all()
        if self._patience_end is not None:
            self._patience_end.cancel()
        if self._draining is not None:
            await self._draining
        self._mistakes.finish()
        await self._look_into_journal()
        return error

    async def _take_all(self) -> ConfirmaError | None:
        """Take every outcome; what ended it early, if anything but us did."""
        try:
            async with aclosing(self._work.outcomes(self._client.actions, self._refuse)) as outcomes:
                async for number, outcome in outcomes:
                    self._take(number, outcome)
        except ClientStateError as error:
            return error if self._draining is None else None
        except ConfirmaError as error:
            return error
        return None

    def _take(self, number: int, outcome: ActionOutcome) -> None:
        if isinstance(outcome.error, InvalidActionError):
            self._refuse(number, Mistakes(_violations_of(outcome.error)))
        else:
            self.account.add(number, outcome)
            if _was_given_up(outcome):
                self._give_up()
        self._on_outcome(outcome)

    def _refuse(self, number: int, mistakes: Mistakes) -> None:
        self.account.add_mistaken()
        self._mistakes.tell(number, mistakes)

    async def _look_into_journal(self) -> None:
        if self._journal is None:
            return
        try:
            counts = await self._journal.counts()
        except JournalError as error:
            self._display.error(error)
            return
        held: Counter[State] = Counter()
        for state, count in counts.items():
            held[state_after_crash(state)] += count
        self.journaled = held

    # --- an early end ---------------------------------------------------------------------------------------------

    def _on_interruption(self) -> None:
        self._display.say(
            f"Interrupted: nothing more is read; what was read has {GRACE:.0f} s to end. Ctrl-C again ends at once."
        )
        self._stop()

    def _give_up(self) -> None:
        """The gate outlasted our patience: what follows would only wait as long again."""
        if self._draining is None:
            reason = self.gate.reason or "the service did not take the actions"
            self._stopped_by = GaveUpError(f"Gave up after {self._patience:g} s: {reason}.")
            self._stop()

    def _stop(self) -> None:
        self._work.stop()
        if self._draining is None:
            self._draining = self._loop.create_task(self._client.actions.drain(GRACE), name="confirma-stop")

    # --- how it goes ----------------------------------------------------------------------------------------------

    def _notice(self, event: Event) -> None:
        if self.gate.notice(event):
            self._mind_patience()
            self._display.note(f"Waiting: {self.gate.reason}." if self.gate.reason else "The service is there again.")

    def _mind_patience(self) -> None:
        """What comes out of a journal waits at the gate as long as it takes; whoever called us does not."""
        if self._patience_end is not None:
            self._patience_end.cancel()
        self._patience_end = self._loop.call_later(self._patience, self._give_up) if self.gate.reason else None

    def _status(self) -> str:
        statistics = self._client.statistics()
        account = self.account
        return status_line(
            Status(
                accepted=account.accepted,
                not_accepted=account.total - account.accepted,
                under_way=statistics.waiting_actions + statistics.in_flight_actions,
                per_second=self._meter.rate(self._loop.time(), account.total),
                fraction=self._work.fraction,
                gate=self.gate.reason,
                gate_seconds=self.gate.seconds_to_probe,
            )
        )


def _was_given_up(outcome: ActionOutcome) -> bool:
    return outcome.disposition is Disposition.NOT_APPLIED and isinstance(outcome.error, NotSubmittedError)


def _violations_of(error: InvalidActionError) -> tuple[Violation, ...]:
    return error.violations or (Violation("$", str(error)),)
