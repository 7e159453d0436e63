"""Lanes, gate and rate: when the next POST may start.

Everything that goes to the service takes its turn here. A retry goes before a new batch. While the gate is shut, one
task probes the service, and only its success reopens.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable

from .._core.disposition import Evidence, GateReason
from .._core.rate import Gate, Rate
from .._core.retry import backoff
from ..errors import NotSubmittedError
from ..events import GateOpened, GateShut
from ..policies import RatePolicy, RetryPolicy
from .emitter import Emitter
from .log import log

__all__ = ["Pacing", "Probe", "TurnLostError"]

_LONGEST_PAUSE = 3600.0
_RESOLUTION = 0.001


Probe = Callable[[GateReason], Awaitable[GateReason | None]]
"""Looks whether the reason to be shut still stands; returns the reason that stands now, or None to reopen."""


class TurnLostError(NotSubmittedError):
    """There will be no turn: patience ended, or the client was closed."""


class _Turn:
    """Somebody who waits to send again."""

    def __init__(self, actions: int, entered: float, is_wanted: Callable[[], bool]) -> None:
        self.actions = actions
        self.entered = entered
        self.is_wanted = is_wanted
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def refuse(self, error: TurnLostError) -> None:
        if not self.granted.done():
            self.granted.set_exception(error)


class Pacing:
    """Hands out turns. `on_opening` is called whenever a new batch might find one."""

    def __init__(
        self,
        *,
        lanes: int,
        rate: RatePolicy,
        retry: RetryPolicy,
        probe: Probe,
        token_is_replaceable: Callable[[], bool],
        on_opening: Callable[[], None],
        on_patience_ended: Callable[[float, str], None],
        emit: Emitter,
    ) -> None:
        self._lanes = lanes
        self._retry = retry
        self._probe = probe
        self._token_is_replaceable = token_is_replaceable
        self._on_opening = on_opening
        self._on_patience_ended = on_patience_ended
        self._emit = emit
        self.gate = Gate()
        self.rate = Rate(rate)
        self.in_flight = 0
        self.is_closed = False
        self._turns: deque[_Turn] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._prober: asyncio.Task[None] | None = None

    # --- turns ----------------------------------------------------------------------------------------------------

    def has_turn(self) -> bool:
        """Whether a new batch may start now."""
        return not self._turns and not self.is_closed and self._may_start()

    def start(self, actions: int) -> None:
        """Take a lane for a POST with so many actions."""
        self.in_flight += 1
        self.rate.started(actions, now=asyncio.get_running_loop().time())

    async def enter(self, actions: int, entered: float, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Wait for a lane to send again.

        Args:
            actions: How many actions are to be sent.
            entered: When the oldest of them was submitted.
            is_wanted: Whether anybody still waits for them, should the token be dead.

        Raises:
            TurnLostError: There will be none.
        """
        if self.is_closed:
            raise TurnLostError("the client was closed")
        if not self._turns and self._may_start():
            self.start(actions)
            return
        turn = _Turn(actions, entered, is_wanted)
        self._turns.append(turn)
        self.drop_unwanted()
        try:
            await turn.granted
        except asyncio.CancelledError:
            if turn in self._turns:
                self._turns.remove(turn)
            elif turn.granted.done() and not turn.granted.cancelled() and turn.granted.exception() is None:
                self.leave()
            raise

    def drop_unwanted(self) -> None:
        """While the token is dead or not allowed, let go of those for whom waiting makes no sense."""
        if self.gate.reason in (GateReason.TOKEN, GateReason.DENIED):
            hopeless = self.is_hopeless
            self._refuse(lambda turn: hopeless or not turn.is_wanted(), self.gate.reason.value)

    def _refuse(self, whom: Callable[[_Turn], bool], reason: str) -> None:
        for turn in [turn for turn in self._turns if whom(turn)]:
            self._turns.remove(turn)
            turn.refuse(TurnLostError(reason))

    @property
    def is_hopeless(self) -> bool:
        """The token is dead, and nobody can put another one into our hands: waiting makes no sense."""
        return self.gate.reason is GateReason.TOKEN and not self._token_is_replaceable()

    def unused(self, actions: int) -> None:
        """Take note that no POST is made in a lane that was taken for so many actions; it is left all the same."""
        self.rate.unused(actions)

    def leave(self) -> None:
        """Give the lane back."""
        self.in_flight -= 1
        self.wake()

    def wake(self) -> None:
        """Hand out the turns that are free now."""
        while self._turns and self._may_start():
            turn = self._turns.popleft()
            if not turn.granted.done():
                self.start(turn.actions)
                turn.granted.set_result(None)
        if not self._turns:
            self._on_opening()

    def _may_start(self) -> bool:
        if self.in_flight >= self._lanes or not self.gate.admits(self.in_flight):
            return False
        loop = asyncio.get_running_loop()
        wait = self.rate.wait(loop.time())
        # The rate is kept on average: a start that is early by less than a clock's tick makes the next one wait longer.
        if wait <= _RESOLUTION:
            return True
        if self._timer is None:
            self._timer = loop.call_later(wait, self._permit)
        return False

    def _permit(self) -> None:
        self._timer = None
        self.wake()

    # --- the gate -------------------------------------------------------------------------------------------------

    def answered(self, reason: GateReason | None, evidence: Evidence) -> None:
        """Take note of an attempt that is over: `reason` shuts the gate, None says that all is well."""
        now, asked_pause = asyncio.get_running_loop().time(), evidence.retry_after
        if evidence.status == 429:
            self.rate.refused(now=now)
        if reason is None:
            self.rate.accepted(now=now)
            self.gate.answered()
            return
        was_open = self.gate.reason is None
        self.gate.shut(reason, pause=self._pause(reason, asked_pause), now=now)
        self.drop_unwanted()
        if was_open and not self.is_closed:
            self._announce(reason)
            self._prober = asyncio.create_task(self._keep_gate(), name="confirma-gate")

    def _pause(self, reason: GateReason, asked: float | None) -> float:
        if asked is not None:
            # A pause longer than any call waits is honoured as well, within reason.
            asked = min(asked, _LONGEST_PAUSE)
        return backoff(
            self._retry,
            failures=max(1, self.gate.failures),
            throttled=reason is GateReason.THROTTLED,
            asked_pause=asked,
            fraction=random.random(),  # noqa: S311 - jitter is no secret
        )

    def _announce(self, reason: GateReason) -> None:
        pause = max(0.0, self.gate.probe_at - asyncio.get_running_loop().time())
        log.warning("Nothing new is sent for now: %s; next look in %.1f s.", reason.value, pause)
        self._emit(GateShut(reason.value, pause))

    async def _keep_gate(self) -> None:
        """Probe until the gate can be reopened; let go of those whose patience ends meanwhile."""
        loop = asyncio.get_running_loop()
        while (reason := self.gate.reason) is not None:
            now = loop.time()
            self._lose_patience(now)
            remaining = self.gate.probe_at - now
            # Clocks have a resolution: a rest that is smaller than a millisecond might never pass.
            if remaining > _RESOLUTION:
                await asyncio.sleep(min(remaining, max(_RESOLUTION, self._retry.give_up_after / 10)))
                continue
            still = await self._look(reason)
            if still is None:
                self.gate.probe_succeeded()
            else:
                self.gate.probe_failed(still, pause=self._pause(still, None), now=loop.time())
                self._announce(still)
        log.info("The service is there again; sending goes on.")
        self._emit(GateOpened())
        self.wake()

    async def _look(self, reason: GateReason) -> GateReason | None:
        try:
            return await self._probe(reason)
        except Exception as error:
            # A store of the user's own, most likely. Without this task the gate would stay shut for good, and whoever
            # waits at it would wait for ever. Not its text: it may hold a token.
            log.error("The look at the service failed: %s.", type(error).__name__)
            return reason

    def _lose_patience(self, now: float) -> None:
        cutoff = now - self._retry.give_up_after
        assert self.gate.reason is not None
        reason = f"{self.gate.reason.value}, and patience ended"
        self._refuse(lambda turn: turn.entered <= cutoff, reason)
        self._on_patience_ended(cutoff, reason)

    def close(self) -> None:
        """Hand out no more turns."""
        self.is_closed = True
        self._refuse(lambda _: True, "the client was closed")
        if self._timer is not None:
            self._timer.cancel()
        if self._prober is not None:
            self._prober.cancel()
