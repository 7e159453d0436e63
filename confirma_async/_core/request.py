"""One function per call of the API: what is sent where."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from .wire import actions_body

__all__ = ["ApiRequest", "invoice_actions", "renew_token", "validate_token"]


@frozen(kw_only=True)
class ApiRequest:
    """A call of the API, ready to be sent under the client's base URL."""

    method: str
    path: str
    params: Mapping[str, Any] | None = field(default=None, repr=False)
    body: bytes | None = field(default=None, repr=False)


def invoice_actions(encoded: Sequence[bytes]) -> ApiRequest:
    """POST `/invoice/action` (API, section 4.2) with actions that are encoded already."""
    return ApiRequest(method="POST", path="/invoice/action", body=actions_body(encoded))


def validate_token() -> ApiRequest:
    """GET `/validate` (API, section 3.2). Harmless; it is also how the service is probed."""
    return ApiRequest(method="GET", path="/validate")


def renew_token() -> ApiRequest:
    """GET `/renew` (API, section 3.3). Not harmless: it issues a new token."""
    return ApiRequest(method="GET", path="/renew")
