"""The retry loop. The only module that imports tenacity; whether and when to retry is decided before it gets here."""

from collections.abc import Awaitable, Callable

import tenacity

from ..errors import ConfirmaError

__all__ = ["GoAgainError", "retrying"]


class GoAgainError(ConfirmaError):
    """Raised by an attempt that is to be followed by another one.

    Attributes:
        delay: Seconds of backoff before it.
    """

    def __init__(self, delay: float) -> None:
        super().__init__(f"again in {delay:.3f} s", delay)
        self.delay = delay


def retrying(sleep: Callable[[float], Awaitable[None]]) -> tenacity.AsyncRetrying:
    """A loop that goes on while its attempt raises `GoAgainError`, and lets everything else through.

    A new one for every call: shared by two tasks, tenacity mixes their attempts up.
    """
    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(GoAgainError),
        wait=_asked_delay,
        stop=tenacity.stop_never,
        sleep=sleep,
        reraise=True,
    )


def _asked_delay(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, GoAgainError)
    return error.delay
