import pytest

from confirma_async import Assumptions, Comment, EffectClass
from confirma_async._core.request import ApiRequest, invoice_actions, renew_token, unmodelled, validate_token
from confirma_async._core.wire import decode_json, encode_action


def test_actions_are_posted_to_the_documented_path() -> None:
    """Actions go out by POST `/invoice/action`, as one array, in their order."""
    members = [Comment(invoice_number=number, case_id=1, comment="hello") for number in (1, 2, 3)]
    request = invoice_actions([encode_action(member, Assumptions()) for member in members])
    assert (request.method, request.path, request.params) == ("POST", "/invoice/action", None)
    assert request.body is not None
    body = decode_json(request.body)
    assert list(body) == ["actions"]
    assert [element["data"]["invoiceNumber"] for element in body["actions"]] == [1, 2, 3]


def test_the_token_is_checked_and_renewed_by_get() -> None:
    """The two calls about the token are GETs without parameters and without a body."""
    assert validate_token() == ApiRequest(method="GET", path="/validate")
    assert renew_token() == ApiRequest(method="GET", path="/renew")


def test_a_request_shows_no_content() -> None:
    """A request's repr names the call and holds neither its body nor its parameters."""
    request = ApiRequest(method="POST", path="/x", params={"email": "private"}, body=b"private")
    assert repr(request) == "ApiRequest(method='POST', path='/x')"


@pytest.mark.parametrize(
    ("method", "params", "effect"),
    [
        ("GET", None, EffectClass.SET_STATE),
        ("get", {"unfetchedOnly": False}, EffectClass.SET_STATE),
        ("GET", {"unfetchedOnly": True}, EffectClass.APPEND),
        ("GET", {"unfetchedOnly": "true"}, EffectClass.APPEND),
        ("POST", None, EffectClass.APPEND),
        ("DELETE", None, EffectClass.APPEND),
    ],
)
def test_only_reading_without_effect_may_be_repeated(
    method: str, params: dict[str, str | int | bool] | None, effect: EffectClass
) -> None:
    """The service keeps what was fetched: asking for the unfetched twice would lose what the first answer held."""
    assert unmodelled(method, "/settlements", params=params, json=None).effect is effect
