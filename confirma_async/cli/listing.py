"""What may be told of an action in a journal: what identifies it, and nothing that a person wrote. No I/O.

Comments, references and everything else that may be personal stay in the journal.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from .._core.journal import JournalRecord, State
from .._core.wire import decode_json, encode_json
from .entry import one_line
from .journaling import state_name
from .summary import counted

__all__ = ["code_of", "facts", "listed_json", "listed_lines", "local_time"]

_CURRENCY = re.compile("[A-Z]{3}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_LONGEST_CODE = 20
_LONGEST_AMOUNT = 20


def facts(record: JournalRecord) -> dict[str, object]:
    """What may be told of an action, by name; None stands for what it does not have, or is not kept any more."""
    element = {} if record.content is None else decode_json(record.content)
    data = element.get("data", {})
    return {
        "id": record.action_id,
        "state": record.state.value,
        "code": code_of(record),
        "case": _integer(data.get("caseId")),
        "invoice": _integer(data.get("invoiceNumber")),
        "amount": _amount(data.get("amount")),
        "currency": _matching(_CURRENCY, data.get("currency")),
        "date": _matching(_DAY, data.get("paymentDate")),
        "attempts": record.attempts,
        "when": _moment(record.changed).isoformat(timespec="seconds"),
        "reason": record.reason,
    }


def code_of(record: JournalRecord) -> str | None:
    """The code of an action; None once it was accepted, and its content dropped."""
    if record.content is None:
        return None
    code = decode_json(record.content).get("code")
    return one_line(code[:_LONGEST_CODE]) if isinstance(code, str) else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _amount(value: object) -> Decimal | None:
    amount = value if isinstance(value, Decimal) else _integer(value)
    return None if amount is None or abs(Decimal(amount).adjusted()) > _LONGEST_AMOUNT else Decimal(amount)


def _matching(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds).astimezone()


def local_time(seconds: float) -> str:
    """A moment as the clock on this machine's wall has it, with its zone."""
    return _moment(seconds).strftime("%Y-%m-%d %H:%M:%S %Z")


def listed_json(record: JournalRecord) -> str:
    """An action in a listing, as a JSON object on one line."""
    return encode_json(facts(record)).decode()


def listed_lines(record: JournalRecord) -> Iterator[str]:
    """An action in a listing, for people: three lines of at most 80 columns, unless an id or a reason is longer."""
    told = facts(record)
    yield f"{one_line(record.action_id)}  {state_name(record.state)}"
    if told["code"] is not None:
        yield f"    {', '.join(_details(told))}"
    reason = f": {one_line(record.reason)}" if record.reason else ""
    attempts = "not sent yet" if not record.attempts else counted(record.attempts, "attempt")
    since = "being sent" if record.state is State.SENDING else local_time(record.changed)
    yield f"    {attempts}, {since}{reason}"


def _details(told: Mapping[str, Any]) -> Iterator[str]:
    yield told["code"]
    for name in ("case", "invoice"):
        if told[name] is not None:
            yield f"{name} {told[name]}"
    if told["amount"] is not None:
        amount = f"{told['amount']:,f} {told['currency'] or ''}".rstrip()
        yield amount if told["date"] is None else f"{amount} on {told['date']}"
