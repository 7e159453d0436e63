"""The sandbox: a local stand-in for the service, with a ledger of effects and faults on request.

    async with Sandbox() as sandbox:
        sandbox.inject(Fault.DROP_AFTER_APPLYING)
        ...                                        # send to sandbox.base_url with sandbox.token
        assert len(sandbox.ledger) == 1

What it answers is what the API's documents say; where they are silent it does what is written at `Service`. It can also
do everything wrong that a service can, and tell afterwards whether what a client reported of it is true:

    sandbox.unleash(FaultSchedule.drawn(seed=3, actions=len(actions)))
    outcomes = [outcome async for outcome in client.actions.push(actions)]
    assert sandbox.audit(actions, outcomes).agrees
"""

from .audit import Audit, audit
from .exchange import Answer, ReceivedRequest
from .faults import Fault, Injection
from .ledger import Effect, Ledger
from .reconciler import LedgerReconciler
from .schedule import FaultSchedule, OneIn, PlannedFault, PlannedOutage, PlannedTokenEnd
from .server import Sandbox

__all__ = [
    "Answer",
    "Audit",
    "Effect",
    "Fault",
    "FaultSchedule",
    "Injection",
    "Ledger",
    "LedgerReconciler",
    "OneIn",
    "PlannedFault",
    "PlannedOutage",
    "PlannedTokenEnd",
    "ReceivedRequest",
    "Sandbox",
    "audit",
]
