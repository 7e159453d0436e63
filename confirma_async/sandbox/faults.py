"""Faults: what may happen to a request, and which request it happens to. Doing it is the server's matter.

A `Fault` is a value. A `FaultScript` chooses: given a request, it names the fault that meets it, or none.
"""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import ClassVar

from attrs import define, evolve, field, frozen

from .exchange import Answer, ReceivedRequest, json_answer

__all__ = ["Fault", "FaultScript", "Injection"]

_MADE_UP_DATE = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""The `Date` of an answer that asks to wait until a date: a fault is a value, and looks at no clock."""


@frozen(kw_only=True)
class Fault:
    """What happens to a request instead of an ordinary answer.

    A fault stands in front of the service: it meets a request whether or not its token and its body are good.
    One that applies lets the service handle the request first, which may refuse it, and then takes the answer
    away, delays it, or puts another in its place.
    """

    name: str
    """Found again in `ReceivedRequest.fault`."""
    reads: bool = True
    """Whether the body is read to its end."""
    applies: bool = False
    """Whether the service handles the request: books its actions, mints its token."""
    delay: float = 0.0
    """Seconds between handling and answering, by the event loop's clock; infinite ends with the sandbox."""
    drops: bool = False
    """Whether the connection is aborted without an answer."""
    answer: Answer | None = None
    """What is answered. None is the service's own answer; without one the connection is dropped."""
    cut: bool = False
    """Whether the connection is closed after half of the answer's body, of which `Content-Length` promises all."""
    drip: float = 0.0
    """Seconds between two bytes of the answer's body, by the event loop's clock."""

    UNAUTHORIZED: ClassVar["Fault"]
    """401 after the whole request was read, although the token is good. Nothing is applied."""
    UNAUTHORIZED_EARLY: ClassVar["Fault"]
    """The same at the head of the request, before its body is read."""
    DROP_BEFORE_READING: ClassVar["Fault"]
    """The connection is aborted at the head of the request; its body is not read, and nothing is applied."""
    DROP_AFTER_READING: ClassVar["Fault"]
    """The whole request is read, nothing is applied, and the connection is aborted."""
    DROP_AFTER_APPLYING: ClassVar["Fault"]
    """The request is applied, and the connection aborted without an answer. `/renew` loses its token so."""
    HANG_AFTER_APPLYING: ClassVar["Fault"]
    """The request is applied, and no answer comes for as long as the sandbox runs."""
    BAD_GATEWAY_AFTER_APPLYING: ClassVar["Fault"]
    """The request is applied, and answered 502."""
    CUT_BODY: ClassVar["Fault"]
    """The request is applied, and half of its ordinary answer's body comes, then the connection's orderly end."""
    HTML: ClassVar["Fault"]
    """The request is applied, and answered 200 with a page for people."""

    @classmethod
    def too_many_requests(
        cls, retry_after: float | str | timedelta | None = None, *, milliseconds: float | None = None
    ) -> "Fault":
        """429. Nothing is applied.

        Args:
            retry_after: The header `Retry-After`: a number is written as seconds, a string as it is, a timedelta as
                the date so long after the answer's own `Date`, which is made up; None leaves the header out.
            milliseconds: The header `Retry-After-Ms`; None leaves it out.
        """
        return _turned_away(429, "too_many_requests", retry_after, milliseconds)

    @classmethod
    def unavailable(
        cls, retry_after: float | str | timedelta | None = None, *, milliseconds: float | None = None
    ) -> "Fault":
        """503. Nothing is applied. The arguments are those of `too_many_requests`."""
        return _turned_away(503, "unavailable", retry_after, milliseconds)

    @classmethod
    def slow(cls, seconds: float) -> "Fault":
        """The request is applied at once, and its ordinary answer comes after `seconds`."""
        return cls(name="slow", applies=True, delay=seconds)

    @classmethod
    def dripping(cls, seconds: float) -> "Fault":
        """The request is applied at once, and so long passes before each byte of its ordinary answer's body."""
        return cls(name="dripping", applies=True, drip=seconds)

    @classmethod
    def redirect(cls, location: str, code: int = 302) -> "Fault":
        """A redirect to `location`, which may be anywhere. Nothing is applied."""
        return cls(name="redirect", answer=Answer(code, headers={"Location": location}))

    @classmethod
    def status(
        cls, code: int, body: bytes = b"", *, apply: bool = False, headers: Mapping[str, str] | None = None
    ) -> "Fault":
        """An answer of any status, such as 413, 302 with a `Location`, or 502 after the service has applied.

        Args:
            code: The status.
            body: The answer's body, as it is.
            apply: Whether the service handles the request before its answer is replaced. Its refusals stand.
            headers: The answer's headers.
        """
        return cls(name=f"status_{code}", applies=apply, answer=Answer(code, body, headers or {}))

    def renamed(self, name: str) -> "Fault":
        """The same fault under another name, to tell two of them apart in `ReceivedRequest.fault`."""
        return evolve(self, name=name)


def _turned_away(
    status: int, name: str, retry_after: float | str | timedelta | None, milliseconds: float | None
) -> Fault:
    headers = {} if milliseconds is None else {"Retry-After-Ms": _number_text(milliseconds)}
    if isinstance(retry_after, timedelta):
        headers["Date"] = format_datetime(_MADE_UP_DATE, usegmt=True)
        headers["Retry-After"] = format_datetime(_MADE_UP_DATE + retry_after, usegmt=True)
    elif retry_after is not None:
        headers["Retry-After"] = retry_after if isinstance(retry_after, str) else _number_text(retry_after)
    return Fault(name=name, answer=json_answer(status, {}, headers))


def _number_text(number: float) -> str:
    # 15 digits keep every sensible number as it was meant: 2.0 is "2", 0.5 is "0.5", and no "1e+06" appears.
    return f"{number:.15g}"


_PAGE = Answer(200, b"<!doctype html><title>Welcome</title>", {"Content-Type": "text/html"})

Fault.UNAUTHORIZED = Fault(name="unauthorized", answer=json_answer(401, {}))
Fault.UNAUTHORIZED_EARLY = Fault(name="unauthorized_early", reads=False, answer=json_answer(401, {}))
Fault.DROP_BEFORE_READING = Fault(name="drop_before_reading", reads=False, drops=True)
Fault.DROP_AFTER_READING = Fault(name="drop_after_reading", drops=True)
Fault.DROP_AFTER_APPLYING = Fault(name="drop_after_applying", applies=True, drops=True)
Fault.HANG_AFTER_APPLYING = Fault(name="hang_after_applying", applies=True, delay=math.inf, drops=True)
Fault.BAD_GATEWAY_AFTER_APPLYING = Fault.status(502, apply=True).renamed("bad_gateway_after_applying")
Fault.CUT_BODY = Fault(name="cut_body", applies=True, cut=True)
Fault.HTML = Fault(name="html", applies=True, answer=_PAGE)


@define(eq=False)
class Injection:
    """A fault that waits for its requests; also the handle to watch and to cancel it."""

    fault: Fault
    path: str | None
    """The path it waits at, below the API's base; None is every path."""
    when: Callable[[ReceivedRequest], bool] | None = field(repr=False)
    """Which requests to that path match; None is all."""
    after: int
    """How many matching requests it lets pass yet."""
    remaining: int | None
    """How many requests it will meet yet; None is no end."""

    def cancel(self) -> None:
        """Meet no further request. Requests already met are not called back. A second call does nothing."""
        self.remaining = 0

    def may_meet(self, request: ReceivedRequest) -> bool:
        """Whether it is waiting at the path of `request`."""
        return self.remaining != 0 and self.path in (None, request.path)

    def meets(self, request: ReceivedRequest) -> bool:
        """Whether its fault happens to `request`. Being asked counts: each request is asked about once."""
        if not self.may_meet(request) or not (self.when is None or self.when(request)):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.remaining is not None:
            self.remaining -= 1
        return True


class FaultScript:
    """Injected faults, consulted in the order of their injection; the first that meets a request has it.

    Later ones do not see a request that an earlier one has, and do not count it.
    """

    def __init__(self) -> None:
        self._injections: list[Injection] = []

    def add(self, injection: Injection, *, first: bool = False) -> None:
        """Consult `injection` after all others, or before them."""
        self._injections.insert(0 if first else len(self._injections), injection)

    def reads_body(self, request: ReceivedRequest) -> bool:
        """Whether `choose` needs the body of `request`, or its head is enough."""
        for injection in self._injections:
            if injection.may_meet(request):
                if injection.when is not None:
                    return True
                if injection.after == 0:
                    return False
        return False

    def choose(self, request: ReceivedRequest) -> Fault | None:
        """The fault that meets `request`, or None. Ask once for each request."""
        for injection in self._injections:
            if injection.meets(request):
                self._forget_spent()
                return injection.fault
        return None

    def _forget_spent(self) -> None:
        self._injections = [injection for injection in self._injections if injection.remaining != 0]
