"""One JSON text in, an action or its mistakes out."""

from decimal import Decimal

import pytest

from confirma_async import Comment, DirectPayment, RawAction
from confirma_async.cli.entry import Mistakes, NotJsonError, one_line, parse_json, read_entry

PAYMENT = (
    '{{"code":"DIRECTPAYMENT","data":{{"invoiceNumber":1,"caseId":2,"paymentMethod":"Bankgiro","amount":{amount},'
    '"currency":"SEK","paymentDate":"2026-02-09","reference":"r","outstandingCapitalAmount":0,'
    '"outstandingInterestAmount":0,"outstandingCostsAmount":0}}}}'
)


def read(text: str | bytes, *, allow_unknown_codes: bool = False) -> object:
    return read_entry(text.encode() if isinstance(text, str) else text, allow_unknown_codes=allow_unknown_codes)


def mistakes(text: str | bytes) -> str:
    found = read(text)
    assert isinstance(found, Mistakes)
    return str(found)


def test_reads_an_action_with_its_id() -> None:
    """An entry in the wire's shape becomes its action, and an action_id beside its members the action's id."""
    entry = read('{"code":"COMMENT","comment":"c","data":{"invoiceNumber":1,"caseId":2},"action_id":"e-1"}')
    assert entry == Comment(invoice_number=1, case_id=2, comment="c", action_id="e-1")


def test_keeps_an_amount_as_it_is_written() -> None:
    """An amount is read as the decimal that stands there, without a float on the way."""
    payment = read(PAYMENT.format(amount="1234567890123.45"))
    assert isinstance(payment, DirectPayment)
    assert payment.amount == Decimal("1234567890123.45")


def test_refuses_a_code_that_is_not_documented() -> None:
    """An unknown code is taken for a slip, and the sentence names the known ones and the way to send it anyhow."""
    text = mistakes('{"code":"COMENT","data":{}}')
    assert text.startswith("code: 'COMENT' is none of COMMENT, WITHDRAW, DUEDATE")
    assert "--allow-unknown-codes" in text


def test_takes_an_unknown_code_if_asked() -> None:
    """Where unknown codes are allowed, such an action is taken as it is."""
    entry = read('{"code":"NEWCODE","comment":null,"data":{"caseId":2}}', allow_unknown_codes=True)
    assert entry == RawAction(code="NEWCODE", data={"caseId": 2})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"code":"COMMENT","comm', "it is not complete JSON: it ends in the middle"),
        ('{"code":"COMMENT",}', "it is not JSON: trailing comma in object at column 19"),
        ("code;comment", "it is not JSON: invalid character at column 1"),
        (b'{"code":"\xe5"}', "it is not UTF-8"),
        (b'{"code":"a\0"}', "it is not JSON: invalid character at column 11"),
        ("[" * 100_000, "it nests too deeply"),
        ("[1]", "an action is a JSON object, not an array"),
        ('{"code":"COMMENT","data":{"invoiceNumber":1}}', "data.caseId: missing"),
        ('{"code":"COMMENT","data":{"invoiceNumber":true,"caseId":2}}', "data.invoiceNumber: takes an integer"),
        (
            '{"code":"DUEDATE","data":{"invoiceNumber":1,"caseId":2,"dueDate":"2026-02-30"}}',
            "data.dueDate: takes a date as YYYY-MM-DD, not '2026-02-30'",
        ),
        (PAYMENT.format(amount="NaN"), "it is not JSON: invalid character at column 98"),
        (PAYMENT.format(amount="1e99999999999999999999"), "number"),
        (PAYMENT.format(amount='"twelve"'), "data.amount: takes an amount such as 250.75"),
    ],
)
def test_says_what_is_wrong_and_where(text: str | bytes, told: str) -> None:
    """A mistake is told with the member that has it, or with the column where the text stops being JSON."""
    assert told in mistakes(text)


def test_tells_several_mistakes_at_once() -> None:
    """Everything that is wrong with an entry is told in one line."""
    assert mistakes('{"code":"COMMENT","data":{}}') == "data.invoiceNumber: missing; data.caseId: missing"


def test_a_file_cannot_steer_the_terminal() -> None:
    """Control characters of an input are shown escaped, never sent to a terminal."""
    told = mistakes('{"code":"COMMENT","data":{"invoiceNumber":1,"caseId":2,"\\u001b[31m\\n":1}}')
    assert told == "data.\\x1b[31m\\n: unknown member"
    assert one_line("Åland") == "Åland"


def test_names_the_first_member_at_fault() -> None:
    """Mistakes are counted by the member at fault, and by the line itself where no member is."""
    found = [read(text) for text in ('{"code":"COMMENT","data":{"invoiceNumber":1}}', "x")]
    assert [entry.path for entry in found if isinstance(entry, Mistakes)] == ["data.caseId", "the line itself"]


def test_knows_where_json_goes_wrong() -> None:
    """The place of a mistake is counted in bytes from the beginning of the text."""
    with pytest.raises(NotJsonError) as caught:
        parse_json(b'{"a":NaN}')
    assert (caught.value.reason, caught.value.offset) == ("is not JSON: invalid character", 5)
