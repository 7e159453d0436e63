"""How an input is laid out, told by its content: JSON Lines, or a JSON document. No I/O.

JSON Lines hold one action per line, and are read as a stream. A document is read whole: an array of actions, the API's
own `{"actions": [...]}`, or a single action.
"""

from collections.abc import Iterator, Sequence
from enum import Enum

import msgspec

from ..errors import ConfirmaError
from .entry import NotJsonError, explained, one_line, parse_json

__all__ = ["MAX_LINE_BYTES", "InputError", "Layout", "LineSplitter", "layout_of", "read_document", "without_bom"]

MAX_LINE_BYTES = 1024 * 1024
"""Of one line of JSON Lines. An action is far smaller: a whole POST holds 256 KiB unless told otherwise."""

_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")
_SPACE = b" \t\r\n"


class InputError(ConfirmaError):
    """The input cannot be read, or is none of what is read here; the text says what to do."""


class Layout(Enum):
    """How an input is laid out."""

    EMPTY = "empty"
    LINES = "lines"
    DOCUMENT = "document"


def without_bom(head: bytes) -> bytes:
    """The input without the mark that some editors put in front of UTF-8.

    Raises:
        InputError: It begins with the mark of another encoding.
    """
    if head.startswith(_OTHER_BOMS):
        raise InputError("it is UTF-16; save it as UTF-8")
    return head.removeprefix(_BOM)


def layout_of(head: bytes, *, is_all: bool) -> Layout | None:
    """Tell the layout by the beginning of an input; None if more of it must be seen.

    An array is a document. An object is one if its first line is not by itself one action: `{`, or `{"actions": [`.
    Where the first line is damaged, the second one decides.

    Args:
        head: Its beginning, without a BOM.
        is_all: Whether nothing follows.

    Raises:
        InputError: It is neither.
    """
    text = head.lstrip(_SPACE)
    if not text:
        return Layout.EMPTY if is_all else None
    if text.startswith(b"["):
        return Layout.DOCUMENT
    first, rest = _first_line(text, is_all=is_all)
    if first is None:
        if len(text) <= MAX_LINE_BYTES:
            return None
        first = b""
    members = _object(first)
    if members is not None:
        return Layout.DOCUMENT if "actions" in members and "code" not in members else Layout.LINES
    second, _ = _first_line(rest.lstrip(_SPACE), is_all=is_all)
    if second is None and len(rest) <= MAX_LINE_BYTES:
        return None
    return _layout_by_second(text, first, second or b"")


def _layout_by_second(text: bytes, first: bytes, second: bytes) -> Layout:
    """The layout of an input whose first line is not a whole JSON object."""
    second_is_action = "code" in (_object(second) or {})
    if second_is_action and b'"actions"' not in first:
        return Layout.LINES
    if text.startswith(b"{"):
        return Layout.DOCUMENT
    reason = "it holds NUL bytes, which no text does" if b"\0" in text else f"it begins with {_shown(text)}"
    raise InputError(f"{reason}; what is read is JSON Lines, or a JSON document of actions, in UTF-8")


def _shown(text: bytes) -> str:
    return one_line(repr(text.decode("utf-8", "replace")[:1]))


def _first_line(text: bytes, *, is_all: bool) -> tuple[bytes | None, bytes]:
    """The first line and what follows it; None for a line whose end is not seen yet."""
    line, newline, rest = text.partition(b"\n")
    return (line if newline or is_all else None), rest


def _object(line: bytes) -> dict[str, object] | None:
    try:
        value = parse_json(line)
    except NotJsonError:
        return None
    return value if isinstance(value, dict) else None


class LineSplitter:
    """Cuts chunks into numbered lines, in memory that a line without end cannot exhaust."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest = b""
        self._number = 0
        self._is_overlong = False

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
        """Yield the lines that `chunk` completes, without blank ones; None stands for one beyond the limit."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield from self._number_line(line)
        if len(rest) > self._max_bytes:
            self._is_overlong, rest = True, b""
        self._rest = rest

    def finish(self) -> Iterator[tuple[int, bytes | None]]:
        """Yield the last line, if no newline ends it."""
        if self._rest or self._is_overlong:
            rest, self._rest = self._rest, b""
            yield from self._number_line(rest)

    def _number_line(self, line: bytes) -> Iterator[tuple[int, bytes | None]]:
        self._number += 1
        if self._is_overlong or len(line) > self._max_bytes:
            self._is_overlong = False
            yield self._number, None
        elif line and not line.isspace():
            yield self._number, line


def read_document(text: bytes) -> Sequence[msgspec.Raw]:
    """The actions of a document, each still as JSON text, so that their values need no memory all at once.

    Raises:
        InputError: It is not JSON, or holds something else than actions.
    """
    try:
        return _actions_of(text)
    except UnicodeDecodeError:
        raise InputError("it is not UTF-8; save it as UTF-8") from None
    except RecursionError:
        raise InputError("it nests too deeply") from None
    except msgspec.ValidationError:
        raise InputError("its actions are not an array") from None
    except msgspec.DecodeError as error:
        raise InputError(_located(explained(str(error)), text)) from None


def _actions_of(text: bytes) -> list[msgspec.Raw]:
    if text.lstrip(_SPACE).startswith(b"["):
        return msgspec.json.decode(text, type=list[msgspec.Raw])
    members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    if "code" in members:
        return [msgspec.Raw(text)]
    if set(members) != {"actions"}:
        raise InputError('it is neither an action, nor an array of actions, nor {"actions": [...]}')
    return msgspec.json.decode(members["actions"], type=list[msgspec.Raw])


def _located(error: NotJsonError, text: bytes) -> str:
    if error.offset is None:
        return f"it {error.reason}"
    before = text[: error.offset]
    line, column = before.count(b"\n") + 1, error.offset - (before.rfind(b"\n") + 1) + 1
    return f"it {error.reason} at line {line}, column {column}"
