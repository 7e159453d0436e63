from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pycountry
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confirma_async import (
    Action,
    Assumptions,
    Comment,
    DirectPayment,
    DueDate,
    Objection,
    Pause,
    PaymentPlan,
    RawAction,
    Violation,
    Withdraw,
    violations,
)
from confirma_async._core.rules import MAX_DEPTH, MAX_INTEGER
from confirma_async._core.wire import decode_json, encode_action
from tests.actions import PAYMENT_MEMBERS

LONE_SURROGATE = "broken \ud800"


def payment(**members: Any) -> DirectPayment:
    usual: dict[str, Any] = {"invoice_number": 123456789, "case_id": 12345, **PAYMENT_MEMBERS}
    return DirectPayment(**usual | members)


def paths(action: Action) -> list[str]:
    return [violation.path for violation in violations(action)]


def nested(levels: int) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for _ in range(levels - 1):
        data = {"a": data}
    return data


@pytest.mark.parametrize(
    "action",
    [
        Comment(invoice_number=1, case_id=1, comment="Hyvää päivää 👋"),
        Comment(invoice_number=1, case_id=1),
        Comment(invoice_number=1, case_id=1, comment=""),
        Withdraw(invoice_number=MAX_INTEGER, case_id=MAX_INTEGER),
        DueDate(invoice_number=1, case_id=1, due_date="2026-03-15"),
        PaymentPlan(invoice_number=1, case_id=1),
        Objection(invoice_number=1, case_id=1),
        Pause(invoice_number=1, case_id=1),
        payment(),
        RawAction(code="TOMORROW", data={}),
        RawAction(code="COMMENT", data={"invoiceNumber": -1}, comment="raw is raw"),
    ],
    ids=lambda action: str(action.code),
)
def test_what_breaks_no_rule_has_no_violation(action: Action) -> None:
    """An action that the API's documents allow has no violation."""
    assert violations(action) == ()


@pytest.mark.parametrize("number", [0, -1, MAX_INTEGER + 1, pytest.param(10**5000, id="huge")])
@pytest.mark.parametrize(("name", "path"), [("invoice_number", "data.invoiceNumber"), ("case_id", "data.caseId")])
def test_numbers_are_positive_and_fit(name: str, path: str, number: int) -> None:
    """Invoice and case numbers are from 1 to the largest that JSON readers keep exactly."""
    members: dict[str, Any] = {"invoice_number": 1, "case_id": 1, name: number}
    (found,) = violations(Comment(**members))
    assert found.path == path
    assert f"is not a number from 1 to {MAX_INTEGER}" in found.message
    assert len(found.message) < 120


AMOUNTS = ["amount", "outstanding_capital_amount", "outstanding_interest_amount", "outstanding_costs_amount"]
WIRE_AMOUNTS = ["amount", "outstandingCapitalAmount", "outstandingInterestAmount", "outstandingCostsAmount"]


@pytest.mark.parametrize(("name", "wire"), list(zip(AMOUNTS, WIRE_AMOUNTS, strict=True)))
def test_amounts_have_two_decimals_and_stay_exact(name: str, wire: str) -> None:
    """Every amount has at most two decimals, and is small enough for them to be exact in a double."""
    for fine in ("0", "0.00", "0.01", "250.7", "-5.25", "9999999999999.99", "-9999999999999.99"):
        assert violations(payment(**{name: fine})) == (), fine
    for bad, words in (
        ("0.001", "more than two decimals"),
        ("250.750", "more than two decimals"),
        ("10000000000000", "too large"),
        ("1E+900", "too large"),
        ("-1E+13", "too large"),
    ):
        (found,) = violations(payment(**{name: bad}))
        assert found.path == f"data.{wire}"
        assert words in found.message
        assert len(found.message) < 120


@given(st.decimals("-9999999999999.99", "9999999999999.99", places=2))
def test_an_allowed_amount_survives_a_double(amount: Decimal) -> None:
    """A reader that takes an allowed amount as a double gets its cents exactly."""
    assert violations(payment(amount=amount)) == ()
    assert Decimal(f"{float(amount):.2f}") == amount


@pytest.mark.parametrize("currency", sorted(currency.alpha_3 for currency in pycountry.currencies))
def test_every_currency_of_iso_4217(currency: str) -> None:
    """Every ISO 4217 code is allowed, in upper case alone."""
    assert violations(payment(currency=currency)) == ()
    for wrong in (currency.lower(), currency.capitalize(), f" {currency}", currency[:2]):
        assert paths(payment(currency=wrong)) == ["data.currency"]


@pytest.mark.parametrize("currency", ["", "XYZ", "752", "€", "SEKK", LONE_SURROGATE, "S" * 10_000])
def test_what_is_no_currency(currency: str) -> None:
    """What is no ISO 4217 code is shown, cut to a bearable length, with an example of what is."""
    (found,) = violations(payment(currency=currency))
    assert found.path == "data.currency"
    assert "is not an ISO 4217 currency code such as SEK or EUR" in found.message
    assert len(found.message) < 120
    assert found.message.isprintable()


@pytest.mark.parametrize(
    ("action", "path"),
    [
        (Comment(invoice_number=1, case_id=1, comment=LONE_SURROGATE), "comment"),
        (RawAction(code=LONE_SURROGATE, data={}), "code"),
        (RawAction(code="X", data={}, comment=LONE_SURROGATE), "comment"),
        (RawAction(code="X", data={"a": LONE_SURROGATE}), "data.a"),
        (RawAction(code="X", data={"a": [1, {"b": LONE_SURROGATE}]}), "data.a[1].b"),
        (payment(payment_method=LONE_SURROGATE), "data.paymentMethod"),
        (payment(reference=LONE_SURROGATE), "data.reference"),
    ],
)
def test_texts_can_be_written_as_utf_8(action: Action, path: str) -> None:
    """A text that came broken from its source is refused, by its path, and is not shown."""
    (found,) = violations(action)
    assert found == Violation(path, "it holds characters that UTF-8 cannot carry")


def test_everything_wrong_is_said_at_once() -> None:
    """All broken rules are listed, each with the path of its member, in the order of the members on the wire."""
    broken = payment(
        comment=LONE_SURROGATE,
        invoice_number=0,
        case_id=-1,
        payment_method=LONE_SURROGATE,
        amount="0.001",
        currency="sek",
        reference=LONE_SURROGATE,
        outstanding_capital_amount="0.001",
        outstanding_interest_amount="1E+20",
        outstanding_costs_amount="0.0001",
    )
    assert paths(broken) == [
        "comment",
        "data.invoiceNumber",
        "data.caseId",
        "data.paymentMethod",
        "data.amount",
        "data.currency",
        "data.reference",
        "data.outstandingCapitalAmount",
        "data.outstandingInterestAmount",
        "data.outstandingCostsAmount",
    ]


def test_one_amount_may_break_two_rules() -> None:
    """An amount that is both too large and too fine is told both."""
    assert paths(payment(amount="10000000000000.001")) == ["data.amount", "data.amount"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "it is not a finite number"),
        (float("-inf"), "it is not a finite number"),
        ({1, 2}, "a set has no form on the wire"),
        (b"x", "a bytes has no form on the wire"),
        (object(), "a object has no form on the wire"),
        (Decimal("NaN"), "not a finite number"),
        (Decimal("Infinity"), "not a finite number"),
        (Decimal("1E+999999999"), "not a finite number of sensible size"),
        (Decimal("1E-999999999"), "not a finite number of sensible size"),
        (2**63, "is larger than"),
        (-(2**63), "is larger than"),
        pytest.param(10**5000, "is larger than", id="huge"),
    ],
)
def test_what_a_raw_action_cannot_hold(value: object, words: str) -> None:
    """A member of a raw action that has no form on the wire is named with its path."""
    (found,) = violations(RawAction(code="X", data={"list": [None, {"deep": value}]}))
    assert found.path == "data.list[1].deep"
    assert words in found.message
    assert len(found.message) < 120


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        MAX_INTEGER,
        -MAX_INTEGER,
        "text",
        "",
        Decimal("250.70"),
        Decimal("1E+15"),
        date(2026, 3, 15),
        datetime(2026, 3, 15, 12, 30),  # noqa: DTZ001 - as callers have them
        [],
        (1, "two"),
        {"a": {"b": [None]}},
    ],
)
def test_what_a_raw_action_can_hold(value: object) -> None:
    """What JSON can say, and dates and amounts besides, may stand in a raw action."""
    assert violations(RawAction(code="X", data={"a": value})) == ()


def test_raw_data_nests_to_a_limit() -> None:
    """Data that nests deeper than any sensible document is refused before it exhausts anything."""
    assert violations(RawAction(code="X", data=nested(MAX_DEPTH))) == ()
    (found,) = violations(RawAction(code="X", data=nested(MAX_DEPTH + 1)))
    assert found.message == f"it nests deeper than {MAX_DEPTH} levels"
    assert violations(RawAction(code="X", data=nested(500)))
    endless: list[Any] = []
    endless.append(endless)
    assert violations(RawAction(code="X", data={"a": endless}))


class OtherText(str):
    __slots__ = ()


class OtherNumber(int):
    pass


class OtherDecimal(Decimal):
    pass


JSON_LIKE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.characters(categories=["Cs"])
    | st.decimals()
    | st.floats()
    | st.dates()
    | st.datetimes()
    | st.binary()
    | st.builds(OtherText, st.text())
    | st.builds(OtherNumber, st.integers())
    | st.builds(OtherDecimal, st.decimals(allow_nan=False)),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.dictionaries(
            st.text() | st.characters(categories=["Cs"]) | st.integers() | st.tuples(st.integers()) | st.none(), inner
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=5) | st.characters(categories=["Cs"]), JSON_LIKE, max_size=3))
def test_what_breaks_no_rule_can_be_written(data: dict[str, Any]) -> None:
    """Whatever a raw action holds: if no rule is broken, it can be written to the wire and read back."""
    action = RawAction(code="X", data=data)
    if not violations(action):
        assert set(decode_json(encode_action(action, Assumptions()))["data"]) == set(data)


@given(comment=st.text() | st.characters(categories=["Cs"]))
def test_no_violation_shows_the_comment(comment: str) -> None:
    """The text of a comment is in no message, whatever is wrong with it or beside it."""
    marked = f"private-{comment}-private"
    action = payment(comment=marked, currency="no", amount="0.001")
    assert all("private" not in str(violation) for violation in violations(action))


def test_a_violation_reads_as_a_line() -> None:
    """A violation's text is its path and its message."""
    assert str(Violation("data.amount", "it is odd")) == "data.amount: it is odd"
