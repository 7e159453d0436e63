"""`confirma journal`: what is told of a journal, and what is decided with it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from confirma_async import ConfigurationError, Disposition, JournalError, SqliteJournal
from confirma_async._core.journal import State
from confirma_async.cli.app import run
from confirma_async.cli.connection import Connection
from confirma_async.cli.display import Display
from confirma_async.cli.journal_command import (
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
from confirma_async.cli.push_command import PushOptions, push
from confirma_async.sandbox import Fault, Sandbox

Captured = pytest.CaptureFixture[str]

ALL = Chosen((), all=True)


@pytest.fixture(autouse=True)
def _without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CONFIRMA_")]:
        monkeypatch.delenv(name)


def comment(case_id: int, action_id: str) -> str:
    data = {"invoiceNumber": 1, "caseId": case_id}
    return json.dumps({"code": "COMMENT", "comment": "a secret", "data": data, "action_id": action_id})


@pytest.fixture
async def journal(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> str:
    """A journal with three unknown actions, one of them a payment plan, a rejected and an accepted one."""
    path = str(tmp_path / "journal")
    plan = comment(5, "plan").replace("COMMENT", "PAYMENTPLAN")
    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    await pushed(sandbox, path, comment(1, "one"), comment(2, "two"), plan)
    sandbox.poison(lambda action: action.case_id == 3)
    await pushed(sandbox, path, comment(3, "bad"), comment(4, "good"))
    capsys.readouterr()
    return path


async def pushed(sandbox: Sandbox, journal: str, *lines: str) -> None:
    path = Path(f"{journal}.jsonl")
    path.write_text("\n".join(lines))
    options = PushOptions(
        path=str(path),
        connection=Connection.to(sandbox),
        journal=journal,
        account="one",
        allow_unknown_codes=False,
        give_up_after=900.0,
    )
    await push(options, Display())


async def counts(journal: str) -> dict[State, int]:
    async with SqliteJournal(journal) as opened:
        return dict(await opened.counts())


# --- looking ----------------------------------------------------------------------------------------------------------


async def test_status_tells_what_to_do(sandbox: Sandbox, journal: str, capsys: Captured) -> None:
    """The status has a count for each state, the target, the age of the oldest doubt, and a command for each."""
    assert show_status(journal) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"journal     {journal}, ")
    assert f"target      staging at {sandbox.base_url}, account 'one'\n" in told
    assert "accepted              1\n" in told
    assert "rejected              1\n" in told
    assert "unknown               3  (the oldest since 20" in told
    assert "in all                5\n" in told
    assert f"  confirma journal list {journal}\n" in told
    assert f"  confirma journal list {journal} --state rejected\n" in told
    assert "retry" not in told


async def test_lists_what_is_unknown_unless_told_otherwise(journal: str, capsys: Captured) -> None:
    """A listing is of the unknown actions, or of those that are asked for, and holds no comment."""
    assert list_actions(journal, [State.UNKNOWN], as_json=True) == 0
    told = capsys.readouterr().out
    assert [json.loads(text)["id"] for text in told.splitlines()] == ["one", "two", "plan"]
    assert list_actions(journal, ALL_STATES, as_json=False) == 0
    told = capsys.readouterr().out
    assert [text for text in told.splitlines() if not text.startswith(" ")] == [
        "one  unknown",
        "two  unknown",
        "plan  unknown",
        "bad  rejected",
        "good  accepted",
    ]
    assert "secret" not in told
    list_actions(journal, [State.QUEUED], as_json=False)
    assert capsys.readouterr().out == f"Nothing is queued in {journal}.\n"


async def test_looking_changes_nothing(journal: str) -> None:
    """Status and list leave the file as it is."""
    before = Path(journal).read_bytes()
    show_status(journal)
    list_actions(journal, ALL_STATES, as_json=True)
    assert Path(journal).read_bytes() == before


# --- settling ---------------------------------------------------------------------------------------------------------


async def test_a_person_settles_what_is_unknown(journal: str, capsys: Captured) -> None:
    """One, or all of a code, or all, are settled, with a reason that is kept and listed."""
    assert await resolve(journal, Chosen(["one"]), Disposition.ACCEPTED, "seen in the portal") == 0
    assert capsys.readouterr().out.startswith("1 action settled as accepted.\n")
    plans = Chosen((), all=True, code="PAYMENTPLAN")
    assert await resolve(journal, plans, Disposition.NOT_APPLIED, "not there") == 0
    assert capsys.readouterr().out.startswith("1 action settled as not applied.\n")
    assert await resolve(journal, ALL, Disposition.NOT_APPLIED, "not there, too") == 0
    assert f"  confirma journal retry {journal} --all\n" in capsys.readouterr().out
    assert await counts(journal) == {State.ACCEPTED: 2, State.REJECTED: 1, State.NOT_APPLIED: 2}
    list_actions(journal, [State.NOT_APPLIED], as_json=True)
    reasons = [json.loads(text)["reason"] for text in capsys.readouterr().out.splitlines()]
    assert reasons == ["not there, too", "not there"]


async def test_what_cannot_be_settled_changes_nothing(journal: str) -> None:
    """An id that is not there, or not unknown, is told, and nothing is changed, neither its neighbours."""
    for wrong, told in [("nobody", "it has no action with the id 'nobody'"), ("bad", "'bad' is REJECTED")]:
        with pytest.raises(JournalError, match=told):
            await resolve(journal, Chosen(["one", wrong]), Disposition.ACCEPTED, "seen")
    assert (await counts(journal))[State.UNKNOWN] == 3


async def test_a_settlement_has_a_reason_and_a_subject(journal: str) -> None:
    """Nothing is settled by an empty reason, without saying which actions, or by two ways of saying it."""
    with pytest.raises(ConfigurationError, match="--reason"):
        await resolve(journal, Chosen(["one"]), Disposition.ACCEPTED, " ")
    with pytest.raises(ConfigurationError, match="Name their ids, or say --all"):
        await resolve(journal, Chosen(()), Disposition.ACCEPTED, "seen")
    with pytest.raises(ConfigurationError, match="give one of them"):
        Chosen(["one"], all=True)
    with pytest.raises(ConfigurationError, match="--code goes with --all"):
        Chosen(["one"], code="COMMENT")


# --- sending ----------------------------------------------------------------------------------------------------------


def retrying(journal: str, chosen: Chosen) -> RetryOptions:
    return RetryOptions(path=journal, chosen=chosen, token_file=None, give_up_after=900.0)


async def test_retry_sends_what_was_not_applied(
    sandbox: Sandbox, journal: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was settled as not applied is sent to the journal's own target, and the account is told as of a push."""
    await resolve(journal, ALL, Disposition.NOT_APPLIED, "not there")
    monkeypatch.setenv("CONFIRMA_TOKEN", sandbox.token)
    before = len(sandbox.ledger)
    assert await retry(retrying(journal, Chosen(["one"])), Display()) == 0
    assert [effect.action.case_id for effect in sandbox.ledger.effects[before:]] == [1]
    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    capsys.readouterr()
    assert await retry(retrying(journal, ALL), Display()) == 1
    told = capsys.readouterr()
    assert "unknown               2\n" in told.out
    assert "action plan, PAYMENTPLAN, case 5: unknown (its answer was lost)" in told.out
    assert f"  confirma journal list {journal}\n" in told.out
    assert await counts(journal) == {State.ACCEPTED: 2, State.REJECTED: 1, State.UNKNOWN: 2}
    assert await retry(retrying(journal, ALL), Display()) == 0
    assert capsys.readouterr().out.startswith(f"{journal}: nothing to send.\n")


async def test_retry_of_what_is_not_there_sends_nothing(
    sandbox: Sandbox, journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id that is not there, or may not go again, is told before anything is put back or sent."""
    await resolve(journal, Chosen(["one"]), Disposition.NOT_APPLIED, "not there")
    monkeypatch.setenv("CONFIRMA_TOKEN", sandbox.token)
    before = len(sandbox.posts)
    for wrong, told in [("nobody", "it has no action with the id 'nobody'"), ("two", "'two' is UNKNOWN")]:
        with pytest.raises(JournalError, match=told):
            await retry(retrying(journal, Chosen(["one", wrong])), Display())
    assert len(sandbox.posts) == before
    assert (await counts(journal))[State.NOT_APPLIED] == 1


async def test_retry_goes_where_the_journal_goes(
    sandbox: Sandbox, journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables that name another target are refused, and what was to be sent stays as it was."""
    await resolve(journal, ALL, Disposition.NOT_APPLIED, "not there")
    monkeypatch.setenv("CONFIRMA_TOKEN", sandbox.token)
    for name, value in {"CONFIRMA_ENVIRONMENT": "production", "CONFIRMA_BASE_URL": "https://elsewhere/x"}.items():
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            with pytest.raises(ConfigurationError, match=f"{name} names another target than the journal"):
                await retry(retrying(journal, ALL), Display())
    assert (await counts(journal))[State.NOT_APPLIED] == 3
    monkeypatch.setenv("CONFIRMA_ENVIRONMENT", "staging")
    monkeypatch.setenv("CONFIRMA_BASE_URL", f"{sandbox.base_url}/")
    assert await retry(retrying(journal, ALL), Display()) == 0


async def test_retry_with_a_dead_token_leaves_the_queue(
    sandbox: Sandbox, journal: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be sent stays in the queue, and goes with the next retry, of whatever it is."""
    await resolve(journal, ALL, Disposition.NOT_APPLIED, "not there")
    monkeypatch.setenv("CONFIRMA_TOKEN", "wrong")
    assert await retry(retrying(journal, ALL), Display()) == 1
    told = capsys.readouterr()
    assert told.err.count("Error: ") == 1
    assert f"  confirma journal retry {journal} --all\n" in told.out
    assert "action one, COMMENT, case 1: not applied" in told.out
    assert "it had no effect: it stays in the queue of the journal" in told.out
    assert (await counts(journal))[State.QUEUED] == 3
    with pytest.raises(ConfigurationError, match=r"has 3 actions in its queue, .* confirma journal retry /"):
        await pushed(sandbox, journal, comment(9, "later"))
    monkeypatch.setenv("CONFIRMA_TOKEN", sandbox.token)
    assert await retry(retrying(journal, Chosen(["one"])), Display()) == 0
    assert "accepted              3\n" in capsys.readouterr().out


async def test_retry_gives_up_on_a_service_that_is_not_there(
    sandbox: Sandbox, journal: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the queue may wait for ever; the command does not, and the queue stays."""
    monkeypatch.setattr("confirma_async.cli.run.GRACE", 0.1)
    await resolve(journal, ALL, Disposition.NOT_APPLIED, "not there")
    monkeypatch.setenv("CONFIRMA_TOKEN", sandbox.token)
    await sandbox.stop()
    options = RetryOptions(path=journal, chosen=ALL, token_file=None, give_up_after=0.2)
    assert await retry(options, Display()) == 1
    assert capsys.readouterr().err.endswith("Error: Gave up after 0.2 s: the service cannot be reached.\n")
    assert (await counts(journal))[State.QUEUED] == 3


# --- forgetting -------------------------------------------------------------------------------------------------------


async def test_prune_forgets_what_ended(journal: str, capsys: Captured) -> None:
    """Ends are forgotten once they are old enough; what is unknown is kept, however old it is."""
    assert await prune(journal, 3_600) == 0
    assert capsys.readouterr().out.startswith("0 actions forgotten.\n")
    assert await prune(journal, -1) == 0
    assert capsys.readouterr().out == (
        "2 actions forgotten.\nWhat is forgotten is not recognised any more: pushed again, it is sent again.\n"
    )
    assert await counts(journal) == {State.UNKNOWN: 3}


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("90m", 5_400), ("45s", 45)])
def test_durations_have_a_unit(text: str, seconds: float) -> None:
    """Days, hours, minutes and seconds are told apart by a letter."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "1w", "-1d", "1.5d", "3O d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A number without a unit could be anything."""
    with pytest.raises(ConfigurationError, match="30d, 12h, 90m or 45s"):
        seconds_of(text)


# --- mistakes of use --------------------------------------------------------------------------------------------------

VERBS: Sequence[tuple[str, ...]] = (
    ("status",),
    ("list",),
    ("resolve", "--all", "--applied", "--reason", "seen"),
    ("prune", "--older-than", "30d"),
    ("retry",),
)


def fails(arguments: Sequence[str], capsys: Captured) -> str:
    """The one sentence of a wrong use."""
    assert run(["journal", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("Error: ")
    assert told.err.count("\n") == 1
    return told.err


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_what_is_no_journal_is_one_sentence(verb: Sequence[str], tmp_path: Path, capsys: Captured) -> None:
    """A path that is missing, a folder, empty, or something else is told, and nothing is made beside it."""
    for name, content in {
        "empty": b"",
        "text": b"code;comment\n" * 100,
        "cut": b"SQLite format 3\0" + bytes(90),
    }.items():
        (tmp_path / name).write_bytes(content)
    for name, told in {
        "missing": "there is no such file",
        "no/such/folder": "there is no such file",
        ".": "it is no file",
        "empty": "there is nothing in it",
        "text": "it is no journal, or is damaged",
        "cut": "it is",
    }.items():
        assert told in fails([verb[0], str(tmp_path / name), *verb[1:]], capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "empty", "text"]


def test_contradictions_are_one_sentence(capsys: Captured) -> None:
    """Either it was applied or it was not, of actions that are named one way, for a reason."""
    both = ["resolve", "x", "id", "--applied", "--not-applied", "--reason", "seen"]
    assert "either --applied or --not-applied" in fails(both, capsys)
    assert "either --applied or --not-applied" in fails(["resolve", "x", "id", "--reason", "seen"], capsys)
    assert "--reason" in fails(["resolve", "x", "id", "--applied"], capsys)
    assert "give one of them" in fails(["retry", "x", "id", "--all"], capsys)
    assert "--state" in fails(["list", "x", "--state", "lost"], capsys)
    assert "--older-than" in fails(["prune", "x", "--older-than", "30"], capsys)
    assert "--older-than" in fails(["prune", "x"], capsys)


def test_every_command_explains_itself(capsys: Captured) -> None:
    """Each of them has a help text, and the group shows them all."""
    for arguments in ([], ["--help"], *([verb[0], "--help"] for verb in VERBS)):
        assert run(["journal", *arguments]) == 0
        assert capsys.readouterr().out.startswith("Usage: confirma journal")


async def test_a_damaged_journal_is_one_sentence(journal: str) -> None:
    """A journal in which something was changed is not believed."""
    path = Path(journal)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"COMMENT", b"COMMENX"))
    with pytest.raises(JournalError, match="damaged"):
        list_actions(journal, ALL_STATES, as_json=True)
