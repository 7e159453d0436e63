"""The aiohttp client middleware that puts the token on a request, and after a 401 renews it and replays once."""

import aiohttp

from .evidence import current_progress
from .session import TOKEN_HEADER
from .token_keeper import TokenKeeper

__all__ = ["TokenMiddleware"]

_MAX_DRAINED_BYTES = 64 * 1024


class TokenMiddleware:
    """Stands inside the retry loop, once per attempt. Renewals bypass it."""

    def __init__(self, keeper: TokenKeeper) -> None:
        self._keeper = keeper

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send the request with the token of the moment; after a 401 once more with its successor.

        Raises:
            TokenUnusableError: The answer was 401, and there is no successor.
        """
        sent = self._keeper.held
        request.headers[TOKEN_HEADER] = sent.token
        response = await handler(request)
        if response.status != 401:
            self._keeper.tried(sent, refused=False)
            return response
        progress = current_progress.get()
        progress.status = response.status
        # Undrained, it would keep its place in the pool, and the replay might wait for that very place.
        await _drain(response)
        successor = await self._keeper.successor_of(sent)
        progress.is_replayed()
        request.headers[TOKEN_HEADER] = successor.token
        response = await handler(request)
        self._keeper.tried(successor, refused=response.status == 401)
        return response


async def _drain(response: aiohttp.ClientResponse) -> None:
    try:
        await response.content.read(_MAX_DRAINED_BYTES)
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass  # The status is all that was wanted of it.
    finally:
        response.release()
