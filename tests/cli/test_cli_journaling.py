"""Whether a push journals, and what to do about what a journal holds."""

import pytest

from confirma_async import ConfigurationError
from confirma_async._core.journal import State
from confirma_async.cli.journaling import journal_command, journal_path, last_words, step_lines


def path_of(
    file: str = "actions.jsonl", *, journal: str | None = None, no_journal: bool = False, sandbox: bool = False
) -> str | None:
    return journal_path(file, journal=journal, no_journal=no_journal, account=None, sandbox=sandbox)


def test_a_push_journals_beside_its_file() -> None:
    """By default there is a journal beside the file, named after it; with --no-journal or --sandbox there is none."""
    assert path_of() == "actions.jsonl.journal"
    assert path_of(journal="elsewhere") == "elsewhere"
    assert path_of("-", journal="elsewhere") == "elsewhere"
    assert path_of(no_journal=True) is None
    assert path_of("-", no_journal=True) is None
    assert path_of("-", sandbox=True) is None


def test_an_account_needs_a_journal() -> None:
    """A label binds a journal, so it contradicts there being none."""
    with pytest.raises(ConfigurationError, match="leave out --account, or leave out --no-journal"):
        journal_path("x", journal=None, no_journal=True, account="a", sandbox=False)


def test_steps_are_commands_that_can_be_typed() -> None:
    """For everything that was not accepted there is a command; where all was, there is none."""
    told = "\n".join(step_lines("my file.journal", {State.UNKNOWN: 1, State.REJECTED: 2, State.QUEUED: 3}))
    assert "  confirma journal resolve 'my file.journal' ID ... --not-applied --reason TEXT" in told
    assert "  confirma journal retry 'my file.journal' --all" in told
    assert "  confirma journal list 'my file.journal' --state rejected" in told
    assert list(step_lines("x", {State.ACCEPTED: 5})) == []


def test_a_path_is_never_an_option() -> None:
    """A path that begins with a dash, or holds what steers a terminal, is shown so that it does no harm."""
    assert journal_command("list", "-x") == "  confirma journal list ./-x"
    assert "\x1b" not in journal_command("list", "\x1b[31m")


def test_last_words_name_the_journal() -> None:
    """Whoever ends a run at once is told where to look."""
    assert last_words("j").endswith("is unknown in the journal j.")
    assert last_words(None).endswith("may have taken effect.")
