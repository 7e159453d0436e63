"""One entry of an input: a JSON text in, an action or its mistakes out. No I/O."""

import re
from typing import Any

from attrs import frozen

from .._core.wire import JsonError, decode_action, decode_json, repeated_member
from ..codes import ActionCode
from ..errors import InvalidActionError
from ..models import Action, RawAction, Violation

__all__ = ["Mistakes", "NotJsonError", "explained", "line_id", "one_line", "parse_json", "read_entry"]

_LONGEST_QUOTE = 40


@frozen
class Mistakes:
    """Why an entry is no action."""

    found: tuple[Violation, ...]

    @classmethod
    def of_whole(cls, message: str) -> "Mistakes":
        """One mistake that no single member is to blame for."""
        return cls((Violation("$", message),))

    @property
    def path(self) -> str:
        """The first member at fault, to count mistakes of a kind by."""
        return "the line itself" if self.found[0].path == "$" else self.found[0].path

    def __str__(self) -> str:
        texts = (found.message if found.path == "$" else str(found) for found in self.found)
        return one_line("; ".join(texts))


class NotJsonError(ValueError):
    """A text is not JSON.

    Attributes:
        reason: What is wrong, to be read after "it".
        offset: The byte where it goes wrong, counted from 0, where that is known.
    """

    def __init__(self, reason: str, offset: int | None = None) -> None:
        super().__init__(reason, offset)
        self.reason = reason
        self.offset = offset


def parse_json(text: bytes) -> Any:
    """The value of a JSON text, its fractional numbers as Decimals.

    Raises:
        NotJsonError: It is not JSON in UTF-8, is beyond reason in depth or in the size of a number, or an object in it
            has a member twice.
    """
    try:
        value = decode_json(text)
    except JsonError as error:
        raise explained(str(error)) from None
    if name := repeated_member(text, value):
        raise NotJsonError(f"has the member {_quoted(name)} twice")
    return value


def explained(text: str) -> NotJsonError:
    """What the JSON reader said, in our words."""
    if "truncated" in text:
        return NotJsonError("is not complete JSON: it ends in the middle")
    if text.startswith("it "):
        # The byte that it names is counted from the beginning of a member, which helps nobody.
        return NotJsonError(re.sub(r" \(byte \d+\)", "", text.removeprefix("it ")))
    found = re.search(r"malformed: (.*) \(byte (\d+)\)", text)
    if found is not None:
        return NotJsonError(f"is not JSON: {found[1]}", int(found[2]))
    return NotJsonError("holds a number that is too large" if "out of range" in text else "is not JSON")


def read_entry(text: bytes, *, allow_unknown_codes: bool) -> Action | Mistakes:
    """Read one action in the wire's shape.

    Args:
        text: Its JSON.
        allow_unknown_codes: Whether a code that the documents do not list is taken as it is, rather than for a slip.
    """
    try:
        action = decode_action(parse_json(text))
    except NotJsonError as error:
        place = "" if error.offset is None else f" at column {error.offset + 1}"
        return Mistakes.of_whole(f"it {error.reason}{place}")
    except InvalidActionError as error:
        return Mistakes(error.violations)
    if isinstance(action, RawAction) and not allow_unknown_codes:
        return Mistakes((_unknown_code(action.code),))
    return action


def line_id(content: bytes, ordinal: int) -> str:
    """The id of an entry that has none of its own: it stays the same wherever in an input the entry stands.

    Args:
        content: The hash of what it says.
        ordinal: Which of those that say the same it is, from 1.
    """
    return f"line-{content.hex()}-{ordinal}"


def _unknown_code(code: str) -> Violation:
    known = ", ".join(ActionCode)
    return Violation("code", f"{_quoted(code)} is none of {known}; --allow-unknown-codes sends it as it is")


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[: _LONGEST_QUOTE - 3]}...")


def one_line(text: str) -> str:
    """`text` as one line that a terminal shows as it stands: what is in a file must not steer the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
