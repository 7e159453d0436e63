import pickle
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from confirma_async import Environment
from confirma_async._core.disposition import Evidence
from confirma_async._core.token import Check, Renewal, TokenRecord, judge_check, judge_renewal, renewed_token


def answered(status: int | None, *, headers_sent: bool = True) -> Evidence:
    return Evidence(headers_sent=headers_sent, status=status)


# --- the record -------------------------------------------------------------------------------------------------------


def test_a_renewal_keeps_the_current_token_until_the_new_one_is_good() -> None:
    """The new token stands beside the current one as candidate, and takes its place once it was found good."""
    record = TokenRecord(current="old", environment=Environment.STAGING)
    begun = record.begun()
    assert begun == evolve(record, renewing=True)
    beside = begun.with_candidate("new")
    assert (beside.current, beside.candidate, beside.renewing) == ("old", "new", False)
    promoted = beside.promoted()
    assert promoted == TokenRecord(current="new", environment=Environment.STAGING)


def test_a_renewal_that_issued_nothing_leaves_the_record_as_it_was() -> None:
    """When it is clear that nothing was issued, the mark of the renewal goes and nothing else changes."""
    record = TokenRecord(current="old", environment=Environment.PRODUCTION)
    assert record.begun().settled() == record


def test_a_bad_candidate_leaves_the_current_token() -> None:
    """A candidate that was found bad is dropped, and the current token stays."""
    record = TokenRecord(current="old")
    assert record.begun().with_candidate("new").without_candidate() == record


def test_a_record_is_bound_to_its_environment() -> None:
    """A record without an environment gets that of the first client that uses it."""
    assert TokenRecord(current="old").bound_to(Environment.STAGING).environment is Environment.STAGING


MOVES = st.sampled_from(["begun", "settled", "with_candidate", "promoted", "without_candidate", "bound_to"])


@given(st.lists(MOVES, max_size=12))
def test_no_move_loses_a_token(moves: list[str]) -> None:
    """Whatever happens, the current token is the first one or one that was a candidate and was promoted."""
    record, issued = TokenRecord(current="token-0"), 0
    for move in moves:
        before = record
        if move == "with_candidate":
            issued += 1
            record = record.with_candidate(f"token-{issued}")
            assert record.current == before.current
        elif move == "bound_to":
            record = record.bound_to(Environment.STAGING)
        elif move != "promoted" or record.candidate is not None:
            record = getattr(record, move)()
        if record.current != before.current:
            assert move == "promoted"
            assert record.current == before.candidate
            assert record.candidate is None


def test_tokens_appear_in_no_repr() -> None:
    """The record shows where its tokens belong and what goes on, and never the tokens."""
    record = TokenRecord(current="secret-one", candidate="secret-two", environment=Environment.STAGING)
    assert "secret" not in repr(record)
    assert "secret" not in str(record)
    assert "STAGING" in repr(record)
    assert pickle.loads(pickle.dumps(record)) == record  # noqa: S301 - made here


# --- what an attempt to renew showed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", range(100, 600))
def test_a_renewal_is_judged_by_its_answer(status: int) -> None:
    """Only a plain refusal, or "not now", says that no token was issued; what is unclear is in doubt."""
    found = judge_renewal(answered(status), None)
    if status in (425, 429, 503):
        assert found is Renewal.NOT_HANDLED
    elif 400 <= status <= 499 and status != 408:
        assert found is Renewal.REFUSED
    else:
        assert found is Renewal.IN_DOUBT
    with_token = judge_renewal(answered(status), "new")
    assert with_token is (Renewal.RENEWED if 200 <= status <= 299 else found)


def test_a_renewal_without_an_answer() -> None:
    """A renewal whose request never left issued nothing; one whose answer was lost may have."""
    assert judge_renewal(answered(None, headers_sent=False), None) is Renewal.NOT_HANDLED
    assert judge_renewal(answered(None), None) is Renewal.IN_DOUBT


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        ({"Message": "abc123"}, "abc123"),
        ({"Message": "a.b-c_d~e+f/g=="}, "a.b-c_d~e+f/g=="),
        ({"Message": "abc", "more": 1}, "abc"),
        ({"message": "abc"}, None),
        ({"Message": ""}, None),
        ({"Message": "Your token was renewed"}, None),
        ({"Message": "ab\r\nX-Evil: 1"}, None),
        ({"Message": "ab\x00"}, None),
        ({"Message": "tökén"}, None),
        ({"Message": None}, None),
        ({"Message": 5}, None),
        ({"Message": ["abc"]}, None),
        ({}, None),
        ([], None),
        ("abc", None),
        (None, None),
    ],
)
def test_the_token_in_an_answer(answer: Any, token: str | None) -> None:
    """The new token is what `Message` holds, if it could stand in a header; a sentence for a person is none."""
    assert renewed_token(answer) == token


@given(st.text())
def test_a_token_can_stand_in_a_header(message: str) -> None:
    """Whatever the service says, what is taken for a token is one visible word of ASCII."""
    token = renewed_token({"Message": message})
    if token is not None:
        assert token == message
        assert all("!" <= character <= "~" for character in token)


# --- what a check showed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [None, *range(100, 600)])
def test_only_a_401_or_a_plain_no_distrusts_a_token(status: int | None) -> None:
    """A token is distrusted after a 401 or `isValid: false` with a 2xx; after all else nothing is known."""
    no, yes = (judge_check(answered(status), {"isValid": said}) for said in (False, True))
    if status == 401:
        assert (no, yes) == (Check.INVALID, Check.INVALID)
    elif status is not None and 200 <= status <= 299:
        assert (no, yes) == (Check.INVALID, Check.VALID)
    else:
        assert (no, yes) == (Check.UNCLEAR, Check.UNCLEAR)


@pytest.mark.parametrize("answer", [None, {}, [], "yes", {"isValid": None}, {"isValid": "false"}, {"isValid": 1}])
def test_a_check_that_says_neither_is_unclear(answer: Any) -> None:
    """A 200 that says neither yes nor no neither trusts nor distrusts a token."""
    assert judge_check(answered(200), answer) is Check.UNCLEAR
