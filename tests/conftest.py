"""What every test shares."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from confirma_async import BatchPolicy, ConfirmaClient, Environment, MemoryTokenStore, RetryPolicy
from confirma_async.sandbox import Sandbox

# pytest-asyncio asks for the current loop once, which on Python 3.11 makes one that nobody closes.
asyncio.set_event_loop(None)

QUICK_RETRY = RetryPolicy(
    min_backoff=0.001,
    first_ceiling=0.002,
    max_ceiling=0.02,
    first_throttled_ceiling=0.002,
    max_throttled_ceiling=0.02,
)
"""The default policy with pauses that a test can bear on a real clock."""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[ConfirmaClient]:
    """A client of the sandbox, with a token that renews itself and short pauses."""
    async with ConfirmaClient(
        environment=Environment.STAGING,
        token=MemoryTokenStore(sandbox.token),
        base_url=sandbox.base_url,
        batch=BatchPolicy(linger=0.001),
        retry=QUICK_RETRY,
    ) as client:
        yield client
