"""Looks at the service, harmlessly, while the gate is shut."""

from .._core.assumptions import Assumptions
from .._core.disposition import GateReason
from .._core.request import validate_token
from .session import Session
from .token_keeper import TokenKeeper

__all__ = ["ServiceProbe"]


class ServiceProbe:
    """Tells whether the reason for a shut gate still stands, with GET `/validate`."""

    def __init__(self, session: Session, keeper: TokenKeeper, assumptions: Assumptions) -> None:
        self._session = session
        self._keeper = keeper
        self._assumptions = assumptions

    async def __call__(self, reason: GateReason) -> GateReason | None:
        """The reason that stands now, or None if sending makes sense again.

        Any answer but a 429 and a 5xx shows that the service is there, a 404 too: `/validate` is documented as still
        being developed. A dead token needs more: a yes to the token itself.
        """
        if reason is GateReason.TOKEN:
            return None if await self._keeper.revive() else GateReason.TOKEN
        if not self._assumptions.validate_tells_of_the_service:
            return None
        exchange = await self._session.exchange(validate_token(), token=self._keeper.held.token)
        status = exchange.evidence.status
        if status is None or status >= 500:
            return GateReason.UNREACHABLE
        if status == 429:
            return GateReason.THROTTLED
        return GateReason.DENIED if status in (403, 407) else None
