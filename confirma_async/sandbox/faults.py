"""Faults: what may happen to a request, and which request it happens to. Doing it is the server's matter.

A `Fault` is a value. A `FaultScript` chooses: given a request, it names the fault that meets it, or none.
"""

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

from attrs import define, evolve, field, frozen

from .exchange import Answer, ReceivedRequest, json_answer

__all__ = ["Fault", "FaultScript", "Injection"]


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

    UNAUTHORIZED: ClassVar["Fault"]
    """401, although the token is good. Nothing is applied."""
    DROP_BEFORE_READING: ClassVar["Fault"]
    """The connection is aborted at the head of the request; its body is not read, and nothing is applied."""
    DROP_AFTER_READING: ClassVar["Fault"]
    """The whole request is read, nothing is applied, and the connection is aborted."""
    DROP_AFTER_APPLYING: ClassVar["Fault"]
    """The request is applied, and the connection aborted without an answer. `/renew` loses its token so."""
    HANG_AFTER_APPLYING: ClassVar["Fault"]
    """The request is applied, and no answer comes for as long as the sandbox runs."""

    @classmethod
    def too_many_requests(cls, retry_after: float | str | None = None) -> "Fault":
        """429. Nothing is applied.

        Args:
            retry_after: The header `Retry-After`: a number is written as seconds, a string as it is; None
                leaves it out.
        """
        return _turned_away(429, "too_many_requests", retry_after)

    @classmethod
    def unavailable(cls, retry_after: float | str | None = None) -> "Fault":
        """503. Nothing is applied. `retry_after` as for `too_many_requests`."""
        return _turned_away(503, "unavailable", retry_after)

    @classmethod
    def slow(cls, seconds: float) -> "Fault":
        """The request is applied at once, and its ordinary answer comes after `seconds`."""
        return cls(name="slow", applies=True, delay=seconds)

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


def _turned_away(status: int, name: str, retry_after: float | str | None) -> Fault:
    headers = {} if retry_after is None else {"Retry-After": _header_text(retry_after)}
    return Fault(name=name, answer=json_answer(status, {}, headers))


def _header_text(retry_after: float | str) -> str:
    # 15 digits keep every sensible number as it was meant: 2.0 is "2", 0.5 is "0.5", and no "1e+06" appears.
    return retry_after if isinstance(retry_after, str) else f"{retry_after:.15g}"


Fault.UNAUTHORIZED = Fault(name="unauthorized", answer=json_answer(401, {}))
Fault.DROP_BEFORE_READING = Fault(name="drop_before_reading", reads=False, drops=True)
Fault.DROP_AFTER_READING = Fault(name="drop_after_reading", drops=True)
Fault.DROP_AFTER_APPLYING = Fault(name="drop_after_applying", applies=True, drops=True)
Fault.HANG_AFTER_APPLYING = Fault(name="hang_after_applying", applies=True, delay=math.inf, drops=True)


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
