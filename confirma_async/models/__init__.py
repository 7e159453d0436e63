"""The nouns of the API and of this package, as frozen values."""

from .actions import (
    Action,
    CaseAction,
    Comment,
    DirectPayment,
    DueDate,
    Objection,
    Pause,
    PaymentPlan,
    RawAction,
    Withdraw,
)
from .outcomes import ActionOutcome, DrainReport, Statistics, Violation

__all__ = [
    "Action",
    "ActionOutcome",
    "CaseAction",
    "Comment",
    "DirectPayment",
    "DrainReport",
    "DueDate",
    "Objection",
    "Pause",
    "PaymentPlan",
    "RawAction",
    "Statistics",
    "Violation",
    "Withdraw",
]
