import ast
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from attrs import evolve, mutable
from hypothesis import given
from hypothesis import strategies as st

from confirma_async import ActionCode, Assumptions, ConfigurationError, Disposition, DispositionPolicy, EffectClass
from confirma_async._core import disposition
from confirma_async._core.disposition import (
    TABLE,
    Evidence,
    GateReason,
    Observation,
    Plan,
    Row,
    Step,
    Verdict,
    join,
    observe,
    plan,
)

SET_STATE, APPEND, MONEY = EffectClass.SET_STATE, EffectClass.APPEND, EffectClass.MONEY
STATUSES = range(100, 600)
DOCUMENTED = Assumptions()
IN_PART = Assumptions(refused_batch_is_refused_whole=False)
POLICY = DispositionPolicy()


@mutable(eq=False)
class Held:
    """What a plan needs to know of an action."""

    effect: EffectClass
    doubted: bool = False


def answered(status: int | None, *, headers_sent: bool = True, token_dead: bool = False) -> Evidence:
    return Evidence(headers_sent=headers_sent, status=status, token_dead=token_dead)


LOST = answered(None)
NEVER_SENT = answered(None, headers_sent=False)


def planned(
    held: Sequence[Held],
    evidence: Evidence,
    *,
    policy: DispositionPolicy = POLICY,
    assumptions: Assumptions = DOCUMENTED,
    server_errors: int = 0,
    may_halve: bool = True,
) -> Plan[Held]:
    return plan(
        held,
        evidence,
        policy=policy,
        assumptions=assumptions,
        server_errors=server_errors,
        may_halve=may_halve,
    )


def one(effect: EffectClass, evidence: Evidence, *, doubted: bool = False, policy: DispositionPolicy = POLICY) -> str:
    """What follows for one action alone in its POST: an end, or what is done next."""
    result = planned([Held(effect, doubted)], evidence, policy=policy)
    if result.ended:
        return result.ended[0][1].name
    return "AGAIN" if result.again else "RECONCILE" if result.unclear else "HALVES"


# --- the table, row by row --------------------------------------------------------------------------------------------


def statuses(*exceptions: int, within: range) -> list[int]:
    return [status for status in within if status not in exceptions]


ROWS = [
    # what, evidence, verdict, SET_STATE, APPEND and MONEY, gate
    ("headers never sent", [NEVER_SENT], Verdict.NOT_SENT, "AGAIN", "AGAIN", GateReason.UNREACHABLE),
    ("2xx", [answered(s) for s in range(200, 300)], Verdict.ACCEPTED, "ACCEPTED", "ACCEPTED", None),
    ("401", [answered(401)], Verdict.NOT_PROCESSED, "AGAIN", "AGAIN", GateReason.UNAUTHORIZED),
    (
        "401, token dead",
        [answered(401, token_dead=True)],
        Verdict.NOT_PROCESSED,
        "NOT_APPLIED",
        "NOT_APPLIED",
        GateReason.TOKEN,
    ),
    (
        "429, 425, 503",
        [answered(s) for s in (429, 425, 503)],
        Verdict.NOT_PROCESSED,
        "AGAIN",
        "AGAIN",
        GateReason.THROTTLED,
    ),
    ("413 alone", [answered(413)], Verdict.NOT_PROCESSED, "NOT_APPLIED", "NOT_APPLIED", None),
    (
        "403, 407",
        [answered(s) for s in (403, 407)],
        Verdict.NOT_PROCESSED,
        "NOT_APPLIED",
        "NOT_APPLIED",
        GateReason.DENIED,
    ),
    (
        "every other 4xx, alone",
        [answered(s) for s in statuses(401, 403, 407, 408, 413, 425, 429, within=range(400, 500))],
        Verdict.REFUSED,
        "REJECTED",
        "REJECTED",
        None,
    ),
    (
        "408, every other 5xx, every 3xx and 1xx",
        [answered(s) for s in [408, *statuses(503, within=range(500, 600)), *range(300, 400), *range(100, 200)]],
        Verdict.UNKNOWN,
        "AGAIN",
        "RECONCILE",
        GateReason.AMBIGUOUS,
    ),
    ("lost after headers were sent", [LOST], Verdict.UNKNOWN, "AGAIN", "RECONCILE", GateReason.AMBIGUOUS),
]


@pytest.mark.parametrize(
    ("evidence", "verdict", "set_state", "append_or_money", "gate"), [pytest.param(*row[1:], id=row[0]) for row in ROWS]
)
def test_the_table_row_by_row(
    evidence: list[Evidence], verdict: Verdict, set_state: str, append_or_money: str, gate: GateReason | None
) -> None:
    """Each observation has the verdict, the next step by effect class, and the gate of the design's table."""
    for shown in evidence:
        row = TABLE[observe(shown, DOCUMENTED)]
        assert (row.verdict, row.gate) == (verdict, gate), shown
        assert one(SET_STATE, shown) == set_state, shown
        assert {one(effect, shown) for effect in (APPEND, MONEY)} == {append_or_money}, shown


def test_the_rows_cover_every_status_once() -> None:
    """There is no status, and no way to lose an answer, that the table does not judge."""
    seen = [evidence.status for row in ROWS for evidence in row[1] if not evidence.token_dead]
    assert sorted(status for status in seen if status is not None) == list(STATUSES)
    assert seen.count(None) == 2


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_speaks_for_itself(status: int) -> None:
    """An answer that arrived is judged by its status, whatever was seen of the headers on the way."""
    seen = {observe(answered(status, headers_sent=sent), DOCUMENTED) for sent in (True, False)}
    assert len(seen) == 1


def test_odd_statuses_are_in_doubt() -> None:
    """A status that HTTP does not know says nothing, and so it may have taken effect."""
    for status in (0, 99, 600, 999):
        assert TABLE[observe(answered(status), DOCUMENTED)].verdict is Verdict.UNKNOWN


def test_a_dead_token_matters_for_a_401_alone() -> None:
    """Whether the token can be renewed changes the judgement of no other answer."""
    for status in STATUSES:
        if status != 401:
            dead, alive = (observe(answered(status, token_dead=dead), DOCUMENTED) for dead in (True, False))
            assert dead is alive


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
@pytest.mark.parametrize("number", [2, 3, 5, 100])
def test_a_refused_batch_is_halved(status: int, number: int) -> None:
    """A batch refused whole goes on in two halves, in order, so that the action at fault is found."""
    held = [Held(list(EffectClass)[n % 3]) for n in range(number)]
    result = planned(held, answered(status))
    assert [*result.halves[0], *result.halves[1]] == held
    assert len(result.halves) == 2
    assert abs(len(result.halves[0]) - len(result.halves[1])) <= 1
    assert not result.ended
    assert not result.again
    assert not result.unclear


def test_what_may_not_be_halved_ends() -> None:
    """A POST as given is never cut up: refused, all of it is REJECTED; too large, all of it is NOT_APPLIED."""
    held = [Held(SET_STATE), Held(MONEY)]
    refused = planned(held, answered(400), may_halve=False)
    assert refused.ended == [(held[0], Disposition.REJECTED), (held[1], Disposition.REJECTED)]
    too_large = planned(held, answered(413), may_halve=False)
    assert too_large.ended == [(held[0], Disposition.NOT_APPLIED), (held[1], Disposition.NOT_APPLIED)]


def test_each_action_of_an_ambiguous_batch_goes_its_own_way() -> None:
    """After a lost answer what is harmless goes again, and what is not waits for somebody to look."""
    held = [Held(MONEY), Held(SET_STATE), Held(APPEND), Held(SET_STATE)]
    result = planned(held, LOST)
    assert result.again == [held[1], held[3]]
    assert result.unclear == [held[0], held[2]]


# --- a batch answered 5xx twice ---------------------------------------------------------------------------------------


def test_one_500_sends_what_is_harmless_again_together() -> None:
    """The first 500 does not cut the batch up."""
    held = [Held(SET_STATE), Held(SET_STATE)]
    assert planned(held, answered(500)).again == held


def test_500_twice_goes_on_in_halves_of_what_is_harmless() -> None:
    """A batch answered 500 twice goes on in halves, its SET_STATE actions only."""
    held = [Held(SET_STATE), Held(MONEY), Held(SET_STATE), Held(APPEND), Held(SET_STATE)]
    result = planned(held, answered(500), server_errors=1)
    assert result.halves == [[held[0]], [held[2], held[4]]]
    assert result.unclear == [held[1], held[3]]
    assert not result.again


def test_500_twice_for_one_action_goes_again() -> None:
    """One action cannot be halved, and is repeated as long as the policy for retries allows."""
    held = [Held(SET_STATE)]
    assert planned(held, answered(500), server_errors=3).again == held


def test_500_twice_of_a_post_as_given_goes_again_whole() -> None:
    """What may not be cut up is repeated as it is, where that is harmless."""
    held = [Held(SET_STATE), Held(SET_STATE)]
    result = planned(held, answered(500), server_errors=1, may_halve=False)
    assert result.again == held
    assert not result.ended


@pytest.mark.parametrize("evidence", [LOST, answered(429), NEVER_SENT, answered(408)])
def test_only_a_server_error_halves_what_goes_again(evidence: Evidence) -> None:
    """Earlier 500s do not cut up a batch whose latest attempt showed something else."""
    held = [Held(SET_STATE), Held(SET_STATE)]
    assert planned(held, evidence, server_errors=2).again == held


# --- assumptions ------------------------------------------------------------------------------------------------------


def test_a_batch_that_may_be_refused_in_part() -> None:
    """Without the assumption, what is not harmless in a refused batch is not isolated, and is in doubt."""
    held = [Held(SET_STATE), Held(APPEND), Held(SET_STATE), Held(MONEY)]
    result = planned(held, answered(400), assumptions=IN_PART)
    assert result.row.verdict is Verdict.UNKNOWN
    assert result.halves == [[held[0]], [held[2]]]
    assert result.unclear == [held[1], held[3]]


@pytest.mark.parametrize("effect", EffectClass)
def test_an_action_refused_alone_is_refused_whole(effect: EffectClass) -> None:
    """Nothing can be refused in part where there is one action, so it is REJECTED without the assumption too."""
    held = [Held(effect)]
    assert planned(held, answered(400), assumptions=IN_PART).ended == [(held[0], Disposition.REJECTED)]


def test_413_is_never_in_part() -> None:
    """A body that is too large was not read, whatever is assumed of other refusals."""
    held = [Held(MONEY), Held(MONEY)]
    assert planned(held, answered(413), assumptions=IN_PART).halves == [[held[0]], [held[1]]]


def test_503_may_be_taken_for_ambiguous() -> None:
    """Without the assumption that 503 means not handled, it is a server error like any other."""
    strict = Assumptions(unavailable_means_not_handled=False)
    assert observe(answered(503), strict) is Observation.SERVER_ERROR
    assert observe(answered(503), DOCUMENTED) is Observation.UNAVAILABLE


# --- effect classes ---------------------------------------------------------------------------------------------------


def test_effect_classes_of_the_documented_codes() -> None:
    """What a repeat of each documented code would do is as the design says; an unknown code appends."""
    classes = {code: POLICY.effect_of(code) for code in ActionCode}
    assert {code for code, effect in classes.items() if effect is SET_STATE} == {"WITHDRAW", "DUEDATE", "PAUSE"}
    assert {code for code, effect in classes.items() if effect is MONEY} == {"DIRECTPAYMENT"}
    assert {code for code, effect in classes.items() if effect is APPEND} == {"COMMENT", "OBJECTION", "PAYMENTPLAN"}
    assert POLICY.effect_of("TOMORROW") is APPEND


@given(code=st.sampled_from([*ActionCode, "TOMORROW"]), effect=st.sampled_from(EffectClass))
def test_a_policy_may_be_stricter_alone(code: str, effect: EffectClass) -> None:
    """An action may be made stricter; more lenient is refused with a sentence that says how to insist."""
    order = list(EffectClass)
    if order.index(effect) >= order.index(POLICY.effect_of(code)):
        assert DispositionPolicy(effects={code: effect}).effect_of(code) is effect
    else:
        with pytest.raises(ConfigurationError, match=r"more lenient than .*assume_idempotent=True"):
            DispositionPolicy(effects={code: effect})


def test_assume_idempotent_makes_everything_harmless() -> None:
    """Whoever writes that a repeat does no harm has payments repeated, save what `effects` names."""
    lenient = DispositionPolicy(assume_idempotent=True, effects={"COMMENT": APPEND})
    assert lenient.effect_of("DIRECTPAYMENT") is SET_STATE
    assert lenient.effect_of("TOMORROW") is SET_STATE
    assert lenient.effect_of("COMMENT") is APPEND
    assert one(lenient.effect_of("DIRECTPAYMENT"), LOST, policy=lenient) == "AGAIN"


def test_a_stricter_action_is_not_repeated() -> None:
    """An action that was made stricter is not repeated after a lost answer."""
    strict = DispositionPolicy(effects={"WITHDRAW": APPEND})
    assert one(strict.effect_of("WITHDRAW"), LOST, policy=strict) == "RECONCILE"
    assert one(POLICY.effect_of("WITHDRAW"), LOST) == "AGAIN"


def test_a_table_of_ones_own_is_obeyed() -> None:
    """The table is a value: another one changes what follows, without a line of code."""
    table = {**TABLE, Observation.LOST: Row(Verdict.UNKNOWN, Step.RECONCILE, Step.RECONCILE)}
    assert one(SET_STATE, LOST, policy=DispositionPolicy(table=table)) == "RECONCILE"


@pytest.mark.parametrize("missing", Observation)
def test_a_table_with_a_row_missing_is_refused(missing: Observation) -> None:
    """A table must say what follows from every observation; the sentence names what is missing."""
    table = {observation: row for observation, row in TABLE.items() if observation is not missing}
    with pytest.raises(ConfigurationError, match=f"no row for {missing.name}"):
        DispositionPolicy(table=table)


def test_only_what_is_harmless_is_repeatable() -> None:
    """One effect class may be repeated without harm."""
    assert [effect for effect in EffectClass if effect.repeatable] == [SET_STATE]


# --- joining verdicts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "clear", "doubted"),
    [
        (Verdict.NOT_SENT, Disposition.NOT_APPLIED, Disposition.UNKNOWN),
        (Verdict.NOT_PROCESSED, Disposition.NOT_APPLIED, Disposition.UNKNOWN),
        (Verdict.REFUSED, Disposition.REJECTED, Disposition.UNKNOWN),
        (Verdict.UNKNOWN, Disposition.UNKNOWN, Disposition.UNKNOWN),
        (Verdict.ACCEPTED, Disposition.ACCEPTED, Disposition.ACCEPTED),
    ],
)
def test_joining_verdicts(verdict: Verdict, clear: Disposition, doubted: Disposition) -> None:
    """Once an attempt was UNKNOWN only ACCEPTED improves it; else the last verdict decides."""
    assert join(verdict, doubted=False) is clear
    assert join(verdict, doubted=True) is doubted


@given(st.lists(st.sampled_from(Verdict), min_size=1))
def test_unknown_sticks(history: list[Verdict]) -> None:
    """Whatever the history of attempts: a doubt is lifted by an acceptance at its end, and by nothing else."""
    doubted = Verdict.UNKNOWN in history[:-1]
    end = join(history[-1], doubted=doubted)
    assert (end is Disposition.ACCEPTED) == (history[-1] is Verdict.ACCEPTED)
    if Verdict.UNKNOWN in history and history[-1] is not Verdict.ACCEPTED:
        assert end is Disposition.UNKNOWN
    if end is Disposition.UNKNOWN:
        assert Verdict.UNKNOWN in history


# --- laws, over any attempt -------------------------------------------------------------------------------------------

EVIDENCE = st.builds(
    Evidence,
    headers_sent=st.booleans(),
    status=st.none() | st.integers(100, 599) | st.sampled_from([200, 400, 401, 408, 413, 429, 500, 503]),
    token_dead=st.booleans(),
)
ASSUMPTIONS = st.builds(
    Assumptions, refused_batch_is_refused_whole=st.booleans(), unavailable_means_not_handled=st.booleans()
)
HELD = st.lists(st.builds(Held, effect=st.sampled_from(EffectClass), doubted=st.booleans()), min_size=1, max_size=9)


@given(held=HELD, evidence=EVIDENCE, assumptions=ASSUMPTIONS, server_errors=st.integers(0, 3), may_halve=st.booleans())
def test_a_plan_places_every_action_once_and_in_order(
    *, held: list[Held], evidence: Evidence, assumptions: Assumptions, server_errors: int, may_halve: bool
) -> None:
    """Each action of an attempt stands in exactly one list of the plan, and every list keeps their order."""
    result = planned(held, evidence, assumptions=assumptions, server_errors=server_errors, may_halve=may_halve)
    ended = [action for action, _ in result.ended]
    halves = [action for half in result.halves for action in half]
    lists = (ended, result.again, halves, result.unclear)
    assert sorted(held.index(action) for found in lists for action in found) == list(range(len(held)))
    for found in lists:
        assert found == sorted(found, key=held.index)
    assert all(result.halves)
    assert may_halve or not result.halves


def may_have_taken_effect(evidence: Evidence, assumptions: Assumptions, actions: int) -> bool:
    """The design's words, written a second time: what an attempt may have done."""
    status = evidence.status
    if status is None:
        return evidence.headers_sent
    if status == 503:
        return not assumptions.unavailable_means_not_handled
    if status in (401, 403, 407, 413, 425, 429):
        return False
    if 400 <= status <= 499 and status != 408:
        return actions > 1 and not assumptions.refused_batch_is_refused_whole
    return True


@given(held=HELD, evidence=EVIDENCE, assumptions=ASSUMPTIONS, server_errors=st.integers(0, 3), may_halve=st.booleans())
def test_no_payment_goes_again_after_a_doubt(
    *, held: list[Held], evidence: Evidence, assumptions: Assumptions, server_errors: int, may_halve: bool
) -> None:
    """What is not harmless never goes again after an attempt that may have taken effect, in no way."""
    result = planned(held, evidence, assumptions=assumptions, server_errors=server_errors, may_halve=may_halve)
    sent_again = [*result.again, *(action for half in result.halves for action in half)]
    if may_have_taken_effect(evidence, assumptions, len(held)):
        assert all(action.effect is SET_STATE for action in sent_again)
        certain = {Disposition.REJECTED, Disposition.NOT_APPLIED}
        assert not certain & {end for action, end in result.ended}


@given(held=HELD, evidence=EVIDENCE, assumptions=ASSUMPTIONS, may_halve=st.booleans())
def test_a_doubt_outlives_every_answer_but_a_success(
    *, held: list[Held], evidence: Evidence, assumptions: Assumptions, may_halve: bool
) -> None:
    """An action that an earlier attempt left in doubt ends ACCEPTED or UNKNOWN, never as without effect."""
    result = planned(held, evidence, assumptions=assumptions, may_halve=may_halve)
    for action, end in result.ended:
        if evidence.status is not None and 200 <= evidence.status <= 299:
            assert end is Disposition.ACCEPTED
        elif action.doubted:
            assert end is Disposition.UNKNOWN


@given(
    effect=st.sampled_from(EffectClass), attempts=st.lists(EVIDENCE, min_size=1, max_size=8), assumptions=ASSUMPTIONS
)
def test_a_history_of_attempts(effect: EffectClass, attempts: list[Evidence], assumptions: Assumptions) -> None:
    """Followed through any attempts, a payment that may have taken effect is sent no more, and no end overstates."""
    action = Held(effect)
    may_have_had_effect = False
    for evidence in attempts:
        result = planned([action], evidence, assumptions=assumptions)
        may_have_had_effect |= may_have_taken_effect(evidence, assumptions, 1)
        for _, end in result.ended:
            assert end in (Disposition.ACCEPTED, Disposition.UNKNOWN) or not may_have_had_effect
        if not result.again:
            break
        assert effect is SET_STATE or not may_have_had_effect
        action = evolve(action, doubted=action.doubted or result.row.verdict is Verdict.UNKNOWN)


@pytest.mark.parametrize("observation", Observation)
def test_the_table_itself_never_repeats_a_doubt(observation: Observation) -> None:
    """Read down the table's last column: it says "again" only where the verdict is certain."""
    row = TABLE[observation]
    if row.verdict is Verdict.UNKNOWN:
        assert row.append_or_money is Step.RECONCILE
    else:
        assert row.append_or_money is row.set_state, "where nothing happened, all classes are alike"


def test_the_table_cannot_be_changed() -> None:
    """The built-in table is nobody's to alter."""
    with pytest.raises(TypeError):
        TABLE[Observation.LOST] = TABLE[Observation.SUCCESS]  # type: ignore[index]


# --- one file, no I/O -------------------------------------------------------------------------------------------------


def imported_modules(source: str) -> Iterable[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_the_decision_imports_no_io() -> None:
    """The file that decides whether something may be sent again imports values and types, and nothing that acts."""
    found = set(imported_modules(Path(disposition.__file__).read_text(encoding="utf-8")))
    assert found == {
        "collections.abc",
        "enum",
        "types",
        "typing",
        "attrs",
        "..codes",
        "..errors",
        ".assumptions",
    }


@pytest.mark.parametrize("observation", [o for o in Observation if TABLE[o].verdict is Verdict.UNKNOWN])
def test_a_table_cannot_be_made_to_repeat_what_may_have_taken_effect(observation: Observation) -> None:
    """Not without writing that a repeat does no harm."""
    for row in (
        Row(Verdict.UNKNOWN, Step.AGAIN, Step.AGAIN),
        Row(Verdict.UNKNOWN, Step.AGAIN, Step.HALVE),
        Row(Verdict.NOT_PROCESSED, Step.AGAIN, Step.RECONCILE),
        Row(Verdict.ACCEPTED, Step.END, Step.END),
    ):
        with pytest.raises(ConfigurationError, match="assume_idempotent"):
            DispositionPolicy(table={**TABLE, observation: row})
        DispositionPolicy(table={**TABLE, observation: row}, assume_idempotent=True)
    DispositionPolicy(table={**TABLE, observation: Row(Verdict.UNKNOWN, Step.END, Step.END)})


def test_an_effect_class_is_no_string() -> None:
    """A mistake in a setting is one sentence."""
    with pytest.raises(ConfigurationError, match="takes an EffectClass for COMMENT"):
        DispositionPolicy(effects={"COMMENT": "money"})  # type: ignore[dict-item]
