"""A reconciler, shown working: it looks into the sandbox's ledger as one would look at the service."""

import asyncio

from .._core.disposition import Evidence
from ..codes import Finding
from ..models import Action
from .ledger import Ledger, content_of

__all__ = ["LedgerReconciler"]


class LedgerReconciler:
    """Looks whether an action stands in a ledger; give it to a client as `reconciler`.

    Actions are told apart by their content. Of two equal ones it cannot say which it found, nor can any reconciler: do
    not use one where equal actions are submitted.

    Args:
        ledger: Where to look.
        visible_after: Seconds until an effect shows, by the event loop's clock. Until then it is "not there": what an
            early look at such services says, too.
    """

    def __init__(self, ledger: Ledger, *, visible_after: float = 0.0) -> None:
        self._ledger = ledger
        self._visible_after = visible_after
        self.looks = 0
        """How often it was asked."""

    async def probe(self, action: Action, evidence: Evidence) -> Finding:  # noqa: ARG002 - part of the protocol
        """Look once: APPLIED, if an action of that content has been there for long enough, else NOT_APPLIED."""
        self.looks += 1
        content = content_of(action)
        until = asyncio.get_running_loop().time() - self._visible_after
        shows = any(
            effect.at <= until and content_of(effect.action) == content
            for effect in self._ledger.for_case(action.case_id)
        )
        return Finding.APPLIED if shows else Finding.NOT_APPLIED
