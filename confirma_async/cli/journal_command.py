"""`confirma journal`: look at what a journal holds, settle what is unknown, send what is left, forget what is old."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen

from .._core.journal import State
from .._io.sqlite_journal import SqliteJournal
from ..codes import Disposition
from ..errors import ConfigurationError
from ..policies import RetryPolicy
from .connection import Connection
from .display import Display
from .entry import one_line
from .interruption import Interruption
from .journal_view import JournalView
from .journaling import last_words, state_name, step_lines
from .listing import code_of, listed_json, listed_lines, local_time
from .output import write_lines
from .push_command import error_text, exit_code, traffic_lines
from .run import Run
from .summary import account_lines, counted
from .work import JournalWork

__all__ = ["Chosen", "RetryOptions", "list_actions", "prune", "resolve", "retry", "seconds_of", "show_status"]

ALL_STATES = (State.UNKNOWN, State.SENDING, State.NOT_APPLIED, State.REJECTED, State.QUEUED, State.ACCEPTED)
"""In the order of a listing: first what a person must look at."""

_COUNTED = (State.ACCEPTED, State.REJECTED, State.NOT_APPLIED, State.UNKNOWN, State.QUEUED, State.SENDING)
_LINES_AT_ONCE = 200

_DURATION = re.compile("([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@frozen
class Chosen:
    """Which actions a decision is about."""

    ids: Sequence[str]
    all: bool = False
    code: str | None = None
    """Of all of them, those with this code; None is each."""

    def __attrs_post_init__(self) -> None:
        if self.ids and self.all:
            raise ConfigurationError("Ids and --all contradict one another; give one of them.")
        if self.code is not None and not self.all:
            raise ConfigurationError("--code goes with --all.")

    def of(self, view: JournalView, state: State) -> list[str]:
        """The ids that are meant, where all are those in `state`."""
        if not self.all:
            return list(self.ids)
        return [record.action_id for record in view.all_in(state) if self.code in (None, code_of(record))]


# --- looking ----------------------------------------------------------------------------------------------------------


def show_status(path: str) -> int:
    """Print what a journal holds, and what to do next.

    Raises:
        JournalError: There is no journal, or it is damaged.
    """
    with JournalView(path) as view:
        write_lines(_status_lines(path, view))
    return 0


def _status_lines(path: str, view: JournalView) -> Iterator[str]:
    target, counts = view.target(), view.counts()
    use = ", in use by a process that runs" if view.is_in_use else ""
    yield f"{'journal':<12}{one_line(path)}, {_size(view.size)}{use}"
    yield f"{'target':<12}{'none yet' if target is None else one_line(str(target))}"
    for state in _COUNTED:
        if state is not State.SENDING or counts.get(state):
            yield f"{state_name(state):<12}{counts.get(state, 0):>11,}{_since(view, state)}"
    yield f"{'in all':<12}{sum(counts.values()):>11,}"
    yield from step_lines(path, counts)


def _since(view: JournalView, state: State) -> str:
    first = next(view.all_in(state), None) if state is State.UNKNOWN else None
    return "" if first is None else f"  (the oldest since {local_time(first.changed)})"


def _size(size: int) -> str:
    return f"{size / 1024:,.0f} KiB" if size < 10 * 1024**2 else f"{size / 1024**2:,.0f} MiB"


def list_actions(path: str, states: Sequence[State], *, as_json: bool) -> int:
    """Print the actions of a journal that are in one of `states`.

    Raises:
        JournalError: There is no journal, or it is damaged.
    """
    with JournalView(path) as view:
        lines = _listed(view, states, as_json=as_json)
        is_empty = not _write_all(lines)
        if is_empty and not as_json:
            names = " or ".join(state_name(state) for state in states)
            write_lines([f"Nothing is {names} in {one_line(path)}."])
    return 0


def _listed(view: JournalView, states: Sequence[State], *, as_json: bool) -> Iterator[str]:
    for state in states:
        for record in view.all_in(state):
            if as_json:
                yield listed_json(record)
            else:
                yield from listed_lines(record)


def _write_all(lines: Iterable[str]) -> bool:
    """Write lines as they come, until nobody reads them; whether there were any."""
    waiting: list[str] = []
    written = False
    for line in lines:
        waiting.append(line)
        written = True
        if len(waiting) == _LINES_AT_ONCE:
            if not write_lines(waiting):
                return True
            waiting.clear()
    write_lines(waiting)
    return written


# --- deciding ---------------------------------------------------------------------------------------------------------


async def resolve(path: str, chosen: Chosen, disposition: Disposition, reason: str) -> int:
    """Settle what is unknown.

    Raises:
        JournalError: There is no journal, it is in use, or one of the actions is not unknown. Nothing was changed.
        ConfigurationError: Nothing was chosen, or there is no reason.
    """
    if not (chosen.ids or chosen.all):
        raise ConfigurationError("Which actions? Name their ids, or say --all.")
    if not reason.strip():
        raise ConfigurationError("--reason takes how it is known, and is kept; it must not be empty.")
    ids = _chosen(path, chosen, State.UNKNOWN)
    async with SqliteJournal(path) as journal:
        settled = await journal.resolve(ids, disposition, reason=reason)
        counts = await journal.counts()
    end = state_name(State(disposition.value))
    write_lines([f"{counted(settled, 'action')} settled as {end}.", *step_lines(path, counts)])
    return 0


def _chosen(path: str, chosen: Chosen, state: State) -> list[str]:
    # Also a look whether there is a journal at all, before anything is made beside it.
    with JournalView(path) as view:
        return chosen.of(view, state)


async def prune(path: str, older_than: float) -> int:
    """Forget what came to an end long ago.

    Args:
        path: The journal.
        older_than: Seconds.

    Raises:
        JournalError: There is no journal, or it is in use.
    """
    with JournalView(path):
        pass
    async with SqliteJournal(path) as journal:
        forgotten = await journal.prune(older_than, compact=True)
    write_lines(
        [
            f"{counted(forgotten, 'action')} forgotten.",
            "What is forgotten is not recognised any more: pushed again, it is sent again.",
        ]
    )
    return 0


def seconds_of(duration: str) -> float:
    """The seconds of a duration such as `30d`.

    Raises:
        ConfigurationError: It is none.
    """
    found = _DURATION.fullmatch(duration.strip())
    if found is None:
        raise ConfigurationError(
            "--older-than takes a number of days, hours, minutes or seconds: 30d, 12h, 90m or 45s."
        )
    return int(found[1]) * _SECONDS[found[2]]


# --- sending ----------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class RetryOptions:
    """What to send again, and how."""

    path: str
    chosen: Chosen
    token_file: str | None
    give_up_after: float
    """Seconds."""


async def retry(options: RetryOptions, display: Display) -> int:
    """Put what was not applied back in the queue, send the queue, and print the account.

    Returns:
        The exit code, as of a push.

    Raises:
        JournalError: There is no journal, it is in use, or one of the actions was not NOT_APPLIED. Nothing was sent.
        ConfirmaError: The client could not be opened. Nothing was sent; what was put back stays in the queue.
    """
    path = options.path
    with JournalView(path) as view:
        target, ids = view.target(), _to_put_back(view, options.chosen)
        waiting = view.counts().get(State.QUEUED, 0) + len(ids)
        steps = list(step_lines(path, view.counts()))
    if target is None or not waiting:
        write_lines([f"{one_line(path)}: nothing to send.", *steps])
        return 0
    connection = Connection.of_journal(target, token_file=options.token_file, variables=os.environ)
    journal = SqliteJournal(path, account=target.account)
    with Interruption(display, last_words(path)) as interruption:
        run = Run(
            connection=connection,
            work=JournalWork(),
            display=display,
            interruption=interruption,
            retry=RetryPolicy(give_up_after=options.give_up_after),
            journal=journal,
            before=lambda: journal.retry(ids),
        )
        ending = await run.carry_out()
        write_lines(_resumed_lines(path, run))
    if ending.error is not None:
        display.error(error_text(ending.error))
    return exit_code(run.account, ending)


def _to_put_back(view: JournalView, chosen: Chosen) -> list[str]:
    """The ids that are meant, without those that are in the queue already, as by a retry that was interrupted."""
    ids = chosen.of(view, State.NOT_APPLIED)
    if chosen.all or not ids:
        return ids
    wanted = set(ids)
    queued = {record.action_id for record in view.all_in(State.QUEUED) if record.action_id in wanted}
    return [action_id for action_id in ids if action_id not in queued]


def _resumed_lines(path: str, run: Run) -> Iterator[str]:
    yield from account_lines(run.account, unit=None)
    yield from traffic_lines(run)
    yield from step_lines(path, run.journaled)
