"""Actions for tests, each distinct by its number."""

from collections.abc import Iterator
from typing import Any

from confirma_async import Action, Comment, DirectPayment, DueDate, Withdraw

__all__ = ["PAYMENT_MEMBERS", "comment", "due_date", "mixed", "payment"]


def comment(number: int, case: int | None = None, text: str = "a comment", action_id: str | None = None) -> Comment:
    return Comment(invoice_number=number, case_id=number if case is None else case, comment=text, action_id=action_id)


def due_date(number: int, day: str = "2026-03-15") -> DueDate:
    return DueDate(invoice_number=number, case_id=number, due_date=day)


PAYMENT_MEMBERS: dict[str, Any] = {
    "payment_method": "Bankgiro",
    "amount": "250.75",
    "currency": "SEK",
    "payment_date": "2026-02-09",
    "reference": "BANKREF-88921",
    "outstanding_capital_amount": 0,
    "outstanding_interest_amount": 0,
    "outstanding_costs_amount": 0,
}
"""What a payment has beside its case, as the API's example has it."""


def payment(number: int) -> DirectPayment:
    members = {**PAYMENT_MEMBERS, "reference": f"REF-{number}"}
    return DirectPayment(invoice_number=number, case_id=number, **members)


def mixed(count: int) -> Iterator[Action]:
    """Actions of several kinds, each on a case of its own."""
    for number in range(1, count + 1):
        match number % 4:
            case 0:
                yield payment(number)
            case 1:
                yield due_date(number)
            case 2:
                yield Withdraw(invoice_number=number, case_id=number)
            case _:
                yield comment(number)
