"""Which request a fault meets, drawn from a seed and the request's content, so that a run can be repeated. No I/O."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from hashlib import blake2b
from random import Random
from typing import ClassVar, Literal, TypeAlias, get_args

from attrs import frozen

from ..models import Action
from .exchange import ACTION_PATH, RENEW_PATH, VALIDATE_PATH, ReceivedRequest
from .faults import Fault
from .ledger import content_of

__all__ = [
    "FaultSchedule",
    "OneIn",
    "OutageMode",
    "PlannedFault",
    "PlannedOutage",
    "PlannedTokenEnd",
    "one_of",
]

OutageMode: TypeAlias = Literal["drop", "lose", "refuse", "unavailable"]

_RENEW_FAULTS = (
    Fault.DROP_AFTER_APPLYING,
    Fault.DROP_AFTER_READING,
    Fault.HANG_AFTER_APPLYING,
    Fault.BAD_GATEWAY_AFTER_APPLYING,
    Fault.CUT_BODY,
    Fault.HTML,
    Fault.dripping(0.25),
    Fault.too_many_requests(1),
    Fault.unavailable(),
)

_VALIDATE_FAULTS = (
    Fault.DROP_AFTER_READING,
    Fault.HANG_AFTER_APPLYING,
    Fault.HTML,
    Fault.status(404),
    Fault.status(500),
)

_RATES = (4, 10, 30)
_OUTAGE_MODES: tuple[OutageMode, ...] = get_args(OutageMode)


def one_of(count: int, *, seed: int, content: bytes) -> bool:
    """Whether `content` is among the one in `count` that `seed` draws. The same arguments give the same answer."""
    drawn = blake2b(content, digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(drawn) % count == 0


class OneIn:
    """Which requests a fault meets: about one in `count`, drawn from `seed` and from what the request says.

        sandbox.inject(Fault.DROP_AFTER_APPLYING, times=None, when=OneIn(8, seed=3))

    Method, path, query and body count, and how often they came before, so that what is sent again is drawn again; a
    token does not. So the same requests meet the same faults in every run, in whatever order different ones arrive.

    Args:
        count: 1 is every request.
        seed: Faults with different seeds meet different requests.
    """

    def __init__(self, count: int, *, seed: int) -> None:
        if count < 1:
            raise ValueError(f"It can be one in 1 or more, not one in {count}.")
        self._count = count
        self._seed = seed
        self._came: Counter[bytes] = Counter()

    def __repr__(self) -> str:
        return f"OneIn({self._count}, seed={self._seed})"

    def __call__(self, request: ReceivedRequest) -> bool:
        """Whether the fault meets `request`. Being asked counts: ask once for each request."""
        head = f"{request.method} {request.path}?{request.query}\n".encode()
        content = blake2b(head + request.body, digest_size=16).digest()
        self._came[content] += 1
        return one_of(self._count, seed=self._seed, content=content + str(self._came[content]).encode())


@frozen(kw_only=True)
class PlannedFault:
    """A fault that meets one in so many requests to a path."""

    fault: Fault
    path: str
    one_in: int
    seed: int
    """What is drawn beside the content of requests."""

    def choice(self) -> OneIn:
        """Which requests it meets, from the first one on."""
        return OneIn(self.one_in, seed=self.seed)


@frozen(kw_only=True)
class PlannedOutage:
    """An outage that begins once so many actions were accepted."""

    after: int
    seconds: float
    mode: OutageMode


@frozen(kw_only=True)
class PlannedTokenEnd:
    """The token that is newest then is revoked once so many actions were accepted."""

    after: int
    renewable: bool


@frozen(kw_only=True)
class FaultSchedule:
    """All that goes wrong in one run: a value, so that the run can be repeated. `Sandbox.unleash` lets it loose."""

    seed: int
    faults: tuple[PlannedFault, ...] = ()
    outages: tuple[PlannedOutage, ...] = ()
    token_ends: tuple[PlannedTokenEnd, ...] = ()
    poisons_one_in: int | None = None
    """About one in so many actions is refused, with the batch that holds it; None is no action."""
    max_body_bytes: int | None = None
    max_actions: int | None = None
    """The service's limits, as those of `Sandbox`."""

    CATALOGUE: ClassVar[tuple[Fault, ...]] = (
        Fault.DROP_BEFORE_READING,
        Fault.DROP_AFTER_READING,
        Fault.DROP_AFTER_APPLYING,
        Fault.HANG_AFTER_APPLYING,
        Fault.BAD_GATEWAY_AFTER_APPLYING,
        Fault.CUT_BODY,
        Fault.HTML,
        Fault.dripping(4.0),
        Fault.slow(7.0),
        Fault.UNAUTHORIZED_EARLY,
        Fault.UNAUTHORIZED,
        Fault.too_many_requests(),
        Fault.too_many_requests(3).renamed("too_many_requests_seconds"),
        Fault.too_many_requests(0.25).renamed("too_many_requests_fraction"),
        Fault.too_many_requests(milliseconds=250).renamed("too_many_requests_milliseconds"),
        Fault.too_many_requests(timedelta(seconds=2)).renamed("too_many_requests_date"),
        Fault.too_many_requests(timedelta(days=-1)).renamed("too_many_requests_date_in_the_past"),
        Fault.too_many_requests("inf").renamed("too_many_requests_inf"),
        Fault.too_many_requests(-1).renamed("too_many_requests_negative"),
        Fault.too_many_requests("soon").renamed("too_many_requests_rubbish"),
        Fault.unavailable(),
        Fault.unavailable(2).renamed("unavailable_seconds"),
        Fault.redirect("http://127.0.0.1:1/"),
        Fault.status(400),
        Fault.status(404),
        Fault.status(408),
        Fault.status(409),
        Fault.status(413),
        Fault.status(500),
    )
    """Everything that one POST may meet, each under a name of its own."""

    @classmethod
    def drawn(cls, seed: int, *, actions: int) -> "FaultSchedule":
        """The schedule of a seed: always the same.

        Five faults of `CATALOGUE` meet POSTs of actions. In a part of the schedules calls for the token fail as well,
        the token ends midway, the service is gone for a while, it has limits, or it refuses some actions.

        Args:
            seed: Any number.
            actions: How many actions the run is going to submit, so that what happens midway does happen.
        """
        random = Random(seed)  # noqa: S311 - it draws a test, no secret
        return cls(
            seed=seed,
            faults=tuple(_planned_faults(random)),
            outages=tuple(
                PlannedOutage(
                    after=_midway(random, actions),
                    seconds=random.choice((0.5, 5.0, 60.0)),
                    mode=random.choice(_OUTAGE_MODES),
                )
                for _ in range(_chance(random, 3))
            ),
            token_ends=tuple(
                PlannedTokenEnd(after=_midway(random, actions), renewable=not _chance(random, 20))
                for _ in range(random.choice((0, 0, 1, 2)))
            ),
            poisons_one_in=random.choice((None, 20, 70)),
            max_body_bytes=random.choice((None, None, None, 1_500)),
            max_actions=random.choice((None, None, None, 12)),
        )

    def is_poison(self, action: Action) -> bool:
        """Whether `action` is one that the service refuses."""
        count = self.poisons_one_in
        return count is not None and one_of(count, seed=self.seed, content=content_of(action))


def _planned_faults(random: Random) -> Iterator[PlannedFault]:
    for path, faults in (
        (ACTION_PATH, random.sample(FaultSchedule.CATALOGUE, 5)),
        (RENEW_PATH, random.sample(_RENEW_FAULTS, _chance(random, 3))),
        (VALIDATE_PATH, random.sample(_VALIDATE_FAULTS, _chance(random, 3))),
    ):
        for fault in faults:
            yield PlannedFault(fault=fault, path=path, one_in=random.choice(_RATES), seed=random.getrandbits(32))


def _chance(random: Random, one_in: int) -> int:
    """1, one time in so many, else 0."""
    return int(random.randrange(one_in) == 0)


def _midway(random: Random, actions: int) -> int:
    return random.randint(1, max(1, actions * 3 // 4))
