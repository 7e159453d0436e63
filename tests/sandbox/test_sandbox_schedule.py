from collections import Counter

import pytest

from confirma_async.models import Comment
from confirma_async.sandbox import FaultSchedule, OneIn, ReceivedRequest


def request(body: bytes, *, path: str = "/invoice/action", token: str | None = None) -> ReceivedRequest:
    return ReceivedRequest(number=1, method="POST", path=path, body=body, token=token)


REQUESTS = [request(f"body {number}".encode()) for number in range(2_000)]


def test_about_one_in_so_many_is_met() -> None:
    """Of many different requests the share that was asked for is met; with 1 it is every one."""
    assert 200 < sum(map(OneIn(8, seed=1), REQUESTS)) < 300
    assert all(map(OneIn(1, seed=1), REQUESTS))


def test_the_same_requests_are_met_in_every_run_and_in_any_order() -> None:
    """Which requests a fault meets follows from the seed and from what they say; the order of others is no matter."""
    met = [body.body for body in filter(OneIn(8, seed=1), REQUESTS)]
    assert [body.body for body in filter(OneIn(8, seed=1), reversed(REQUESTS))] == met[::-1]
    assert [body.body for body in filter(OneIn(8, seed=2), REQUESTS)] != met


def test_a_token_does_not_decide() -> None:
    """A run that is repeated has tokens of its own, and meets the same faults."""
    other = [request(each.body, token="another") for each in REQUESTS]
    assert list(map(OneIn(8, seed=1), REQUESTS)) == list(map(OneIn(8, seed=1), other))


def test_what_is_sent_again_is_drawn_again() -> None:
    """A fault that met a request does not meet it each time: or nothing would ever get through."""
    choice = OneIn(2, seed=1)
    met = [choice(request(b"the same")) for _ in range(100)]
    assert 25 < sum(met) < 75


def test_requests_without_a_body_differ_by_their_path() -> None:
    """Calls for the token are drawn as well, each for itself."""
    drawn = [[*map(OneIn(2, seed=1), [request(b"", path=path)] * 50)] for path in ("/renew", "/validate")]
    assert drawn[0] != drawn[1]


def test_one_in_none_is_a_mistake() -> None:
    """A share that makes no sense is refused at once."""
    with pytest.raises(ValueError, match="not one in 0"):
        OneIn(0, seed=1)


def test_a_choice_shows_how_to_make_it_again() -> None:
    """In a failed assertion a choice tells its seed."""
    assert repr(OneIn(8, seed=3)) == "OneIn(8, seed=3)"


def test_the_faults_of_the_catalogue_are_told_apart_by_name() -> None:
    """What met a request is known from `ReceivedRequest.fault` alone."""
    names = Counter(fault.name for fault in FaultSchedule.CATALOGUE)
    assert set(names.values()) == {1}


def test_a_schedule_is_a_value_that_its_seed_makes() -> None:
    """The schedule of a seed is always the same, and other seeds have other schedules."""
    assert FaultSchedule.drawn(7, actions=200) == FaultSchedule.drawn(7, actions=200)
    assert FaultSchedule.drawn(7, actions=200) != FaultSchedule.drawn(8, actions=200)


def test_schedules_leave_nothing_out() -> None:
    """Over many seeds every fault of the catalogue comes up, on every path, with outages, token ends and limits."""
    drawn = [FaultSchedule.drawn(seed, actions=200) for seed in range(200)]
    planned = [fault for schedule in drawn for fault in schedule.faults]
    assert {each.fault.name for each in planned if each.path == "/invoice/action"} == {
        fault.name for fault in FaultSchedule.CATALOGUE
    }
    assert {each.path for each in planned} == {"/invoice/action", "/renew", "/validate"}
    assert {outage.mode for schedule in drawn for outage in schedule.outages} == {
        "drop",
        "lose",
        "refuse",
        "unavailable",
    }
    assert {end.renewable for schedule in drawn for end in schedule.token_ends} == {True, False}
    for limit in ("max_body_bytes", "max_actions", "poisons_one_in"):
        values = {getattr(schedule, limit) for schedule in drawn}
        assert None in values
        assert len(values) > 1
    assert any(not (s.outages or s.token_ends or s.max_actions or s.max_body_bytes) for s in drawn)


def test_what_happens_midway_happens_in_the_shortest_run() -> None:
    """A run of a single action has its outage and its token's end after that one."""
    for seed in range(50):
        schedule = FaultSchedule.drawn(seed, actions=1)
        assert {outage.after for outage in schedule.outages} | {end.after for end in schedule.token_ends} <= {1}


def test_poison_follows_from_content() -> None:
    """The same actions are refused in every run, whatever their ids; without a share none is."""
    schedule = FaultSchedule(seed=1, poisons_one_in=10)
    actions = [Comment(invoice_number=n, case_id=n, action_id=f"first-{n}") for n in range(1, 1_001)]
    again = [Comment(invoice_number=n, case_id=n) for n in range(1, 1_001)]
    refused = list(map(schedule.is_poison, actions))
    assert 60 < sum(refused) < 140
    assert list(map(schedule.is_poison, again)) == refused
    assert not any(map(FaultSchedule(seed=1).is_poison, actions))
