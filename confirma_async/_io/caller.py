"""Makes the calls that are not batches of actions: one request, retried where a repeat is harmless."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from .._core.assumptions import Assumptions
from .._core.diagnosis import diagnose, diagnose_in_doubt
from .._core.disposition import DispositionPolicy, Evidence, Observation, Verdict, join, plan
from .._core.request import ApiRequest
from .._core.retry import GiveUp, RetryBudget, decide
from ..codes import Disposition
from ..errors import ConfirmaError, OutcomeUnknownError, ServiceUnavailableError
from ..policies import RetryPolicy
from .pacing import Pacing, TurnLostError
from .retrying import GoAgainError, retrying
from .session import Exchange, Session

__all__ = ["Caller"]


class _Call:
    """One call, with what a plan needs to know of it."""

    def __init__(self, request: ApiRequest, entered: float) -> None:
        self.request = request
        self.effect = request.effect
        self.entered = entered
        self.doubted = False
        self.attempts = 0
        self.seconds = 0.0
        self.drawn = 0

    @property
    def name(self) -> str:
        return f"{self.request.method} {self.request.path}"


class Caller:
    """Makes calls with the tables of `_core.disposition`, through the same lanes and gate as the batches."""

    def __init__(
        self,
        *,
        session: Session,
        pacing: Pacing,
        budget: RetryBudget,
        retry: RetryPolicy,
        disposition: DispositionPolicy,
        assumptions: Assumptions,
        back_off: Callable[[float], Awaitable[None]],
    ) -> None:
        self._session = session
        self._pacing = pacing
        self._budget = budget
        self._retry = retry
        self._disposition = disposition
        self._assumptions = assumptions
        self._back_off = back_off
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def call(self, request: ApiRequest) -> Exchange:
        """Make a call until it has a plain end.

        Raises:
            ServiceError: It did not succeed, and had no effect.
            OutcomeUnknownError: It may have taken effect.
        """
        call = _Call(request, asyncio.get_running_loop().time())
        self._running += 1
        self._idle.clear()
        try:
            async for attempt in retrying(self._back_off):
                with attempt:
                    return await self._attempt(call)
        except TurnLostError as lost:
            raise self._never_again(call, lost) from lost
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
        raise AssertionError("the loop returns or raises")

    async def finish(self) -> None:
        """Wait until no call runs."""
        await self._idle.wait()

    @staticmethod
    def _never_again(call: _Call, lost: TurnLostError) -> ConfirmaError:
        if call.doubted and not call.effect.repeatable:
            return OutcomeUnknownError(
                f"{call.name} may have taken effect, and was not sent again: {lost}; look first."
            )
        again = " again" if call.attempts else ""
        return ServiceUnavailableError(f"{call.name} was not sent{again}: {lost}; it may be called another time.")

    async def _attempt(self, call: _Call) -> Exchange:
        await self._pacing.enter(1, call.entered)
        started = asyncio.get_running_loop().time()
        try:
            call.attempts += 1
            exchange = await self._session.exchange(call.request)
            decided = plan([call], exchange.evidence, policy=self._disposition, assumptions=self._assumptions)
            self._pacing.answered(decided.row.gate, exchange.evidence)
        finally:
            call.seconds += asyncio.get_running_loop().time() - started
            self._pacing.leave()
        if decided.row.verdict is Verdict.ACCEPTED:
            self._budget.give_back(call.drawn)
            return exchange
        call.doubted = call.doubted or decided.row.verdict is Verdict.UNKNOWN
        why = self._why_not_again(call, exchange.evidence, decided.observation) if decided.again else ""
        raise self._failure(call, exchange, decided.observation, join(decided.row.verdict, doubted=call.doubted), why)

    def _why_not_again(self, call: _Call, evidence: Evidence, observation: Observation) -> str:
        """Why the call is not repeated, in words.

        Raises:
            GoAgainError: It is.
        """
        decision = decide(
            self._retry,
            self._budget,
            attempts=call.attempts,
            seconds=call.seconds,
            throttled=observation.throttled,
            asked_pause=evidence.retry_after,
            fraction=random.random(),  # noqa: S311 - jitter is no secret
        )
        if isinstance(decision, GiveUp):
            return decision.value
        call.seconds += decision.delay
        call.drawn = decision.drawn
        raise GoAgainError(decision.delay)

    def _failure(
        self, call: _Call, exchange: Exchange, observation: Observation, end: Disposition, why: str
    ) -> ConfirmaError:
        if exchange.error is not None and end is not Disposition.UNKNOWN:
            return exchange.error
        if end is not Disposition.UNKNOWN:
            return diagnose(observation, exchange.evidence, end, call=call.name, why=why)
        cause = diagnose_in_doubt(exchange.evidence, call=call.name)
        if call.effect.repeatable:
            return cause
        unknown = OutcomeUnknownError(str(cause))
        unknown.__cause__ = cause
        return unknown
