import json
from contextlib import suppress
from datetime import date
from decimal import Decimal
from typing import Any, Literal

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from confirma_async import (
    Action,
    Assumptions,
    Comment,
    DirectPayment,
    DueDate,
    InvalidActionError,
    Objection,
    Pause,
    PaymentPlan,
    RawAction,
    Withdraw,
)
from confirma_async._core.wire import (
    BODY_OVERHEAD,
    JsonError,
    actions_body,
    decode_action,
    decode_json,
    encode_action,
    encode_json,
    repeated_member,
)
from confirma_async.models import CaseAction
from tests.documents import EXAMPLE

PLAIN = Assumptions()


MODELLED: list[Action] = [
    Comment(invoice_number=123456789, case_id=12345, comment="Customer requested extension"),
    Withdraw(
        invoice_number=123456789,
        case_id=12345,
        comment="Customer requested to withdraw the case with the invoice number",
    ),
    DueDate(
        invoice_number=123456789,
        case_id=12345,
        comment="Customer requested extension for the case due date (not invoice due date)",
        due_date=date(2026, 3, 15),
    ),
    PaymentPlan(
        invoice_number=123456789,
        case_id=12345,
        comment="Customer allows option to generate an payment plan for this case",
    ),
    Objection(invoice_number=123456789, case_id=12345, comment="Customer sends a objection to the case with comment"),
    Pause(invoice_number=123456789, case_id=12345, comment="Customer would like to pause the case proceedings"),
    DirectPayment(
        invoice_number=123456789,
        case_id=12345,
        comment="Payment received via bank transfer",
        payment_method="Bankgiro",
        amount=Decimal("250.75"),
        currency="SEK",
        payment_date=date(2026, 2, 9),
        reference="BANKREF-88921",
        outstanding_capital_amount=Decimal(0),
        outstanding_interest_amount=Decimal(0),
        outstanding_costs_amount=Decimal(0),
    ),
]


def payment(**members: Any) -> DirectPayment:
    changed = evolve(MODELLED[-1], **members)
    assert isinstance(changed, DirectPayment)
    return changed


def written(action: Action, assumptions: Assumptions = PLAIN) -> str:
    return encode_action(action, assumptions).decode()


def in_order(value: Any) -> Any:
    """The value with its objects as lists of members, so that their order counts; numbers as their text."""
    return json.loads(
        value,
        object_pairs_hook=list,
        parse_float=lambda text: ("number", text),
        parse_int=lambda text: ("number", text),
    )


# --- the document's example -------------------------------------------------------------------------------------------


def test_the_example_of_the_document_is_what_we_write() -> None:
    """The example of the API's document is written value for value, digit for digit and in member order."""
    body = actions_body([encode_action(action, PLAIN) for action in MODELLED])
    assert in_order(body) == in_order(EXAMPLE)


def test_the_example_of_the_document_is_what_we_read() -> None:
    """The example of the API's document is read as the actions that it shows, each of its own class."""
    assert [decode_action(element) for element in decode_json(EXAMPLE)["actions"]] == MODELLED


def test_a_body_is_a_join_of_encoded_actions() -> None:
    """A body's size is known from that of its actions, so that byte limits are exact."""
    encoded = [encode_action(action, PLAIN) for action in MODELLED]
    for number in range(1, len(encoded) + 1):
        size = sum(map(len, encoded[:number])) + number - 1 + BODY_OVERHEAD
        assert len(actions_body(encoded[:number])) == size


# --- there and back ---------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
AMOUNTS = (
    st.decimals(allow_nan=False, allow_infinity=False, places=2)
    | st.integers(-(10**15), 10**15).map(Decimal)
    | st.decimals("-1E+30", "1E+30")
)
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "invoice_number": st.integers(1, 2**63 - 1),
    "case_id": st.integers(1, 2**63 - 1),
    "comment": st.none() | TEXTS,
}
PAYMENTS = st.builds(
    DirectPayment,
    **MEMBERS,
    payment_method=TEXTS,
    amount=AMOUNTS,
    currency=TEXTS,
    payment_date=st.dates(),
    reference=TEXTS,
    outstanding_capital_amount=AMOUNTS,
    outstanding_interest_amount=AMOUNTS,
    outstanding_costs_amount=AMOUNTS,
)
SIMPLE = st.one_of(*(st.builds(kind, **MEMBERS) for kind in (Comment, Withdraw, PaymentPlan, Objection, Pause)))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS | AMOUNTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=8,
)
RAW = st.builds(
    RawAction,
    code=TEXTS.filter(bool).map("X-{}".format),
    comment=st.none() | TEXTS,
    data=st.dictionaries(TEXTS, JSON_VALUES, max_size=4),
)
ACTIONS = SIMPLE | st.builds(DueDate, **MEMBERS, due_date=st.dates()) | PAYMENTS | RAW


@given(ACTIONS)
def test_what_is_written_is_read_back(action: Action) -> None:
    """An action that is written and read is the same action, of the same class, with the same amounts."""
    found = decode_action(decode_json(encode_action(action, PLAIN)))
    assert found == action
    assert type(found) is type(action)


@given(PAYMENTS)
def test_amounts_keep_their_digits(action: DirectPayment) -> None:
    """An amount is written with the digits it has, its trailing zeros included, and read with them."""
    found = decode_action(decode_json(encode_action(action, PLAIN)))
    assert isinstance(found, DirectPayment)
    assert str(found.amount) == str(action.amount)
    assert f'"amount":{action.amount},' in written(action)


@pytest.mark.parametrize("amount", ["250.70", "0", "0.00", "-5.25", "12345678901234567890.12", "9999999999999.99", "5"])
def test_amounts_are_numbers_as_they_stand(amount: str) -> None:
    """Money is written as a JSON number, and never goes through a float."""
    assert f'"amount":{amount},"currency"' in written(payment(amount=amount))
    assert decode_json(f"[{amount}]") == [Decimal(amount)]


@given(ACTIONS)
def test_other_readers_read_what_we_write(action: Action) -> None:
    """What is written is JSON to every reader, in UTF-8, with the members of the document in their order."""
    element = json.loads(encode_action(action, PLAIN))
    assert list(element) == (["code", "data"] if action.comment is None else ["code", "comment", "data"])
    assert element["code"] == action.code
    assert element.get("comment") == action.comment
    if isinstance(action, CaseAction):
        assert list(element["data"])[:2] == ["invoiceNumber", "caseId"]
        assert (element["data"]["invoiceNumber"], element["data"]["caseId"]) == (action.invoice_number, action.case_id)


@pytest.mark.parametrize(
    ("absent_comment", "start"),
    [
        ("omit", '{"code":"COMMENT","data":'),
        ("null", '{"code":"COMMENT","comment":null,"data":'),
        ("empty", '{"code":"COMMENT","comment":"","data":'),
    ],
)
def test_an_absent_comment_is_written_as_assumed(absent_comment: Literal["omit", "null", "empty"], start: str) -> None:
    """How an absent comment is written is an assumption, and can be chosen; a comment that is there stands."""
    chosen = Assumptions(absent_comment=absent_comment)
    assert written(Comment(invoice_number=1, case_id=2), chosen).startswith(start)
    present = Comment(invoice_number=1, case_id=2, comment="x")
    assert written(present, chosen) == written(present)


@pytest.mark.parametrize("action", MODELLED, ids=lambda action: str(action.code))
def test_an_action_id_is_never_on_the_wire(action: Action) -> None:
    """The caller's id of an action does not leave the house."""
    assert encode_action(evolve(action, action_id="event-77"), PLAIN) == encode_action(action, PLAIN)


def test_an_action_id_is_read_from_a_file() -> None:
    """In a file, an id may stand beside the members of an action."""
    element = {"code": "PAUSE", "data": {"invoiceNumber": 1, "caseId": 2}, "action_id": "event-77"}
    assert decode_action(element) == Pause(invoice_number=1, case_id=2, action_id="event-77")


class OtherText(str):
    __slots__ = ()


def test_texts_of_other_libraries_are_written() -> None:
    """A text of a class derived from `str`, as data libraries make them, is written as the text it is."""
    action = Comment(invoice_number=1, case_id=2, comment=OtherText("Hei"))
    assert '"comment":"Hei"' in written(action)


def test_a_code_that_is_not_documented_is_kept() -> None:
    """A code that is not documented is read as a raw action, with every member that stands in its data."""
    text = '{"code":"TOMORROW","comment":"x","data":{"caseId":7,"more":[1.50,{"deep":null}],"dueDate":"2026-03-15"}}'
    action = decode_action(decode_json(text))
    assert isinstance(action, RawAction)
    assert action.case_id == 7
    assert written(action) == text


def test_dates_in_a_raw_action_are_written_as_documented() -> None:
    """A date in the data of a raw action is written YYYY-MM-DD, an amount as a number."""
    action = RawAction(code="X", data={"dueDate": date(2026, 3, 5), "amount": Decimal("1.10")})
    assert written(action) == '{"code":"X","data":{"dueDate":"2026-03-05","amount":1.10}}'


# --- what cannot be read ----------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"code": "PAUSE", "data": {"invoiceNumber": 1, "caseId": 2}}


def refused(element: object) -> dict[str, str]:
    """Path -> message of every mistake in what is not an action."""
    with pytest.raises(InvalidActionError) as caught:
        decode_action(element)
    error = caught.value
    found = {violation.path: violation.message for violation in error.violations}
    assert len(found) == len(error.violations), "a mistake is named once"
    assert str(error).startswith("This is not an action: ")
    assert all(str(violation) in str(error) for violation in error.violations)
    return found


def test_every_mistake_is_named_with_its_path() -> None:
    """All mistakes in an action are listed at once, each with the path that the wire gives the member."""
    payment_data = {
        "invoiceNumber": True,
        "caseId": "2",
        "amount": "much",
        "currency": 752,
        "paymentDate": "2026-02-30",
        "reference": None,
        "outstandingCapitalAmount": None,
        "outstandingInterestAmount": [],
        "unheardOf": 1,
    }
    assert refused({"code": "DIRECTPAYMENT", "data": payment_data}) == {
        "data.invoiceNumber": "takes an integer, not a boolean",
        "data.caseId": "takes an integer, not a string",
        "data.paymentMethod": "missing",
        "data.amount": "takes an amount such as 250.75, not a string",
        "data.currency": "takes a string, not a number",
        "data.paymentDate": "takes a date as YYYY-MM-DD, not '2026-02-30'",
        "data.reference": "takes a string, not nothing",
        "data.outstandingCapitalAmount": "takes an amount such as 250.75, not nothing",
        "data.outstandingInterestAmount": "takes an amount such as 250.75, not an array",
        "data.outstandingCostsAmount": "missing",
        "data.unheardOf": "unknown member",
    }


@pytest.mark.parametrize(
    ("element", "paths"),
    [
        (None, ["$"]),
        ([], ["$"]),
        ("COMMENT", ["$"]),
        ({}, ["code", "data"]),
        ({"code": "", "data": {}}, ["code"]),
        ({"code": 5, "data": None}, ["code", "data"]),
        ({**GOOD, "data": []}, ["data"]),
        ({**GOOD, "comment": 5}, ["comment"]),
        ({**GOOD, "action_id": ""}, ["action_id"]),
        ({**GOOD, "action_id": 5}, ["action_id"]),
        ({**GOOD, "status": "x", "comment": [], "data": 1}, ["status", "comment", "data"]),
        ({**GOOD, "data": {}}, ["data.invoiceNumber", "data.caseId"]),
        ({**GOOD, "data": {**GOOD["data"], "invoice_number": 1}}, ["data.invoice_number"]),
        ({**GOOD, "data": {**GOOD["data"], "comment": "here?"}}, ["data.comment"]),
        ({**GOOD, "data": {**GOOD["data"], "action_id": "here?"}}, ["data.action_id"]),
    ],
)
def test_what_is_no_action(element: object, paths: list[str]) -> None:
    """What is no element of an `actions` array is refused, with the path of each member at fault."""
    assert list(refused(element)) == paths


@pytest.mark.parametrize("element", [{**GOOD, "action_id": ""}, {"code": "", "data": {}}])
def test_an_empty_text_is_called_empty(element: object) -> None:
    """Where a text is empty the message says so, and not that it takes a string and no string."""
    assert all("empty" in message for message in refused(element).values())


@pytest.mark.parametrize("element", [{**GOOD, "comment": ""}, {**GOOD, "comment": None}])
def test_an_empty_comment_is_allowed(element: dict[str, Any]) -> None:
    """A comment may be empty or null: the documents' examples mix all ways of saying nothing."""
    assert decode_action(element).comment == element["comment"]


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "1E+999999999", True, None, [], {}, "", "1,5", 1.555])
def test_what_is_no_amount(amount: object) -> None:
    """What is no finite amount of sensible size is refused, without showing it."""
    data = decode_json(EXAMPLE)["actions"][-1]["data"]
    found = refused({"code": "DIRECTPAYMENT", "data": {**data, "amount": amount}})
    assert list(found) == ["data.amount"]
    assert "takes an amount such as 250.75" in found["data.amount"]


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30",
        "20260315",
        "2026-3-15",
        "2026-W11-7",
        "15.03.2026",
        "",
        "2026-03-15T00:00:00",
        20260315,
        None,
        True,
    ],
)
def test_what_is_no_date(text: object) -> None:
    """A date stands as YYYY-MM-DD, is one of the calendar, and nothing else is taken for one."""
    data = {**GOOD["data"], "dueDate": text}
    assert list(refused({"code": "DUEDATE", "data": data})) == ["data.dueDate"]


ANYTHING = JSON_VALUES | st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from(["COMMENT", "DUEDATE", "DIRECTPAYMENT", "NEW", "", None]) | JSON_VALUES,
        "comment": st.just("private words") | st.just(["private words"]) | JSON_VALUES,
        "action_id": TEXTS | JSON_VALUES,
        "data": st.dictionaries(
            st.sampled_from(["invoiceNumber", "caseId", "dueDate", "amount", "currency", "paymentDate", "zzz"]),
            JSON_VALUES,
        )
        | JSON_VALUES,
        "more": JSON_VALUES,
    },
)


@given(ANYTHING)
@example({"code": "COMMENT", "comment": "private words", "data": {}})
@example({"code": "COMMENT", "comment": ["private words"], "data": {"invoiceNumber": 1, "caseId": 1}})
def test_anything_is_an_action_or_a_clear_refusal(element: object) -> None:
    """Whatever JSON says is an action that can be written again, or an error with paths and without comment text."""
    try:
        action = decode_action(element)
    except InvalidActionError as refusal:
        assert refusal.violations  # noqa: PT017 - both ways are right
        assert "private words" not in str(refusal)  # noqa: PT017
        assert refusal.__suppress_context__ or refusal.__context__ is None  # noqa: PT017
    else:
        assert decode_action(decode_json(encode_action(action, PLAIN))) == evolve(action, action_id=None)


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        "nul",
        '{"a":1}}',
        "NaN",
        "'a'",
        b"\xff",
        b'"\xed\xa0\x80"',
        "[" * 100_000,
        "1e99999999999999999999",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_json(text: str | bytes) -> None:
    """What is not JSON, or is beyond all measure, is one error of its own, which is a `ValueError`."""
    with pytest.raises(JsonError) as caught:
        decode_json(text)
    assert isinstance(caught.value, ValueError)
    assert caught.value.__suppress_context__


@given(st.text() | st.binary())
def test_any_text_is_json_or_a_json_error(text: str | bytes) -> None:
    """Whatever arrives is read, or is a `JsonError`."""
    with suppress(JsonError):
        decode_json(text)


@given(JSON_VALUES)
def test_json_there_and_back(value: object) -> None:
    """Any JSON value is read as it was written, amounts without a float on the way."""
    assert decode_json(encode_json(value)) == value


@pytest.mark.parametrize("value", [object(), {"a": object()}, "\ud800", {(1,): 2}])
def test_what_json_cannot_carry(value: object) -> None:
    """What has no form in JSON is a `TypeError` or a `ValueError`, and not written as something else."""
    with pytest.raises((TypeError, ValueError)):
        encode_json(value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"code":"PAUSE","code":"COMMENT"}', "code"),
        ('{"a": {"b" : 1, "c": [{"d": 1, "d"\t: 2}]}}', "d"),
        ('[{"a":1},{"a":1}]', None),
        ('{"a":"\\"b\\": \\"b\\":"}', None),
        ('{"a":"x\\":","a":1e400}', "a"),
        ("3", None),
    ],
)
def test_a_member_that_comes_twice_is_found(text: str, name: str | None) -> None:
    """Readers keep the last one and say nothing; colons inside of strings are no members."""
    assert repeated_member(text.encode(), decode_json(text)) == name
