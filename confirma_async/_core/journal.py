"""The states of an action in the journal, and how one follows another.

A journal answers one question: may this action be sent? So what it says is written before the wire and not after it,
and what it does not know for certain it calls UNKNOWN.
"""

from collections.abc import Mapping
from enum import Enum
from hashlib import blake2b
from types import MappingProxyType

from attrs import field, frozen

from ..codes import Disposition, Environment
from ..errors import (
    AuthenticationError,
    ConfirmaError,
    JournalError,
    NotSubmittedError,
    PermissionDeniedError,
    RateLimitedError,
    RefusedTogetherError,
    ServiceUnavailableError,
)

__all__ = [
    "TRANSITIONS",
    "Entry",
    "JournalRecord",
    "JournalTarget",
    "State",
    "content_hash",
    "is_left",
    "is_to_be_sent",
    "may_queue",
    "may_send",
    "may_settle",
    "state_after",
    "state_after_crash",
]


class State(Enum):
    """What the journal knows of an action."""

    QUEUED = "queued"
    """Still to be sent; after a crash it may be sent."""
    SENDING = "sending"
    """An attempt was about to start; after a crash it is UNKNOWN."""
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_APPLIED = "not_applied"
    UNKNOWN = "unknown"


TRANSITIONS: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.QUEUED: frozenset({State.SENDING, State.NOT_APPLIED}),
        State.SENDING: frozenset(
            {
                State.SENDING,  # The next attempt.
                State.QUEUED,  # Certainly without effect, and it waits for another process.
                State.ACCEPTED,
                State.REJECTED,
                State.NOT_APPLIED,
                State.UNKNOWN,
            }
        ),
        # The only end that may be left by sending again.
        State.NOT_APPLIED: frozenset({State.QUEUED, State.SENDING}),
        State.ACCEPTED: frozenset(),
        State.REJECTED: frozenset(),
        # A reconciler, or a person, settles it.
        State.UNKNOWN: frozenset({State.ACCEPTED, State.NOT_APPLIED}),
    }
)


_ENDS = {disposition: State(disposition.value) for disposition in Disposition}

_NOT_THE_ACTIONS_FAULT = (
    AuthenticationError,
    JournalError,
    NotSubmittedError,
    PermissionDeniedError,
    RateLimitedError,
    RefusedTogetherError,
    ServiceUnavailableError,
)


@frozen
class Entry:
    """What the journal knows of an action id."""

    content: bytes
    """The hash of what was sent: an id may not come back with other content."""
    state: State
    attempts: int = 0


@frozen
class JournalTarget:
    """Where the actions of a journal go: an end that is true of one service says nothing of another."""

    environment: Environment
    base_url: str
    account: str = ""
    """A label for those who have several accounts in one environment."""

    def __str__(self) -> str:
        account = f", account {self.account!r}" if self.account else ""
        return f"{self.environment.value} at {self.base_url}{account}"


@frozen(kw_only=True)
class JournalRecord:
    """An action as a durable journal keeps it."""

    number: int
    """Its place in the order of submission."""
    action_id: str
    state: State
    attempts: int
    """POSTs that held it, one that was about to start included."""
    changed: float
    """When its state was written, in seconds since 1970."""
    content: bytes | None = field(repr=False)
    """The action in the wire's JSON; None once it was accepted."""
    reason: str = field(default="", repr=False)
    """Why a person settled it as it is; empty if nobody did."""


def content_hash(encoded: bytes) -> bytes:
    """A fingerprint of an encoded action."""
    return blake2b(encoded, digest_size=16).digest()


def may_send(known: Entry | None, content: bytes, *, attempts: int) -> bool:
    """Whether an attempt with an action may start, for all that the journal knows of its id.

    Args:
        known: What it knows, if anything.
        content: The hash of what is to be sent.
        attempts: Those that were made for this submission. A first one does not follow somebody else's that runs.
    """
    if known is None:
        return True
    runs_elsewhere = known.state is State.SENDING and attempts == 0
    return known.content == content and State.SENDING in TRANSITIONS[known.state] and not runs_elsewhere


def may_queue(known: Entry | None) -> bool:
    """Whether an action with the content that is known, if any is, is to be sent although nobody sends it now."""
    return known is None or known.state is State.NOT_APPLIED


def is_to_be_sent(known: Entry | None) -> bool:
    """Whether an action that was handed to the journal has no end yet, or is free to go again."""
    return known is None or known.state in (State.QUEUED, State.SENDING, State.NOT_APPLIED)


def may_settle(state: State, into: State) -> bool:
    """Whether a person may decide that what is in `state` is `into`: not while an attempt runs."""
    return state in (State.UNKNOWN, State.NOT_APPLIED) and into in TRANSITIONS[state] - {State.SENDING}


def state_after(disposition: Disposition, error: ConfirmaError | None, *, is_durable: bool) -> State:
    """The state in which a submission is kept that came to an end in this process.

    What the journal took charge of, and had no effect for a reason that does not lie in the action, is still to be
    sent: by another process, or once this one has what it lacks.
    """
    return State.QUEUED if is_durable and is_left(disposition, error) else _ENDS[disposition]


def is_left(disposition: Disposition, error: ConfirmaError | None) -> bool:
    """Whether something had no effect for a reason that does not lie in the action."""
    return disposition is Disposition.NOT_APPLIED and isinstance(error, _NOT_THE_ACTIONS_FAULT)


def state_after_crash(state: State) -> State:
    """What is known of an action whose process is gone: an attempt that was about to start may have been made."""
    return State.UNKNOWN if state is State.SENDING else state
