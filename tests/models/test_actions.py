import copy
import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confirma_async import (
    Action,
    ActionCode,
    Comment,
    ConfirmaError,
    DirectPayment,
    DueDate,
    InvalidFieldError,
    Objection,
    Pause,
    PaymentPlan,
    RawAction,
    Withdraw,
)
from confirma_async.models import CaseAction
from tests.actions import PAYMENT_MEMBERS

SIMPLE: list[type[CaseAction]] = [Comment, Withdraw, PaymentPlan, Objection, Pause]
CASE_ACTIONS: list[type[CaseAction]] = [*SIMPLE, DueDate, DirectPayment]
AMOUNTS = ["amount", "outstanding_capital_amount", "outstanding_interest_amount", "outstanding_costs_amount"]
MEMBERS: dict[str, Any] = {"invoice_number": 123456789, "case_id": 12345}
OWN_MEMBERS: dict[type[CaseAction], dict[str, Any]] = {
    DueDate: {"due_date": "2026-03-15"},
    DirectPayment: PAYMENT_MEMBERS,
}


def made(kind: type[CaseAction], **members: Any) -> CaseAction:
    return kind(**MEMBERS | OWN_MEMBERS.get(kind, {}) | members)


def payment(**members: Any) -> DirectPayment:
    return DirectPayment(**MEMBERS | PAYMENT_MEMBERS | members)


def refused(make: Callable[[], Action]) -> str:
    """The text of the error, which is one of ours, a TypeError and a ValueError."""
    with pytest.raises(InvalidFieldError) as caught:
        make()
    assert isinstance(caught.value, ConfirmaError)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


# --- amounts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AMOUNTS)
@pytest.mark.parametrize(
    ("given_value", "amount"),
    [
        (0, "0"),
        (250, "250"),
        (-5, "-5"),
        ("250.75", "250.75"),
        ("250.70", "250.70"),
        ("0", "0"),
        ("250.755", "250.755"),
        (Decimal("250.70"), "250.70"),
        (Decimal("0.001"), "0.001"),
        (250.75, "250.75"),
        (250.7, "250.7"),
        (250.0, "250.0"),
        (0.1, "0.1"),
        (-0.01, "-0.01"),
        (10**15, "1000000000000000"),
    ],
)
def test_amounts_become_decimals(name: str, given_value: object, amount: str) -> None:
    """An amount may be an int, a str, a Decimal, or a float of at most two decimals, and keeps its digits."""
    found = getattr(payment(**{name: given_value}), name)
    assert type(found) is Decimal
    assert str(found) == amount


@pytest.mark.parametrize("name", AMOUNTS)
@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        None,
        0.1 + 0.2,
        250.755,
        1e-7,
        float("nan"),
        float("inf"),
        float("-inf"),
        1e400,
        "NaN",
        "sNaN",
        "Infinity",
        "-inf",
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("1E+999999999"),
        Decimal("1E-999999999"),
        "1E+999999999",
        "",
        "much",
        "1,5",
        "1.5 kr",
        b"1.5",
        [1],
        1j,
        pytest.param(10**5000, id="huge"),
    ],
)
def test_what_is_no_amount_is_refused(name: str, value: object) -> None:
    """What does not convert exactly to a finite amount is refused, with the name of the field."""
    text = refused(lambda: payment(**{name: value}))
    assert text.startswith(f"DirectPayment.{name} takes ")
    assert text.endswith(".")
    assert len(text) < 200


@given(st.floats())
def test_a_float_is_taken_where_its_shortest_form_has_two_decimals(value: float) -> None:
    """A float that was computed, and so has more decimals than money, is refused; one that was written is taken."""
    shortest = Decimal(repr(value))
    exponent = shortest.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= -2:
        assert payment(amount=value).amount == shortest
    else:
        refused(lambda: payment(amount=value))


@given(st.integers(-(10**12), 10**12))
def test_every_number_of_cents_is_taken_as_a_float(cents: int) -> None:
    """A float that stands for a number of cents is that number of cents."""
    assert payment(amount=cents / 100).amount == Decimal(cents) / 100


class OtherFloat(float):
    """As numeric libraries have them: a float whose repr is not a number."""

    def __repr__(self) -> str:
        return f"library.float64({float(self)!r})"


class OtherDecimal(Decimal):
    pass


def test_numbers_of_other_libraries_are_taken() -> None:
    """Floats, ints and Decimals of derived classes become plain Decimals."""
    for value in (OtherFloat(250.75), OtherDecimal("250.75")):
        amount = payment(amount=value).amount
        assert type(amount) is Decimal
        assert str(amount) == "250.75"
    refused(lambda: payment(amount=OtherFloat(0.1 + 0.2)))


# --- dates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [date(2026, 3, 15), "2026-03-15"])
def test_dates_are_taken_as_dates_or_iso_strings(value: date | str) -> None:
    """A date may be a date or a string YYYY-MM-DD."""
    assert DueDate(**MEMBERS, due_date=value).due_date == date(2026, 3, 15)
    assert payment(payment_date=value).payment_date == date(2026, 3, 15)


@given(st.dates())
def test_every_date_is_read_from_its_iso_form(value: date) -> None:
    """Every date of the calendar can be given as the string that ISO 8601 has for it."""
    assert DueDate(**MEMBERS, due_date=value.isoformat()).due_date == value


@pytest.mark.parametrize(
    "value",
    [
        "2026-02-30",
        "2026-13-01",
        "2026-3-15",
        "20260315",
        "2026-W11-7",
        "2026-074",
        "2026-03-15T00:00",
        "15.03.2026",
        "15-03-2026",
        " 2026-03-15",
        "tomorrow",
        "",
    ],
)
def test_what_is_no_iso_date_is_refused(value: str) -> None:
    """A string that is not YYYY-MM-DD, or is no day of the calendar, is refused."""
    text = refused(lambda: DueDate(**MEMBERS, due_date=value))
    assert text.startswith("DueDate.due_date takes a date as YYYY-MM-DD, not ")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("2026-02-30", "'2026-02-30'"),
        ("15.03.2026", "'15.03.2026'"),
        ("131052-308T", "a string of 11 characters"),
        ("19850709-9805", "a string of 13 characters"),
        ("070761-4285", "a string of 11 characters"),
        ("anna@example.com", "a string of 16 characters"),
    ],
)
def test_only_what_looks_like_a_date_is_shown(value: str, shown: str) -> None:
    """What slipped in from another column may be somebody's, and is only measured."""
    assert refused(lambda: DueDate(**MEMBERS, due_date=value)).endswith(f", not {shown}.")


@pytest.mark.parametrize(
    "value",
    [datetime(2026, 3, 15), datetime(2026, 3, 15, tzinfo=UTC), None, 20260315, 1.5, True, b"2026-03-15"],  # noqa: DTZ001
)
def test_what_is_no_date_is_refused(value: object) -> None:
    """A datetime is no date: whose day it is depends on the zone; nor is a number one."""
    text = refused(lambda: DueDate(**MEMBERS, due_date=value))  # type: ignore[arg-type]
    assert text.startswith("DueDate.due_date takes a date or a string YYYY-MM-DD, not ")


@given(st.text())
def test_any_text_is_a_date_or_a_clear_refusal(text: str) -> None:
    """A string is taken for a date only where it is the date's own ISO form."""
    try:
        found = DueDate(**MEMBERS, due_date=text).due_date
    except InvalidFieldError as error:
        assert len(str(error)) < 200  # noqa: PT017 - both ways are right
    else:
        assert found.isoformat() == text


# --- numbers, texts, ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CASE_ACTIONS)
@pytest.mark.parametrize("name", ["invoice_number", "case_id"])
@pytest.mark.parametrize("value", [True, False, "1", 1.0, None, Decimal(1), [1]])
def test_numbers_are_integers(kind: type[CaseAction], name: str, value: object) -> None:
    """Invoice and case numbers are integers, and a boolean is none."""
    text = refused(lambda: made(kind, **{name: value}))
    assert text.startswith(f"{kind.__name__}.{name} takes an integer, not ")


@pytest.mark.parametrize("name", ["payment_method", "currency", "reference"])
@pytest.mark.parametrize("value", [None, 5, b"SEK", ["SEK"], pytest.param(10**5000, id="huge")])
def test_texts_are_strings(name: str, value: object) -> None:
    """A text is a string; what is not is named by its kind."""
    assert refused(lambda: payment(**{name: value})).startswith(f"DirectPayment.{name} takes a string, not ")


@pytest.mark.parametrize("kind", CASE_ACTIONS)
def test_a_comment_is_text_or_absent(kind: type[CaseAction]) -> None:
    """A comment is a string, and may be absent or empty."""
    assert made(kind).comment is None
    assert made(kind, comment="").comment == ""
    assert refused(lambda: made(kind, comment=["private"])) == f"{kind.__name__}.comment takes a string, not a list."


@pytest.mark.parametrize("kind", CASE_ACTIONS)
def test_an_action_id_is_text_and_not_empty(kind: type[CaseAction]) -> None:
    """An action id is a short string that can be shown; left out, it is None until the action is submitted."""
    assert made(kind).action_id is None
    for good in ("event-77", "Räkning 7", "x" * 255):
        assert made(kind, action_id=good).action_id == good
    for value in ("", 5, b"x", True, "x" * 256, "a\nb", "a\0b", "\ud800"):
        assert refused(lambda value=value: made(kind, action_id=value)).startswith(  # type: ignore[misc]
            f"{kind.__name__}.action_id takes a string of 1 to 255 printable characters, not "
        )


def test_no_rule_is_checked_by_a_constructor() -> None:
    """Constructors check kinds; rules are `violations(action)`'s matter, so that all of them are told at once."""
    assert made(Comment, invoice_number=-1, case_id=0).case_id == 0
    assert payment(currency="nonsense", amount="0.00001").currency == "nonsense"


# --- values -----------------------------------------------------------------------------------------------------------


def test_every_documented_code_has_a_class() -> None:
    """The seven documented codes are seven classes, one each."""
    assert {kind.code for kind in CASE_ACTIONS} == set(ActionCode)
    assert len(CASE_ACTIONS) == len(ActionCode)


@pytest.mark.parametrize("kind", CASE_ACTIONS)
def test_actions_are_frozen_values(kind: type[CaseAction]) -> None:
    """An action cannot be changed, equals another with the same content, and can be a key."""
    action = made(kind, comment="x")
    for name in ("case_id", "comment", "brand_new"):
        with pytest.raises(AttributeError):
            setattr(action, name, 1)
    assert action == made(kind, comment="x")
    assert action != made(kind, comment="y")
    assert hash(action) == hash(made(kind, comment="x"))
    assert pickle.loads(pickle.dumps(action)) == action  # noqa: S301 - made here
    assert copy.deepcopy(action) == action


def test_actions_of_different_codes_differ() -> None:
    """Two actions with the same members and different codes are not equal."""
    actions = [made(kind) for kind in SIMPLE]
    assert all(first != second for first in actions for second in actions if first is not second)


@pytest.mark.parametrize("kind", [*CASE_ACTIONS, RawAction])
def test_members_are_given_by_name(kind: type[Action]) -> None:
    """Every member is given by its name: a case is never taken for an invoice."""
    parameters = signature(kind).parameters.values()
    assert {parameter.kind for parameter in parameters} == {Parameter.KEYWORD_ONLY}
    with pytest.raises(TypeError):
        kind(1, 2)  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize("kind", CASE_ACTIONS)
def test_no_comment_text_in_a_repr(kind: type[CaseAction]) -> None:
    """An action's repr names its case and never shows its comment."""
    shown = repr(made(kind, comment="private words"))
    assert "private" not in shown
    assert "12345" in shown
    assert shown.startswith(f"{kind.__name__}(")


# --- raw actions ------------------------------------------------------------------------------------------------------


def test_a_raw_action_copies_its_data() -> None:
    """What a caller does to the mapping afterwards changes no action."""
    data = {"caseId": 7}
    action = RawAction(code="TOMORROW", data=data)
    data["caseId"] = 8
    data["more"] = 1
    assert action.data == {"caseId": 7}
    assert action.case_id == 7


def test_a_raw_action_takes_any_mapping() -> None:
    """Any mapping with string keys will do for the data."""
    assert RawAction(code="X", data=MappingProxyType({"caseId": 7})).data == {"caseId": 7}
    assert RawAction(code="X", data={}).data == {}


@pytest.mark.parametrize("data", [None, [], "x", [("a", 1)], {1: 2}, {None: 1}])
def test_raw_data_is_a_mapping_with_string_keys(data: Any) -> None:
    """What is no mapping with string keys is refused."""
    text = refused(lambda: RawAction(code="X", data=data))
    assert text.startswith("RawAction.data takes a mapping with string keys, not a ")


@pytest.mark.parametrize("code", ["", None, 5, b"X"])
def test_a_raw_code_is_text_and_not_empty(code: Any) -> None:
    """A code is a string that is not empty."""
    assert refused(lambda: RawAction(code=code, data={})).startswith("RawAction.code takes a string that is not empty")


@pytest.mark.parametrize("value", [None, "7", 7.0, True, Decimal(7), [7]])
def test_a_case_that_is_not_named_the_documented_way_is_none(value: object) -> None:
    """The case of a raw action is known only where `data.caseId` is an integer."""
    assert RawAction(code="X", data={"caseId": value}).case_id is None
    assert RawAction(code="X", data={}).case_id is None


def test_a_raw_action_is_a_frozen_value() -> None:
    """A raw action cannot be changed, equals one with the same content, and shows neither comment nor data."""
    action = RawAction(code="X", data={"email": "private@example.com"}, comment="private words")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        action.code = "Y"  # type: ignore[misc]
    assert action == RawAction(code="X", data={"email": "private@example.com"}, comment="private words")
    assert "private" not in repr(action)
    assert pickle.loads(pickle.dumps(action)) == action  # noqa: S301 - made here
