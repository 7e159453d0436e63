"""Every choice that the API does not document, named, with its default and why.

Whatever in this package relies on something that the API's documents do not say relies on an entry here.
"""

from typing import Any, Literal

from attrs import Attribute, field, fields, frozen

from ..errors import ConfigurationError

__all__ = ["Assumption", "Assumptions", "register"]


def _assumption(default: Any, *, reason: str, section: str, choices: tuple[object, ...] = (True, False)) -> Any:
    def check(_instance: object, attribute: "Attribute[Any]", value: object) -> None:
        if not any(value is choice or (value == choice and not isinstance(value, int)) for choice in choices):
            listed = ", ".join(map(repr, choices))
            raise ConfigurationError(f"Assumptions.{attribute.name} takes one of {listed}, not {value!r}.")

    return field(default=default, validator=check, metadata={"reason": reason, "section": section})


@frozen(kw_only=True)
class Assumptions:
    """What is taken for true although it is not documented. Switch off what you do not want to rely on."""

    refused_batch_is_refused_whole: bool = _assumption(
        True,
        reason="HTTP says that a 4xx means the request was not carried out; the API does not say it of a part of "
        "an `actions` array. Off: APPEND and MONEY actions of a refused batch end UNKNOWN, and are not isolated.",
        section="9.8",
    )
    unavailable_means_not_handled: bool = _assumption(
        True,
        reason="503 is read as 'temporarily unavailable, not handled', as the group's other API says it. "
        "Off: 503 is ambiguous, like any other 5xx.",
        section="9.6",
    )
    renewal_message_is_token: bool = _assumption(
        True,
        reason="GET /renew shows `Message` as its only member and says that the new token is returned. "
        "Off: the token is never renewed.",
        section="9.9",
    )
    validate_tells_of_the_service: bool = _assumption(
        True,
        reason="While the gate is shut, GET /validate is the harmless call that shows whether the service is there; "
        "it is documented as still being developed. Off: the gate opens by time alone, for one batch on trial.",
        section="3.2",
    )
    absent_comment: Literal["omit", "null", "empty"] = _assumption(
        "omit",
        reason="Whether `comment` is required is unknown, and elsewhere the documents' examples mix null, an empty "
        "string and leaving a member out.",
        section="4.2",
        choices=("omit", "null", "empty"),
    )


@frozen
class Assumption:
    """One entry of the register."""

    name: str
    default: object
    reason: str
    section: str
    """The section of the API's facts that leaves it open."""


def register() -> tuple[Assumption, ...]:
    """Every assumption with its default, its reason and the section that leaves it open."""

    def entry(attribute: "Attribute[Any]") -> Assumption:
        return Assumption(attribute.name, attribute.default, **attribute.metadata)

    return tuple(entry(attribute) for attribute in fields(Assumptions))
