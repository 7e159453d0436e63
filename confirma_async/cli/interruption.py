"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends the process at once."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Self

from .display import Display

__all__ = ["EXIT_INTERRUPTED", "Interruption"]

EXIT_INTERRUPTED = 130
"""After Ctrl-C."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """What may ask a run for an early end.

    A context manager, on the event loop. Elsewhere than on its main thread, and on Windows, it changes nothing.

    Args:
        display: Where to tell of an end at once.
        last_words: What to say then.
    """

    def __init__(
        self, display: Display, last_words: str = "Ended at once: what was in flight may have taken effect."
    ) -> None:
        self._display = display
        self._last_words = last_words
        self._on_request: list[Callable[[], None]] = []
        self.exit_code: int | None = None
        """What to exit with, because an orderly end was asked for; None if it was not."""

    @property
    def is_requested(self) -> bool:
        """Whether an orderly end was asked for."""
        return self.exit_code is not None

    def __enter__(self) -> Self:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            for number in _SIGNALS:
                asyncio.get_running_loop().add_signal_handler(number, self._request, number)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            for number in _SIGNALS:
                asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def call(self, on_request: Callable[[], None]) -> None:
        """Call `on_request` when an orderly end is asked for; now, if it was already."""
        self._on_request.append(on_request)
        if self.is_requested:
            on_request()

    def _request(self, number: int) -> None:
        self.exit_code = _exit_code(number)
        # From here on outside of the loop, which may be busy.
        for each in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(each)
            signal.signal(each, self._end_at_once)
        for on_request in self._on_request:
            on_request()

    def _end_at_once(self, number: int, _frame: FrameType | None) -> None:
        self._display.leave()
        self._display.say(self._last_words)
        os._exit(_exit_code(number))


def _exit_code(signal_number: int) -> int:
    """What shells call the end by a signal."""
    return 128 + signal_number
