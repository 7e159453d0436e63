"""Token decisions: whether a 401 asks for a renewal, and what each answer on the way to a new token means.

The order that loses no token: renew → keep the new one durably as candidate, beside the current one → check it →
promote it → use it. Renewing is a GET with a side effect whose answer is the only copy of the new token, so an answer
that was lost is never followed by a blind second try: the old token is checked first.
"""

from enum import Enum
from typing import Any

from attrs import evolve, field, frozen

from ..codes import Environment
from .disposition import Evidence

__all__ = ["MAX_FAILURES", "Check", "Renewal", "TokenRecord", "judge_check", "judge_renewal", "renewed_token"]

MAX_FAILURES = 3
"""Renewals in a row that may fail before a token is dead."""


@frozen(kw_only=True)
class TokenRecord:
    """What a store keeps. The tokens appear in no repr."""

    current: str = field(repr=False)
    candidate: str | None = field(default=None, repr=False)
    """A token that was issued and not yet found good. It is never thrown away before that is clear."""
    environment: Environment | None = None
    """Where the token belongs; None until a client said so."""
    renewing: bool = False
    """A renewal was begun and its answer was not kept: the current token is checked before another one."""

    def bound_to(self, environment: Environment) -> "TokenRecord":
        """The record once a client of `environment` has used it."""
        return evolve(self, environment=environment)

    def begun(self) -> "TokenRecord":
        """The record right before the service is asked for a new token."""
        return evolve(self, renewing=True)

    def settled(self) -> "TokenRecord":
        """The record once it is clear that the service issued nothing."""
        return evolve(self, renewing=False)

    def with_candidate(self, candidate: str) -> "TokenRecord":
        """The record after the service issued `candidate`."""
        return evolve(self, candidate=candidate, renewing=False)

    def promoted(self) -> "TokenRecord":
        """The record after the candidate was found good."""
        assert self.candidate is not None
        return evolve(self, current=self.candidate, candidate=None)

    def without_candidate(self) -> "TokenRecord":
        """The record after the candidate was found bad."""
        return evolve(self, candidate=None)


class Renewal(Enum):
    """What an attempt to renew showed."""

    RENEWED = "the service answered with a new token"
    REFUSED = "the service refuses to renew"
    IN_DOUBT = "a new token may have been issued, and did not reach us"
    NOT_HANDLED = "the service cannot be reached, or asks to wait; nothing was issued"


class Check(Enum):
    """What GET `/validate` showed of a token."""

    VALID = "valid"
    INVALID = "not valid"
    UNCLEAR = "no clear answer"


def judge_renewal(evidence: Evidence, token: str | None) -> Renewal:
    """Judge an attempt to renew that brought `token`, if any (API, section 3.3)."""
    status = evidence.status
    if status is None:
        return Renewal.IN_DOUBT if evidence.headers_sent else Renewal.NOT_HANDLED
    if 200 <= status <= 299:
        return Renewal.RENEWED if token else Renewal.IN_DOUBT
    if status in (425, 429, 503):
        return Renewal.NOT_HANDLED
    return Renewal.REFUSED if 400 <= status <= 499 and status != 408 else Renewal.IN_DOUBT


def renewed_token(answer: Any) -> str | None:
    """The token in a renewal's answer, by the assumption `renewal_message_is_token`.

    A text that could not stand in a header is none: it is rather a sentence for a person.
    """
    message = answer.get("Message") if isinstance(answer, dict) else None
    if isinstance(message, str) and message.isascii() and message.isprintable() and " " not in message:
        return message or None
    return None


def judge_check(evidence: Evidence, answer: Any) -> Check:
    """Judge a GET `/validate`: only a 401, or `isValid: false`, distrusts a token (API, section 3.2)."""
    status = evidence.status
    if status == 401:
        return Check.INVALID
    if status is None or not 200 <= status <= 299:
        return Check.UNCLEAR
    said = answer.get("isValid") if isinstance(answer, dict) else None
    if said is False:
        return Check.INVALID
    return Check.VALID if said is True else Check.UNCLEAR
