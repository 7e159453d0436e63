"""What a run carries out: the entries of an input, or what a journal has in its queue."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Protocol

from .._io.actions import Actions
from ..models import Action, ActionOutcome
from .account import NumberBook
from .entry import Mistakes
from .source import EntrySource

__all__ = ["JournalWork", "Refuse", "SourceWork", "Work"]

Refuse = Callable[[int, Mistakes], None]
"""Takes the number of an entry that is no action, and why."""


class Work(Protocol):
    """Actions to be sent, wherever they come from."""

    @property
    def unit(self) -> str | None:
        """What a number counts, "line" or "action"; None where actions are told by their ids."""

    def outcomes(self, actions: Actions, refuse: Refuse) -> AsyncGenerator[tuple[int, ActionOutcome], None]:
        """Send everything, and yield each outcome with its number; what was stopped ends early.

        Raises:
            ConfirmaError: What ended it early, after the outcome of all that was submitted.
        """

    def stop(self) -> None:
        """Take nothing more. May be called from any callback of the loop."""

    @property
    def fraction(self) -> float | None:
        """How much of it was read, from 0 to 1; None where that is not known."""


class SourceWork:
    """The entries of a source.

    Args:
        source: What to send.
        named: Gives an action the id under which it is submitted.
    """

    def __init__(self, source: EntrySource, named: Callable[[Action], Action] = lambda action: action) -> None:
        self._source = source
        self._named = named
        self._book = NumberBook()
        self._stopped = False
        self.last_number = 0
        """The last entry that was read."""
        self.is_whole = False
        """Whether the source was read to its end."""

    @property
    def unit(self) -> str:
        """See `Work.unit`."""
        return self._source.unit

    @property
    def fraction(self) -> float | None:
        """See `Work.fraction`."""
        return self._source.fraction

    def stop(self) -> None:
        """See `Work.stop`."""
        self._stopped = True
        self._source.stop()

    async def outcomes(self, actions: Actions, refuse: Refuse) -> AsyncGenerator[tuple[int, ActionOutcome], None]:
        """See `Work.outcomes`."""
        async with aclosing(actions.push(self._actions(refuse))) as outcomes:
            async for outcome in outcomes:
                yield self._book.take(outcome.action), outcome

    async def _actions(self, refuse: Refuse) -> AsyncIterator[Action]:
        """The actions of the source; entries that are none are refused on the way."""
        async for number, entry in self._source.entries():
            self.last_number = number
            if isinstance(entry, Mistakes):
                refuse(number, entry)
            else:
                action = self._named(entry)
                self._book.note(action, number)
                yield action
        self.is_whole = not self._stopped


class JournalWork:
    """What a journal has to be sent, and what a former process was sending when it ended."""

    unit = None
    fraction = None

    async def outcomes(self, actions: Actions, refuse: Refuse) -> AsyncGenerator[tuple[int, ActionOutcome], None]:  # noqa: ARG002
        """See `Work.outcomes`. What is in a journal has no mistakes: it was checked when it came there."""
        number = 0
        async with aclosing(actions.resume()) as outcomes:
            async for outcome in outcomes:
                number += 1
                yield number, outcome

    def stop(self) -> None:
        """See `Work.stop`: what is left stays in the journal, as soon as the client is drained."""
