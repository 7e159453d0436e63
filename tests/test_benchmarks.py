"""Each benchmark runs at a tiny size. Figures are not judged here: a busy machine would make them lies."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import soak
from confirma_async.sandbox import Ledger

PROJECT = Path(__file__).parents[1]


def run(benchmark: str, *options: str) -> str:
    """What a benchmark printed."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", f"benchmarks.{benchmark}", *options],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_push_prints_a_table_and_a_line_of_json() -> None:
    """`benchmarks.push` compares `push()` and `send()` with the floor, and says what its figures do not show."""
    *printed, line = run("push", "--actions", "50", "--rounds", "2", "--batch", "20").splitlines()
    record = json.loads(line)
    assert record["benchmark"] == "push"
    assert record["settings"]["actions"] == 50
    assert set(record["results"]) == {"COMMENT, 20 per POST", "DIRECTPAYMENT, 20 per POST"}
    for title, found in record["results"].items():
        assert [figure["name"] for figure in found] == [
            "raw aiohttp",
            "push()",
            "tasks, futures, raw aiohttp",
            "send()",
        ]
        assert found[0]["ratio"] == 1.0
        assert all(figure["cpu_us"] > 0 and figure["wall_us"] > 0 for figure in found)
        assert title in printed
    assert any(text.startswith("Not shown: ") for text in printed)
    assert record["machine"]["aiohttp"]


def test_push_prints_nothing_but_json_if_asked() -> None:
    """`--json` leaves one line for a machine to read."""
    [line] = run("push", "--actions", "4", "--rounds", "1", "--code", "COMMENT", "--json").splitlines()
    assert list(json.loads(line)["results"]) == ["COMMENT, 100 per POST"]


def test_soak_finds_the_law_kept() -> None:
    """`benchmarks.soak` sends seeded runs through the sandbox, and says how all ended, and that all was true."""
    *printed, line = run("soak", "--seeds", "2", "--first", "7", "--actions", "60").splitlines()
    record = json.loads(line)
    assert record["benchmark"] == "soak"
    assert (record["schedules"], record["broken"]) == (2, {})
    assert [record[name] for name in ("lost", "false", "doubled", "disordered")] == [0, 0, 0, 0]
    assert sum(record["ends"].values()) == record["actions"] > 0
    assert sum(record["faults"].values()) > 0
    assert "Every action had one end, and every end was true." in printed
    assert any(text.startswith("Not shown: ") for text in printed)


def test_soak_names_the_seed_that_broke_the_law(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Were an end untrue, `benchmarks.soak` would say so, name the seed, and exit with 1."""
    monkeypatch.setattr(Ledger, "__iter__", lambda ledger: iter(ledger.effects[1:]))
    assert soak.main(["--seeds", "1", "--first", "5", "--actions", "20"]) == 1
    told = capsys.readouterr().out
    assert "BROKEN, seed 5: 1 actions are reported accepted, and are not there" in told
    assert "The law was broken." in told


def test_repeats_compares_effects() -> None:
    """`benchmarks.repeats` counts the effects of one payment: three with others on the worst rows, one with us."""
    *printed, line = run("repeats", "--posts", "1").splitlines()
    results = json.loads(line)["results"]
    for fault in ("apply, then reset", "apply, then 502", "apply, then hang"):
        effects = {name: cell["effects"] for name, cell in results[fault].items()}
        assert effects["tenacity"] == effects["aiohttp-retry, exceptions"] == 3
        assert effects["confirma_async"] == 1
    assert all(cells["confirma_async"]["effects"] <= 1 for cells in results.values())
    assert any(text.startswith("Not shown: ") for text in printed)
