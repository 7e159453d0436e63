"""What a client tells while it works, through `on_event`. No event holds a token or a comment text."""

from typing import TypeAlias

from attrs import frozen

from .codes import Disposition

__all__ = [
    "ActionEnded",
    "AttemptEnded",
    "Event",
    "GateOpened",
    "GateShut",
    "RetryPlanned",
    "TokenRenewed",
]


@frozen
class AttemptEnded:
    """A POST of actions was answered, or was not."""

    actions: int
    attempt: int
    verdict: str
    """not sent, not processed, accepted, refused or unknown."""
    status: int | None
    """The answer's HTTP status; None if none came."""
    seconds: float


@frozen
class RetryPlanned:
    """Actions go again, after a backoff, and once the gate is open."""

    actions: int
    attempt: int
    """The number of the attempt to come."""
    delay: float
    """Seconds."""


@frozen
class GateShut:
    """Nothing new is sent until a probe shows that it makes sense."""

    reason: str
    pause: float
    """Seconds until the next probe."""


@frozen
class GateOpened:
    """The service is there again."""


@frozen
class TokenRenewed:
    """The token was replaced, and the new one is kept by its store."""

    generation: int


@frozen
class ActionEnded:
    """An action has its end."""

    action_id: str
    code: str
    case_id: int | None
    disposition: Disposition
    attempts: int
    error: str | None
    """Why it was not accepted, in one sentence."""


Event: TypeAlias = ActionEnded | AttemptEnded | GateOpened | GateShut | RetryPlanned | TokenRenewed
"""Anything that `on_event` may be given. More kinds may come: ignore those that you do not know."""
