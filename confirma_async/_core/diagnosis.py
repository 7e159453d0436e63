"""Why a call did not succeed, in one sentence: what was tried, whether it may have taken effect, what to do."""

from ..codes import Disposition
from ..errors import (
    AmbiguousAnswerError,
    AuthenticationError,
    ConfirmaError,
    PermissionDeniedError,
    RateLimitedError,
    RefusedError,
    RefusedTogetherError,
    ServiceError,
    ServiceUnavailableError,
)
from .disposition import Evidence, Observation

__all__ = [
    "diagnose",
    "diagnose_in_doubt",
    "diagnose_interrupted",
    "diagnose_left",
    "diagnose_reconciled",
    "diagnose_refused_together",
    "effect_of_end",
]

_EFFECT = {
    Disposition.ACCEPTED: "it was accepted",
    Disposition.REJECTED: "it had no effect",
    Disposition.NOT_APPLIED: "it had no effect, and may be submitted again",
    Disposition.UNKNOWN: "an earlier attempt may have taken effect: look at the service before submitting it again",
}


def effect_of_end(disposition: Disposition) -> str:
    """Whether something that ended so may have taken effect, and what to do."""
    return _EFFECT[disposition]


def diagnose(
    observation: Observation, evidence: Evidence, end: Disposition, *, call: str, why: str = ""
) -> ServiceError:
    """The error for a call whose last attempt showed `observation`, and that ended as `end`.

    Args:
        observation: What the last attempt showed.
        evidence: The same in detail.
        end: How the call ended.
        call: What was tried, such as `POST /invoice/action`.
        why: Why it was not tried again, if it might have been.
    """
    status, tail = evidence.status, f"{_EFFECT[end]}{f' ({why})' if why else ''}."
    match observation:
        case Observation.NEVER_SENT:
            text = f"{call} could not reach the service ({evidence.failure or 'no connection'}); {tail}"
            return ServiceUnavailableError(text)
        case Observation.TOKEN_DEAD:
            return AuthenticationError(f"{call} was answered 401, the token is not valid; {tail}", status)
        case Observation.UNAUTHORIZED:
            return ServiceUnavailableError(f"{call} was answered 401 with a renewed token, too; {tail}", status)
        case Observation.DENIED:
            text = f"{call} was answered {status}: this token, or this way to the service, is not allowed; {tail}"
            return PermissionDeniedError(text, status)
        case Observation.THROTTLED:
            asked = evidence.retry_after
            pause = "" if asked is None else f" and a wish for a pause of {asked:g} s"
            return RateLimitedError(f"{call} was answered {status}{pause}; {tail}", status, asked)
        case Observation.UNAVAILABLE:
            return ServiceUnavailableError(f"{call} was answered 503, the service is not available; {tail}", status)
        case Observation.REFUSED | Observation.TOO_LARGE:
            return RefusedError(f"{call} was refused with {status}; {tail}", status)
        case _:
            return diagnose_in_doubt(evidence, call=call, why=why)


def diagnose_in_doubt(evidence: Evidence, *, call: str, why: str = "") -> ServiceError:
    """The error for a call that may have taken effect."""
    tail = f"it may have taken effect: look at the service before repeating it{f' ({why})' if why else ''}."
    return AmbiguousAnswerError(f"{call} was sent and {_found(evidence)}; {tail}", evidence.status)


def _found(evidence: Evidence) -> str:
    found = "its answer was lost" if evidence.status is None else f"it was answered {evidence.status}"
    return f"{found} ({evidence.failure})" if evidence.failure else found


def diagnose_reconciled(end: Disposition, evidence: Evidence, *, call: str) -> ServiceError | None:
    """The error for an action that a reconciler has looked at; None if it was found to have taken effect."""
    if end is Disposition.ACCEPTED:
        return None
    if end is Disposition.UNKNOWN:
        return diagnose_in_doubt(evidence, call=call)
    text = f"{call} was sent and {_found(evidence)}; the reconciler found that {_EFFECT[Disposition.NOT_APPLIED]}."
    return AmbiguousAnswerError(text, evidence.status)


def diagnose_interrupted() -> ServiceError:
    """The error for an action whose process ended before its answer was kept."""
    return AmbiguousAnswerError(
        "The process that sent the action ended before its answer was kept; it may have taken effect: look at the "
        "service before repeating it."
    )


def diagnose_left(error: ConfirmaError) -> ConfirmaError:
    """The same error, for an action that the journal took charge of, and that therefore has no end yet."""
    text = f"{error} It is in the charge of the journal, and goes out with resume(): do not submit it in another way."
    return type(error)(text, *error.args[1:])


def diagnose_refused_together(
    evidence: Evidence, end: Disposition, *, others: int, call: str, why: str
) -> ServiceError:
    """The error for an action that was refused together with others, and was not tried alone, because `why`."""
    together = f"{call} was refused with {evidence.status} for this action and {others} others together"
    return RefusedTogetherError(f"{together}, which were not tried alone ({why}); {_EFFECT[end]}.", evidence.status)
