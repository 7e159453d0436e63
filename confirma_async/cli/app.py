"""The commands, their options and their help; and every mistake as one sentence on standard error.

Exit codes: 0 all accepted, 1 some not, 2 wrong use, 130 interrupted by Ctrl-C, 143 by SIGTERM.
"""

import asyncio
import os
import sys
from collections.abc import Coroutine, Sequence
from typing import Annotated, Any

import typer

from .._version import __version__
from ..errors import ConfigurationError, ConfirmaError, JournalError, TokenStoreError
from .connection import Connection, refuse_beside_sandbox
from .demo_command import demo
from .display import Display
from .interruption import EXIT_INTERRUPTED
from .journal_app import journal_app
from .journaling import journal_path
from .layout import InputError
from .options import PATIENCE, GiveUpAfter, TokenFile, Verbose
from .push_command import PushOptions, push
from .sandbox_command import serve_sandbox

__all__ = ["app", "run"]

EXIT_WRONG_USE = 2

app = typer.Typer(
    name="confirma",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""What typer raises for a wrong command line. Which package it comes from depends on typer's version."""

app.add_typer(journal_app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line, and return the exit code.

    Args:
        arguments: What follows the command's name; None takes those of this process.
    """
    _accept_any_character()
    try:
        code = app(args=arguments, prog_name="confirma", standalone_mode=False)
    except _UsageError as error:
        message = error.format_message().removesuffix(".")  # type: ignore[attr-defined]
        return _fail(f"{message}.{_help_hint(error)}", EXIT_WRONG_USE)
    except (ConfigurationError, InputError, JournalError, TokenStoreError) as error:
        return _fail(str(error), EXIT_WRONG_USE)
    except ConfirmaError as error:
        return _fail(str(error), 1)
    except (typer.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else 0


def _accept_any_character() -> None:
    """A file's name or a code may hold what the terminal's encoding cannot say: show it escaped, and go on."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str, code: int) -> int:
    Display().error(message)
    return code


def _help_hint(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return "" if context is None else f" See '{context.command_path} --help'."


def _carry_out(work: Coroutine[Any, Any, int]) -> None:
    raise typer.Exit(asyncio.run(work))


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"confirma {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def confirma(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - its callback does all
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Send invoice actions to the Confirma Finance Integrations API.

    Actions are checked, sent in as few requests as is safe, and each ends as one of four: accepted, rejected (refused,
    without effect), not applied (without effect, may be sent again) or unknown (it may have taken effect: look before
    sending it again).

    Exit codes: 0 all accepted, 1 some not, 2 wrong use (nothing was sent), 130 interrupted by Ctrl-C, 143 by SIGTERM.

    To see it work, without an account: confirma demo
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("push")
def push_command(
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", show_default=False, help="The file; - is standard input.")],
    environment: Annotated[
        str | None,
        typer.Option(metavar="staging|production", help="Where the token belongs. [CONFIRMA_ENVIRONMENT]"),
    ] = None,
    token_file: TokenFile = None,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Another address than the environment's. [CONFIRMA_BASE_URL]"),
    ] = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Send to a sandbox that runs for this command alone.")
    ] = False,
    journal: Annotated[
        str | None,
        typer.Option(metavar="PATH", show_default=False, help="Where the journal is kept. [default: FILE.journal]"),
    ] = None,
    no_journal: Annotated[
        bool, typer.Option("--no-journal", help="Keep no journal: started again, everything is sent again.")
    ] = False,
    account: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL", help="The account the journal is bound to, if you have several in one environment."
        ),
    ] = None,
    allow_unknown_codes: Annotated[
        bool, typer.Option("--allow-unknown-codes", help="Send actions whose code is not documented as they are.")
    ] = False,
    give_up_after: GiveUpAfter = PATIENCE,
    verbose: Verbose = False,
) -> None:
    """Send the actions of FILE, and print what became of them.

    FILE holds JSON Lines, one action per line, of any length; or a JSON document of up to 64 MiB: an array of actions,
    or the API's own {"actions": [...]}. Which of them it is, is told by its content. An action is

      {"code": "PAUSE", "data": {"invoiceNumber": 1, "caseId": 2}}

    with a "comment" if you like. It may have an "action_id" of yours, which is not sent: an id that comes twice is sent
    once.

    A line with mistakes is named on standard error and counts as not applied; the others are sent.

    What becomes of each action is kept in a journal beside the file: FILE.journal. However a run ends, the same command
    goes on: it sends what is left of FILE, mended or not, and nothing twice. A line without an action_id is known again
    by what it says, wherever it stands. So mend FILE in its place: under another name everything would be sent again,
    unless --journal names the journal of the first. Give another day's actions another name, or a --journal of their
    own: what they have in common with yesterday's would not be sent. Standard input needs --journal or --no-journal.
    The journal holds the contents of what was not accepted, readable by its owner alone. See: confirma journal --help

    Ctrl-C or SIGTERM stops reading, waits up to 10 s for what was read, and prints the account; a second one ends at
    once.

    Exit codes: 0 all accepted, 1 some not, 2 wrong use (nothing was sent), 130 interrupted by Ctrl-C, 143 by SIGTERM.

    Try it:  confirma push actions.jsonl --sandbox
    """
    kept_at = journal_path(file, journal=journal, no_journal=no_journal, account=account, sandbox=sandbox)
    if sandbox:
        refuse_beside_sandbox(environment=environment, token_file=token_file, base_url=base_url)
        connection = None
    else:
        connection = Connection.chosen(
            environment=environment, token_file=token_file, base_url=base_url, variables=os.environ
        )
    options = PushOptions(
        path=file,
        connection=connection,
        journal=kept_at,
        account=account or "",
        allow_unknown_codes=allow_unknown_codes,
        give_up_after=give_up_after,
    )
    _carry_out(push(options, Display(verbose=verbose)))


@app.command("demo")
def demo_command(*, verbose: Verbose = False) -> None:
    """See it work: a day's work of 10,000 actions against a sandbox on which things go wrong.

    The sandbox runs on this machine for this command alone; nothing leaves the machine. While the actions are sent, the
    service is gone for a while, the token expires, and a few actions are refused. At the end the account is compared
    with the sandbox's ledger, effect by effect.

    Exit codes: 0 if they agree, 1 if not.
    """
    _carry_out(demo(Display(verbose=verbose)))


@app.command("sandbox")
def sandbox_command(
    *,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="The port on 127.0.0.1; 0 lets the system choose one.")
    ] = 0,
) -> None:
    """Run a sandbox of the service until Ctrl-C, and print how to send to it.

    It checks tokens and actions as the API's documents say, and forgets everything when it ends.
    """
    _carry_out(serve_sandbox(port, Display()))
