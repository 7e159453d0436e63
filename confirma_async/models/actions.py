"""Invoice actions: what can be asked of a case with POST `/invoice/action` (API, section 4.2).

Constructors convert and check types; the rules of the API's documents are `violations(action)`'s matter, so that
everything wrong is said at once. Comment texts appear in no repr.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar, TypeAlias, cast

from attrs import Attribute, field, frozen

from ..codes import ActionCode
from ..errors import InvalidFieldError

__all__ = [
    "Action",
    "CaseAction",
    "Comment",
    "DirectPayment",
    "DueDate",
    "Objection",
    "Pause",
    "PaymentPlan",
    "RawAction",
    "Withdraw",
]

_AMOUNT_TEXT = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,6})?")

_DATE_LIKE = re.compile(r"[0-9]{1,4}([-./])[0-9]{1,2}\1[0-9]{1,4}")

MAX_ID_LENGTH = 255

ACTION_ID_KIND = f"a string of 1 to {MAX_ID_LENGTH} printable characters"

MAX_MAGNITUDE = 10**3
"""Decimal exponents beyond this are not amounts, and expanding them would exhaust memory."""


def _reject(instance: object, attribute: "Attribute[Any]", expected: str, value: object) -> InvalidFieldError:
    found = f"a {value.__name__ if isinstance(value, type) else type(value).__name__}"
    if isinstance(value, float | Decimal | date) or (isinstance(value, int) and value.bit_length() <= 128):
        found = f"{value!r}"
    if len(found) > 60:
        found = f"{found[:57]}..."
    return InvalidFieldError(f"{type(instance).__name__}.{attribute.name} takes {expected}, not {found}.")


def _is_text(instance: object, attribute: "Attribute[Any]", value: object) -> None:
    if type(value) is not str and not isinstance(value, str):
        # Not what it is: a number in the place of a text may be anybody's.
        raise _reject(instance, attribute, "a string", type(value))


def _is_text_or_none(instance: object, attribute: "Attribute[Any]", value: object) -> None:
    if value is not None:
        _is_text(instance, attribute, value)


def is_action_id(value: object) -> bool:
    """Whether `value` can be kept and shown as an action id everywhere."""
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_LENGTH and value.isprintable()


def _is_action_id(instance: object, attribute: "Attribute[Any]", value: object) -> None:
    if value is not None and not is_action_id(value):
        raise _reject(instance, attribute, ACTION_ID_KIND, value)


def _is_integer(instance: object, attribute: "Attribute[Any]", value: object) -> None:
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, int)):
        raise _reject(instance, attribute, "an integer", value)


def to_amount(value: Decimal | str | float) -> Decimal:
    """Convert what converts exactly; leave the rest for the validator, which knows the field's name."""
    if type(value) is Decimal:
        return value
    if isinstance(value, float):
        # Not repr(value): a float of another library shows more than its number.
        shortest = Decimal(float.__repr__(value))
        return shortest if _decimals(shortest) <= 2 else cast("Decimal", value)
    # Decimal itself also takes "1_000", " 1 " and digits of other scripts.
    is_text = isinstance(value, str) and _AMOUNT_TEXT.fullmatch(value)
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return Decimal(value) if is_text or is_number else cast("Decimal", value)


def is_sane(value: Decimal) -> bool:
    """Whether `value` is finite, and its digits can be written out without exhausting memory."""
    return value.is_finite() and abs(value.adjusted()) <= MAX_MAGNITUDE


def _decimals(value: Decimal) -> float:
    """Decimal places of `value` as written; infinite where it is no finite number."""
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else float("inf")


def _is_amount(instance: object, attribute: "Attribute[Any]", value: object) -> None:
    if not isinstance(value, Decimal):
        expected = "a Decimal, an integer, a decimal string, or a float of at most two decimals"
        raise _reject(instance, attribute, expected, value)
    if not is_sane(value):
        raise _reject(instance, attribute, "an amount that is finite and of sensible size", value)


def to_date(value: date | str) -> date:
    if isinstance(value, str):
        try:
            found = date.fromisoformat(value)
        except ValueError:
            return cast("date", value)
        # Python's own parser also takes `20260315` and `2026-W11-7`, which the API's documents do not.
        return found if found.isoformat() == value else cast("date", value)
    return value


def shown_date(text: str) -> str:
    """A text that is no date, for a message: shown where it looks like one, and else only measured.

    A personal identity number in the wrong column does not look like one.
    """
    return repr(text) if _DATE_LIKE.fullmatch(text) else f"a string of {len(text)} characters"


def _is_date(instance: object, attribute: "Attribute[Any]", value: object) -> None:
    if isinstance(value, str):
        name = f"{type(instance).__name__}.{attribute.name}"
        raise InvalidFieldError(f"{name} takes a date as YYYY-MM-DD, not {shown_date(value)}.")
    if isinstance(value, datetime) or not isinstance(value, date):
        raise _reject(instance, attribute, "a date or a string YYYY-MM-DD", value)


@frozen(kw_only=True)
class _ActionMembers:
    """What every action has."""

    comment: str | None = field(default=None, repr=False, validator=_is_text_or_none)
    """Free text, shown to the case's handlers. Never logged."""
    action_id: str | None = field(default=None, validator=_is_action_id)
    """Your id of the event behind this action, of up to 255 printable characters; never sent.

    Submitting an id again does not repeat its action.
    """


@frozen(kw_only=True)
class CaseAction(_ActionMembers):
    """An action on a case, of a documented code."""

    code: ClassVar[ActionCode]

    invoice_number: int = field(validator=_is_integer)
    """The invoice the case is about: `data.invoiceNumber`."""
    case_id: int = field(validator=_is_integer)
    """The case; the distribution endpoint tells it: `data.caseId`."""


@frozen(kw_only=True)
class Comment(CaseAction):
    """COMMENT: add a comment to the case."""

    code: ClassVar[ActionCode] = ActionCode.COMMENT


@frozen(kw_only=True)
class Withdraw(CaseAction):
    """WITHDRAW: withdraw the case."""

    code: ClassVar[ActionCode] = ActionCode.WITHDRAW


@frozen(kw_only=True)
class DueDate(CaseAction):
    """DUEDATE: move the due date of the case, not of the invoice."""

    code: ClassVar[ActionCode] = ActionCode.DUEDATE

    due_date: date = field(converter=to_date, validator=_is_date)


@frozen(kw_only=True)
class PaymentPlan(CaseAction):
    """PAYMENTPLAN: allow a payment plan for the case."""

    code: ClassVar[ActionCode] = ActionCode.PAYMENTPLAN


@frozen(kw_only=True)
class Objection(CaseAction):
    """OBJECTION: the customer objects; the comment says how."""

    code: ClassVar[ActionCode] = ActionCode.OBJECTION


@frozen(kw_only=True)
class Pause(CaseAction):
    """PAUSE: pause the proceedings of the case."""

    code: ClassVar[ActionCode] = ActionCode.PAUSE


@frozen(kw_only=True)
class DirectPayment(CaseAction):
    """DIRECTPAYMENT: a payment came in directly; what remains after it is said beside it."""

    code: ClassVar[ActionCode] = ActionCode.DIRECTPAYMENT

    payment_method: str = field(validator=_is_text, repr=False)
    """How it was paid; "Bankgiro" is the one value the documents show."""
    amount: Decimal = field(converter=to_amount, validator=_is_amount)
    currency: str = field(validator=_is_text)
    """ISO 4217, upper case."""
    payment_date: date = field(converter=to_date, validator=_is_date)
    reference: str = field(validator=_is_text, repr=False)
    """The payment's reference; free text of a bank, and therefore in no repr."""
    outstanding_capital_amount: Decimal = field(converter=to_amount, validator=_is_amount)
    """Capital that remains after this payment."""
    outstanding_interest_amount: Decimal = field(converter=to_amount, validator=_is_amount)
    """Interest that remains after this payment."""
    outstanding_costs_amount: Decimal = field(converter=to_amount, validator=_is_amount)
    """Costs that remain after this payment."""


def _is_code(instance: object, attribute: "Attribute[Any]", value: object) -> None:
    if not (isinstance(value, str) and value):
        raise _reject(instance, attribute, "a string that is not empty", value)


def _is_mapping(instance: object, attribute: "Attribute[Any]", value: object) -> None:
    if not (isinstance(value, dict) and all(isinstance(key, str) for key in value)):
        raise _reject(instance, attribute, "a mapping with string keys", value)


def _to_dict(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return dict(value) if isinstance(value, Mapping) else value


@frozen(kw_only=True)
class RawAction(_ActionMembers):
    """An action as the wire has it, for codes and members that this package does not know.

    `code` is treated as APPEND unless `DispositionPolicy` knows it: a repeat is assumed to do harm.
    """

    code: str = field(validator=_is_code)
    data: Mapping[str, Any] = field(converter=_to_dict, validator=_is_mapping, repr=False)
    """The wire's `data` object: strings, integers, Decimals, dates, booleans, None, lists and mappings."""

    @property
    def case_id(self) -> int | None:
        """The case, where `data` names one the documented way; actions of one case keep their order."""
        value = self.data.get("caseId")
        return value if isinstance(value, int) and not isinstance(value, bool) else None


Action: TypeAlias = CaseAction | RawAction
"""One thing asked of the service: a named action, or a `RawAction` for a code that has no name here."""
