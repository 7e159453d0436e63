"""Each test runs an interpreter of its own: what matters is how the plugin behaves where it is first loaded."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]

TEST_FILE = """
import pytest

@pytest.mark.asyncio
async def test_sandbox(confirma_sandbox):
    assert confirma_sandbox.base_url.startswith("http://127.0.0.1:")
    assert len(confirma_sandbox.ledger) == 0

def test_neighbour():
    pass
"""


def run_python(program: str, directory: Path) -> str:
    """What `program` printed."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n{program}"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout + done.stderr


def run_pytest(directory: Path, *options: str, before: str = "") -> str:
    """What pytest printed about `TEST_FILE`, with our plugin and those in `options` and no other."""
    (directory / "test_it.py").write_text(TEST_FILE)
    arguments = ["-p", "no:cacheprovider", "-p", "confirma_async.testing", *options]
    return run_python(
        "import os; os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'\n"
        f"{before}\n"
        f"import pytest; pytest.main({arguments!r})",
        directory,
    )


def test_the_fixture_hands_out_a_running_sandbox(tmp_path: Path) -> None:
    """A test that asks for `confirma_sandbox` gets one that runs, without configuring anything."""
    printed = run_pytest(tmp_path, "-p", "pytest_asyncio.plugin")
    assert "2 passed" in printed, printed


def test_without_pytest_asyncio_the_fixture_says_what_is_missing(tmp_path: Path) -> None:
    """Where pytest-asyncio is absent a test that asks for the sandbox is told so, and no other is disturbed."""
    printed = run_pytest(tmp_path, "-o", "markers=asyncio", before="sys.modules['pytest_asyncio'] = None")
    assert "needs pytest-asyncio, which is not installed" in printed, printed
    assert "1 passed, 1 error" in printed, printed


def test_loading_the_plugin_does_not_load_the_sandbox(tmp_path: Path) -> None:
    """A pytest run that uses no sandbox does not pay for its import."""
    printed = run_python(
        "import confirma_async.testing\nprint('confirma_async.sandbox' in sys.modules)",
        tmp_path,
    )
    assert printed == "False\n"
