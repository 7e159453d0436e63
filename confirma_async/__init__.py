"""An asyncio client for the Confirma Finance Integrations API.

Submit an invoice action from anywhere; it is checked, coalesced with others into one POST, sent no more often than is
safe, and its end is one of four words you can act on.
"""

from ._core.assumptions import Assumptions
from ._core.disposition import DispositionPolicy, Evidence, Observation, Row, Step, Verdict
from ._core.journal import JournalRecord
from ._core.journal import State as JournalState
from ._core.rules import violations
from ._core.token import TokenRecord
from ._io.journal import MemoryJournal
from ._io.reconciling import Reconciler
from ._io.sqlite_journal import SqliteJournal
from ._io.token_store import FileTokenStore, MemoryTokenStore, TokenStore
from ._version import __version__
from .client import ConfirmaClient
from .codes import ActionCode, Disposition, EffectClass, Environment, Finding
from .errors import (
    ActionError,
    ActionIdConflictError,
    ActionRejectedError,
    AmbiguousAnswerError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    ConfirmaError,
    InvalidActionError,
    InvalidFieldError,
    JournalError,
    NotAppliedError,
    NotSubmittedError,
    OlderActionError,
    OutcomeUnknownError,
    PermissionDeniedError,
    QueueFullError,
    RateLimitedError,
    RefusedError,
    RefusedTogetherError,
    ServiceError,
    ServiceUnavailableError,
    TokenLostError,
    TokenStoreError,
)
from .events import ActionEnded, AttemptEnded, Event, GateOpened, GateShut, RetryPlanned, TokenRenewed
from .models import (
    Action,
    ActionOutcome,
    Comment,
    DirectPayment,
    DrainReport,
    DueDate,
    Objection,
    Pause,
    PaymentPlan,
    RawAction,
    Statistics,
    Violation,
    Withdraw,
)
from .policies import BatchPolicy, RatePolicy, ReconcilePolicy, RetryPolicy, Timeouts

__all__ = [
    "Action",
    "ActionCode",
    "ActionEnded",
    "ActionError",
    "ActionIdConflictError",
    "ActionOutcome",
    "ActionRejectedError",
    "AmbiguousAnswerError",
    "Assumptions",
    "AttemptEnded",
    "AuthenticationError",
    "BatchPolicy",
    "ClientStateError",
    "Comment",
    "ConfigurationError",
    "ConfirmaClient",
    "ConfirmaError",
    "DirectPayment",
    "Disposition",
    "DispositionPolicy",
    "DrainReport",
    "DueDate",
    "EffectClass",
    "Environment",
    "Event",
    "Evidence",
    "FileTokenStore",
    "Finding",
    "GateOpened",
    "GateShut",
    "InvalidActionError",
    "InvalidFieldError",
    "JournalError",
    "JournalRecord",
    "JournalState",
    "MemoryJournal",
    "MemoryTokenStore",
    "NotAppliedError",
    "NotSubmittedError",
    "Objection",
    "Observation",
    "OlderActionError",
    "OutcomeUnknownError",
    "Pause",
    "PaymentPlan",
    "PermissionDeniedError",
    "QueueFullError",
    "RateLimitedError",
    "RatePolicy",
    "RawAction",
    "ReconcilePolicy",
    "Reconciler",
    "RefusedError",
    "RefusedTogetherError",
    "RetryPlanned",
    "RetryPolicy",
    "Row",
    "ServiceError",
    "ServiceUnavailableError",
    "SqliteJournal",
    "Statistics",
    "Step",
    "Timeouts",
    "TokenLostError",
    "TokenRecord",
    "TokenRenewed",
    "TokenStore",
    "TokenStoreError",
    "Verdict",
    "Violation",
    "Withdraw",
    "__version__",
    "violations",
]
