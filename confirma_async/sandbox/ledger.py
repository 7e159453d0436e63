"""The ledger: which actions took effect, in which order. Tests assert on it rather than on calls."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from attrs import field, frozen

from .._core.assumptions import Assumptions
from .._core.wire import decode_action, decode_json, encode_action
from ..errors import InvalidActionError
from ..models import Action, RawAction

__all__ = ["Effect", "Ledger", "content_of"]

_AS_SENT = Assumptions(absent_comment="empty")
"""The service cannot tell a comment that is empty from one that is absent, and neither do we."""


def content_of(action: Action) -> bytes:
    """All that the service can tell an action by: what the wire says of it. Its `action_id` never got there."""
    encoded = encode_action(action, _AS_SENT)
    if isinstance(action, RawAction):
        # Where its code has a name after all, the service reads it as that, whatever the order of its members.
        with suppress(InvalidActionError):
            return encode_action(decode_action(decode_json(encoded)), _AS_SENT)
    return encoded


@frozen
class Effect:
    """An action that took effect, once. The same action sent and applied twice is two effects."""

    sequence: int
    """Its place in the ledger, from 1."""
    request: int
    """The number of the request that brought it; effects of one batch share it."""
    at: float
    """When that request arrived, on the event loop's clock."""
    action: Action
    """What the wire said, as a model."""
    element: Mapping[str, Any] = field(repr=False)
    """What the wire said, as it stood in the `actions` array; fractional numbers are Decimals."""


class Ledger:
    """Effects in the order of their application. It only grows.

    A ledger made with `keep_effects=False` counts its effects and forgets them: `len()` answers, and every
    question about single effects raises RuntimeError.
    """

    def __init__(self, *, keep_effects: bool = True) -> None:
        self._keep_effects = keep_effects
        self._length = 0
        self._effects: list[Effect] = []
        self._by_case: defaultdict[int | None, list[Effect]] = defaultdict(list)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Effect]:
        return iter(self._kept)

    def __getitem__(self, index: int) -> Effect:
        return self._kept[index]

    def __repr__(self) -> str:
        return f"<Ledger of {self._length} effects>"

    @property
    def effects(self) -> tuple[Effect, ...]:
        """All effects so far; later ones do not appear in it."""
        return tuple(self._kept)

    def for_case(self, case_id: int | None) -> tuple[Effect, ...]:
        """The effects on one case; with None, those of actions whose data names no case."""
        self._require_effects()
        return tuple(self._by_case.get(case_id, ()))

    def count(self, predicate: Callable[[Effect], bool]) -> int:
        """How many effects `predicate` is true of."""
        return sum(map(bool, map(predicate, self._kept)))

    def append(
        self, request: int, actions: Sequence[Action], elements: Sequence[Mapping[str, Any]], *, at: float = 0.0
    ) -> None:
        """Apply a batch whole: each action, in order, is one effect. For the service alone."""
        if not self._keep_effects:
            self._length += len(actions)
            return
        for action, element in zip(actions, elements, strict=True):
            self._length += 1
            effect = Effect(self._length, request, at, action, element)
            self._effects.append(effect)
            self._by_case[action.case_id].append(effect)

    @property
    def _kept(self) -> list[Effect]:
        self._require_effects()
        return self._effects

    def _require_effects(self) -> None:
        if not self._keep_effects:
            raise RuntimeError("This ledger only counts: its sandbox was made with keep_ledger=False.")
