import pytest
from hypothesis import given
from hypothesis import strategies as st

from confirma_async import Disposition
from confirma_async._core.journal import TRANSITIONS, Entry, State, content_hash, end_state

ENDS = {State.ACCEPTED, State.REJECTED, State.NOT_APPLIED, State.UNKNOWN}


def test_the_table_is_closed() -> None:
    """Every state says what may follow it, and what follows is a state."""
    assert set(TRANSITIONS) == set(State)
    assert all(followers <= set(State) for followers in TRANSITIONS.values())


def test_every_disposition_is_a_state() -> None:
    """Each end of an action is kept as a state of its own name, and the states are these ends and two before them."""
    states = [end_state(disposition) for disposition in Disposition]
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
    assert TRANSITIONS[State.SENDING] == ENDS | {State.SENDING}


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
