"""The commands under `confirma journal`, their options and their help."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, Literal

import typer

from .._core.journal import State
from ..codes import Disposition
from ..errors import ConfigurationError
from .display import Display
from .journal_command import (
    ALL_STATES,
    Chosen,
    RetryOptions,
    list_actions,
    prune,
    resolve,
    retry,
    seconds_of,
    show_status,
)
from .options import PATIENCE, GiveUpAfter, TokenFile, Verbose

__all__ = ["journal_app"]

journal_app = typer.Typer(name="journal", rich_markup_mode=None, add_completion=False)

JournalPath = Annotated[str, typer.Argument(metavar="PATH", show_default=False, help="The journal.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", show_default=False, help="Which actions.")]


def _carry_out(work: Coroutine[Any, Any, int]) -> None:
    raise typer.Exit(asyncio.run(work))


@journal_app.callback(invoke_without_command=True)
def journal(context: typer.Context) -> None:
    """Look at what a push has kept in its journal, and settle what is unknown.

    A journal knows of each action one of these: accepted, rejected (refused, without effect), not applied (without
    effect), unknown (it may have taken effect), queued (to be sent), sending.

    What a journal tells leaves out comments, references and everything else that a person may have written: that is in
    the journal alone.

    Exit codes: 0 done, 2 wrong use, or a journal that cannot be used (nothing was changed); those of retry are those of
    push.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@journal_app.command("status")
def status_command(*, path: JournalPath) -> None:
    """Show where the journal's actions go, how many are in each state, and what to do next.

    It changes nothing, and works while another process uses the journal.
    """
    raise typer.Exit(show_status(path))


@journal_app.command("list")
def list_command(
    *,
    path: JournalPath,
    state: Annotated[
        Literal["unknown", "not_applied", "rejected", "queued", "accepted", "all"],
        typer.Option(help="Which actions."),
    ] = "unknown",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON Lines.")] = False,
) -> None:
    """List actions, the unknown ones unless told otherwise: id, code, case, amount, attempts, since when, and why.

    Of an accepted action the journal keeps its id alone. Comments and references are never shown. It changes nothing,
    and works while another process uses the journal.
    """
    states = ALL_STATES if state == "all" else (State(state),)
    raise typer.Exit(list_actions(path, states, as_json=as_json))


@journal_app.command("resolve")
def resolve_command(
    *,
    path: JournalPath,
    ids: Ids = None,
    every: Annotated[bool, typer.Option("--all", help="All that are unknown.")] = False,
    code: Annotated[
        str | None, typer.Option(metavar="CODE", help="With --all: only those with this code, such as DUEDATE.")
    ] = None,
    applied: Annotated[bool, typer.Option("--applied", help="They took effect: never send them again.")] = False,
    not_applied: Annotated[
        bool, typer.Option("--not-applied", help="They had no effect: they may be sent again.")
    ] = False,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", show_default=False, help="How that is known. It is kept, and listed.")
    ],
) -> None:
    """Settle what is unknown, after a look at the service: it was applied, or it was not.

    What is settled as not applied is sent by the next push of its file, or by: confirma journal retry PATH ID
    """
    if applied == not_applied:
        raise ConfigurationError("Say either --applied or --not-applied: what a look at the service showed.")
    disposition = Disposition.ACCEPTED if applied else Disposition.NOT_APPLIED
    _carry_out(resolve(path, Chosen(ids or (), every, code), disposition, reason))


@journal_app.command("retry")
def retry_command(
    *,
    path: JournalPath,
    ids: Ids = None,
    every: Annotated[bool, typer.Option("--all", help="All that are not applied.")] = False,
    token_file: TokenFile = None,
    give_up_after: GiveUpAfter = PATIENCE,
    verbose: Verbose = False,
) -> None:
    """Send what was not applied, and whatever else is queued, to where the journal's actions go.

    Without an ID or --all, it sends what is queued alone. What is unknown is never sent: settle it first.

    Ctrl-C or SIGTERM stops it as it does a push; the same command goes on.

    Exit codes: 0 all accepted, 1 some not, 2 wrong use (nothing was sent), 130 interrupted by Ctrl-C, 143 by SIGTERM.
    """
    options = RetryOptions(
        path=path, chosen=Chosen(ids or (), every), token_file=token_file, give_up_after=give_up_after
    )
    _carry_out(retry(options, Display(verbose=verbose)))


@journal_app.command("prune")
def prune_command(
    *,
    path: JournalPath,
    older_than: Annotated[
        str, typer.Option(metavar="30d", show_default=False, help="How long ago they ended: 30d, 12h, 90m or 45s.")
    ],
) -> None:
    """Forget actions that came to an end long ago, and make the file smaller.

    What is unknown, or still to be sent, is never forgotten. What is forgotten is not recognised any more: pushed
    again, it is sent again. So forget no more than what will not be pushed again.
    """
    _carry_out(prune(path, seconds_of(older_than)))
