import re
from typing import Any

import pytest
from attrs import evolve, fields

from confirma_async import Assumptions
from confirma_async._core.assumptions import Assumption, register

REGISTER = register()


def test_the_register_is_complete() -> None:
    """Every assumption is listed, once, in the order of the settings, with the default that is in force."""
    assert [entry.name for entry in REGISTER] == [attribute.name for attribute in fields(Assumptions)]
    assert {entry.name: entry.default for entry in REGISTER} == {
        entry.name: getattr(Assumptions(), entry.name) for entry in REGISTER
    }
    assert REGISTER


@pytest.mark.parametrize("entry", REGISTER, ids=lambda entry: entry.name)
def test_every_assumption_says_why(entry: Assumption) -> None:
    """Each assumption gives its reason in sentences, and the section of the API's facts that leaves it open."""
    assert re.fullmatch(r"[A-Z0-9].{40,}\.", entry.reason), entry.reason
    assert re.fullmatch(r"\d(\.\d+)?", entry.section), entry.section


@pytest.mark.parametrize("entry", REGISTER, ids=lambda entry: entry.name)
def test_every_switch_says_what_is_so_when_it_is_off(entry: Assumption) -> None:
    """The reason of an assumption that can be switched off tells what happens then."""
    assert entry.default is not True or " Off: " in entry.reason


@pytest.mark.parametrize("entry", [entry for entry in REGISTER if entry.default is True], ids=lambda entry: entry.name)
def test_every_assumption_can_be_switched_off(entry: Assumption) -> None:
    """Whoever does not want to rely on an assumption switches it off by its name, and the others stand."""
    switched_off: dict[str, Any] = {entry.name: False}
    without = evolve(Assumptions(), **switched_off)
    assert getattr(without, entry.name) is False
    assert without != Assumptions()
