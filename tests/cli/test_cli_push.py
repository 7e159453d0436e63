"""`confirma push`: what is sent, and what is told of it."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from confirma_async import JournalError, SqliteJournal
from confirma_async._io.journal_file import JournalFile
from confirma_async.cli.app import run
from confirma_async.cli.connection import Connection
from confirma_async.cli.display import Display
from confirma_async.cli.push_command import PushOptions, push
from confirma_async.codes import Environment
from confirma_async.sandbox import Fault, Sandbox

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CONFIRMA_")]:
        monkeypatch.delenv(name)


def line(code: str = "COMMENT", case_id: object = 2, *, comment: str = "secret", **members: object) -> str:
    data = {"invoiceNumber": 1, "caseId": case_id}
    return json.dumps({"code": code, "comment": comment, "data": data, **members})


def payment(**changes: object) -> str:
    data = {
        "invoiceNumber": 1,
        "caseId": 2,
        "paymentMethod": "Bankgiro",
        "amount": 250.75,
        "currency": "SEK",
        "paymentDate": "2026-02-09",
        "reference": "r",
        "outstandingCapitalAmount": 0,
        "outstandingInterestAmount": 0,
        "outstandingCostsAmount": 0,
    }
    return json.dumps({"code": "DIRECTPAYMENT", "data": {**data, **changes}})


def saved(folder: Path, *lines: str | bytes) -> str:
    path = folder / "actions.jsonl"
    path.write_bytes(b"".join((text if isinstance(text, bytes) else text.encode()) + b"\n" for text in lines))
    return str(path)


async def push_to(
    sandbox: Sandbox, path: str, *, give_up_after: float = 900.0, journal: str | None = None, account: str = ""
) -> int:
    options = PushOptions(
        path=path,
        connection=Connection.to(sandbox),
        journal=journal,
        account=account,
        allow_unknown_codes=False,
        give_up_after=give_up_after,
    )
    return await push(options, Display())


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_sends_lines_in_their_order(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> None:
    """Every line is sent once, in the order of the file where it matters: per case."""
    path = saved(tmp_path, *(line(case_id=1 + number % 7, comment=str(number)) for number in range(1_000)))
    assert await push_to(sandbox, path) == 0
    assert len(sandbox.ledger) == 1_000
    for case_id in range(1, 8):
        comments = [int(effect.action.comment or "") for effect in sandbox.ledger.for_case(case_id)]
        assert comments == sorted(comments)
    assert "accepted          1,000" in capsys.readouterr().out


async def test_good_lines_go_on_beside_bad_ones(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> None:
    """A line with mistakes is named on standard error and counted as not applied; the good ones are sent."""
    path = saved(tmp_path, line(comment="first"), payment(currency="SEX"), line("COMENT"), "", line(comment="last"))
    assert await push_to(sandbox, path) == 1
    assert [effect.action.comment for effect in sandbox.ledger] == ["first", "last"]
    told = capsys.readouterr()
    assert sorted(told.err.splitlines()) == [
        "line 2: data.currency: 'SEX' is not an ISO 4217 currency code such as SEK or EUR",
        (
            "line 3: code: 'COMENT' is none of COMMENT, WITHDRAW, DUEDATE, PAYMENTPLAN, OBJECTION, PAUSE, "
            "DIRECTPAYMENT; --allow-unknown-codes sends it as it is"
        ),
    ]
    assert "not applied           2  (2 with mistakes, which were never sent)" in told.out


async def test_a_mistake_that_repeats_is_counted(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> None:
    """After 20 lines with mistakes the rest is told by number and by the member at fault."""
    path = saved(tmp_path, *[line("COMENT")] * 30, *[line(case_id=None)] * 5)
    assert await push_to(sandbox, path) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 21
    assert told[-1] == "... and 15 more lines with mistakes: 10 at code, 5 at data.caseId"
    assert sandbox.posts == []


async def test_an_id_that_comes_twice_is_sent_once(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> None:
    """Two lines of one action_id and one content are one effect, and both are accepted."""
    path = saved(tmp_path, line(action_id="e-1"), line(action_id="e-1"), line(case_id=3, action_id="e-1"))
    assert await push_to(sandbox, path) == 1
    assert len(sandbox.ledger) == 1
    told = capsys.readouterr().out
    assert "accepted              2" in told
    assert "line 3, COMMENT, case 3: not applied (its action_id was used for other content)" in told


# --- what is told -----------------------------------------------------------------------------------------------------


async def test_tells_what_may_have_taken_effect(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> None:
    """After a lost answer a comment ends unknown and a due date is sent again; each is told with what to do."""
    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    due = json.dumps({"code": "DUEDATE", "data": {"invoiceNumber": 1, "caseId": 9, "dueDate": "2026-03-15"}})
    assert await push_to(sandbox, saved(tmp_path, line(case_id=7), due)) == 1
    told = capsys.readouterr().out
    assert "line 1, COMMENT, case 7: unknown (its answer was lost); it may have taken effect: look at" in told
    assert "accepted              1" in told
    assert "secret" not in told


async def test_tells_what_was_refused(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> None:
    """An action that the service refuses is told with its line, and its neighbours are accepted."""
    sandbox.poison(lambda action: action.case_id == 30)
    path = saved(tmp_path, *(line(case_id=number) for number in range(1, 51)))
    assert await push_to(sandbox, path) == 1
    told = capsys.readouterr().out
    assert "line 30, COMMENT, case 30: rejected (answered 400); it had no effect: mend it" in told
    assert "accepted             49" in told


async def test_a_dead_token_is_one_sentence(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> None:
    """A token that the service does not accept ends the run with the account, and one sentence."""
    connection = Connection(environment=Environment.STAGING, token="wrong", base_url=sandbox.base_url)
    options = PushOptions(
        path=saved(tmp_path, line()), connection=connection, allow_unknown_codes=False, give_up_after=900.0
    )
    assert await push(options, Display()) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1].startswith("Error: The service does not accept the token; a token file")
    assert "not applied           1" in told.out
    assert len(sandbox.ledger) == 0


async def test_gives_up_on_a_service_that_is_not_there(
    sandbox: Sandbox, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When patience with an absent service ends, reading stops too: the rest of a long file would only wait as long."""
    monkeypatch.setattr("confirma_async.cli.run.GRACE", 0.2)
    connection = Connection.to(sandbox)
    await sandbox.stop()
    path = saved(tmp_path, *(line(case_id=number) for number in range(1, 20_001)))
    options = PushOptions(path=path, connection=connection, allow_unknown_codes=False, give_up_after=0.5)
    assert await push(options, Display()) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "Error: Gave up after 0.5 s: the service cannot be reached."
    ended = re.search(r"Ended early: what follows line ([\d,]+) was not read, and not sent\.", told.out)
    not_applied = re.search(r"not applied +([\d,]+)", told.out)
    assert ended is not None
    assert not_applied is not None
    assert ended[1] == not_applied[1]
    assert 0 < int(ended[1].replace(",", "")) < 20_000


async def test_asks_about_an_address_that_knows_no_actions(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> None:
    """Where everything is answered 404, the base URL is put in doubt rather than the actions alone."""
    connection = Connection(
        environment=Environment.STAGING, token=sandbox.token, base_url=sandbox.base_url.removesuffix("/partner")
    )
    options = PushOptions(
        path=saved(tmp_path, line()), connection=connection, allow_unknown_codes=False, give_up_after=900.0
    )
    sandbox.inject(Fault.status(404), path=None, times=None)
    assert await push(options, Display()) == 1
    assert "is the base URL right?" in capsys.readouterr().err


async def test_a_renewed_token_is_kept_in_its_file(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> None:
    """A token file takes the token that replaces an expired one."""
    token_file = tmp_path / "token"
    token_file.write_text(sandbox.token)
    sandbox.expire_token()
    connection = Connection.chosen(
        environment="staging", token_file=str(token_file), base_url=sandbox.base_url, variables={}
    )
    options = PushOptions(
        path=saved(tmp_path, line()), connection=connection, allow_unknown_codes=False, give_up_after=900.0
    )
    assert await push(options, Display()) == 0
    assert json.loads(token_file.read_text())["token"] == sandbox.token
    assert "1 token renewal" in capsys.readouterr().out


# --- the journal ------------------------------------------------------------------------------------------------------


async def test_what_a_journal_knows_is_not_sent_again(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> None:
    """Started again with a mended file, a push sends what is left, nothing twice, and says so where it is read."""
    journal = str(tmp_path / "journal")
    path = saved(tmp_path, line(comment="first"), line("COMENT"), line(comment="gone"), line(comment="last"))
    assert await push_to(sandbox, path, journal=journal) == 1
    assert capsys.readouterr().err.startswith("line 2: code: 'COMENT' is none of")
    path = saved(tmp_path, line(comment="new"), line(comment="first"), line(comment="mended"), line(comment="last"))
    assert await push_to(sandbox, path, journal=journal) == 0
    assert [effect.action.comment for effect in sandbox.ledger] == ["first", "gone", "last", "new", "mended"]
    told = capsys.readouterr()
    assert "accepted              4  (2 of them known from the journal, NOT sent now)\n" in told.out
    assert "2 actions in 1 POST" in told.out
    assert told.err.startswith(
        f"Note: 2 of 4 lines were NOT sent now: the journal {journal} knows them from an earlier"
    )
    assert told.err.endswith("push it with a journal of its own: --journal PATH.\n")


async def test_equal_lines_are_as_many_effects(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> None:
    """Equal lines are meant: each is sent, none of them twice, and one more of them is one more effect."""
    journal = str(tmp_path / "journal")
    for times in (2, 3, 3, 1):
        assert await push_to(sandbox, saved(tmp_path, *[payment()] * times), journal=journal) == 0
    assert len(sandbox.ledger) == 3


async def test_unknown_actions_are_told_with_how_to_settle_them(
    sandbox: Sandbox, tmp_path: Path, capsys: Captured
) -> None:
    """What is unknown is told with the very commands that settle it, again in every run, and is never sent again."""
    journal = str(tmp_path / "a journal")
    sandbox.inject(Fault.DROP_AFTER_APPLYING)
    path = saved(tmp_path, line(case_id=7))
    for reason in ("its answer was lost", "known from the journal"):
        assert await push_to(sandbox, path, journal=journal) == 1
        told = capsys.readouterr().out
        assert f"line 1, COMMENT, case 7: unknown ({reason}); it may have taken effect" in told
        assert f"  confirma journal list '{journal}'\n" in told
        assert f"  confirma journal resolve '{journal}' ID ... --applied --reason TEXT\n" in told
    assert len(sandbox.ledger) == 1
    path = saved(tmp_path, line(case_id=8))
    assert await push_to(sandbox, path, journal=journal) == 0
    assert "(1 more are unknown in the journal than this run has told of)" in capsys.readouterr().out


async def test_a_journal_that_fails_ends_the_push(
    sandbox: Sandbox, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the journal cannot be written, nothing is sent without it, and the push ends with one sentence."""

    def full(*_: object) -> None:
        raise JournalError("The journal could not be written: the disk is full.")

    monkeypatch.setattr(JournalFile, "begin", full)
    path = saved(tmp_path, *(line(case_id=number) for number in range(1, 20_001)))
    assert await push_to(sandbox, path, journal=str(tmp_path / "journal")) == 1
    told = capsys.readouterr()
    assert sandbox.posts == []
    assert told.err.count("Error: ") == 1
    assert "the disk is full" in told.err
    assert "it could not be journaled" in told.out
    assert "was not read, and not sent." in told.out
    assert " POST" not in told.out
    assert "The same command goes on from here" in told.out


async def test_a_journal_that_misses_an_end_is_told(
    sandbox: Sandbox, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an end could not be kept, the account tells it, and that the journal calls the action unknown."""

    def full(*_: object) -> None:
        raise JournalError("The journal could not be written: the disk is full.")

    monkeypatch.setattr(JournalFile, "end", full)
    assert await push_to(sandbox, saved(tmp_path, line()), journal=str(tmp_path / "journal")) == 0
    told = capsys.readouterr().out
    assert "accepted              1\n" in told
    assert "(1 more are unknown in the journal than this run has told of)" in told


async def test_an_account_survives_a_bad_end(
    sandbox: Sandbox, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that cannot be closed has kept what was written: the account stands, and nothing says otherwise."""
    close = SqliteJournal.close

    async def failing(journal: SqliteJournal) -> None:
        await close(journal)
        raise JournalError("The journal could not be closed.")

    monkeypatch.setattr(SqliteJournal, "close", failing)
    assert await push_to(sandbox, saved(tmp_path, line()), journal=str(tmp_path / "journal")) == 0
    told = capsys.readouterr()
    assert "accepted              1\n" in told.out
    assert "othing was sent" not in told.out + told.err


async def test_a_journal_of_another_account_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    """A journal is of one target: another label is refused, with what to do, before anything is sent."""
    journal, path = str(tmp_path / "journal"), saved(tmp_path, line())
    assert await push_to(sandbox, path, journal=journal, account="first") == 0
    with pytest.raises(JournalError, match=r"it is of staging at .*, account 'first', .* --journal PATH names another"):
        await push_to(sandbox, path, journal=journal, account="second")
    assert len(sandbox.ledger) == 1


async def test_sigterm_waits_for_answers_within_the_grace(
    sandbox: Sandbox, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that does not come within the grace leaves its action UNKNOWN, and the account says so."""
    monkeypatch.setattr("confirma_async.cli.run.GRACE", 0.1)
    sandbox.inject(Fault.HANG_AFTER_APPLYING)
    pushing = asyncio.create_task(push_to(sandbox, saved(tmp_path, line()), journal=str(tmp_path / "journal")))
    while not len(sandbox.ledger):
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await pushing == 143
    assert "unknown               1" in capsys.readouterr().out


# --- mistakes of use --------------------------------------------------------------------------------------------------


def fails(arguments: Sequence[str], capsys: Captured) -> str:
    """The one sentence of a wrong use."""
    assert run(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith("Error: ")
    return told.err


def test_wrong_words_are_one_sentence(capsys: Captured) -> None:
    """A missing argument, an unknown option or command, and a wrong value are each told in one line."""
    assert "Missing argument" in fails(["push"], capsys)
    assert "--tokn" in fails(["push", "x", "--tokn", "y"], capsys)
    assert "No such command 'psuh'" in fails(["psuh"], capsys)
    assert "--give-up-after" in fails(["push", "x", "--give-up-after", "soon"], capsys)
    assert "--port" in fails(["sandbox", "--port", "70000"], capsys)


def test_the_token_is_no_argument(capsys: Captured) -> None:
    """There is no option that takes the token itself, where every user of the machine would see it."""
    assert "--token" in fails(["push", "x", "--token", "hidden"], capsys)
    assert run(["push", "--help"]) == 0
    assert "--token " not in capsys.readouterr().out


def test_missing_settings_are_one_sentence(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an environment or a token nothing is sent, and the sentence says where to name it."""
    path = saved(tmp_path, line())
    assert "--environment (or CONFIRMA_ENVIRONMENT)" in fails(["push", path], capsys)
    assert "'test' is neither" in fails(["push", path, "--environment", "test"], capsys)
    assert "There is no token" in fails(["push", path, "--environment", "staging"], capsys)
    assert "leave out --base-url" in fails(["push", path, "--sandbox", "--base-url", "https://x"], capsys)
    monkeypatch.setenv("CONFIRMA_TOKEN", "token")
    in_the_clear = ["push", path, "--environment", "staging", "--base-url", "http://example.com/api"]
    assert "example.com in the clear; use https" in fails(in_the_clear, capsys)
    assert "not a URL" in fails(["push", path, "--environment", "staging", "--base-url", "partner"], capsys)


def test_journals_that_contradict_are_one_sentence(tmp_path: Path, capsys: Captured) -> None:
    """Whether there is a journal is said once, and standard input needs it said."""
    path = saved(tmp_path, line())
    real = ["--environment", "staging"]
    assert "name one with --journal PATH, or say --no-journal" in fails(["push", "-", *real], capsys)
    assert "leave out --journal" in fails(["push", path, *real, "--journal", "x", "--no-journal"], capsys)
    assert "leave out --journal" in fails(["push", path, "--sandbox", "--journal", "x"], capsys)
    assert "leave out --account" in fails(["push", path, "--sandbox", "--account", "x"], capsys)


async def test_unusable_journals_are_one_sentence(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> None:
    """A journal that cannot be used is told in one sentence with what to do, and nothing is sent."""
    path = saved(tmp_path, line())

    def told(*options: str) -> str:
        arguments = ["push", path, "--environment", "staging", "--base-url", sandbox.base_url, *options]
        return fails(arguments, capsys)

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CONFIRMA_TOKEN", sandbox.token)
        for options, reason in [
            (("--journal", str(tmp_path / "missing" / "journal")), "there is no such folder"),
            (("--journal", str(tmp_path)), "it is a folder"),
            (("--journal", path), "it is no journal, or is damaged"),
        ]:
            sentence = await asyncio.to_thread(told, *options)
            assert reason in sentence
            assert "Nothing was sent; if no earlier run sent any of it, --journal PATH names another" in sentence
    assert sandbox.requests == []


def test_the_sandbox_keeps_no_journal(tmp_path: Path) -> None:
    """A sandbox forgets everything, so nothing is kept of what was sent to it."""
    assert run(["push", saved(tmp_path, line()), "--sandbox"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["actions.jsonl"]


def test_unusable_token_files_are_one_sentence(tmp_path: Path, capsys: Captured) -> None:
    """A token file that is missing, a folder, empty, of another environment or unreadable is named, with the reason."""
    path = saved(tmp_path, line())

    def told(token_file: Path) -> str:
        return fails(["push", path, "--environment", "staging", "--token-file", str(token_file)], capsys)

    assert "could not be read: No such file" in told(tmp_path / "missing")
    assert "could not be read: Is a directory" in told(tmp_path)
    token_file = tmp_path / "token"
    token_file.write_text("")
    assert "holds no token" in told(token_file)
    token_file.write_text('{"token": "t", "environment": "production"}')
    assert "belongs to production" in told(token_file)


def test_what_may_not_be_read_is_one_sentence(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file and a token file without permission are told as such."""
    path, token_file = saved(tmp_path, line()), tmp_path / "token"
    token_file.write_text("token")
    # A superuser, as whom tests may run, is denied nothing: so it is feigned.
    opened = os.open

    def denied(wanted: str | Path, *arguments: int) -> int:
        if str(wanted) == path:
            raise PermissionError(13, "Permission denied")
        return opened(wanted, *arguments)

    monkeypatch.setattr(os, "open", denied)
    assert "cannot be read: Permission denied" in fails(["push", path, "--sandbox"], capsys)

    def denied_text(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(Path, "read_text", denied_text)
    monkeypatch.setattr(Path, "read_bytes", denied_text)
    nowhere = "https://127.0.0.1:9/partner"
    arguments = ["push", path, "--environment", "staging", "--base-url", nowhere, "--token-file", str(token_file)]
    assert "could not be read: Permission denied" in fails(arguments, capsys)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("code;comment\nCOMMENT;x", "it begins with 'c'"),
        ('{"actions": [', "it is not complete JSON"),
        ('[{"code": "COMMENT",}]', "trailing comma in object at line 1, column"),
        ("\0\0", "it holds NUL bytes"),
        ("[]".encode("utf-16"), "it is UTF-16"),
        ('{\n"invoices": []\n}', "it is neither an action"),
    ],
)
def test_unusable_files_are_one_sentence(tmp_path: Path, capsys: Captured, content: str | bytes, told: str) -> None:
    """A file that is nothing of what is read is refused whole, and nothing is sent."""
    assert told in fails(["push", saved(tmp_path, content), "--sandbox"], capsys)


def test_missing_files_are_one_sentence(tmp_path: Path, capsys: Captured) -> None:
    """A missing file and a folder are told as such."""
    assert "There is no file" in fails(["push", str(tmp_path / "x.jsonl"), "--sandbox"], capsys)
    assert "is a folder" in fails(["push", str(tmp_path), "--sandbox"], capsys)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (payment(amount=12.345), "data.amount: 12.345 has more than two decimals"),
        (payment(amount="NaN"), "data.amount: takes an amount"),
        (payment().replace("250.75", "NaN"), "it is not JSON: invalid character"),
        (payment().replace("250.75", "1e400"), "data.amount: 1.000E+400 is too large"),
        (payment().replace("250.75", "1e999999999999999999999"), "number"),
        (payment(currency="sek"), "data.currency: 'sek' is not an ISO 4217"),
        (payment(paymentDate="2026-02-30"), "data.paymentDate: takes a date as YYYY-MM-DD, not '2026-02-30'"),
        (payment(reference=None), "data.reference: takes a string"),
        (line(case_id=-5), "data.caseId: -5 is not a number from 1"),
        (line(case_id=True), "data.caseId: takes an integer, not a boolean"),
        (line(case_id=1.5), "data.caseId: takes an integer"),
        (line(datum=1), "datum: unknown member"),
        ('{"code":"COMMENT","comment":"cut', "it is not complete JSON"),
        (line(comment="å").encode().decode("unicode_escape").encode("latin-1"), "it is not UTF-8"),
        (b'{"code":"COMMENT","comment":"\0"}', "it is not JSON: invalid character"),
    ],
)
def test_each_mistake_of_a_line_is_one_sentence(tmp_path: Path, capsys: Captured, bad: str | bytes, told: str) -> None:
    """A line with a mistake is told with its number, member and what is allowed; its neighbours are sent."""
    assert run(["push", saved(tmp_path, line(), bad, line()), "--sandbox"]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("line 2: ")
    assert told in shown.err
    assert shown.err.count("\n") == 1
    assert "accepted              2" in shown.out


def test_nothing_to_send_is_no_mistake(tmp_path: Path, capsys: Captured) -> None:
    """An empty file is told, and is a success."""
    assert run(["push", saved(tmp_path, ""), "--sandbox"]) == 0
    assert capsys.readouterr().out.endswith(": nothing to send.\n")


def test_unknown_codes_on_request(tmp_path: Path, capsys: Captured) -> None:
    """With --allow-unknown-codes an action of a code that is not documented is sent as it is."""
    assert run(["push", saved(tmp_path, line("NEWCODE")), "--sandbox", "--allow-unknown-codes"]) == 0
    assert "The sandbox has 1 effect in its ledger." in capsys.readouterr().out


def test_a_code_cannot_be_told_in_every_encoding(tmp_path: Path, capsys: Captured) -> None:
    """A file name that the terminal cannot show is shown escaped."""
    path = tmp_path / "p\udcff\x1b.jsonl"
    assert "There is no file" in fails(["push", str(path), "--sandbox"], capsys)


def test_help_and_version(capsys: Captured) -> None:
    """Every command explains itself, and the version is told."""
    for arguments in ([], ["--help"], ["push", "--help"], ["demo", "-h"], ["sandbox", "--help"]):
        assert run(arguments) == 0
        assert capsys.readouterr().out.startswith("Usage: confirma")
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("confirma 0.")


async def test_a_member_that_comes_twice_is_a_mistake(sandbox: Sandbox, tmp_path: Path, capsys: Captured) -> None:
    """Nobody knows which of two amounts was meant, so neither is sent."""
    twice = payment().replace('"amount": 250.75', '"amount": 250.75, "amount": 2507.5')
    assert await push_to(sandbox, saved(tmp_path, twice, payment())) == 1
    assert len(sandbox.ledger) == 1
    assert "line 1: it has the member 'amount' twice" in capsys.readouterr().err
