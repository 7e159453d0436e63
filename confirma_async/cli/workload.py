"""A day's work for the demo: mixed actions, always the same for the same seed. No I/O."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from random import Random

from attrs import frozen

from ..models import (
    CaseAction,
    Comment,
    DirectPayment,
    DueDate,
    Objection,
    Pause,
    PaymentPlan,
    Withdraw,
)

__all__ = ["day_of_work"]

_FIRST_CASE, _FIRST_INVOICE = 10_001, 900_001
_ACTIONS_PER_CASE = 4
_FIRST_DAY = date(2026, 1, 1)

_SHARES: dict[type[CaseAction], int] = {
    DirectPayment: 40,
    Comment: 25,
    DueDate: 12,
    PaymentPlan: 8,
    Pause: 6,
    Objection: 5,
    Withdraw: 4,
}
"""How often each kind of action comes, in a hundred."""

_WORDS: dict[type[CaseAction], str] = {
    DirectPayment: "Payment received",
    Comment: "Customer called",
    DueDate: "Customer asked for more time",
    PaymentPlan: "Customer may pay in parts",
    Pause: "Customer is in hospital",
    Objection: "Customer says the goods never came",
    Withdraw: "Creditor withdraws the case",
}


def day_of_work(actions: int, *, seed: int) -> Iterator[CaseAction]:
    """Yield so many actions of all codes, several to a case, each with a comment that no other has."""
    random = Random(seed)  # noqa: S311 - it makes up a demo, no secret
    cases = max(1, actions // _ACTIONS_PER_CASE)
    kinds = random.choices(list(_SHARES), weights=list(_SHARES.values()), k=actions)
    for number, kind in enumerate(kinds, 1):
        yield _Case.drawn(random, cases).action(kind, number, random)


@frozen
class _Case:
    invoice_number: int
    case_id: int

    @classmethod
    def drawn(cls, random: Random, cases: int) -> "_Case":
        index = random.randrange(cases)
        return cls(_FIRST_INVOICE + index, _FIRST_CASE + index)

    def action(self, kind: type[CaseAction], number: int, random: Random) -> CaseAction:
        comment = f"{_WORDS[kind]} ({number})"
        day = _FIRST_DAY + timedelta(days=random.randrange(365))
        if kind is DueDate:
            return DueDate(invoice_number=self.invoice_number, case_id=self.case_id, comment=comment, due_date=day)
        if kind is DirectPayment:
            return self._payment(number, random, day, comment)
        return kind(invoice_number=self.invoice_number, case_id=self.case_id, comment=comment)

    def _payment(self, number: int, random: Random, day: date, comment: str) -> DirectPayment:
        return DirectPayment(
            invoice_number=self.invoice_number,
            case_id=self.case_id,
            comment=comment,
            payment_method="Bankgiro",
            amount=_amount(random, 500_000),
            currency=random.choice(("SEK", "SEK", "SEK", "EUR")),
            payment_date=day,
            reference=f"BANKREF-{number:06}",
            outstanding_capital_amount=_amount(random, 100_000),
            outstanding_interest_amount=_amount(random, 5_000),
            outstanding_costs_amount=_amount(random, 2_000),
        )


def _amount(random: Random, below_cents: int) -> Decimal:
    return Decimal(random.randrange(1, below_cents)).scaleb(-2)
