"""How a run goes, told while it goes, on standard error: one renewed line on a terminal, a line now and then elsewhere.

Standard output is left to results, so that it can be piped.
"""

import asyncio
import contextlib
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from math import ceil
from typing import TextIO

from attrs import frozen
from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..events import Event, GateOpened, GateShut
from .entry import one_line

__all__ = ["Display", "GateWatch", "RateMeter", "Status", "status_line"]

TERMINAL_SECONDS = 0.2
PLAIN_SECONDS = 5.0

_RATE_WINDOW = 5.0
_WIDTH = 79
"""Columns of a status line at most: it must not wrap on the narrowest terminal that is common."""


# --- what to tell -----------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Status:
    """A run at one moment."""

    accepted: int
    not_accepted: int
    under_way: int
    """Actions that wait or are in flight."""
    per_second: float
    """Actions that ended, over the last seconds."""
    fraction: float | None
    """How much of the input was read; None where that is not known."""
    gate: str
    """Why nothing new is sent at the moment; empty if something is."""
    gate_seconds: int
    """Until it is looked at again."""


def status_line(status: Status) -> str:
    """`status` in one line of fewer than 80 columns."""
    ends = f"{status.accepted:,} accepted" + (f", {status.not_accepted:,} not" if status.not_accepted else "")
    if status.gate:
        line = f"waiting {status.gate_seconds} s: {status.gate}; {ends}"
    else:
        read = "" if status.fraction is None else f"{status.fraction:.0%} read, "
        line = f"{read}{ends}, {status.under_way:,} under way, {status.per_second:,.0f}/s"
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."


class GateWatch:
    """Knows from a client's events whether its gate is shut, why, and for how long it has been in all."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._shut_at: float | None = None
        self._probe_at = 0.0
        self._reason = ""
        self._shut_before = 0.0
        self.times_shut = 0

    def notice(self, event: Event) -> bool:
        """Take note of `event`; true if the gate was shut or opened by it."""
        if isinstance(event, GateShut):
            was_open = self._shut_at is None
            self._reason, self._probe_at = event.reason, self._now() + event.pause
            if was_open:
                self._shut_at = self._now()
                self.times_shut += 1
            return was_open
        if isinstance(event, GateOpened) and self._shut_at is not None:
            self._shut_before += self._now() - self._shut_at
            self._shut_at = None
            return True
        return False

    @property
    def reason(self) -> str:
        """Why the gate is shut; empty if it is not."""
        return "" if self._shut_at is None else self._reason

    @property
    def shut_seconds(self) -> float:
        """How long it has been shut, in all."""
        return self._shut_before + (0.0 if self._shut_at is None else self._now() - self._shut_at)

    @property
    def seconds_to_probe(self) -> int:
        """Whole seconds until the service is looked at again; at least 1."""
        return max(1, ceil(self._probe_at - self._now()))


class RateMeter:
    """How much was done per second over the last few of them."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def rate(self, now: float, done: int) -> float:
        """Take note of how much was done by `now`, and tell the rate; 0 until two moments are known."""
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _RATE_WINDOW:
            self._samples.popleft()
        then, before = self._samples[0]
        return (done - before) / (now - then) if now > then else 0.0


# --- where to tell it -------------------------------------------------------------------------------------------------


class Display:
    """Tells on standard error how a run goes.

    Args:
        verbose: Whether what the library logs is told as well.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self._stream = sys.stderr
        self._live = _live_line(self._stream)
        self._logging = _LogLines(self) if verbose else logging.NullHandler()

    def say(self, text: str) -> None:
        """Tell something that stays; what comes out of a file is made harmless to the terminal first."""
        # Whether or not anybody still reads: a closed pipe must not end a run that moves money.
        with contextlib.suppress(OSError, ValueError):
            if self._live is None or not self._live.is_started:
                self._stream.write(f"{one_line(text)}\n")
                self._stream.flush()
            else:
                self._live.console.print(Text(one_line(text)), soft_wrap=True)

    def note(self, text: str) -> None:
        """Tell something that the renewed line of a terminal shows anyway."""
        if self._live is None:
            self.say(text)

    def error(self, error: object) -> None:
        """Tell what went wrong."""
        self.say(f"Error: {error}")

    @contextlib.asynccontextmanager
    async def following(self, status: Callable[[], str]) -> AsyncIterator[None]:
        """Show what `status` returns, again and again, until the block is left. Log lines go here meanwhile."""
        logger = logging.getLogger("confirma_async")
        logger.addHandler(self._logging)
        ticker = asyncio.create_task(self._tick(status), name="confirma-display")
        if self._live is not None:
            self._live.start()
        try:
            yield
        finally:
            ticker.cancel()
            self.leave()
            logger.removeHandler(self._logging)

    async def _tick(self, status: Callable[[], str]) -> None:
        while True:
            await asyncio.sleep(PLAIN_SECONDS if self._live is None else TERMINAL_SECONDS)
            if self._live is None:
                self.say(status())
            else:
                with contextlib.suppress(OSError):
                    self._live.update(Text(status(), no_wrap=True, overflow="ellipsis"), refresh=True)

    def leave(self) -> None:
        """Give the terminal back as it was. A second call does nothing."""
        if self._live is not None:
            self._live.stop()


def _live_line(stream: TextIO) -> Live | None:
    """A line that is renewed in place; None where that cannot be."""
    if not stream.isatty():
        return None
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    return Live(
        Text(""), console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    )


class _LogLines(logging.Handler):
    """Log lines among the others."""

    def __init__(self, display: Display) -> None:
        super().__init__()
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        self._display.say(f"{record.levelname.lower()}: {record.getMessage()}")
