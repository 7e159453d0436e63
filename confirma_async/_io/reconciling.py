"""Lets a reconciler look at actions that may have taken effect and must not be sent again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from .._core.batch import Submission
from .._core.disposition import Evidence
from .._core.reconciliation import Reconciliation, look_times
from ..codes import Disposition, Finding
from ..models import Action
from ..policies import ReconcilePolicy
from .log import log

__all__ = ["Reconciler", "Reconciling"]


class Reconciler(Protocol):
    """Looks at the service, by whatever way its user knows, whether an action took effect there."""

    async def probe(self, action: Action, evidence: Evidence) -> Finding:
        """Look once. It must change nothing, and may be called many times.

        Args:
            action: The action in question. Tell it from its likes by its content: nothing else reached the service.
            evidence: What was observed of the attempt that left it open.

        Returns:
            What was seen. An exception counts as UNCLEAR.
        """


class Reconciling:
    """Looks after the actions that an attempt left open; their cases stay fenced meanwhile."""

    def __init__(
        self,
        reconciler: Reconciler,
        policy: ReconcilePolicy,
        *,
        pause: Callable[[float], Awaitable[None]],
        in_a_hurry: Callable[[], bool],
        end: Callable[[Submission, Disposition], Awaitable[None]],
    ) -> None:
        self._reconciler = reconciler
        self._policy = policy
        self._pause = pause
        self._in_a_hurry = in_a_hurry
        self._end = end

    async def settle(self, submissions: Sequence[Submission], evidence: Evidence) -> None:
        """Look until every submission has an end; hand back as UNKNOWN what stays unclear, or has no more time."""
        loop = asyncio.get_running_loop()
        lost_at = loop.time()
        open_ones = {submission.sequence: (submission, Reconciliation(self._policy)) for submission in submissions}
        for moment in look_times(self._policy):
            await self._pause(max(0.0, lost_at + moment - loop.time()))
            for submission, reconciliation in tuple(open_ones.values()):
                finding = await self._look(submission.action, evidence)
                end = reconciliation.found(finding, loop.time() - lost_at)
                if end is not None:
                    del open_ones[submission.sequence]
                    await self._end(submission, end)
            if not open_ones or self._in_a_hurry():
                break
        for submission, _ in open_ones.values():
            await self._end(submission, Disposition.UNKNOWN)

    async def _look(self, action: Action, evidence: Evidence) -> Finding:
        try:
            async with asyncio.timeout(self._policy.look_timeout):
                return await self._reconciler.probe(action, evidence)
        except (Exception, asyncio.CancelledError) as error:  # The user's code: whatever it raises, nothing was seen.
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            log.warning("The reconciler failed: %s.", type(error).__name__)
            return Finding.UNCLEAR
