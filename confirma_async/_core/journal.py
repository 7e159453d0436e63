"""The states of an action in the journal, and how one follows another."""

from collections.abc import Mapping
from enum import Enum
from hashlib import blake2b
from types import MappingProxyType

from attrs import frozen

from ..codes import Disposition

__all__ = ["TRANSITIONS", "Entry", "State", "content_hash", "end_state"]


class State(Enum):
    """What the journal knows of an action."""

    QUEUED = "queued"
    """Not sent yet; after a crash it may be sent."""
    SENDING = "sending"
    """An attempt was about to start; after a crash it is UNKNOWN."""
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_APPLIED = "not_applied"
    UNKNOWN = "unknown"


TRANSITIONS: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.QUEUED: frozenset({State.SENDING, State.NOT_APPLIED}),
        State.SENDING: frozenset({State.SENDING, State.ACCEPTED, State.REJECTED, State.NOT_APPLIED, State.UNKNOWN}),
        # The only end that may be left by sending again.
        State.NOT_APPLIED: frozenset({State.QUEUED, State.SENDING}),
        State.ACCEPTED: frozenset(),
        State.REJECTED: frozenset(),
        # A reconciler, or a person, settles it.
        State.UNKNOWN: frozenset({State.ACCEPTED, State.NOT_APPLIED}),
    }
)


@frozen
class Entry:
    """What the journal keeps of an action."""

    content: bytes
    """The hash of what was sent: an id may not come back with other content."""
    state: State
    attempts: int = 0


def content_hash(encoded: bytes) -> bytes:
    """A fingerprint of an encoded action."""
    return blake2b(encoded, digest_size=16).digest()


def end_state(disposition: Disposition) -> State:
    """The state in which an end is kept."""
    return State(disposition.value)
