import math
from collections.abc import Callable
from datetime import timedelta

import pytest
from multidict import CIMultiDict

from confirma_async._core.retry import retry_after
from confirma_async.sandbox import Fault, Injection, ReceivedRequest
from confirma_async.sandbox.faults import FaultScript

FIRST, SECOND = Fault.status(501), Fault.status(502)


def request_to(path: str = "/invoice/action", body: bytes = b"") -> ReceivedRequest:
    return ReceivedRequest(number=1, method="POST", path=path, body=body)


def injection(
    fault: Fault = FIRST,
    *,
    path: str | None = "/invoice/action",
    when: Callable[[ReceivedRequest], bool] | None = None,
    after: int = 0,
    times: int | None = 1,
) -> Injection:
    return Injection(fault, path, when, after, times)


def script_of(*injections: Injection) -> FaultScript:
    script = FaultScript()
    for each in injections:
        script.add(each)
    return script


def chosen(script: FaultScript, times: int, path: str = "/invoice/action") -> list[Fault | None]:
    return [script.choose(request_to(path)) for _ in range(times)]


def test_a_fault_meets_as_many_requests_as_told() -> None:
    """A fault skips `after` requests, meets `times`, and is over."""
    waiting = injection(after=1, times=2)
    assert chosen(script_of(waiting), 5) == [None, FIRST, FIRST, None, None]
    assert waiting.remaining == 0


def test_faults_are_consulted_in_order_of_injection() -> None:
    """The fault injected first has the request; the next one does not see it, and has the one after."""
    second = injection(SECOND)
    script = script_of(injection(), second)
    assert chosen(script, 1) == [FIRST]
    assert second.remaining == 1
    assert chosen(script, 2) == [SECOND, None]


def test_skipped_requests_go_to_the_next_fault() -> None:
    """A request that one fault lets pass is met by the next."""
    assert chosen(script_of(injection(after=1), injection(SECOND)), 3) == [SECOND, FIRST, None]


def test_an_endless_fault_ends_when_it_is_cancelled() -> None:
    """A fault without a number meets every request until it is cancelled; cancelling twice is harmless."""
    endless = injection(times=None)
    script = script_of(endless)
    assert chosen(script, 3) == [FIRST] * 3
    assert endless.remaining is None
    endless.cancel()
    endless.cancel()
    assert chosen(script, 1) == [None]


def test_a_fault_waits_at_its_path() -> None:
    """A request to another path does not meet a fault, and is not counted; None is every path."""
    waiting = injection()
    assert chosen(script_of(waiting), 2, "/renew") == [None, None]
    assert waiting.remaining == 1
    assert chosen(script_of(injection(path=None)), 1, "/renew") == [FIRST]


def test_a_predicate_chooses_by_content() -> None:
    """With `when`, a fault meets the requests it is true of, and only those need their body read before."""
    script = script_of(injection(path="/renew"), injection(when=lambda request: b"WITHDRAW" in request.body))
    assert script.reads_body(request_to())
    assert not script.reads_body(request_to("/renew"))
    assert script.choose(request_to(body=b"COMMENT")) is None
    assert script.choose(request_to(body=b"WITHDRAW")) is FIRST
    assert not script.reads_body(request_to())


def test_no_body_is_read_for_a_choice_that_is_made() -> None:
    """A fault that meets the request whatever its body goes before a predicate; one that lets it pass does not."""
    choosy = injection(when=lambda request: b"WITHDRAW" in request.body)
    assert not script_of(injection(), choosy).reads_body(request_to())
    assert script_of(injection(after=1), choosy).reads_body(request_to())


def test_an_injection_put_first_goes_before_the_others() -> None:
    """What is put first is consulted before what was there."""
    script = script_of(injection())
    script.add(injection(SECOND), first=True)
    assert chosen(script, 2) == [SECOND, FIRST]


@pytest.mark.parametrize(
    ("retry_after", "text"),
    [(2, "2"), (2.0, "2"), (0.5, "0.5"), (1_000_000, "1000000"), (float("inf"), "inf"), (-1, "-1"), ("soon", "soon")],
)
@pytest.mark.parametrize("make", [Fault.too_many_requests, Fault.unavailable])
def test_retry_after_is_written_as_meant(
    make: Callable[[float | str], Fault], retry_after: float | str, text: str
) -> None:
    """Numbers are seconds without superfluous digits, and a string goes out as it is."""
    answer = make(retry_after).answer
    assert answer is not None
    assert answer.headers["Retry-After"] == text


@pytest.mark.parametrize(
    ("fault", "pause"),
    [
        (Fault.too_many_requests(), None),
        (Fault.too_many_requests(3), 3.0),
        (Fault.too_many_requests(0.5), 0.5),
        (Fault.too_many_requests(timedelta(minutes=2)), 120.0),
        (Fault.too_many_requests(timedelta(days=-1)), 0.0),
        (Fault.too_many_requests(-1), 0.0),
        (Fault.too_many_requests(math.inf), None),
        (Fault.too_many_requests("soon"), None),
        (Fault.too_many_requests(milliseconds=250), 0.25),
        (Fault.too_many_requests(9, milliseconds=250), 0.25),
        (Fault.unavailable(timedelta(seconds=5)), 5.0),
        (Fault.unavailable(milliseconds=1.5), 0.0015),
    ],
)
def test_every_form_of_retry_after_says_what_was_meant(fault: Fault, pause: float | None) -> None:
    """Seconds, fractions, dates, milliseconds and nonsense go out so that a reader finds just that in them."""
    assert fault.answer is not None
    headers = CIMultiDict(fault.answer.headers)
    assert retry_after(fault.answer.status, headers) == pause


def test_a_renamed_fault_does_the_same() -> None:
    """Two uses of one fault can be told apart by name."""
    renamed = Fault.DROP_AFTER_READING.renamed("first cut")
    assert renamed.name == "first cut"
    assert renamed.renamed(Fault.DROP_AFTER_READING.name) == Fault.DROP_AFTER_READING
