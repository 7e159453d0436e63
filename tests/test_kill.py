"""kill -9: a push that is killed while requests are in flight, and started again, is true.

The processes are real; the service runs here, so that it can say when one of them is to die. `benchmarks.kill` does the
same more often.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.kill import ACTIONS, KilledPush, Moment, lines_of, moments
from confirma_async.sandbox import Sandbox

PROJECT = Path(__file__).parents[1]

COMMENT = b'{"code":"COMMENT","comment":"%b","data":{"invoiceNumber":1,"caseId":2}}'


@pytest.mark.timeout(120)
async def test_a_push_is_true_however_often_it_is_killed(sandbox: Sandbox, tmp_path: Path) -> None:
    """20,000 mixed actions, killed again and again, end once each: ACCEPTED, or UNKNOWN if in flight at a kill."""
    push = KilledPush(tmp_path, sandbox, lines_of(ACTIONS, seed=7))
    for moment in moments(6, up_to=40, seed=7):
        assert await push.killed(moment)
    push.judge(*await push.finished())
    assert push.contradictions == []
    assert push.kills == 6
    assert len(sandbox.ledger) > ACTIONS - 6 * 400


async def test_a_file_may_be_mended_between_two_runs(sandbox: Sandbox, tmp_path: Path) -> None:
    """Lines may be deleted, inserted and mended before a killed push is started again: nobody else's end changes."""
    lines = lines_of(3_000, seed=8)
    lines[1_500] = COMMENT % b"broken" + b"}"
    push = KilledPush(tmp_path, sandbox, lines)
    assert await push.killed(Moment(8, applies=True, pause=0.0))
    lines[1_500] = COMMENT % b"mended"
    del lines[10]
    lines.insert(5, COMMENT % b"inserted")
    # One more of an equal line, in front of all the others.
    lines.insert(0, lines[-1])
    push.write(lines)
    assert await push.killed(Moment(4, applies=False, pause=0.0))
    push.judge(*await push.finished())
    assert push.contradictions == []
    comments = [effect.action.comment for effect in sandbox.ledger]
    assert comments.count("mended") == comments.count("inserted") == 1


async def test_what_is_not_true_is_found(sandbox: Sandbox, tmp_path: Path) -> None:
    """The check itself finds an effect that came twice, one that is missing, and an account that says otherwise."""
    push = KilledPush(tmp_path, sandbox, lines_of(300, seed=9))
    assert await push.killed(Moment(2, applies=True, pause=0.0))
    code, out = await push.finished()
    push.judge(code, out)
    assert push.contradictions == []
    effect = sandbox.ledger[0]
    sandbox.ledger.append(1, [effect.action], [effect.element])
    push.write([*lines_of(300, seed=9), COMMENT % b"never sent"])
    push.judge(0, out.replace("accepted ", "accepted 1"))
    told = "\n".join(push.contradictions)
    assert "1 actions are there more than once" in told
    assert "1 effects are more than were submitted" in told
    assert "1 lines are not in the journal" in told
    assert "the account tells of 1" in told
    assert "the exit code is 0" in told


def test_the_benchmark_prints_a_line_of_json() -> None:
    """`benchmarks.kill` says of every push whether it was true, and ends with a line of JSON."""
    command = [sys.executable, "-m", "benchmarks.kill", "--kills", "2", "--per-push", "2", "--actions", "900"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")
    *printed, line = done.stdout.splitlines()
    assert printed[0].startswith("seed   1: 2 killed, ")
    assert printed[0].endswith(": true")
    record = json.loads(line)
    assert (record["pushes"], record["true"], record["kills"]) == (1, 1, 2)
