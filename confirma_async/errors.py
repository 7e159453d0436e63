"""Every error that confirma_async raises, and what a caller can do about it.

    ConfirmaError
    ├── ConfigurationError            the client was set up wrongly; mend the setting
    ├── InvalidFieldError             a constructor was given a value of the wrong kind; mend the value
    ├── InvalidActionError            an action breaks a rule; `violations` lists every one; nothing was sent
    ├── ClientStateError              the client is not open, closed, or belongs to another event loop
    ├── QueueFullError                too much is waiting already; slow down, or let `send()` wait
    ├── ActionIdConflictError         an action id was used before, with other content; nothing was sent
    ├── OlderActionError              the journal holds an older action of the same case; resume that first
    ├── ActionError                   how an action ended, when it was not accepted; `outcome` tells
    │   ├── ActionRejectedError       refused by the service, without effect; mend it before sending it again
    │   ├── NotAppliedError           certainly without effect; it may be submitted again
    │   └── OutcomeUnknownError       it may have taken effect; look before it is sent again
    ├── ServiceError                  why a call did not succeed
    │   ├── AuthenticationError       the token is not valid
    │   │   └── TokenLostError        a new token may have been issued, and did not reach us
    │   ├── PermissionDeniedError     the token is valid, and not for this
    │   ├── RateLimitedError          the service asks for a longer pause than we wait; `retry_after` tells
    │   ├── RefusedError              any other refusal of this one request; `status` tells
    │   │   └── RefusedTogetherError  refused in a batch with others, and not tried alone
    │   ├── ServiceUnavailableError   the service could not be reached, or is down; nothing was handled
    │   └── AmbiguousAnswerError      the request was sent and its answer is missing or says nothing
    ├── NotSubmittedError             withdrawn before it was sent: the client closed, or patience ended
    ├── JournalError                  the journal cannot be used; the text says why, and what to do
    └── TokenStoreError               a token could not be read or kept

All of them copy and pickle. Their texts hold no token, no e-mail address, no comment.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .models import ActionOutcome, Violation

__all__ = [
    "ActionError",
    "ActionIdConflictError",
    "ActionRejectedError",
    "AmbiguousAnswerError",
    "AuthenticationError",
    "ClientStateError",
    "ConfigurationError",
    "ConfirmaError",
    "InvalidActionError",
    "InvalidFieldError",
    "JournalError",
    "NotAppliedError",
    "NotSubmittedError",
    "OlderActionError",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "QueueFullError",
    "RateLimitedError",
    "RefusedError",
    "RefusedTogetherError",
    "ServiceError",
    "ServiceUnavailableError",
    "TokenLostError",
    "TokenStoreError",
]


class ConfirmaError(Exception):
    """The root: `except ConfirmaError` catches all that this package raises by itself."""

    def __init__(self, message: str, *fields: object) -> None:
        super().__init__(message, *fields)

    def __str__(self) -> str:
        return str(self.args[0])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class ConfigurationError(ConfirmaError, ValueError):
    """A setting is missing, contradicts another, or would be unsafe; nothing was sent."""


class InvalidFieldError(ConfirmaError, TypeError, ValueError):
    """A constructor was given a value that is not of the field's kind, such as `2026-02-30` for a date."""


class InvalidActionError(ConfirmaError, ValueError):
    """An action breaks rules of the API's documents; nothing was sent.

    Attributes:
        violations: Every broken rule, with the path of the member that breaks it.
    """

    def __init__(self, message: str, violations: "Sequence[Violation]" = ()) -> None:
        super().__init__(message, violations)
        self.violations = tuple(violations)


class ClientStateError(ConfirmaError, RuntimeError):
    """The client is not open yet, is closed, or was opened on another event loop; nothing was sent."""


class QueueFullError(ConfirmaError):
    """As many actions wait as `BatchPolicy` allows, and it says to raise; nothing was sent. Try later."""


class ActionIdConflictError(ConfirmaError):
    """The action id was used for an action with other content; this one was not sent.

    Give it an id of its own, or leave the id out.
    """


class OlderActionError(ConfirmaError):
    """The journal holds an older action of the same case, which was left to be sent; nothing was sent.

    Take `actions.resume()` to its end, and submit the new one again.
    """


class ActionError(ConfirmaError):
    """An action ended, and not as ACCEPTED.

    Attributes:
        outcome: How it ended; its `error` tells why. None only where a call that is no action raises it.
    """

    def __init__(self, message: str, outcome: "ActionOutcome | None" = None) -> None:
        super().__init__(message, outcome)
        self.outcome = outcome


class ActionRejectedError(ActionError):
    """The service refused the action, which had no effect. Mend it before sending it again."""


class NotAppliedError(ActionError):
    """The action certainly had no effect, and may be submitted again."""


class OutcomeUnknownError(ActionError):
    """The action may have taken effect. Look at the service before it is sent again."""


class ServiceError(ConfirmaError):
    """Why a call did not succeed.

    Attributes:
        status: The HTTP status of the answer, or None if there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message, status)
        self.status = status


class AuthenticationError(ServiceError):
    """The service does not accept the token, and it could not be renewed; nothing was handled."""


class TokenLostError(AuthenticationError):
    """The service was asked for a new token, and if it issued one, that did not reach us.

    Only the people who issue tokens can help: put the token that counts now into the store.
    """


class PermissionDeniedError(ServiceError):
    """The service (403) or a proxy on the way (407) denies the call to this token; nothing was handled."""


class RateLimitedError(ServiceError):
    """The service asks for a pause longer than the retry policy waits; nothing was handled.

    Attributes:
        retry_after: The pause asked for, in seconds, or None if the answer named none.
    """

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        ConfirmaError.__init__(self, message, status, retry_after)
        self.status = status
        self.retry_after = retry_after


class RefusedError(ServiceError):
    """The service refused this request with a 4xx; by HTTP's meaning it had no effect."""


class RefusedTogetherError(RefusedError):
    """The action was refused together with others, and not tried alone: whether it is at fault is not known.

    It had no effect, and may be submitted again.
    """


class ServiceUnavailableError(ServiceError):
    """The service could not be reached, or said that it is down; nothing was handled. Try later."""


class AmbiguousAnswerError(ServiceError):
    """The request was sent, and the answer is missing or does not say whether it was handled."""


class NotSubmittedError(ConfirmaError):
    """The action was withdrawn before it was sent: the client was closed, or its caller's patience ended."""


class JournalError(ConfirmaError):
    """The journal cannot be opened, read or written, is in use elsewhere, or belongs to another target."""


class TokenStoreError(ConfirmaError):
    """A token could not be read, written or locked, or belongs to another environment; the text says which."""
