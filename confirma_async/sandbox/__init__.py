"""The sandbox: a local stand-in for the service, with a ledger of effects and faults on request.

    async with Sandbox() as sandbox:
        sandbox.inject(Fault.DROP_AFTER_APPLYING)
        ...                                        # send to sandbox.base_url with sandbox.token
        assert len(sandbox.ledger) == 1

What it answers is what the API's documents say; where they are silent it does what is written at `Service`.
"""

from .exchange import Answer, ReceivedRequest
from .faults import Fault, Injection
from .ledger import Effect, Ledger
from .server import Sandbox

__all__ = ["Answer", "Effect", "Fault", "Injection", "Ledger", "ReceivedRequest", "Sandbox"]
