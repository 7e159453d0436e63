"""Hands events to the user's listener, and keeps its mistakes away from the work."""

import asyncio
from collections.abc import Callable

from ..events import Event
from .log import log

__all__ = ["Emitter"]


class Emitter:
    """Calls the listener with each event; false if there is none, so that events need not be made for nobody."""

    def __init__(self, listener: Callable[[Event], None] | None) -> None:
        self._listener = listener

    def __bool__(self) -> bool:
        return self._listener is not None

    def __call__(self, event: Event) -> None:
        """Hand `event` over. An exception of the listener is logged, and goes no further."""
        if self._listener is None:
            return
        try:
            self._listener(event)
        except (Exception, asyncio.CancelledError):
            # Whatever it raises, others wait for what comes next.
            log.exception("on_event failed on %s.", type(event).__name__)
