import re

import pytest

from confirma_async import (
    AmbiguousAnswerError,
    AuthenticationError,
    Disposition,
    PermissionDeniedError,
    RateLimitedError,
    RefusedError,
    ServiceError,
    ServiceUnavailableError,
)
from confirma_async._core.diagnosis import (
    diagnose,
    diagnose_in_doubt,
    diagnose_reconciled,
    diagnose_refused_together,
    effect_of_end,
)
from confirma_async._core.disposition import Evidence, Observation

CALL = "POST /invoice/action"
IN_DOUBT = {
    Observation.LOST,
    Observation.SERVER_ERROR,
    Observation.ODD,
    Observation.REFUSED_PERHAPS_IN_PART,
}
FAILED = [observation for observation in Observation if observation is not Observation.SUCCESS]
STATUS = {
    Observation.NEVER_SENT: None,
    Observation.LOST: None,
    Observation.UNAUTHORIZED: 401,
    Observation.TOKEN_DEAD: 401,
    Observation.DENIED: 403,
    Observation.THROTTLED: 429,
    Observation.UNAVAILABLE: 503,
    Observation.TOO_LARGE: 413,
    Observation.REFUSED: 404,
    Observation.REFUSED_PERHAPS_IN_PART: 400,
    Observation.SERVER_ERROR: 500,
    Observation.ODD: 302,
}
ERRORS = {
    Observation.NEVER_SENT: ServiceUnavailableError,
    Observation.LOST: AmbiguousAnswerError,
    Observation.UNAUTHORIZED: ServiceUnavailableError,
    Observation.TOKEN_DEAD: AuthenticationError,
    Observation.DENIED: PermissionDeniedError,
    Observation.THROTTLED: RateLimitedError,
    Observation.UNAVAILABLE: ServiceUnavailableError,
    Observation.TOO_LARGE: RefusedError,
    Observation.REFUSED: RefusedError,
    Observation.REFUSED_PERHAPS_IN_PART: AmbiguousAnswerError,
    Observation.SERVER_ERROR: AmbiguousAnswerError,
    Observation.ODD: AmbiguousAnswerError,
}


def evidence_of(observation: Observation, *, failure: str = "") -> Evidence:
    return Evidence(
        headers_sent=observation is not Observation.NEVER_SENT,
        status=STATUS[observation],
        retry_after=2.5 if observation is Observation.THROTTLED else None,
        failure=failure,
    )


def is_one_sentence(text: str) -> bool:
    return re.fullmatch(r"[A-Z].*[^.]\.", text) is not None and ". " not in text and "\n" not in text


@pytest.mark.parametrize("end", [end for end in Disposition if end is not Disposition.ACCEPTED])
@pytest.mark.parametrize("observation", FAILED)
@pytest.mark.parametrize("failure", ["", "ServerTimeoutError"])
@pytest.mark.parametrize("why", ["", "all attempts are used up"])
def test_every_failure_is_one_sentence(observation: Observation, end: Disposition, failure: str, why: str) -> None:
    """Each failure is told in one sentence: what was tried, what came of it, whether it may have had an effect."""
    error = diagnose(observation, evidence_of(observation, failure=failure), end, call=CALL, why=why)
    text = str(error)
    assert type(error) is ERRORS[observation]
    assert error.status == STATUS[observation]
    assert text.startswith(CALL)
    assert is_one_sentence(text), text
    if observation in IN_DOUBT:
        assert "it may have taken effect: look at the service" in text
    else:
        assert effect_of_end(end) in text
    status = STATUS[observation]
    assert status is None or str(status) in text


@pytest.mark.parametrize("observation", [o for o in FAILED if o not in IN_DOUBT])
def test_a_failure_says_why_it_was_not_tried_again(observation: Observation) -> None:
    """Where it might have been tried again, the sentence says what kept it from that."""
    error = diagnose(
        observation, evidence_of(observation), Disposition.NOT_APPLIED, call=CALL, why="the retry budget is used up"
    )
    assert str(error).endswith("it had no effect, and may be submitted again (the retry budget is used up).")


@pytest.mark.parametrize("failure", ["", "ServerTimeoutError"])
def test_a_doubt_names_what_was_seen(failure: str) -> None:
    """A lost answer is told from an unclear one, and the failure is named where there was one."""
    lost = str(diagnose_in_doubt(Evidence(headers_sent=True, failure=failure), call=CALL))
    unclear = str(diagnose_in_doubt(Evidence(headers_sent=True, status=502, failure=failure), call=CALL))
    assert "its answer was lost" in lost
    assert "it was answered 502" in unclear
    assert failure in lost
    assert failure in unclear
    assert is_one_sentence(lost)
    assert is_one_sentence(unclear)


def test_a_wish_for_a_pause_is_told() -> None:
    """A refusal for the rate carries the pause that the service asked for, in its text and as a number."""
    error = diagnose(
        Observation.THROTTLED,
        Evidence(headers_sent=True, status=429, retry_after=300),
        Disposition.NOT_APPLIED,
        call=CALL,
    )
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 300
    assert "a wish for a pause of 300 s" in str(error)


def test_actions_refused_together_say_so() -> None:
    """An action that was refused with others, and not tried alone, is not said to be at fault."""
    error = diagnose_refused_together(
        Evidence(headers_sent=True, status=400), Disposition.NOT_APPLIED, others=99, call=CALL, why="reasons"
    )
    assert isinstance(error, RefusedError)
    assert error.status == 400
    assert "this action and 99 others" in str(error)
    assert "may be submitted again" in str(error)
    assert is_one_sentence(str(error))


def test_every_end_says_whether_it_had_an_effect() -> None:
    """The words for the four ends differ, and only UNKNOWN asks to look before it is submitted again."""
    words = {end: effect_of_end(end) for end in Disposition}
    assert len(set(words.values())) == len(Disposition)
    assert [end for end, text in words.items() if "look at the service" in text] == [Disposition.UNKNOWN]
    assert {end for end, text in words.items() if "no effect" in text} == {
        Disposition.REJECTED,
        Disposition.NOT_APPLIED,
    }


def test_what_a_reconciler_found_is_told() -> None:
    """After a look: no error for what took effect, a doubt for what stays unclear, and else that it had no effect."""
    lost = Evidence(headers_sent=True, failure="ServerTimeoutError")
    assert diagnose_reconciled(Disposition.ACCEPTED, lost, call=CALL) is None
    doubt = diagnose_reconciled(Disposition.UNKNOWN, lost, call=CALL)
    absent = diagnose_reconciled(Disposition.NOT_APPLIED, lost, call=CALL)
    assert isinstance(doubt, AmbiguousAnswerError)
    assert "it may have taken effect: look at the service" in str(doubt)
    assert absent is not None
    assert "it had no effect, and may be submitted again" in str(absent)
    assert is_one_sentence(str(doubt))
    assert is_one_sentence(str(absent))


@pytest.mark.parametrize("observation", FAILED)
def test_a_diagnosis_is_a_service_error(observation: Observation) -> None:
    """Whoever catches `ServiceError` catches every failure of a call."""
    error = diagnose(observation, evidence_of(observation), Disposition.UNKNOWN, call=CALL)
    assert isinstance(error, ServiceError)
