import copy
import pickle
import re
from collections.abc import Iterator
from typing import Any

import pytest

import confirma_async
from confirma_async import (
    ActionOutcome,
    ActionRejectedError,
    Comment,
    ConfirmaError,
    Disposition,
    InvalidActionError,
    RateLimitedError,
    Violation,
    errors,
)


def subclasses_of(kind: type[ConfirmaError]) -> Iterator[type[ConfirmaError]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from subclasses_of(subclass)


FOUND: list[type[ConfirmaError]] = [ConfirmaError, *subclasses_of(ConfirmaError)]
ERRORS = [kind for kind in FOUND if kind.__module__.startswith("confirma_async")]
PUBLIC = [kind for kind in ERRORS if kind.__module__ == errors.__name__]
OUTCOME = ActionOutcome(Comment(invoice_number=1, case_id=2), "event-77", Disposition.REJECTED, 1)
FIELDS: dict[str, Any] = {
    "outcome": OUTCOME,
    "violations": (Violation("data.amount", "it is odd"),),
    "status": 429,
    "retry_after": 300.0,
}


def filled(kind: type[ConfirmaError]) -> ConfirmaError:
    """An error of this class with a value in each of its fields."""
    bare = kind("A sentence.")
    return kind("A sentence.", *(FIELDS[name] for name in vars(bare)))


def test_every_error_is_known_to_this_test() -> None:
    """The walk over the tree finds the errors that there are."""
    assert len(PUBLIC) > 20
    assert set(errors.__all__) == {kind.__name__ for kind in PUBLIC}


@pytest.mark.parametrize("kind", PUBLIC)
def test_every_error_copies_and_pickles_with_its_fields(kind: type[ConfirmaError]) -> None:
    """An error crosses a process, or is copied for a second caller, with its text and every field."""
    original = filled(kind)
    assert all(vars(original)[name] == FIELDS[name] for name in vars(original))
    pickled = pickle.loads(pickle.dumps(original))  # noqa: S301 - made here
    made_again = kind(*original.args)
    for twin in (copy.copy(original), copy.deepcopy(original), pickled, made_again):
        assert type(twin) is kind
        assert str(twin) == "A sentence."
        assert repr(twin) == f"{kind.__name__}('A sentence.')"
        assert vars(twin) == vars(original)
        assert twin.args == original.args
        assert twin is not original


@pytest.mark.parametrize("kind", PUBLIC)
def test_every_error_can_be_raised_with_a_text_alone(kind: type[ConfirmaError]) -> None:
    """Every field but the text has a default, so that tests of others can raise each error easily."""
    with pytest.raises(ConfirmaError, match=r"^A sentence\.$"):
        raise kind("A sentence.")


@pytest.mark.parametrize("kind", ERRORS)
def test_every_name_ends_in_error(kind: type[ConfirmaError]) -> None:
    """The name of an error says that it is one, and its docstring what it means."""
    assert kind.__name__.endswith("Error")
    assert kind.__doc__


def test_a_pickled_error_keeps_the_error_inside_its_outcome() -> None:
    """An error that carries an outcome, which carries an error, arrives whole."""
    cause = RateLimitedError("Too fast.", 429, 300.0)
    outcome = ActionOutcome(Comment(invoice_number=1, case_id=2), "event-77", Disposition.NOT_APPLIED, 1, cause)
    twin = pickle.loads(pickle.dumps(ActionRejectedError("A sentence.", outcome)))  # noqa: S301 - made here
    assert twin.outcome.action == outcome.action
    assert isinstance(twin.outcome.error, RateLimitedError)
    assert twin.outcome.error.retry_after == 300.0


def test_violations_are_kept_as_a_tuple() -> None:
    """The list of violations that an error was made with may change afterwards; the error's does not."""
    found = [Violation("data.amount", "it is odd")]
    error = InvalidActionError("A sentence.", found)
    found.clear()
    assert error.violations == (Violation("data.amount", "it is odd"),)


@pytest.mark.parametrize(
    ("name", "builtins"),
    [
        ("ConfigurationError", (ValueError,)),
        ("InvalidFieldError", (TypeError, ValueError)),
        ("InvalidActionError", (ValueError,)),
        ("ClientStateError", (RuntimeError,)),
    ],
)
def test_mistakes_of_a_caller_are_what_python_calls_them(name: str, builtins: tuple[type[Exception], ...]) -> None:
    """Who catches Python's own errors for wrong values and states catches ours too."""
    assert issubclass(getattr(confirma_async, name), builtins)
    assert all(issubclass(getattr(confirma_async, name), builtin) for builtin in builtins)


# --- the tree in the docstring ----------------------------------------------------------------------------------------

LINE = re.compile(r"^    (?P<branch>(?:│   |    )*(?:├── |└── )?)(?P<name>\w+Error)\b")


def drawn_tree(text: str) -> dict[str, str | None]:
    """Name -> name of its parent, as drawn."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in text.splitlines():
        if match := LINE.match(line):
            depth = len(match["branch"]) // 4
            path[depth:] = [match["name"]]
            parents[match["name"]] = path[depth - 1] if depth else None
    return parents


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """The tree that the documentation draws is the tree of classes: all of them, each under its parent."""
    real: dict[str, str | None] = {}
    for kind in PUBLIC:
        parents = [base.__name__ for base in kind.__bases__ if issubclass(base, ConfirmaError)]
        assert len(parents) == (kind is not ConfirmaError), "an error stands under one other"
        real[kind.__name__] = parents[0] if parents else None
    assert errors.__doc__ is not None
    assert drawn_tree(errors.__doc__) == real


def test_the_drawing_is_read_as_it_looks() -> None:
    """The reader of the drawing sees depth, and a missing line."""
    drawing = """
    RootError
    ├── FirstError        says this
    │   └── LeafError     says that
    └── LastError         says more
    """
    assert drawn_tree(drawing) == {
        "RootError": None,
        "FirstError": "RootError",
        "LeafError": "FirstError",
        "LastError": "RootError",
    }


def test_every_line_of_the_tree_says_something() -> None:
    """Each error in the drawing has words beside it that say what it means to a caller."""
    assert errors.__doc__ is not None
    lines = [line for line in errors.__doc__.splitlines() if (match := LINE.match(line)) and match["branch"]]
    assert len(lines) == len(PUBLIC) - 1
    assert all(re.search(r"Error {2,}\S.{10,}", line) for line in lines)
