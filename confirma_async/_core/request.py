"""One function per call of the API: what is sent where."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from ..codes import EffectClass
from ..errors import ConfigurationError
from .rules import value_violations
from .wire import actions_body, encode_json

__all__ = ["ApiRequest", "invoice_actions", "renew_token", "unmodelled", "validate_token"]


@frozen(kw_only=True)
class ApiRequest:
    """A call of the API, ready to be sent under the client's base URL."""

    method: str
    path: str
    params: Mapping[str, Any] | None = field(default=None, repr=False)
    body: bytes | None = field(default=None, repr=False)

    @property
    def effect(self) -> EffectClass:
        """What a repeat would do, as far as can be told: reading is harmless, anything else may not be.

        Reading what is "unfetched" is not: the service then takes it for fetched (API, section 5.2).
        """
        marks_as_fetched = (self.params or {}).get("unfetchedOnly") == "true"
        is_harmless = self.method in ("GET", "HEAD") and not marks_as_fetched
        return EffectClass.SET_STATE if is_harmless else EffectClass.APPEND


def invoice_actions(encoded: Sequence[bytes]) -> ApiRequest:
    """POST `/invoice/action` (API, section 4.2) with actions that are encoded already."""
    return ApiRequest(method="POST", path="/invoice/action", body=actions_body(encoded))


def validate_token() -> ApiRequest:
    """GET `/validate` (API, section 3.2). Harmless; it is also how the service is probed."""
    return ApiRequest(method="GET", path="/validate")


def renew_token() -> ApiRequest:
    """GET `/renew` (API, section 3.3). Not harmless: it issues a new token."""
    return ApiRequest(method="GET", path="/renew")


def unmodelled(method: str, path: str, *, params: Mapping[str, str | int | bool] | None, json: Any) -> ApiRequest:
    """A call that has no function here.

    Raises:
        ConfigurationError: The method is none, the path is not one under the base URL, or is `/renew`, or `json` holds
            what JSON cannot carry.
    """
    return ApiRequest(
        method=_checked_method(method),
        path=_checked_path(path),
        params=None if params is None else {name: _query_value(value) for name, value in params.items()},
        body=None if json is None else _encoded(json),
    )


def _checked_method(method: str) -> str:
    if not (method.isascii() and method.isalpha()):
        raise ConfigurationError("method takes an HTTP method such as GET.")
    return method.upper()


def _checked_path(path: str) -> str:
    steps = path.split("/")
    plain = path.isascii() and path.isprintable() and not set(path) & set(" ?#\\%")
    if not path.startswith("/") or not plain or {".", ".."} & set(steps) or "" in steps[1:]:
        raise ConfigurationError("path takes a path under the base URL such as /payments; parameters go into params.")
    if path.lower() == "/renew":
        raise ConfigurationError("GET /renew issues a new token, which would be lost here; use client.token.renew().")
    return path


def _query_value(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _encoded(value: Any) -> bytes:
    if found := next(value_violations("json", value), None):
        raise ConfigurationError(f"json cannot be written as JSON: {found}; nothing was sent.")
    try:
        return encode_json(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigurationError(f"json cannot be written as JSON: {type(error).__name__}; nothing was sent.") from None
