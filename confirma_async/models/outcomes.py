"""What became of actions: the values that callers get back."""

from attrs import field, frozen

from ..codes import Disposition
from ..errors import ConfirmaError
from .actions import Action

__all__ = ["ActionOutcome", "DrainReport", "Statistics", "Violation"]


@frozen
class Violation:
    """A broken rule.

    Attributes:
        path: The member that breaks it, as the wire names it: `data.amount`.
        message: What was found and what is allowed; it holds no comment text.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@frozen
class ActionOutcome:
    """How an action ended."""

    action: Action
    action_id: str
    """The caller's id, or the one that we gave."""
    disposition: Disposition
    attempts: int
    """POSTs that held the action; 0 if it was never sent."""
    error: ConfirmaError | None = None
    """Why it was not accepted; None if it was."""
    from_journal: bool = field(default=False, kw_only=True)
    """Whether the journal knew this end of an earlier submission, so that nothing was sent for this one."""
    is_queued: bool = field(default=False, kw_only=True)
    """Whether it is not the end: the action could not be sent now, and stays in the journal for `actions.resume()`."""


@frozen(kw_only=True)
class DrainReport:
    """The account of a client: every submitted action, counted once, by its end."""

    accepted: int = 0
    rejected: int = 0
    not_applied: int = 0
    unknown: int = 0
    queued: int = 0
    """In the journal's charge, and not sent: they stay there, for `actions.resume()` of another client."""
    not_accepted: tuple[ActionOutcome, ...] = field(default=(), repr=False)
    """The first of those that were not accepted, for a person to look at; the counts are complete."""

    @property
    def total(self) -> int:
        """All actions that were submitted."""
        return self.accepted + self.rejected + self.not_applied + self.unknown + self.queued


@frozen(kw_only=True)
class Statistics:
    """A client at one moment."""

    waiting_actions: int
    waiting_bytes: int
    in_flight_batches: int
    in_flight_actions: int
    posts: int
    """POSTs of actions so far, retries included."""
    retries: int
    """How many of them were retries."""
    renewals: int
    """Times the token was renewed by this client."""
    retry_budget: int
    """Credits left in the retry budget."""
    gate: str
    """"open", or why it is shut."""
    requests_per_second: float | None
    """The rate kept to at the moment; None is unlimited."""
    accepted: int
    rejected: int
    not_applied: int
    unknown: int
