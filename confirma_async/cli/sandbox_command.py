"""`confirma sandbox`: a sandbox to send to, until Ctrl-C."""

import asyncio
from collections.abc import Iterator

from ..errors import ConfigurationError
from ..sandbox import Sandbox
from .display import Display
from .interruption import Interruption
from .output import write_lines
from .summary import counted

__all__ = ["serve_sandbox"]


async def serve_sandbox(port: int, display: Display) -> int:
    """Run a sandbox until Ctrl-C.

    Args:
        port: Where it listens on loopback; 0 lets the system choose.
        display: Where to tell of its end.

    Raises:
        ConfigurationError: The port cannot be had.
    """
    ended = asyncio.Event()
    sandbox = Sandbox(port=port, keep_ledger=False)
    with Interruption(display) as interruption:
        interruption.call(ended.set)
        try:
            await sandbox.start()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigurationError(f"Port {port} cannot be had: {reason}.") from None
        try:
            write_lines(_directions(sandbox))
            await ended.wait()
        finally:
            await sandbox.stop()
    display.say(f"The sandbox has ended; {counted(len(sandbox.ledger), 'action')} took effect in it.")
    return 0


def _directions(sandbox: Sandbox) -> Iterator[str]:
    yield "A sandbox of the Confirma service runs here until Ctrl-C."
    yield ""
    yield f"base URL  {sandbox.base_url}"
    yield f"token     {sandbox.token}"
    yield ""
    yield "To send to it, type in another terminal:"
    yield ""
    yield "  export CONFIRMA_ENVIRONMENT=staging"
    yield f"  export CONFIRMA_BASE_URL={sandbox.base_url}"
    yield f"  export CONFIRMA_TOKEN={sandbox.token}"
    yield "  confirma push actions.jsonl"
