"""README is product: its commands have their shape, its Python runs, its table of assumptions is the register's."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from confirma_async._core.assumptions import register
from confirma_async.sandbox import Sandbox

README = Path(__file__).parent.parent.joinpath("README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


PYTHON = blocks("python")


def test_readme_opens_with_one_command_that_shows_the_product_and_one_that_tests_it() -> None:
    """There are two shell blocks of one line each: the demo, and the tests."""
    demo, tests = blocks("sh")
    assert demo.count("\n") == 1
    assert demo.endswith("confirma demo\n")
    assert tests.count("\n") == 1
    assert "pytest" in tests


def test_readme_lists_every_assumption_with_its_default_and_its_reason() -> None:
    """The table of assumptions is the register, row for row."""
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| (.+) \|$", README, flags=re.MULTILINE)
    assert rows == [(entry.name, repr(entry.default), entry.reason) for entry in register()]


@pytest.mark.parametrize("source", PYTHON, ids=range(len(PYTHON)))
async def test_readmes_python_runs(source: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """Every Python block runs as it stands, those with tests under pytest, without a warning."""
    script = tmp_path / "test_block.py"
    script.write_text(source)
    token = tmp_path / "confirma-token"
    token.write_text(sandbox.token)
    runner = ["-W", "error"]
    if "def test_" in source:
        runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *runner,
        str(script),
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "CONFIRMA_ENVIRONMENT": "staging",
            "CONFIRMA_TOKEN_FILE": str(token),
            "CONFIRMA_BASE_URL": sandbox.base_url,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
