"""JSON Lines or a document: told by content."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confirma_async.cli.layout import InputError, Layout, LineSplitter, layout_of, read_document, without_bom

ACTION = b'{"code":"COMMENT","data":{"invoiceNumber":1,"caseId":2}}'


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        (b"", Layout.EMPTY),
        (b" \r\n\t\n", Layout.EMPTY),
        (ACTION, Layout.LINES),
        (b"\n\n" + ACTION + b"\n" + ACTION, Layout.LINES),
        (b'{"kode":1}\n' + ACTION, Layout.LINES),
        (b'{"code":"COMMENT","comm\n' + ACTION, Layout.LINES),
        (b"\xff\n" + ACTION, Layout.LINES),
        (b"  [" + ACTION + b"]", Layout.DOCUMENT),
        (b"[", Layout.DOCUMENT),
        (b'{"actions":[' + ACTION + b"]}", Layout.DOCUMENT),
        (b'{\n  "actions": [\n' + ACTION + b"\n]}", Layout.DOCUMENT),
        (b'{"actions": [\n' + ACTION + b"\n]}", Layout.DOCUMENT),
        (b'{\n "code": "COMMENT",\n "data": {}\n}', Layout.DOCUMENT),
        (b'{"code":"COMMENT","comm', Layout.DOCUMENT),
    ],
)
def test_tells_the_layout_by_content(text: bytes, layout: Layout) -> None:
    """An array, and an object that is not one action in its first line, are documents; the rest is JSON Lines."""
    assert layout_of(text, is_all=True) is layout


@given(st.integers(0, 200))
def test_tells_the_same_of_a_beginning(cut: int) -> None:
    """Seeing only a beginning, it says nothing, or what it would say of the whole."""
    for text in (ACTION + b"\n" + ACTION, b'{\n"actions": [' + ACTION + b"\n]}\n", b"\n[" + ACTION + b"]"):
        told = layout_of(text[:cut], is_all=False)
        assert told in (None, layout_of(text, is_all=True))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"code;comment\nCOMMENT;x\n", "it begins with 'c'"),
        (b"PK\x03\x04\n\n", "it begins with 'P'"),
        (b"\0\0\n", "it holds NUL bytes"),
        (b'"text"', "it begins with '\"'"),
    ],
)
def test_refuses_what_is_neither(text: bytes, told: str) -> None:
    """What does not begin as JSON of actions is refused as a whole, and the sentence says what is read."""
    with pytest.raises(InputError, match="JSON Lines") as caught:
        layout_of(text, is_all=True)
    assert told in str(caught.value)


def test_knows_byte_order_marks() -> None:
    """The mark in front of UTF-8 is passed over, and UTF-16 is refused by name."""
    assert without_bom(b"\xef\xbb\xbf{}") == b"{}"
    with pytest.raises(InputError, match="UTF-16"):
        without_bom("[]".encode("utf-16"))


# --- lines ------------------------------------------------------------------------------------------------------------


def split(splitter: LineSplitter, *chunks: bytes) -> Iterator[tuple[int, bytes | None]]:
    for chunk in chunks:
        yield from splitter.feed(chunk)
    yield from splitter.finish()


@given(st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\r\n", b" "]), max_size=40), st.integers(1, 7))
def test_lines_do_not_depend_on_chunks(pieces: list[bytes], size: int) -> None:
    """Lines keep their numbers and content however the input is cut into chunks; blank ones are passed over."""
    text = b"".join(pieces)
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    expected = [(number, line) for number, line in enumerate(text.split(b"\n"), 1) if line.strip()]
    assert list(split(LineSplitter(), *chunks)) == expected


def test_a_line_without_end_costs_no_memory() -> None:
    """A line beyond the limit is told as such, wherever its chunks end, and the next line is read again."""
    splitter = LineSplitter(max_bytes=10)
    chunks = [b"one\n", *[b"x" * 8] * 1000, b"x\ntwo\n", b"y" * 11 + b"\nthree\n", b"z" * 11]
    assert list(split(splitter, *chunks)) == [(1, b"one"), (2, None), (3, b"two"), (4, None), (5, b"three"), (6, None)]


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"[%b, %b]", b'{"actions": [%b,\n %b]}'])
def test_reads_the_actions_of_a_document(text: bytes) -> None:
    """An array, and the API's own document, hold actions in their order."""
    second = b'{"code":"PAUSE"}'
    assert [json.loads(bytes(e)) for e in read_document(text % (ACTION, second))] == [
        json.loads(ACTION),
        json.loads(second),
    ]


def test_reads_a_document_that_is_one_action() -> None:
    """A document that is an action is that one action."""
    assert [json.loads(bytes(element)) for element in read_document(b"\n" + ACTION)] == [json.loads(ACTION)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'[{"code": 1}', "it is not complete JSON"),
        (b'{\n"actions": [\n{},,\n]}', "at line 3, column 4"),
        (b'{"actions": 5}', "its actions are not an array"),
        (b'{"actions": [], "more": 1}', "it is neither an action"),
        (b'{"aktions": []}', "it is neither an action"),
        (b'{"\xff": []}', "it is not UTF-8; save it as UTF-8"),
    ],
)
def test_says_why_a_document_cannot_be_used(text: bytes, told: str) -> None:
    """A document that cannot be used is told with what is wrong, and where."""
    with pytest.raises(InputError) as caught:
        read_document(text)
    assert told in str(caught.value)
