"""`violations(action)`: every rule of the API's documents that an action breaks, all at once, with paths.

Sources: "Data validation" and "Create an Invoice Action" (API, sections 4.2 and 7).
"""

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from math import isfinite

from ..models import Action, CaseAction, DirectPayment, RawAction, Violation

__all__ = ["value_violations", "violations"]

MAX_INTEGER = 2**63 - 1
"""The largest integer that common JSON readers keep exactly as one."""

MAX_AMOUNT_DIGITS = 15
"""The service reads amounts as doubles (`number<double>`), which keep 15 decimal digits exactly."""

MAX_DEPTH = 32
"""How deep the data of a `RawAction` may nest."""


def violations(action: Action) -> tuple[Violation, ...]:
    """Every broken rule of `action`, in the order of its members; empty if it may be sent."""
    return tuple(_violations(action))


def _violations(action: Action) -> Iterator[Violation]:
    if action.comment is not None and not _is_encodable(action.comment):
        yield Violation("comment", "it holds characters that UTF-8 cannot carry")
    if isinstance(action, RawAction):
        if not _is_encodable(action.code):
            yield Violation("code", "it holds characters that UTF-8 cannot carry")
        yield from value_violations("data", action.data)
    else:
        yield from _case_violations(action)


def _case_violations(action: CaseAction) -> Iterator[Violation]:
    yield from _number_violations("data.invoiceNumber", action.invoice_number)
    yield from _number_violations("data.caseId", action.case_id)
    if isinstance(action, DirectPayment):
        yield from _payment_violations(action)


def _payment_violations(payment: DirectPayment) -> Iterator[Violation]:
    if not _is_encodable(payment.payment_method):
        yield Violation("data.paymentMethod", "it holds characters that UTF-8 cannot carry")
    yield from _amount_violations("data.amount", payment.amount)
    yield from _currency_violations("data.currency", payment.currency)
    if not _is_encodable(payment.reference):
        yield Violation("data.reference", "it holds characters that UTF-8 cannot carry")
    yield from _amount_violations("data.outstandingCapitalAmount", payment.outstanding_capital_amount)
    yield from _amount_violations("data.outstandingInterestAmount", payment.outstanding_interest_amount)
    yield from _amount_violations("data.outstandingCostsAmount", payment.outstanding_costs_amount)


def _number_violations(path: str, number: int) -> Iterator[Violation]:
    if not 0 < number <= MAX_INTEGER:
        yield Violation(path, f"{_shown(number)} is not a number from 1 to {MAX_INTEGER}")


def _amount_violations(path: str, amount: Decimal) -> Iterator[Violation]:
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int), "the constructor takes finite amounts only"
    if exponent < -2:
        yield Violation(path, f"{_shown(amount)} has more than two decimals")
    if amount and amount.adjusted() + 1 + 2 > MAX_AMOUNT_DIGITS:
        yield Violation(path, f"{_shown(amount)} is too large for a number of two decimals that stays exact")


def _currency_violations(path: str, currency: str) -> Iterator[Violation]:
    if currency not in _currencies():
        yield Violation(path, f"{_shown(currency)} is not an ISO 4217 currency code such as SEK or EUR")


@cache
def _currencies() -> frozenset[str]:
    # Imported on first use: it costs more than the rest of this package together.
    import pycountry  # noqa: PLC0415

    return frozenset(currency.alpha_3 for currency in pycountry.currencies)


def value_violations(path: str, value: object) -> Iterator[Violation]:
    """Everything in a JSON-like value that cannot be written to the wire as what it is, with paths."""
    return _value_violations(path, value, ())


def _value_violations(path: str, value: object, outer: tuple[object, ...]) -> Iterator[Violation]:
    members = _members(path, value)
    if members is None:
        if problem := _scalar_problem(value):
            yield Violation(path, problem)
    elif any(value is container for container in outer):
        yield Violation(path, "it contains itself")
    elif len(outer) == MAX_DEPTH:
        yield Violation(path, f"it nests deeper than {MAX_DEPTH} levels")
    elif isinstance(value, Mapping) and not all(isinstance(key, str) and _is_encodable(key) for key in value):
        yield Violation(path, "it has a member whose name is not a text that UTF-8 can carry")
    else:
        for member_path, member in members:
            yield from _value_violations(member_path, member, (*outer, value))


def _members(path: str, value: object) -> "list[tuple[str, object]] | None":
    """What stands inside of `value`, with paths; None if it is no container."""
    if isinstance(value, Mapping):
        return [(f"{path}.{key}", member) for key, member in value.items()]
    if isinstance(value, list | tuple):
        return [(f"{path}[{index}]", member) for index, member in enumerate(value)]
    return None


def _scalar_problem(value: object) -> str | None:
    match value:
        case None | bool() | date():
            return None
        case str():
            return None if _is_encodable(value) else "it holds characters that UTF-8 cannot carry"
        case int():
            return None if abs(value) <= MAX_INTEGER else f"{_shown(value)} is larger than {MAX_INTEGER}"
        case float():
            return None if isfinite(value) else "it is not a finite number"
        case Decimal():
            sane = value.is_finite() and abs(value.adjusted()) <= MAX_AMOUNT_DIGITS
            return None if sane else "it is not a finite number of sensible size"
        case _:
            return f"a {type(value).__name__} has no form on the wire"


def _is_encodable(text: str) -> bool:
    # A string that came from broken input may hold half of a surrogate pair.
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _shown(value: object) -> str:
    """`value` for a message, cut to a length that a line can bear."""
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        text = f"{value:.3E}" if isinstance(value, Decimal) and abs(value.adjusted()) > 20 else _digits(value)
    else:
        text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _digits(value: Decimal | int) -> str:
    if isinstance(value, int) and value.bit_length() > 128:
        return "an integer of that size"
    return str(value)
