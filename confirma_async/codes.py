"""The code lists. The service's are open: a value we do not know is kept as it is. Ours are closed."""

from enum import Enum, StrEnum

__all__ = ["ActionCode", "Disposition", "EffectClass", "Environment", "Finding"]


class ActionCode(StrEnum):
    """The service's documented action codes (POST `/invoice/action`). The list is open: see `RawAction`."""

    COMMENT = "COMMENT"
    WITHDRAW = "WITHDRAW"
    DUEDATE = "DUEDATE"
    PAYMENTPLAN = "PAYMENTPLAN"
    OBJECTION = "OBJECTION"
    PAUSE = "PAUSE"
    DIRECTPAYMENT = "DIRECTPAYMENT"


class Environment(Enum):
    """Where a token belongs. A token of one environment does not work in the other (API, section 1)."""

    STAGING = "staging"
    PRODUCTION = "production"

    @property
    def base_url(self) -> str:
        """The documented base of every call."""
        host = {
            Environment.STAGING: "staging-integrations.confirmafinance.com",
            Environment.PRODUCTION: "integrations.confirmafinance.com",
        }[self]
        return f"https://{host}/api/v1/partner"


class EffectClass(Enum):
    """What a repeat of a call would do, from harmless to worst."""

    SET_STATE = "set_state"
    """Harmless: the second time changes nothing."""
    APPEND = "append"
    """A second entry appears."""
    MONEY = "money"
    """A second payment is booked."""

    @property
    def repeatable(self) -> bool:
        """Whether a repeat is harmless."""
        return self is EffectClass.SET_STATE


class Disposition(Enum):
    """How an action ended. Every submitted action ends as exactly one of these."""

    ACCEPTED = "accepted"
    """The service took it, at least once; it processes it later."""
    REJECTED = "rejected"
    """The service refused it; it had no effect."""
    NOT_APPLIED = "not_applied"
    """It certainly had no effect, and may be submitted again."""
    UNKNOWN = "unknown"
    """It was sent, and whether it took effect is not known."""


class Finding(Enum):
    """What a reconciler saw of an action that may have taken effect."""

    APPLIED = "applied"
    NOT_APPLIED = "not_applied"
    """It is not there. Believed only late, and only when looks agree: an early one may just be too early."""
    UNCLEAR = "unclear"
