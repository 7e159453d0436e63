"""What passes between a client and the sandbox, as values: a request received, an answer given."""

from collections.abc import Mapping

from attrs import define, field, frozen

from .._core.wire import encode_json

__all__ = [
    "ACTION_PATH",
    "BASE_PATH",
    "RENEW_PATH",
    "VALIDATE_PATH",
    "Answer",
    "ReceivedRequest",
    "json_answer",
]

BASE_PATH = "/api/v1/partner"
"""Where the documented bases of the service end (API, section 1)."""

ACTION_PATH = "/invoice/action"
VALIDATE_PATH = "/validate"
RENEW_PATH = "/renew"


@define(kw_only=True)
class ReceivedRequest:
    """A request whose head arrived. The server fills in the rest as it goes on."""

    number: int
    """Its place in the order of arrival, from 1."""
    at: float = 0.0
    """When its head arrived, on the event loop's clock."""
    method: str
    path: str
    """Below the API's base, such as `/invoice/action`; a path elsewhere stands whole, as `outside:/…`."""
    query: str = ""
    """What followed the `?`, as sent."""
    token: str | None = field(default=None, repr=False)
    """The value of `X-Api-Key`; None if there was none."""
    content_type: str = ""
    """The media type of its body, without parameters."""
    body: bytes = field(default=b"", repr=False)
    """Its body; empty if it was never read to its end, or if the sandbox keeps nothing but counts."""
    fault: str | None = None
    """The name of the fault that met it."""
    status: int | None = None
    """What was answered; None while nothing was, and for good if the connection was dropped."""


@frozen
class Answer:
    """What a request is answered."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    cut: bool = False
    """Whether the connection is closed after half of its body, of which its `Content-Length` promises the whole."""
    drip: float = 0.0
    """Seconds between two bytes of its body, by the event loop's clock."""


def json_answer(status: int, value: object, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer whose body is the JSON of `value`; `headers` are those beside its content type."""
    return Answer(status, encode_json(value), {"Content-Type": "application/json", **(headers or {})})
