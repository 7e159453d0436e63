from itertools import islice, pairwise

from hypothesis import given
from hypothesis import strategies as st

from confirma_async import Disposition, Finding, ReconcilePolicy
from confirma_async._core.reconciliation import Reconciliation, look_times

POLICY = ReconcilePolicy()


def test_when_to_look() -> None:
    """The first looks come soon, the later ones evenly, until the action is handed back."""
    times = list(look_times(POLICY))
    assert times[:5] == [2, 10, 60, 120, 180]
    assert times[-1] == 600
    assert list(look_times(ReconcilePolicy(give_up_after=9))) == [2]
    assert list(look_times(ReconcilePolicy(give_up_after=0))) == []


@given(
    looks=st.lists(st.floats(0, 100), max_size=4).map(lambda looks: tuple(sorted(looks))),
    look_every=st.floats(1, 100),
    give_up_after=st.floats(0, 1000),
)
def test_looks_end_in_time_and_in_order(looks: tuple[float, ...], look_every: float, give_up_after: float) -> None:
    """No look comes before the one that was to come first, and none after the action is handed back."""
    policy = ReconcilePolicy(looks=looks, look_every=look_every, give_up_after=give_up_after)
    times = list(islice(look_times(policy), 2_000))
    assert len(times) < 2_000
    assert times == sorted(times)
    assert all(moment <= give_up_after for moment in times)
    assert times[: len(looks)] == [moment for moment in looks if moment <= give_up_after][: len(times)]
    assert all(later - earlier <= look_every + 1e-6 for earlier, later in pairwise(times[len(looks) :]))


def test_what_is_there_is_believed_at_once() -> None:
    """An action that is seen at the service ends ACCEPTED, however early it is seen, and after whatever else."""
    assert Reconciliation(POLICY).found(Finding.APPLIED, 0) is Disposition.ACCEPTED
    late = Reconciliation(POLICY)
    late.found(Finding.NOT_APPLIED, 60)
    assert late.found(Finding.APPLIED, 120) is Disposition.ACCEPTED


def test_what_is_not_there_is_believed_late_and_twice() -> None:
    """An action that is not seen may not be there yet: only late, and only if two looks in a row agree, it is not."""
    looks = Reconciliation(POLICY)
    assert looks.found(Finding.NOT_APPLIED, 2) is None
    assert looks.found(Finding.NOT_APPLIED, 10) is None
    assert looks.found(Finding.NOT_APPLIED, 119.9) is None
    assert looks.found(Finding.NOT_APPLIED, 120) is Disposition.NOT_APPLIED


def test_one_late_look_is_not_enough() -> None:
    """A single look, however late, does not make a payment go again; nor do two with an unclear one between."""
    looks = Reconciliation(POLICY)
    assert looks.found(Finding.NOT_APPLIED, 500) is None
    assert looks.found(Finding.UNCLEAR, 520) is None
    assert looks.found(Finding.NOT_APPLIED, 540) is None
    assert looks.found(Finding.NOT_APPLIED, 560) is Disposition.NOT_APPLIED


@given(st.lists(st.tuples(st.sampled_from(Finding), st.floats(0, 60)), max_size=30), st.integers(1, 4))
def test_any_history_of_looks(history: list[tuple[Finding, float]], agreeing: int) -> None:
    """In any history an end is what the latest looks show: one that it is there, or enough late ones that it is not."""
    looks, seconds, seen = Reconciliation(ReconcilePolicy(agreeing=agreeing)), 0.0, []
    for finding, step in history:
        seconds += step
        seen.append(finding)
        end = looks.found(finding, seconds)
        if end is Disposition.ACCEPTED:
            assert finding is Finding.APPLIED
        elif end is Disposition.NOT_APPLIED:
            assert seconds >= 120
            assert seen[-agreeing:] == [Finding.NOT_APPLIED] * agreeing
        else:
            assert end is None
            assert finding is not Finding.APPLIED
            assert seconds < 120 or seen[-agreeing:] != [Finding.NOT_APPLIED] * agreeing
            continue
        break
