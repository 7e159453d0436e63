"""`confirma push`: the actions of a file, or of standard input, to the service."""

import contextlib
from collections.abc import AsyncIterator

from attrs import frozen

from ..codes import Disposition
from ..errors import AuthenticationError, ConfirmaError
from ..policies import RetryPolicy
from ..sandbox import Sandbox
from .account import Account
from .connection import Connection
from .display import Display
from .output import write_lines
from .run import EXIT_INTERRUPTED, Ending, Interruption, Run
from .source import FileSource
from .summary import account_lines, counted, traffic_line

__all__ = ["PushOptions", "push"]


@frozen(kw_only=True)
class PushOptions:
    """What to push, and where to."""

    path: str
    connection: Connection | None
    """Where to send; None is a sandbox of our own."""
    allow_unknown_codes: bool
    give_up_after: float
    """Seconds."""


async def push(options: PushOptions, display: Display) -> int:
    """Push the actions of a file, and print the account.

    Returns:
        The exit code: 0 if every entry was accepted, 1 if not, 130 if it was interrupted.

    Raises:
        InputError: The file cannot be read; nothing was sent.
        ConfirmaError: The client could not be opened; nothing was sent.
    """
    source = FileSource(options.path, allow_unknown_codes=options.allow_unknown_codes)
    with Interruption(display) as interruption:
        interruption.call(source.stop)
        async with source, _target(options.connection) as (connection, sandbox):
            if interruption.is_requested:
                display.say("Interrupted; nothing was sent.")
                return EXIT_INTERRUPTED
            if source.is_empty:
                write_lines([f"{source.name}: nothing to send."])
                return 0
            run = Run(
                connection=connection,
                source=source,
                display=display,
                interruption=interruption,
                retry=RetryPolicy(give_up_after=options.give_up_after),
            )
            ending = await run.carry_out()
            return _report(run, ending, display, source=source, sandbox=sandbox)


@contextlib.asynccontextmanager
async def _target(connection: Connection | None) -> AsyncIterator[tuple[Connection, Sandbox | None]]:
    if connection is not None:
        yield connection, None
        return
    # It counts its effects and forgets them, so that an input may be of any length.
    async with Sandbox(keep_ledger=False) as sandbox:
        yield Connection.to(sandbox), sandbox


def _report(run: Run, ending: Ending, display: Display, *, source: FileSource, sandbox: Sandbox | None) -> int:
    account = run.account
    lines = [*account_lines(account, unit=source.unit)]
    if traffic := traffic_line(run.statistics, account.total - account.with_mistakes):
        lines += ["", traffic]
    if sandbox is not None:
        lines.append(f"The sandbox has {counted(len(sandbox.ledger), 'effect')} in its ledger.")
    if not account.is_whole:
        lines.append(f"Ended early: what follows {source.unit} {account.last_number:,} was not read, and not sent.")
    write_lines(lines)
    if ending.error is not None:
        display.error(_with_hint(ending.error))
    elif _is_wrong_address(account):
        display.error("What is at the base URL answers 404, and knows no invoice actions; is the base URL right?")
    if ending.is_interrupted:
        return EXIT_INTERRUPTED
    return 0 if ending.error is None and account.accepted == account.total else 1


def _is_wrong_address(account: Account) -> bool:
    rejected = account.problems[Disposition.REJECTED]
    return not account.accepted and bool(rejected) and getattr(rejected[0].outcome.error, "status", None) == 404


def _with_hint(error: ConfirmaError) -> str:
    if isinstance(error, AuthenticationError) and "FileTokenStore" in str(error):
        return "The service does not accept the token; a token file (--token-file) lets it be renewed when it expires."
    return str(error)
