"""How values stand on the wire: names, nesting, dates, amounts; and reading them back with error paths.

The models know nothing of this. Shapes are cattrs' work, JSON is msgspec's: it writes a Decimal as the number it is
and reads a number as a Decimal, without a float on the way.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, cast

import msgspec
from attrs import fields
from cattrs import Converter
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from ..codes import ActionCode
from ..errors import InvalidActionError
from ..models import (
    Action,
    CaseAction,
    Comment,
    DirectPayment,
    DueDate,
    Objection,
    Pause,
    PaymentPlan,
    RawAction,
    Violation,
    Withdraw,
)
from ..models.actions import ACTION_ID_KIND, is_action_id, is_sane, shown_date, to_amount, to_date
from .assumptions import Assumptions

__all__ = [
    "BODY_OVERHEAD",
    "JsonError",
    "actions_body",
    "case_of",
    "decode_action",
    "decode_json",
    "encode_action",
    "encode_json",
    "repeated_member",
    "restore_action",
]

ACTION_TYPES: Mapping[str, type[CaseAction]] = {
    action_type.code: action_type
    for action_type in (Comment, Withdraw, DueDate, PaymentPlan, Objection, Pause, DirectPayment)
}
"""The documented codes and the actions that stand for them."""

_ENVELOPE_MEMBERS = ("code", "comment", "data", "action_id")


def _plain(value: object) -> object:
    """The plain value of one of a derived class, as data libraries make them."""
    for kind in (str, int, Decimal):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=_plain)
_decoder = msgspec.json.Decoder(float_hook=Decimal)


def encode_json(value: object) -> bytes:
    """The JSON of `value`, amounts as numbers exactly as they stand.

    Raises:
        TypeError, ValueError, UnicodeEncodeError: `value` holds something that JSON cannot carry.
    """
    return _encoder.encode(value)


class JsonError(ValueError):
    """A text is not JSON, or is JSON that nothing sensible can be made of. Its message shows none of the text."""


def decode_json(text: bytes | str) -> Any:
    """The value of a JSON text, its fractional numbers as Decimals.

    Raises:
        JsonError: It is not JSON; the message says where.
    """
    try:
        return _decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise JsonError(str(error)) from None
    except UnicodeDecodeError as error:
        raise JsonError(f"it is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise JsonError("it nests too deeply") from None
    except InvalidOperation:
        raise JsonError("it holds a number that is too large") from None


_MEMBER = re.compile(rb'"\s*:')


def repeated_member(text: bytes, value: Any) -> str | None:
    """The name of a member that an object in a JSON text has twice; None if there is none.

    Readers keep the last one and say nothing, and with money in it nobody knows which one was meant.

    Args:
        text: The text, which is JSON.
        value: What it was read as.
    """
    if sum(1 for _ in _MEMBER.finditer(text)) == _count_members(value):
        return None
    # Something that looks like a member is none, or is one twice. Only a slower reader tells.
    repeated: list[str] = []

    def look(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        repeated.extend(name for name in names if names.count(name) > 1)

    json.loads(text, object_pairs_hook=look, parse_float=str, parse_int=str)
    return repeated[0] if repeated else None


def _count_members(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_members, value.values()))
    return sum(map(_count_members, value)) if isinstance(value, list) else 0


# --- actions to the wire --------------------------------------------------------------------------------------------

_ACTIONS_OPEN, _ACTIONS_CLOSE = b'{"actions":[', b"]}"

BODY_OVERHEAD = len(_ACTIONS_OPEN) + len(_ACTIONS_CLOSE)
"""Bytes of a body beside its actions and the commas between them."""


def actions_body(encoded: Sequence[bytes]) -> bytes:
    """The body of POST `/invoice/action` for actions that are encoded already, in their order."""
    return b"%b%b%b" % (_ACTIONS_OPEN, b",".join(encoded), _ACTIONS_CLOSE)


def encode_action(action: Action, assumptions: Assumptions) -> bytes:
    """One element of the `actions` array, in the member order of the documents."""
    element: dict[str, Any] = {"code": action.code}
    if action.comment is not None:
        element["comment"] = action.comment
    elif assumptions.absent_comment != "omit":
        element["comment"] = None if assumptions.absent_comment == "null" else ""
    element["data"] = action.data if isinstance(action, RawAction) else _data_writers[action.code](action)
    return _encoder.encode(element)


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _data_members(action_type: type[CaseAction]) -> dict[str, str]:
    """Field name -> wire name, for the fields that stand in `data`."""
    names = (attribute.name for attribute in fields(action_type))
    return {name: _camel_case(name) for name in names if name not in ("comment", "action_id")}


# --- actions from the wire ------------------------------------------------------------------------------------------


def decode_action(element: object) -> Action:
    """Read one element of an `actions` array; an `action_id` beside its members becomes the action's id.

    A code that is not documented gives a `RawAction`.

    Raises:
        InvalidActionError: It is no such element; every mistake is named with its path.
    """
    found = list(_envelope_violations(element))
    if found:
        raise _invalid(found)
    members = cast("dict[str, Any]", element)
    code, comment, action_id = members["code"], members.get("comment"), members.get("action_id")
    action_type = ACTION_TYPES.get(code)
    if action_type is None:
        return RawAction(code=code, comment=comment, data=members["data"], action_id=action_id)
    flat = {**members["data"], "comment": comment, "action_id": action_id}
    misplaced = [
        Violation(f"data.{name}", "unknown member") for name in ("comment", "action_id") if name in members["data"]
    ]
    try:
        action = _converter.structure(flat, action_type)
    except Exception as error:
        raise _invalid([*_explained(error), *misplaced]) from None
    if misplaced:
        raise _invalid(misplaced)
    return action


def case_of(encoded: bytes) -> int | None:
    """The case of an encoded action, if it names one the documented way."""
    case = decode_json(encoded)["data"].get("caseId")
    return case if isinstance(case, int) and not isinstance(case, bool) else None


def restore_action(encoded: bytes, action_id: str) -> Action:
    """The action behind bytes that `encode_action` made, under its id."""
    element = decode_json(encoded)
    try:
        return decode_action({**element, "action_id": action_id})
    except InvalidActionError:
        # A RawAction may have a documented code, and anything in its data.
        return RawAction(
            code=element["code"], comment=element.get("comment"), data=element["data"], action_id=action_id
        )


def _invalid(found: list[Violation]) -> InvalidActionError:
    return InvalidActionError("This is not an action: " + "; ".join(map(str, found)) + ".", found)


def _envelope_violations(element: object) -> list[Violation]:
    if not isinstance(element, dict):
        return [Violation("$", f"an action is a JSON object, not {_kind(element)}")]
    found = [
        Violation(str(name), f"unknown member; an action has {', '.join(_ENVELOPE_MEMBERS)}")
        for name in element
        if name not in _ENVELOPE_MEMBERS
    ]
    code = element.get("code")
    if not (isinstance(code, str) and code):
        found.append(Violation("code", f"takes one of {', '.join(ActionCode)}, not {_kind(code)}"))
    comment, action_id = element.get("comment"), element.get("action_id")
    if not (comment is None or isinstance(comment, str)):
        found.append(Violation("comment", f"takes a string, not {_kind(comment)}"))
    if not (action_id is None or is_action_id(action_id)):
        found.append(Violation("action_id", f"takes {ACTION_ID_KIND}, not {_kind(action_id)}"))
    if not isinstance(element.get("data"), dict):
        found.append(Violation("data", f"takes a JSON object, not {_kind(element.get('data'))}"))
    return found


def _kind(value: object) -> str:
    """What JSON calls `value`, without showing it."""
    if value is None:
        return "nothing"
    if value == "":
        return "an empty one"
    kinds: dict[type, str] = {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return kinds.get(type(value), "a number")


def _explained(error: BaseException) -> list[Violation]:
    """Cattrs' errors as violations with the wire's paths."""
    if not isinstance(error, ClassValidationError):
        return [Violation("data", str(error))]
    with_notes, without = error.group_exceptions()
    return [
        Violation(f"data.{_camel_case(note.name)}", "missing" if isinstance(cause, KeyError) else str(cause))
        for cause, note in with_notes
    ] + [
        Violation(f"data.{name}", "unknown member")
        for cause in without
        if isinstance(cause, ForbiddenExtraKeysError)
        for name in sorted(cause.extra_fields)
    ]


def _read_integer(value: object, _type: object) -> int:
    if type(value) is not int:
        raise ValueError(f"takes an integer, not {_kind(value)}")
    return value


def _read_text(value: object, _type: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"takes a string, not {_kind(value)}")  # noqa: TRY004 - cattrs collects it all the same
    return value


def _read_amount(value: object, _type: object) -> Decimal:
    amount = to_amount(cast("Any", value))
    if not isinstance(amount, Decimal) or not is_sane(amount):
        raise ValueError(f"takes an amount such as 250.75, not {_kind(value)}")
    return amount


def _read_date(value: object, _type: object) -> date:
    read = to_date(cast("Any", value))
    if not isinstance(read, date):
        shown = shown_date(value) if isinstance(value, str) else _kind(value)
        raise ValueError(f"takes a date as YYYY-MM-DD, not {shown}")  # noqa: TRY004 - as above
    return read


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True, forbid_extra_keys=True)
    converter.register_structure_hook(int, _read_integer)
    converter.register_structure_hook(str, _read_text)
    converter.register_structure_hook(Decimal, _read_amount)
    converter.register_structure_hook(date, _read_date)
    for action_type in ACTION_TYPES.values():
        renamed: Any = {name: override(rename=wire) for name, wire in _data_members(action_type).items()}
        reader = make_dict_structure_fn(action_type, converter, **renamed)
        converter.register_structure_hook(action_type, reader)
        omitted: Any = {name: override(omit=True) for name in ("comment", "action_id")}
        writer = make_dict_unstructure_fn(action_type, converter, **omitted, **renamed)
        converter.register_unstructure_hook(action_type, writer)
    return converter


_converter = _make_converter()
_data_writers = {code: _converter.get_unstructure_hook(kind) for code, kind in ACTION_TYPES.items()}
