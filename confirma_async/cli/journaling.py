"""Whether a push journals, and where; and what to do about what a journal holds. No I/O."""

import shlex
from collections.abc import Iterator, Mapping

from .._core.journal import State
from ..codes import Disposition
from ..errors import ConfigurationError
from .account import Account
from .entry import one_line

__all__ = [
    "OPENING_HINT",
    "journal_command",
    "journal_path",
    "last_words",
    "not_sent_now",
    "state_name",
    "step_lines",
    "unknown_lines",
]

SUFFIX = ".journal"

OPENING_HINT = (
    "Nothing was sent; if no earlier run sent any of it, --journal PATH names another journal, and --no-journal does "
    "without."
)
"""What to do where the journal of a push cannot be used. Had an earlier run sent some of it, both would double that."""


def journal_path(file: str, *, journal: str | None, no_journal: bool, account: str | None, sandbox: bool) -> str | None:
    """Where a push of `file` keeps its journal; None is nowhere.

    Raises:
        ConfigurationError: The options contradict one another, or leave it open.
    """
    if sandbox or no_journal:
        _refuse_beside("--sandbox" if sandbox else "--no-journal", {"--journal": journal, "--account": account})
        return None
    if journal is None and file == "-":
        raise ConfigurationError(
            "Standard input has no place for a journal beside it; name one with --journal PATH, or say --no-journal."
        )
    return f"{file}{SUFFIX}" if journal is None else journal


def _refuse_beside(without: str, given: Mapping[str, str | None]) -> None:
    for option, value in given.items():
        if value is not None:
            raise ConfigurationError(
                f"{without} keeps no journal, and {option} is about one; leave out {option}, or leave out {without}."
            )


# --- what to do -------------------------------------------------------------------------------------------------------


def journal_command(verb: str, path: str, rest: str = "") -> str:
    """A command about a journal, as it is to be typed, indented."""
    # What begins with a dash would be taken for an option.
    shown = one_line(shlex.quote(f"./{path}" if path.startswith("-") else path))
    return f"  confirma journal {verb} {shown}{rest}"


def state_name(state: State) -> str:
    """The state as people read it."""
    return state.value.replace("_", " ")


def unknown_lines(path: str) -> Iterator[str]:
    """What to do about actions that are UNKNOWN."""
    yield "What is unknown may have taken effect. Look at each case, then settle it:"
    yield journal_command("list", path)
    yield journal_command("resolve", path, " ID ... --applied --reason TEXT")
    yield journal_command("resolve", path, " ID ... --not-applied --reason TEXT")


def step_lines(path: str, counts: Mapping[State, int]) -> Iterator[str]:
    """What to do next about everything in a journal that was not accepted; nothing, if everything was."""
    if counts.get(State.UNKNOWN):
        yield ""
        yield from unknown_lines(path)
    if counts.get(State.NOT_APPLIED) or counts.get(State.QUEUED):
        yield ""
        yield "What is not applied or queued had no effect yet; this sends it:"
        yield journal_command("retry", path, " --all")
    if counts.get(State.REJECTED):
        yield ""
        yield "What was rejected had no effect. Mend it where it came from, and push that; as"
        yield "it is, it goes again only with an action_id of its own."
        yield journal_command("list", path, " --state rejected")


def after_push_lines(path: str, counts: Mapping[State, int], account: Account, *, is_whole: bool) -> Iterator[str]:
    """What to do after a push, by the journal that it kept at `path`."""
    unknown, told = counts.get(State.UNKNOWN, 0), account.counts[Disposition.UNKNOWN]
    if unknown or told:
        yield ""
        yield from unknown_lines(path)
    if unknown > told:
        yield f"  ({unknown - told:,} more are unknown in the journal than this run has told of)"
    if not is_whole or account.counts[Disposition.NOT_APPLIED] > account.with_mistakes:
        yield ""
        yield "The same command goes on from here: it sends what is left, and nothing twice."


def not_sent_now(path: str, account: Account, unit: str) -> str:
    """What must not be overlooked where a journal knew the ends of some entries from before."""
    return (
        f"Note: {account.not_sent_now:,} of {account.total:,} {unit}s were NOT sent now: the journal {path} knows them "
        "from an earlier run. If they are meant anew, because this is another file under the same name, push it with a "
        "journal of its own: --journal PATH."
    )


def last_words(path: str | None) -> str:
    """What to say where a second signal ends a run at once."""
    end = "Ended at once: what was in flight may have taken effect"
    return f"{end}." if path is None else f"{end}, and is unknown in the journal {path}."
