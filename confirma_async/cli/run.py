"""Entries through a client, up to the end of each; and what a Ctrl-C, a dead token or an absent service make of it."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from types import FrameType
from typing import Self

from attrs import frozen

from ..codes import Disposition
from ..errors import ConfirmaError, InvalidActionError, NotSubmittedError
from ..events import Event
from ..models import Action, ActionOutcome, Statistics, Violation
from ..policies import RetryPolicy
from .account import Account, NumberBook
from .connection import Connection
from .display import Display, GateWatch, RateMeter, Status, status_line
from .entry import Mistakes
from .source import EntrySource

__all__ = ["Ending", "GaveUpError", "Interruption", "MistakeLines", "Run"]

GRACE = 10.0
"""Seconds that what was read has to come to its end, once reading was stopped early."""

EXIT_INTERRUPTED = 130

_SHOWN_MISTAKES = 20


class Interruption:
    """Ctrl-C: the first one asks for an orderly end, the second one ends the process at once.

    A context manager, on the event loop. Elsewhere than on its main thread, and on Windows, it changes nothing.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self._on_request: list[Callable[[], None]] = []
        self.is_requested = False

    def __enter__(self) -> Self:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def call(self, on_request: Callable[[], None]) -> None:
        """Call `on_request` when an orderly end is asked for; now, if it was already."""
        self._on_request.append(on_request)
        if self.is_requested:
            on_request()

    def _request(self) -> None:
        self.is_requested = True
        # From here on outside of the loop, which may be busy.
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, self._end_at_once)
        for on_request in self._on_request:
            on_request()

    def _end_at_once(self, _number: int, _frame: FrameType | None) -> None:
        self._display.leave()
        self._display.say("Ended at once: what was in flight may have taken effect.")
        os._exit(EXIT_INTERRUPTED)


class MistakeLines:
    """Tells the mistakes of entries: the first ones each, the rest by their number."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._told = 0
        self._untold: Counter[str] = Counter()

    def tell(self, unit: str, number: int, mistakes: Mistakes) -> None:
        """Tell what is wrong with an entry, or count it."""
        if self._told < _SHOWN_MISTAKES:
            self._told += 1
            self._say(f"{unit} {number}: {mistakes}")
        else:
            self._untold[mistakes.path] += 1

    def finish(self, unit: str) -> None:
        """Tell how many were only counted."""
        if self._untold:
            kinds = ", ".join(f"{count:,} at {path}" for path, count in self._untold.most_common(5))
            self._say(f"... and {self._untold.total():,} more {unit}s with mistakes: {kinds}")


@frozen
class Ending:
    """Why a run ended early, if it did."""

    error: ConfirmaError | None = None
    is_interrupted: bool = False


class GaveUpError(ConfirmaError):
    """The service was not there for longer than we were to bear with it."""


class Run:
    """One run: entries of a source, through a client, into an account.

    Args:
        connection: Where to send.
        source: What to send.
        display: Where to tell how it goes.
        interruption: What may ask for an early end.
        retry: How long to bear with the service.
        on_outcome: Called with each action's outcome, beside the account.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        source: EntrySource,
        display: Display,
        interruption: Interruption,
        retry: RetryPolicy,
        on_outcome: Callable[[ActionOutcome], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._display = display
        self._interruption = interruption
        self._on_outcome = on_outcome
        self._book = NumberBook()
        self._mistakes = MistakeLines(display.say)
        self._meter = RateMeter()
        self._draining: asyncio.Task[object] | None = None
        self._stopped_by: ConfirmaError | None = None
        self._patience = retry.give_up_after
        self._client = connection.client(retry=retry, on_event=self._notice)
        self._loop = asyncio.get_running_loop()
        self.gate = GateWatch(self._loop.time)
        self.account = Account()

    @property
    def statistics(self) -> Statistics:
        """The client's numbers."""
        return self._client.statistics()

    async def carry_out(self) -> Ending:
        """Send everything that the source yields, and wait for the end of each.

        Raises:
            ConfirmaError: The client could not be opened; nothing was sent.
        """
        async with self._display.following(self._status), self._client:
            self._interruption.call(self._on_interruption)
            self._meter.rate(self._loop.time(), 0)
            error = None
            try:
                async for outcome in self._client.actions.push(self._actions()):
                    self._take(outcome)
            except ConfirmaError as fatal:
                error = fatal
            if self._draining is not None:
                await self._draining
            self._mistakes.finish(self._source.unit)
        return Ending(error or self._stopped_by, self._interruption.is_requested)

    async def _actions(self) -> AsyncIterator[Action]:
        """The actions of the source; entries that are none are told and counted on the way."""
        async for number, entry in self._source.entries():
            self.account.last_number = number
            if isinstance(entry, Mistakes):
                self._refuse(number, entry)
            else:
                self._book.note(entry, number)
                yield entry
        self.account.is_whole = self._draining is None

    def _refuse(self, number: int, mistakes: Mistakes) -> None:
        self.account.add_mistaken()
        self._mistakes.tell(self._source.unit, number, mistakes)

    def _take(self, outcome: ActionOutcome) -> None:
        number = self._book.take(outcome.action)
        if isinstance(outcome.error, InvalidActionError):
            self._refuse(number, Mistakes(_violations_of(outcome.error)))
        else:
            self.account.add(number, outcome)
            if _was_given_up(outcome):
                self._give_up()
        self._on_outcome(outcome)

    # --- an early end ---------------------------------------------------------------------------------------------

    def _on_interruption(self) -> None:
        self._display.say(
            f"Interrupted: nothing more is read; what was read has {GRACE:.0f} s to end. Ctrl-C again ends at once."
        )
        self._stop()

    def _give_up(self) -> None:
        """The gate outlasted our patience: what follows in the source would only wait as long again."""
        if self._draining is None:
            reason = self.gate.reason or "the service did not take the actions"
            self._stopped_by = GaveUpError(f"Gave up after {self._patience:g} s: {reason}.")
            self._stop()

    def _stop(self) -> None:
        self._source.stop()
        if self._draining is None:
            self._draining = self._loop.create_task(self._client.actions.drain(GRACE), name="confirma-stop")

    # --- how it goes ----------------------------------------------------------------------------------------------

    def _notice(self, event: Event) -> None:
        if self.gate.notice(event):
            self._display.note(f"Waiting: {self.gate.reason}." if self.gate.reason else "The service is there again.")

    def _status(self) -> str:
        statistics = self._client.statistics()
        account = self.account
        return status_line(
            Status(
                accepted=account.accepted,
                not_accepted=account.total - account.accepted,
                under_way=statistics.waiting_actions + statistics.in_flight_actions,
                per_second=self._meter.rate(self._loop.time(), account.total),
                fraction=self._source.fraction,
                gate=self.gate.reason,
                gate_seconds=self.gate.seconds_to_probe,
            )
        )


def _was_given_up(outcome: ActionOutcome) -> bool:
    return outcome.disposition is Disposition.NOT_APPLIED and isinstance(outcome.error, NotSubmittedError)


def _violations_of(error: InvalidActionError) -> tuple[Violation, ...]:
    return error.violations or (Violation("$", str(error)),)
