import json
from typing import Any

import pytest

from confirma_async.models import Comment, RawAction
from confirma_async.sandbox import Answer, ReceivedRequest
from confirma_async.sandbox.service import Service

FIRST = "first"
COMMENT = {"code": "COMMENT", "comment": "private words", "data": {"invoiceNumber": 1, "caseId": 2}}
PAYMENT = {
    "code": "DIRECTPAYMENT",
    "data": {
        "invoiceNumber": 1,
        "caseId": 2,
        "paymentMethod": "Bankgiro",
        "amount": 250.75,
        "currency": "SEK",
        "paymentDate": "2026-02-09",
        "reference": "BANKREF-88921",
        "outstandingCapitalAmount": 0,
        "outstandingInterestAmount": 0,
        "outstandingCostsAmount": 0,
    },
}


def ask(
    service: Service,
    method: str = "GET",
    path: str = "/validate",
    *,
    token: str | None = FIRST,
    body: bytes = b"",
    content_type: str = "application/json",
) -> Answer:
    request = ReceivedRequest(number=4, method=method, path=path, token=token, body=body, content_type=content_type)
    return service.answer(request)


def post(service: Service, body: Any, *, token: str | None = FIRST) -> Answer:
    return ask(service, "POST", "/invoice/action", token=token, body=json.dumps(body).encode())


def first_mistakes(answer: Answer) -> list[str]:
    assert answer.status == 400
    body = json.loads(answer.body)
    assert body["mistakes"] >= len(body["first"]) > 0
    return [str(mistake) for mistake in body["first"]]


@pytest.fixture
def service() -> Service:
    return Service(token=FIRST)


# --- tokens -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "", "other"])
@pytest.mark.parametrize("path", ["/validate", "/renew", "/invoice/action", "/nowhere"])
def test_a_token_that_was_not_issued_opens_nothing(service: Service, token: str | None, path: str) -> None:
    """Without a token of its own the service answers 401 everywhere, before it looks at anything else."""
    assert ask(service, path=path, token=token).status == 401
    assert service.tokens.issued == ("first",)


def test_validate_answers_as_documented(service: Service) -> None:
    """GET /validate answers a valid token with the documented body."""
    answer = ask(service)
    assert (answer.status, json.loads(answer.body)) == (200, {"isValid": True, "message": "Token is valid"})


def test_renew_replaces_the_token(service: Service) -> None:
    """GET /renew answers with a new token in `Message`; it works, and the old one has died."""
    answer = ask(service, path="/renew")
    new = json.loads(answer.body)["Message"]
    assert service.tokens.issued == ("first", new)
    assert service.tokens.newest == new
    assert ask(service, token=new).status == 200
    assert ask(service, token="first").status == 401


def test_every_renewal_issues_another_token(service: Service) -> None:
    """Renewing the same token twice leaves two new tokens, so that a repeated renewal shows."""
    ask(service, path="/renew")
    ask(service, path="/renew")
    assert len(set(service.tokens.issued)) == 3


def test_the_old_token_can_be_left_alive() -> None:
    """The documents do not say whether a renewed token dies; a service that keeps it alive can be had."""
    service = Service(token=FIRST, renewal_kills_old_token=False)
    ask(service, path="/renew")
    assert ask(service, token="first").status == 200


def test_an_ended_token_can_still_be_renewed(service: Service) -> None:
    """A token that ended gets 401 for actions and /validate, and a new token from /renew."""
    service.tokens.invalidate(None)
    assert ask(service).status == 401
    assert post(service, {"actions": [COMMENT]}).status == 401
    assert ask(service, path="/renew").status == 200
    assert len(service.ledger) == 0


def test_a_token_can_be_ended_for_good(service: Service) -> None:
    """A token that ended without being left renewable gets 401 from /renew too, and nothing is issued."""
    service.tokens.invalidate("first", renewable=False)
    assert ask(service, path="/renew").status == 401
    assert service.tokens.issued == ("first",)


def test_only_issued_tokens_can_be_ended(service: Service) -> None:
    """Ending a token that was never issued is a mistake in the test, and says so."""
    with pytest.raises(KeyError):
        service.tokens.invalidate("other")


def test_the_newest_valid_token_is_the_one_to_use(service: Service) -> None:
    """Where the newest token has ended, an older valid one is the newest valid; without any, the newest."""
    service = Service(token=FIRST, renewal_kills_old_token=False)
    ask(service, path="/renew")
    service.tokens.invalidate(service.tokens.issued[1])
    assert service.tokens.newest == "first"
    service.tokens.invalidate("first")
    assert service.tokens.newest == service.tokens.issued[1]


def test_made_up_tokens_differ() -> None:
    """Two services make up different first tokens."""
    assert Service().tokens.newest != Service().tokens.newest


# --- paths --------------------------------------------------------------------------------------------------


def test_unknown_paths_are_not_found(service: Service) -> None:
    """A path that is no endpoint is answered 404."""
    assert ask(service, path="/invoice").status == 404


def test_a_wrong_method_is_told_the_right_one(service: Service) -> None:
    """An endpoint asked with another method answers 405 and names the right one."""
    answer = ask(service, "GET", "/invoice/action")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert ask(service, "POST", "/renew").status == 405
    assert service.tokens.issued == ("first",)


# --- actions ------------------------------------------------------------------------------------------------


def test_a_good_batch_is_applied_in_order(service: Service) -> None:
    """A batch is answered 200 `{}`, and its actions take effect in their order, as one request."""
    answer = post(service, {"actions": [COMMENT, PAYMENT]})
    assert (answer.status, answer.body) == (200, b"{}")
    assert [(effect.request, effect.action.code) for effect in service.ledger] == [
        (4, "COMMENT"),
        (4, "DIRECTPAYMENT"),
    ]
    assert service.ledger[0].action == Comment(invoice_number=1, case_id=2, comment="private words")
    assert service.ledger[0].element == COMMENT


def test_codes_that_are_not_documented_are_accepted(service: Service) -> None:
    """The list of codes is the service's, and open."""
    assert post(service, {"actions": [{"code": "NEW", "data": {"x": 1}}]}).status == 200
    assert service.ledger[0].action == RawAction(code="NEW", data={"x": 1})


@pytest.mark.parametrize(
    ("element", "mistake"),
    [
        (3, "actions[1]: "),
        ({**COMMENT, "action_id": "mine"}, "actions[1].action_id: unknown member"),
        ({**COMMENT, "extra": 1}, "actions[1].extra: unknown member"),
        ({"code": "COMMENT", "data": {"invoiceNumber": 1}}, "actions[1].data.caseId: missing"),
        ({"code": "COMMENT", "data": {"invoiceNumber": -1, "caseId": 2}}, "actions[1].data.invoiceNumber: -1"),
        ({"code": "PAYMENTPLAN"}, "actions[1].data: "),
        (
            {"code": "DIRECTPAYMENT", "data": {**PAYMENT["data"], "amount": "250.75"}},  # type: ignore[dict-item]
            "actions[1].data.amount: takes a number",
        ),
        (
            {"code": "DIRECTPAYMENT", "data": {**PAYMENT["data"], "currency": "sek"}},  # type: ignore[dict-item]
            "actions[1].data.currency: ",
        ),
    ],
)
def test_one_bad_element_refuses_the_whole_batch(service: Service, element: object, mistake: str) -> None:
    """A batch with a mistake is refused whole, with its path, and its good actions have no effect either."""
    answer = post(service, {"actions": [COMMENT, element, PAYMENT]})
    assert [found.startswith(mistake) for found in first_mistakes(answer)] == [True]
    assert len(service.ledger) == 0


def test_a_refusal_shows_no_comment(service: Service) -> None:
    """The body of a refusal names mistakes without the comments of the actions."""
    answer = post(service, {"actions": [{**COMMENT, "data": {}}]})
    assert first_mistakes(answer)
    assert b"private" not in answer.body


def test_a_refusal_counts_all_mistakes_and_shows_ten(service: Service) -> None:
    """However much is wrong, the body of a refusal stays small."""
    body = json.loads(post(service, {"actions": [1] * 500}).body)
    assert (body["mistakes"], len(body["first"])) == (500, 10)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"actions",
        b"[]",
        b"{}",
        b'{"actions":[]}',
        b'{"actions":{}}',
        b'{"actions":[{"code":"X","data":{}}],"more":1}',
        b'{"actions":["\xff"]}',
        b'{"actions":[1e99999999999999999999]}',
        b"[" * 100_000,
    ],
)
def test_a_body_of_another_shape_is_refused(service: Service, body: bytes) -> None:
    """Only a JSON object with exactly an `actions` array that is not empty is a batch; nothing else crashes."""
    answer = ask(service, "POST", "/invoice/action", body=body)
    assert first_mistakes(answer)[0].startswith("body: ")
    assert len(service.ledger) == 0


def test_a_body_must_say_that_it_is_json(service: Service) -> None:
    """The documents want application/json; a body that does not say so is refused."""
    body = json.dumps({"actions": [COMMENT]}).encode()
    answer = ask(service, "POST", "/invoice/action", body=body, content_type="text/plain")
    assert first_mistakes(answer) == ["Content-Type: it must be application/json"]
    assert len(service.ledger) == 0


def test_poison_refuses_the_batch_that_holds_it(service: Service) -> None:
    """A batch with a poisoned action is refused whole; one without is accepted."""
    service.poison(lambda action: action.comment == "bad")
    service.poison(lambda action: action.code == "PAUSE")
    assert first_mistakes(post(service, {"actions": [COMMENT, {**COMMENT, "comment": "bad"}]})) == [
        "actions[1]: poisoned"
    ]
    assert post(service, {"actions": [{**COMMENT, "code": "PAUSE"}]}).status == 400
    assert len(service.ledger) == 0
    assert post(service, {"actions": [COMMENT]}).status == 200


def test_limits_are_exact() -> None:
    """What is just as large as allowed is accepted; a byte or an action more is 413, and nothing is applied."""
    body = {"actions": [COMMENT, COMMENT]}
    size = len(json.dumps(body))
    assert post(Service(token=FIRST, max_body_bytes=size, max_actions=2), body).status == 200
    for service in (Service(token=FIRST, max_body_bytes=size - 1), Service(token=FIRST, max_actions=1)):
        assert post(service, body).status == 413
        assert len(service.ledger) == 0


def test_something_happens_after_so_many_actions(service: Service) -> None:
    """An alarm goes off once, with the batch that reaches its number, counted from when it was set."""
    post(service, {"actions": [COMMENT]})
    lengths: list[int] = []
    service.after_actions(3, lambda: lengths.append(len(service.ledger)))
    for _ in range(3):
        post(service, {"actions": [COMMENT, COMMENT]})
    assert lengths == [5]


def test_an_alarm_after_no_action_is_a_mistake(service: Service) -> None:
    """What shall happen after nothing is refused, rather than never happen."""
    with pytest.raises(ValueError, match="not after 0"):
        service.after_actions(0, lambda: None)
