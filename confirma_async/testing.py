"""A pytest fixture that hands a test its own sandbox. Installing this package is enough: pytest finds it.

    async def test_pays(confirma_sandbox: Sandbox) -> None:
        confirma_sandbox.inject(Fault.unavailable(retry_after=1))
        await pay(base_url=confirma_sandbox.base_url, token=confirma_sandbox.token)
        assert [effect.action.code for effect in confirma_sandbox.ledger] == ["DIRECTPAYMENT"]

It needs pytest-asyncio. What a sandbox can do is in `confirma_async.sandbox`.
"""

from typing import TYPE_CHECKING, NoReturn

import pytest

# Wherever this package is installed, every pytest run loads this module; so the sandbox is imported on use.
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .sandbox import Sandbox

try:
    from pytest_asyncio import fixture as async_fixture
except ImportError:
    async_fixture = None  # type: ignore[assignment]

__all__ = ["confirma_sandbox"]


async def _running_sandbox() -> "AsyncIterator[Sandbox]":
    """A sandbox that runs for this test: `confirma_async.sandbox.Sandbox`, started, on a port of its own."""
    from .sandbox import Sandbox  # noqa: PLC0415

    async with Sandbox() as sandbox:
        yield sandbox


def _missing_plugin() -> NoReturn:
    """A started `confirma_async.sandbox.Sandbox`; it needs pytest-asyncio, which is not installed here."""
    pytest.fail("The fixture confirma_sandbox needs pytest-asyncio, which is not installed.", pytrace=False)


if async_fixture is None:
    confirma_sandbox = pytest.fixture(name="confirma_sandbox")(_missing_plugin)
else:
    confirma_sandbox = async_fixture(name="confirma_sandbox")(_running_sandbox)
