"""The service that the sandbox plays: tokens, rules, ledger. A request in, an answer out; no I/O."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import define

from .._core.rules import violations
from .._core.wire import JsonError, decode_action, decode_json
from ..codes import ActionCode
from ..errors import InvalidActionError
from ..models import Action, Violation
from .exchange import ACTION_PATH, RENEW_PATH, VALIDATE_PATH, Answer, ReceivedRequest, json_answer
from .ledger import Ledger

__all__ = ["Service", "TokenRegister"]

MAX_MISTAKES_SHOWN = 10

_ACCEPTED = json_answer(200, {})
_UNAUTHORIZED = json_answer(401, {})
_NOT_FOUND = json_answer(404, {})
_TOO_LARGE = json_answer(413, {})
_TOKEN_IS_VALID = json_answer(200, {"isValid": True, "message": "Token is valid"})

_AMOUNTS = ("amount", "outstandingCapitalAmount", "outstandingInterestAmount", "outstandingCostsAmount")


@define
class _Standing:
    """What a token is still good for."""

    valid: bool = True
    renewable: bool = True


class TokenRegister:
    """The tokens that were issued, and what each is still good for."""

    def __init__(self, first: str | None) -> None:
        self._standings: dict[str, _Standing] = {}
        self._issue(first or _new_token())

    @property
    def issued(self) -> tuple[str, ...]:
        """Every token ever issued, oldest first."""
        return tuple(self._standings)

    @property
    def newest(self) -> str:
        """The newest token that is valid; if none is, the newest."""
        newest_first = list(reversed(self._standings))
        return next(filter(self.is_valid, newest_first), newest_first[0])

    def is_valid(self, token: str | None) -> bool:
        """Whether the service does what is asked with `token`."""
        return self._standing(token).valid

    def is_renewable(self, token: str | None) -> bool:
        """Whether `/renew` gives a new token for `token`."""
        return self._standing(token).renewable

    def invalidate(self, token: str | None, *, renewable: bool = True) -> None:
        """End `token`, or with None the newest.

        Raises:
            KeyError: The token was never issued here.
        """
        standing = self._standings[self.newest if token is None else token]
        standing.valid, standing.renewable = False, renewable

    def renew(self, token: str | None, *, kills_old_token: bool) -> str:
        """Issue a new token for `token`, which must be renewable; another one each time."""
        if kills_old_token:
            self._standing(token).valid = False
        return self._issue(_new_token())

    def _standing(self, token: str | None) -> _Standing:
        return self._standings.get(token or "", _Standing(valid=False, renewable=False))

    def _issue(self, token: str) -> str:
        self._standings[token] = _Standing()
        return token


def _new_token() -> str:
    return f"sandbox-{secrets.token_hex(16)}"


class Service:
    """What the API's documents say of its three endpoints, and where they are silent, this.

    - The token is checked before anything else; then an unknown path is 404, and a wrong method 405.
    - A batch is applied whole, in its order, or refused whole with 400. No batch may be empty.
    - A 400 has a JSON body that names the first mistakes, without comment texts. No error body is documented:
      this one is for people to read.
    - A code that is not documented is accepted as it is.
    - No limit to a body is documented, and there is none unless one is set; beyond it a batch is refused 413, whole.
    - A token that ended may still be renewed, also one that a renewal ended. Every renewal issues another
      token, so that a renewal that was sent twice shows.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        keep_ledger: bool = True,
        renewal_kills_old_token: bool = True,
        max_body_bytes: int | None = None,
        max_actions: int | None = None,
    ) -> None:
        self.max_body_bytes = max_body_bytes
        self.max_actions = max_actions
        self.ledger = Ledger(keep_effects=keep_ledger)
        self.tokens = TokenRegister(token)
        self._renewal_kills_old_token = renewal_kills_old_token
        self._poisons: list[Callable[[Action], bool]] = []
        self._alarms: list[_Alarm] = []
        self._endpoints: dict[str, tuple[str, Callable[[ReceivedRequest], Answer]]] = {
            ACTION_PATH: ("POST", self._take_actions),
            VALIDATE_PATH: ("GET", self._validate),
            RENEW_PATH: ("GET", self._renew),
        }

    def answer(self, request: ReceivedRequest) -> Answer:
        """Handle `request`, with all its effects."""
        admits = self.tokens.is_renewable if request.path == RENEW_PATH else self.tokens.is_valid
        if not admits(request.token):
            return _UNAUTHORIZED
        if request.path not in self._endpoints:
            return _NOT_FOUND
        method, handle = self._endpoints[request.path]
        return handle(request) if request.method == method else json_answer(405, {}, {"Allow": method})

    def poison(self, predicate: Callable[[Action], bool]) -> None:
        """Refuse from now on every batch that holds an action of which `predicate` is true."""
        self._poisons.append(predicate)

    def after_actions(self, actions: int, act: Callable[[], None]) -> None:
        """Call `act` once `actions` further actions were accepted, the batch that gets there applied whole.

        Raises:
            ValueError: `actions` is below 1.
        """
        if actions < 1:
            raise ValueError(f"It can happen after 1 action or more, not after {actions}.")
        self._alarms.append(_Alarm(len(self.ledger) + actions, act))

    def _validate(self, _request: ReceivedRequest) -> Answer:
        return _TOKEN_IS_VALID

    def _renew(self, request: ReceivedRequest) -> Answer:
        token = self.tokens.renew(request.token, kills_old_token=self._renewal_kills_old_token)
        return json_answer(200, {"Message": token})

    def _take_actions(self, request: ReceivedRequest) -> Answer:
        if self.max_body_bytes is not None and len(request.body) > self.max_body_bytes:
            return _TOO_LARGE
        try:
            elements = _read_batch(request)
            if self.max_actions is not None and len(elements) > self.max_actions:
                return _TOO_LARGE
            actions = _read_actions(elements)
            self._refuse_poison(actions)
        except _Refusal as refusal:
            return refusal.answer()
        self.ledger.append(request.number, actions, elements, at=request.at)
        self._sound_alarms()
        return _ACCEPTED

    def _refuse_poison(self, actions: Sequence[Action]) -> None:
        if not self._poisons:
            return
        poisoned = [
            Violation(f"actions[{index}]", "poisoned")
            for index, action in enumerate(actions)
            if any(is_poison(action) for is_poison in self._poisons)
        ]
        if poisoned:
            raise _Refusal(poisoned)

    def _sound_alarms(self) -> None:
        due = [alarm for alarm in self._alarms if alarm.at_length <= len(self.ledger)]
        for alarm in due:
            self._alarms.remove(alarm)
            alarm.act()


@define(eq=False)
class _Alarm:
    """Something that happens when the ledger has reached a length."""

    at_length: int
    act: Callable[[], None]


class _Refusal(Exception):  # noqa: N818 - it is no error of ours
    """A batch is refused whole, for these mistakes."""

    def __init__(self, mistakes: Sequence[Violation]) -> None:
        super().__init__(mistakes)
        self.mistakes = mistakes

    def answer(self) -> Answer:
        first = [str(mistake) for mistake in self.mistakes[:MAX_MISTAKES_SHOWN]]
        return json_answer(400, {"message": "Refused whole", "mistakes": len(self.mistakes), "first": first})


def _read_batch(request: ReceivedRequest) -> list[Any]:
    """The elements of a body that is a JSON object with exactly an `actions` array."""
    if request.content_type != "application/json":
        raise _Refusal([Violation("Content-Type", "it must be application/json")])
    try:
        body = decode_json(request.body)
    except JsonError:
        # Broken JSON, broken UTF-8, a number beyond reason, depth beyond reason.
        raise _Refusal([Violation("body", "it must be JSON")]) from None
    elements = body.get("actions") if isinstance(body, dict) and len(body) == 1 else None
    if not (isinstance(elements, list) and elements):
        raise _Refusal([Violation("body", "it must be an object of one member, actions: an array, not empty")])
    return elements


def _read_actions(elements: Sequence[Any]) -> list[Action]:
    actions: list[Action] = []
    mistakes: list[Violation] = []
    for index, element in enumerate(elements):
        try:
            action = decode_action(element)
            found = [*_form_mistakes(element), *violations(action)]
        except InvalidActionError as error:
            found = list(error.violations)
        else:
            actions.append(action)
        mistakes += (Violation(_full_path(index, mistake.path), mistake.message) for mistake in found)
    if mistakes:
        raise _Refusal(mistakes)
    return actions


def _form_mistakes(element: dict[str, Any]) -> Iterator[Violation]:
    """What a reader of files may be lenient about, and the service's documents are not."""
    if "action_id" in element:
        yield Violation("action_id", "unknown member")
    if element["code"] == ActionCode.DIRECTPAYMENT:
        for name in _AMOUNTS:
            if isinstance(element["data"].get(name), str):
                yield Violation(f"data.{name}", "takes a number, not a string")


def _full_path(index: int, path: str) -> str:
    return f"actions[{index}]" if path == "$" else f"actions[{index}].{path}"
