"""`confirma push`: the actions of a file, or of standard input, to the service."""

import contextlib
from collections.abc import AsyncIterator, Iterator

from attrs import frozen

from .._core.journal import State
from .._io.sqlite_journal import SqliteJournal
from ..codes import Disposition
from ..errors import AuthenticationError, ConfigurationError, ConfirmaError, JournalError
from ..policies import RetryPolicy
from ..sandbox import Sandbox
from .account import Account
from .connection import Connection
from .display import Display
from .interruption import Interruption
from .journaling import OPENING_HINT, after_push_lines, journal_command, last_words, not_sent_now
from .naming import LineNames
from .output import write_lines
from .run import Ending, Run
from .source import FileSource
from .summary import account_lines, counted, traffic_line
from .work import SourceWork

__all__ = ["PushOptions", "error_text", "exit_code", "push", "traffic_lines"]


@frozen(kw_only=True)
class PushOptions:
    """What to push, and where to."""

    path: str
    connection: Connection | None
    """Where to send; None is a sandbox of our own."""
    journal: str | None = None
    """Where each action's state is kept; None is nowhere."""
    account: str = ""
    """The label to which the journal is bound."""
    allow_unknown_codes: bool
    give_up_after: float
    """Seconds."""


async def push(options: PushOptions, display: Display) -> int:
    """Push the actions of a file, and print the account.

    Returns:
        The exit code: 0 if every entry was accepted, 1 if not, 130 or 143 if it was interrupted.

    Raises:
        InputError: The file cannot be read; nothing was sent.
        ConfirmaError: The client could not be opened; nothing was sent.
    """
    source = FileSource(options.path, allow_unknown_codes=options.allow_unknown_codes)
    with Interruption(display, last_words(options.journal)) as interruption:
        interruption.call(source.stop)
        async with source, _target(options.connection) as (connection, sandbox):
            if interruption.exit_code is not None:
                display.say("Interrupted; nothing was sent.")
                return interruption.exit_code
            if source.is_empty:
                write_lines([f"{source.name}: nothing to send."])
                return 0
            journal = _journal(options)
            with _work(source, options) as work:
                run = Run(
                    connection=connection,
                    work=work,
                    display=display,
                    interruption=interruption,
                    retry=RetryPolicy(give_up_after=options.give_up_after),
                    journal=journal,
                    before=None if journal is None else lambda: _refuse_queued(journal, options),
                )
                ending = await _carried_out(run)
            write_lines(_report_lines(run, work, options, sandbox))
    _tell(run, work, ending, options, display)
    return exit_code(run.account, ending)


@contextlib.asynccontextmanager
async def _target(connection: Connection | None) -> AsyncIterator[tuple[Connection, Sandbox | None]]:
    if connection is not None:
        yield connection, None
        return
    # It counts its effects and forgets them, so that an input may be of any length.
    async with Sandbox(keep_ledger=False) as sandbox:
        yield Connection.to(sandbox), sandbox


@contextlib.contextmanager
def _work(source: FileSource, options: PushOptions) -> Iterator[SourceWork]:
    if options.journal is None:
        yield SourceWork(source)
        return
    with LineNames() as names:
        yield SourceWork(source, names.named)


def _journal(options: PushOptions) -> SqliteJournal | None:
    return None if options.journal is None else SqliteJournal(options.journal, account=options.account)


async def _refuse_queued(journal: SqliteJournal, options: PushOptions) -> None:
    """Leave what is queued to the command that sends it: it is older, and comes first.

    Raises:
        ConfigurationError: Something is.
    """
    counts = await journal.counts()
    if queued := counts.get(State.QUEUED):
        assert options.journal is not None
        raise ConfigurationError(
            f"The journal {options.journal} has {counted(queued, 'action')} in its queue, which must go before; "
            f"nothing was sent; send them with: {journal_command('retry', options.journal).strip()}"
        )


async def _carried_out(run: Run) -> Ending:
    try:
        return await run.carry_out()
    except JournalError as error:
        raise JournalError(f"{error} {OPENING_HINT}") from None


# --- what it tells ----------------------------------------------------------------------------------------------------


def _report_lines(run: Run, work: SourceWork, options: PushOptions, sandbox: Sandbox | None) -> Iterator[str]:
    yield from account_lines(run.account, unit=work.unit)
    yield from traffic_lines(run)
    if sandbox is not None:
        yield f"The sandbox has {counted(len(sandbox.ledger), 'effect')} in its ledger."
    if not work.is_whole:
        yield f"Ended early: what follows {work.unit} {work.last_number:,} was not read, and not sent."
    if options.journal is not None:
        yield from after_push_lines(options.journal, run.journaled, run.account, is_whole=work.is_whole)


def traffic_lines(run: Run) -> Iterator[str]:
    """How the actions of a run travelled; nothing, if none did."""
    if traffic := traffic_line(run.statistics, run.account.sent):
        yield ""
        yield traffic


def _tell(run: Run, work: SourceWork, ending: Ending, options: PushOptions, display: Display) -> None:
    """Tell on standard error what must not be overlooked, also where standard output goes to a file."""
    if options.journal is not None and run.account.not_sent_now:
        display.say(not_sent_now(options.journal, run.account, work.unit))
    if ending.error is not None:
        display.error(error_text(ending.error))
    elif _is_wrong_address(run.account):
        display.error("What is at the base URL answers 404, and knows no invoice actions; is the base URL right?")


def exit_code(account: Account, ending: Ending) -> int:
    """What to exit with after a run."""
    if ending.exit_code is not None:
        return ending.exit_code
    return 0 if ending.error is None and account.accepted == account.total else 1


def _is_wrong_address(account: Account) -> bool:
    rejected = account.problems[Disposition.REJECTED]
    return not account.accepted and bool(rejected) and getattr(rejected[0].outcome.error, "status", None) == 404


def error_text(error: ConfirmaError) -> str:
    """What ended a run, and what to do about it."""
    if isinstance(error, AuthenticationError) and "FileTokenStore" in str(error):
        return "The service does not accept the token; a token file (--token-file) lets it be renewed when it expires."
    return str(error)
