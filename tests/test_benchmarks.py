"""Each benchmark runs at a tiny size. Figures are not judged here: a busy machine would make them lies."""

import json
import subprocess
import sys
from pathlib import Path

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
