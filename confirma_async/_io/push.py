"""`push()`: reads a source at the pace at which its actions end, in bounded memory."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from functools import partial
from typing import Generic, TypeVar

from .._core.batch import Place, Submission
from ..codes import Disposition
from ..errors import (
    ActionIdConflictError,
    AuthenticationError,
    ClientStateError,
    ConfirmaError,
    InvalidActionError,
    JournalError,
    OlderActionError,
    PermissionDeniedError,
)
from ..models import Action, ActionOutcome
from ..policies import BatchPolicy
from .batcher import Batcher, draining_error

__all__ = ["Owner", "Push"]

_RESOLUTION = 0.001

_NO_SENSE = "another action of this push met an error that every one would meet"


_FATAL = (AuthenticationError, PermissionDeniedError, JournalError)
"""Errors of an action that the next one would meet as well."""

Owner = Callable[[ActionOutcome], None]

Item = TypeVar("Item")


class Push(Generic[Item]):
    """One call of `push()`, or what works like it: a task that reads, and the outcomes that its consumer takes.

    Args:
        batcher: Where submissions go.
        policy: How many may be in hand.
        source: What to read.
        prepare: Makes a submission of an item for an owner, or raises InvalidActionError.
        submit: Takes a submission in, and returns the one to wait for; None is the batcher's way.
        action_of: The action of an item that cannot be submitted.
    """

    def __init__(
        self,
        batcher: Batcher,
        policy: BatchPolicy,
        source: Iterable[Item] | AsyncIterable[Item],
        *,
        prepare: Callable[[Item, Owner], Submission],
        action_of: Callable[[Item], Action],
        submit: Callable[[Submission], Submission] | None = None,
    ) -> None:
        self._batcher = batcher
        self._policy = policy
        self._source = source
        self._prepare = prepare
        self._action_of = action_of
        self._submit = submit or partial(batcher.submit, may_wait=True)
        self._ended: deque[ActionOutcome] = deque()
        self._in_hand = 0
        """Actions read whose outcome the consumer has not taken."""
        self._last: Submission | None = None
        self._consumer_wakes = asyncio.Event()
        self._reader_wakes = asyncio.Event()
        self._fatal: ConfirmaError | None = None
        self._was_drained = False

    async def outcomes(self) -> AsyncGenerator[ActionOutcome, None]:
        """Yield every outcome; then raise what ended the reading, if anything did."""
        reader = asyncio.create_task(self._read(), name="confirma-push")
        reader.add_done_callback(lambda _: self._consumer_wakes.set())
        gave_up = False
        with self._batcher.reading(partial(self._stop_reading, reader)):
            try:
                while True:
                    while self._ended:
                        outcome = self._ended.popleft()
                        self._in_hand -= 1
                        self._reader_wakes.set()
                        yield outcome
                    if self._fatal is not None and not gave_up:
                        gave_up = True
                        await self._stop(reader, _NO_SENSE)
                        self._batcher.abandon_owned_by(self._take_end, _NO_SENSE)
                    elif reader.done() and self._in_hand == 0:
                        break
                    else:
                        self._consumer_wakes.clear()
                        await self._consumer_wakes.wait()
            finally:
                await self._stop(reader, "the consumer of push() stopped")
        self._raise_end(reader)

    def _stop_reading(self, reader: "asyncio.Task[None]") -> None:
        """The client drains: what would be read is not taken in any more."""
        if not reader.done():
            self._was_drained = True
            reader.cancel()

    async def _stop(self, reader: "asyncio.Task[None]", reason: str) -> None:
        """Stop reading, and take back what is not sealed."""
        if not reader.done():
            reader.cancel()
            await asyncio.wait([reader])
        if not reader.cancelled():
            reader.exception()  # Looked at, so that asyncio does not complain where nobody is left to raise it to.
        self._batcher.withdraw_owned_by(self._take_end, reason)

    def _raise_end(self, reader: "asyncio.Task[None]") -> None:
        if self._fatal is not None:
            # A copy of its own for this consumer: the outcomes share the original.
            raise type(self._fatal)(*self._fatal.args) from self._fatal
        if self._was_drained and reader.cancelled():
            raise draining_error()
        if reader.cancelled():
            # Not by us: the source itself was cancelled, and has not been read to its end.
            raise asyncio.CancelledError("the source of push() was cancelled")
        if (error := reader.exception()) is not None:
            raise error

    # --- the reader -----------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            if isinstance(self._source, AsyncIterable):
                await self._read_async(self._source)
            else:
                await self._read_sync(self._source)
        finally:
            self._batcher.seal()

    async def _read_sync(self, source: Iterable[Item]) -> None:
        for number, item in enumerate(source, 1):
            self._take_in(item)
            if self._must_wait():
                await self._wait_for_room()
            elif number % self._policy.max_actions == 0:
                # Reading must not keep the batches from going out.
                await asyncio.sleep(0)

    async def _read_async(self, source: AsyncIterable[Item]) -> None:
        stall = _StallWatch(self._policy.stall, self._batcher.seal)
        try:
            async for item in source:
                stall.moved()
                self._take_in(item)
                if self._must_wait():
                    await self._wait_for_room()
        finally:
            stall.stop()

    def _take_in(self, item: Item) -> None:
        try:
            submission = self._prepare(item, self._take_end)
            self._last = self._submit(submission)
            self._in_hand += 1
        except (InvalidActionError, ActionIdConflictError, OlderActionError) as error:
            self._take_end(self._batcher.settle(self._refused(item, error)))
        except ClientStateError as error:
            # Like a send() after the drain began: its caller is told, and it is not in the account.
            self._take_end(self._refused(item, error))
            raise

    def _refused(self, item: Item, error: ConfirmaError) -> ActionOutcome:
        self._in_hand += 1
        action = self._action_of(item)
        return ActionOutcome(action, action.action_id or "", Disposition.NOT_APPLIED, 0, error)

    def _must_wait(self) -> bool:
        return self._in_hand >= self._policy.max_waiting_actions or (
            self._last is not None and self._last.place is Place.HALL
        )

    async def _wait_for_room(self) -> None:
        # Whoever reads no further has nothing to add to the open batch.
        self._batcher.seal()
        while self._must_wait():
            if self._last is not None:
                self._last.on_admitted = self._reader_wakes.set
            self._reader_wakes.clear()
            await self._reader_wakes.wait()

    def _take_end(self, outcome: ActionOutcome) -> None:
        self._ended.append(outcome)
        if self._fatal is None and isinstance(outcome.error, _FATAL):
            self._fatal = outcome.error
        self._consumer_wakes.set()


class _StallWatch:
    """Calls back when nothing has moved for a while; one timer, not one for each move."""

    def __init__(self, seconds: float, on_stall: Callable[[], None]) -> None:
        self._seconds = seconds
        self._on_stall = on_stall
        self._loop = asyncio.get_running_loop()
        self._moved_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def moved(self) -> None:
        """Something moved."""
        self._moved_at = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(self._moved_at + self._seconds, self._look)

    def _look(self) -> None:
        due = self._moved_at + self._seconds
        # Clocks have a resolution: a rest below it might never pass.
        if due - self._loop.time() > _RESOLUTION:
            self._timer = self._loop.call_at(due, self._look)
        else:
            self._timer = None
            self._on_stall()

    def stop(self) -> None:
        """Call back no more."""
        if self._timer is not None:
            self._timer.cancel()
