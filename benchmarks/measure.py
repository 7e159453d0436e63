"""What every benchmark shares: the server, interleaved rounds, medians, the table and the JSON line."""

import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from attrs import asdict, frozen

from confirma_async import __version__

__all__ = ["Candidate", "Figure", "Run", "figures", "machine", "print_report", "rounds_of", "running_server", "table"]

Run = Callable[[], Awaitable[None]]
"""The work that is measured. What comes before it, such as opening a session, is not."""


@frozen
class Candidate:
    """One way to do the same work."""

    name: str
    run: Run


@frozen
class Figure:
    """The medians of one candidate, per action."""

    name: str
    cpu_us: float
    """Client CPU, in microseconds."""
    wall_us: float
    """Elapsed time, in microseconds."""
    ratio: float
    """CPU over the CPU of the first candidate: the median of the rounds' own ratios."""


@contextmanager
def running_server() -> Iterator[str]:
    """A server in a process of its own that answers everything with `200 {}`; yields its base URL."""
    command = [sys.executable, str(Path(__file__).with_name("server.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            process.wait(10)


async def _timed(run: Run) -> tuple[float, float]:
    """CPU and wall seconds of one run, the collector's debts paid before it."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    await run()
    return time.process_time() - cpu, time.perf_counter() - wall


async def rounds_of(candidates: Sequence[Candidate], *, rounds: int) -> list[dict[str, tuple[float, float]]]:
    """CPU and wall seconds of each candidate in each round. Every other round goes backwards."""
    measured: list[dict[str, tuple[float, float]]] = []
    for number in range(rounds):
        order = candidates if number % 2 == 0 else candidates[::-1]
        measured.append({candidate.name: await _timed(candidate.run) for candidate in order})
    return measured


def figures(measured: Sequence[Mapping[str, tuple[float, float]]], names: Sequence[str], actions: int) -> list[Figure]:
    """The medians of what `rounds_of` measured, in the order of `names`; the first is what ratios are taken to."""
    floor = names[0]
    return [
        Figure(
            name,
            cpu_us=round(median(each[name][0] for each in measured) / actions * 1e6, 3),
            wall_us=round(median(each[name][1] for each in measured) / actions * 1e6, 3),
            ratio=round(median(each[name][0] / max(each[floor][0], 1e-9) for each in measured), 2),
        )
        for name in names
    ]


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "confirma_async": __version__,
        **{name: version(name) for name in ("aiohttp", "attrs", "cattrs", "msgspec")},
    }


def table(title: str, found: Sequence[Figure]) -> str:
    """The figures for a person."""
    width = max(len(figure.name) for figure in found)
    lines = [title, f"  {'':{width}}  {'CPU µs':>9}  {'wall µs':>9}  {'ratio':>6}"]
    lines += [f"  {f.name:{width}}  {f.cpu_us:9.2f}  {f.wall_us:9.2f}  {f.ratio:6.2f}" for f in found]
    return "\n".join(lines)


def print_report(
    benchmark: str,
    results: Mapping[str, Sequence[Figure]],
    *,
    settings: Mapping[str, Any],
    does_not_show: str,
    only_json: bool,
) -> None:
    """Print a table for each title in `results`, what the figures do not show, and the line of JSON."""
    if not only_json:
        for title, found in results.items():
            print(table(title, found), end="\n\n")
        print(f"Not shown: {does_not_show}", end="\n\n")
    record = {
        "benchmark": benchmark,
        "settings": dict(settings),
        "machine": machine(),
        "unit": "microseconds per action, medians",
        "results": {title: [asdict(figure) for figure in found] for title, found in results.items()},
        "not_shown": does_not_show,
    }
    print(json.dumps(record))
