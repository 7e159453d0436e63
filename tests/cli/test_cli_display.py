"""How a run goes, told while it goes."""

import asyncio
import io
import logging
import sys

import pytest

from confirma_async.cli import display as display_module
from confirma_async.cli.display import Display, GateWatch, RateMeter, Status, status_line
from confirma_async.events import GateOpened, GateShut, TokenRenewed


def status(*, gate: str = "", fraction: float | None = 0.43, accepted: int = 12_300, not_accepted: int = 0) -> Status:
    return Status(
        accepted=accepted,
        not_accepted=not_accepted,
        under_way=4_800,
        per_second=4_123.4,
        fraction=fraction,
        gate=gate,
        gate_seconds=8,
    )


def test_tells_progress_in_one_line() -> None:
    """A status line tells how much was read and accepted, what is under way, and the rate."""
    assert status_line(status()) == "43% read, 12,300 accepted, 4,800 under way, 4,123/s"
    assert status_line(status(fraction=None, not_accepted=2)) == "12,300 accepted, 2 not, 4,800 under way, 4,123/s"


def test_tells_why_nothing_is_sent() -> None:
    """While the gate is shut, the line tells why, and when the service is looked at again."""
    line = status_line(status(gate="the service asks for a pause"))
    assert line == "waiting 8 s: the service asks for a pause; 12,300 accepted"


@pytest.mark.parametrize("gate", ["", "the service asks for a pause", "x" * 200])
def test_never_wraps_at_80_columns(gate: str) -> None:
    """A status line fits a terminal of 80 columns, whatever the numbers."""
    assert len(status_line(status(gate=gate, accepted=123_456_789, not_accepted=123_456_789))) < 80


def test_watches_the_gate() -> None:
    """The time at a shut gate is added up from events; a failed probe does not shut it once more."""
    now = 0.0
    watch = GateWatch(lambda: now)
    assert watch.notice(GateShut("gone", 2.0))
    now = 2.0
    assert not watch.notice(GateShut("still gone", 4.5))
    assert (watch.reason, watch.seconds_to_probe, watch.shut_seconds) == ("still gone", 5, 2.0)
    now = 7.0
    assert watch.notice(GateOpened())
    assert not watch.notice(TokenRenewed(2))
    now = 100.0
    assert (watch.reason, watch.shut_seconds, watch.times_shut) == ("", 7.0, 1)


def test_measures_the_last_seconds() -> None:
    """The rate is that of the last few seconds, not of the whole run."""
    meter = RateMeter()
    assert meter.rate(0.0, 0) == 0.0
    assert meter.rate(1.0, 100) == 100.0
    rates = [meter.rate(float(second), 100 + 10 * second) for second in range(2, 20)]
    assert rates[-1] == 10.0


async def test_plain_lines_come_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where standard error is no terminal, the status comes as plain lines, without control characters."""
    monkeypatch.setattr(display_module, "PLAIN_SECONDS", 0.01)
    async with Display().following(lambda: "on the way"):
        await asyncio.sleep(0.05)
    told = capsys.readouterr()
    assert told.err.startswith("on the way\non the way\n")
    assert told.out == ""
    assert told.err.replace("\n", "").isprintable()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_a_terminal_has_one_renewed_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the status is one line that is renewed in place and leaves no trace; other lines stay above it."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(display_module, "TERMINAL_SECONDS", 0.01)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    display = Display()
    async with display.following(lambda: "status"):
        await asyncio.sleep(0.05)
        display.say("line 1: [red]x[/red]\x1b[31m")
        display.note("shown by the status anyhow")
        await asyncio.sleep(0.05)
    shown = terminal.getvalue()
    assert "\rstatus" in shown.replace("\x1b[2K", "")
    assert "line 1: [red]x[/red]\\x1b[31m\n" in shown
    assert "anyhow" not in shown
    assert shown.endswith("\x1b[2K"), "the line is erased at the end"
    assert "\x1b[?25h" in shown, "the cursor is back"


async def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that cannot renew a line gets plain ones."""
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    async with (display := Display()).following(str):
        display.say("line")
    assert terminal.getvalue() == "line\n"


@pytest.mark.parametrize("verbose", [True, False])
async def test_log_lines_only_on_request(capsys: pytest.CaptureFixture[str], *, verbose: bool) -> None:
    """What the library logs appears among the other lines if asked for, and nowhere else."""
    async with Display(verbose=verbose).following(str):
        logging.getLogger("confirma_async").warning("gate %s", "shut")
    assert capsys.readouterr().err == ("warning: gate shut\n" if verbose else "")


def test_nobody_reading_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A standard error that nobody reads any more does not end a run."""

    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    Display().say("line")
