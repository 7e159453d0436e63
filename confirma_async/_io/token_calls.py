"""`client.token`: look at the token, and replace it."""

from collections.abc import Callable

from .._core.token import Check
from ..errors import ServiceUnavailableError
from .session import TokenUnusableError
from .token_keeper import TokenKeeper

__all__ = ["TokenCalls"]


class TokenCalls:
    """Calls about the token of a client."""

    def __init__(self, keeper: TokenKeeper, require_open: Callable[[], None]) -> None:
        self._keeper = keeper
        self._require_open = require_open

    async def validate(self) -> bool:
        """Ask the service whether the token is valid (GET `/validate`; API, section 3.2). Renews nothing.

        Raises:
            ServiceUnavailableError: It gave no clear answer. Try later.
            ClientStateError: The client is not open.
        """
        self._require_open()
        check = await self._keeper.check()
        if check is Check.UNCLEAR:
            raise ServiceUnavailableError(
                "GET /validate had no clear answer, so whether the token is valid is not known; nothing was changed; "
                "try again later."
            )
        return check is Check.VALID

    async def renew(self) -> None:
        """Replace the token now, for rotation (GET `/renew`; API, section 3.3), and use the new one from then on.

        The new token is in its store before this returns. Calls that run meanwhile share one renewal. Cancelling leaves
        the renewal running.

        Raises:
            AuthenticationError: It is a plain string, which is never renewed, or the service refuses to renew it.
            TokenLostError: A new token was issued and did not reach us. Only those who issue tokens can help.
            ServiceUnavailableError: The service did not handle it. Try later.
            ClientStateError: The client is not open.
        """
        self._require_open()
        try:
            await self._keeper.rotate()
        except TokenUnusableError as unusable:
            raise unusable.error from None
