import pytest
from hypothesis import given
from hypothesis import strategies as st

from confirma_async import (
    AuthenticationError,
    ConfirmaError,
    Disposition,
    JournalError,
    NotSubmittedError,
    PermissionDeniedError,
    RateLimitedError,
    RefusedError,
    RefusedTogetherError,
    ServiceUnavailableError,
)
from confirma_async._core.journal import (
    TRANSITIONS,
    Entry,
    State,
    content_hash,
    may_queue,
    may_send,
    may_settle,
    state_after,
    state_after_crash,
)

ENDS = {State.ACCEPTED, State.REJECTED, State.NOT_APPLIED, State.UNKNOWN}


def test_the_table_is_closed() -> None:
    """Every state says what may follow it, and what follows is a state."""
    assert set(TRANSITIONS) == set(State)
    assert all(followers <= set(State) for followers in TRANSITIONS.values())


def test_every_disposition_is_a_state() -> None:
    """Each end of an action is kept as a state of its own name, and the states are these ends and two before them."""
    states = [state_after(disposition, None, is_durable=True) for disposition in Disposition]
    assert set(states) == ENDS
    assert [state.name for state in states] == [disposition.name for disposition in Disposition]
    assert set(State) - ENDS == {State.QUEUED, State.SENDING}


def test_every_state_is_reached_from_the_first() -> None:
    """No state of the table is out of reach of an action that was queued."""
    reached = {State.QUEUED}
    while more := {follower for state in reached for follower in TRANSITIONS[state]} - reached:
        reached |= more
    assert reached == set(State)


def test_nothing_is_sent_after_an_end_but_what_was_not_applied() -> None:
    """Only what certainly had no effect may be sent again; what was refused, or is in doubt, may not."""
    may_send = {state for state in ENDS if TRANSITIONS[state] & {State.QUEUED, State.SENDING}}
    assert may_send == {State.NOT_APPLIED}
    assert TRANSITIONS[State.ACCEPTED] == TRANSITIONS[State.REJECTED] == frozenset()


def test_a_doubt_is_settled_by_looking() -> None:
    """From UNKNOWN an action becomes what a look at the service shows: applied or not applied."""
    assert TRANSITIONS[State.UNKNOWN] == {State.ACCEPTED, State.NOT_APPLIED}


def test_what_was_never_sent_has_no_doubtful_end() -> None:
    """An action that was never sent can end NOT_APPLIED alone: the service has not seen it."""
    assert TRANSITIONS[State.QUEUED] & ENDS == {State.NOT_APPLIED}


def test_an_attempt_may_end_in_every_way() -> None:
    """What is being sent may end in each of the four ways, or be sent again."""
    assert TRANSITIONS[State.SENDING] == ENDS | {State.SENDING, State.QUEUED}


def test_the_table_cannot_be_changed() -> None:
    """The transitions are nobody's to alter."""
    with pytest.raises(TypeError):
        TRANSITIONS[State.UNKNOWN] = frozenset()  # type: ignore[index]


@given(st.data())
def test_an_action_is_never_accepted_and_sent_afterwards(data: st.DataObject) -> None:
    """Along any path through the table, nothing follows an acceptance or a refusal."""
    state, path = State.QUEUED, [State.QUEUED]
    for _ in range(12):
        followers = sorted(TRANSITIONS[state], key=lambda follower: follower.value)
        if not followers:
            break
        state = data.draw(st.sampled_from(followers))
        path.append(state)
    assert not {State.ACCEPTED, State.REJECTED} & set(path[:-1])


@given(first=st.binary(max_size=50), second=st.binary(max_size=50))
def test_the_hash_of_a_content_tells_contents_apart(first: bytes, second: bytes) -> None:
    """Equal contents have equal fingerprints, different ones do not; all are short."""
    assert (content_hash(first) == content_hash(second)) == (first == second)
    assert len(content_hash(first)) == 16


def test_an_entry_holds_no_content() -> None:
    """The journal keeps a fingerprint of what was sent, and not the text."""
    entry = Entry(content_hash(b'{"comment":"private"}'), State.SENDING, 1)
    assert b"private" not in entry.content
    assert "private" not in repr(entry)


CONTENT, OTHER = content_hash(b"one"), content_hash(b"other")


@pytest.mark.parametrize(
    ("state", "attempts", "may"),
    [
        (None, 0, True),
        (State.QUEUED, 0, True),
        (State.NOT_APPLIED, 0, True),
        (State.SENDING, 1, True),
        (State.SENDING, 0, False),
        (State.ACCEPTED, 0, False),
        (State.REJECTED, 0, False),
        (State.UNKNOWN, 0, False),
        (State.UNKNOWN, 3, False),
    ],
)
def test_what_has_an_end_or_is_sent_by_another_is_not_sent(state: State | None, attempts: int, may: bool) -> None:
    """An attempt follows nothing, a queue, an end without effect, or an attempt of one's own."""
    assert may_send(None if state is None else Entry(CONTENT, state), CONTENT, attempts=attempts) is may


@given(st.sampled_from(State), st.integers(0, 3))
def test_other_content_is_never_sent_under_a_known_id(state: State, attempts: int) -> None:
    """An id belongs to the content with which it came first."""
    assert not may_send(Entry(OTHER, state), CONTENT, attempts=attempts)


def test_only_what_is_new_or_had_no_effect_goes_into_the_queue() -> None:
    """What runs, or has another end, is not queued a second time."""
    assert may_queue(None)
    assert [state for state in State if may_queue(Entry(CONTENT, state))] == [State.NOT_APPLIED]


def test_a_person_settles_doubts_and_never_what_runs() -> None:
    """UNKNOWN becomes accepted or not applied, and NOT_APPLIED goes back in the queue; nothing else is decided."""
    allowed = {(state, into) for state in State for into in State if may_settle(state, into)}
    assert allowed == {
        (State.UNKNOWN, State.ACCEPTED),
        (State.UNKNOWN, State.NOT_APPLIED),
        (State.NOT_APPLIED, State.QUEUED),
    }


def test_a_crash_makes_a_running_attempt_unknown_and_changes_nothing_else() -> None:
    """What was queued may be sent, what was being sent may have arrived, and every end stands."""
    assert {state: state_after_crash(state) for state in State if state_after_crash(state) is not state} == {
        State.SENDING: State.UNKNOWN
    }


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError(""),
        JournalError(""),
        NotSubmittedError(""),
        PermissionDeniedError(""),
        RateLimitedError(""),
        RefusedTogetherError(""),
        ServiceUnavailableError(""),
    ],
)
def test_what_was_enqueued_stays_queued_when_it_could_not_be_sent(error: ConfirmaError) -> None:
    """A client that closes, a dead token or an absent service is no end of an action in the journal's charge."""
    assert state_after(Disposition.NOT_APPLIED, error, is_durable=True) is State.QUEUED
    assert state_after(Disposition.NOT_APPLIED, error, is_durable=False) is State.NOT_APPLIED
    assert state_after(Disposition.UNKNOWN, error, is_durable=True) is State.UNKNOWN


def test_what_the_service_refused_has_its_end() -> None:
    """A refusal is about the action; only where it was refused with others is it tried another time."""
    assert state_after(Disposition.NOT_APPLIED, RefusedError(""), is_durable=True) is State.NOT_APPLIED
