"""Which actions are under way, by id: an id has one content, and whoever submits it again joins the one that runs."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from .._core.batch import Submission
from ..errors import ActionIdConflictError

__all__ = ["Register"]


class Register:
    """Submissions that have no end yet, and ids that are about to be submitted."""

    def __init__(self) -> None:
        self._live: dict[str, Submission] = {}
        """In order of submission."""
        self._reserved: dict[str, list[bytes]] = {}
        """Contents of ids that the journal is writing down."""

    def __contains__(self, action_id: str) -> bool:
        return action_id in self._live or action_id in self._reserved

    @property
    def submissions(self) -> Collection[Submission]:
        """Everything that is under way, in order of submission."""
        return self._live.values()

    def join(self, submission: Submission) -> Submission | None:
        """Join a submission to the one that runs with its id, if there is one, and return that.

        Raises:
            ActionIdConflictError: The id is in use for other content.
        """
        running = self._live.get(submission.action_id)
        if running is None:
            if self._reserved:
                self._check_reserved(submission)
            return None
        _check_content(running, submission)
        running.owners.extend(submission.owners)
        running.is_durable |= submission.is_durable
        running.is_enqueued |= submission.is_enqueued
        return running

    def enter(self, submission: Submission) -> None:
        """Take note of a submission that has joined nobody."""
        self._live[submission.action_id] = submission

    def leave(self, submission: Submission) -> None:
        """Forget a submission that has its end."""
        del self._live[submission.action_id]

    def require_free(self, submissions: Sequence[Submission]) -> None:
        """Make sure that submissions may have their ids for themselves.

        Raises:
            ActionIdConflictError: One is in use, or comes twice.
        """
        seen: set[str] = set()
        for submission in submissions:
            if submission.action_id in self or submission.action_id in seen:
                raise ActionIdConflictError(
                    f"The action id {submission.action_id!r} belongs to an action that has not ended, or comes twice; "
                    "nothing was sent; wait for its end, or give each action an id of its own."
                )
            seen.add(submission.action_id)

    async def wait_for_ending(self, action_id: str) -> None:
        """Wait for an end that is being written down, if there is one: nobody can join that any more."""
        running = self._live.get(action_id)
        if running is not None and running.is_ending:
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            running.owners.append(lambda _: None if ended.done() else ended.set_result(None))
            await ended

    # --- while the journal writes ---------------------------------------------------------------------------------

    @contextmanager
    def reserving(self, submissions: Sequence[Submission]) -> Iterator[None]:
        """Keep the ids of submissions for their contents while the journal writes them down.

        What runs with such an id has no end from here on that would let it be forgotten.

        Raises:
            ActionIdConflictError: One of them is in use for other content.
        """
        reserved: list[str] = []
        charged: list[Submission] = []
        try:
            for submission in submissions:
                charged += self._reserve(submission)
                reserved.append(submission.action_id)
            yield
        except BaseException:
            for running in charged:
                running.is_durable = False
            raise
        finally:
            for action_id in reserved:
                self._release(action_id)

    def _reserve(self, submission: Submission) -> list[Submission]:
        """Keep an id; what runs with it, if that was not in the journal's charge before."""
        self._check_reserved(submission)
        running = self._live.get(submission.action_id)
        if running is not None:
            _check_content(running, submission)
        self._reserved.setdefault(submission.action_id, []).append(submission.encoded)
        if running is None or running.is_durable:
            return []
        running.is_durable = True
        return [running]

    def _release(self, action_id: str) -> None:
        self._reserved[action_id].pop()
        if not self._reserved[action_id]:
            del self._reserved[action_id]

    def _check_reserved(self, submission: Submission) -> None:
        contents = self._reserved.get(submission.action_id)
        if contents and contents[0] != submission.encoded:
            raise _conflict(submission)


def _check_content(running: Submission, submission: Submission) -> None:
    if running.encoded != submission.encoded:
        raise _conflict(submission)


def _conflict(submission: Submission) -> ActionIdConflictError:
    return ActionIdConflictError(
        f"The action id {submission.action_id!r} is in use for an action with other content; this one was not sent; "
        "give it an id of its own."
    )
