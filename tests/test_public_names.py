import importlib
import inspect
import pkgutil
from inspect import Parameter, signature
from types import ModuleType

import attrs
import pytest

import confirma_async
import confirma_async.sandbox
from confirma_async import ConfirmaClient, codes, errors, events, models, policies

DOCUMENTED = [name for name in confirma_async.__all__ if not name.startswith("__")]
MODULES = [confirma_async, codes, errors, events, models, policies, confirma_async.sandbox]

CASE_MEMBERS = ["invoice_number", "case_id", "comment", "action_id"]
MEMBERS = {
    "Comment": CASE_MEMBERS,
    "Withdraw": CASE_MEMBERS,
    "DueDate": [*CASE_MEMBERS, "due_date"],
    "PaymentPlan": CASE_MEMBERS,
    "Objection": CASE_MEMBERS,
    "Pause": CASE_MEMBERS,
    "DirectPayment": [
        *CASE_MEMBERS,
        "payment_method",
        "amount",
        "currency",
        "payment_date",
        "reference",
        "outstanding_capital_amount",
        "outstanding_interest_amount",
        "outstanding_costs_amount",
    ],
    "RawAction": ["code", "data", "comment", "action_id"],
    "ActionOutcome": ["action", "action_id", "disposition", "attempts", "error", "from_journal", "is_queued"],
}
SETTINGS = [
    "environment",
    "token",
    "base_url",
    "batch",
    "retry",
    "rate",
    "timeouts",
    "assumptions",
    "disposition",
    "journal",
    "reconciler",
    "connector",
    "on_event",
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_public_names_are_listed_sorted_and_there(module: ModuleType) -> None:
    """Each `__all__` is sorted, names nothing twice, and nothing that is not there."""
    listed = list(module.__all__)
    assert listed == sorted(listed)
    assert len(listed) == len(set(listed))
    assert all(hasattr(module, name) for name in listed)


def test_the_table_of_contents_is_complete() -> None:
    """Whatever the package's front door imports is listed there: nothing public by accident."""
    found = {
        name for name, value in vars(confirma_async).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert found == set(DOCUMENTED)


def test_every_error_event_and_policy_is_public() -> None:
    """Whatever a caller may catch, be told, or set is found at the front door."""
    names = {*errors.__all__, *events.__all__, *policies.__all__, *codes.__all__}
    assert names <= set(confirma_async.__all__)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_public_name_has_a_docstring(name: str) -> None:
    """Every public name says what it is, in words of its own."""
    value = getattr(confirma_async, name)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        assert name in ("Action", "Event"), "only the two unions of types cannot carry a docstring"
        return
    doc = vars(value)["__doc__"] if inspect.isclass(value) else value.__doc__
    assert doc
    assert doc.strip()[0].isupper() or doc.startswith("`")
    assert doc.strip().splitlines()[0].endswith((".", ":")), doc


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if inspect.isclass(getattr(confirma_async, name))])
def test_every_public_method_has_a_docstring(name: str) -> None:
    """Every public method and property of a public class says what it does."""
    kind = getattr(confirma_async, name)
    for member, value in vars(kind).items():
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not member.startswith("_") and inspect.isfunction(function):
            assert function.__doc__, f"{name}.{member}"


@pytest.mark.parametrize(("name", "members"), list(MEMBERS.items()))
def test_the_members_of_values(name: str, members: list[str]) -> None:
    """The values that callers build and receive have the members that others rely on."""
    kind = getattr(confirma_async, name)
    assert sorted(attribute.name for attribute in attrs.fields(kind)) == sorted(members)


def test_what_an_action_needs() -> None:
    """A comment and an id may be left out of any action; nothing else may."""
    for name in MEMBERS:
        if name != "ActionOutcome":
            parameters = signature(getattr(confirma_async, name)).parameters
            optional = {key for key, parameter in parameters.items() if parameter.default is not Parameter.empty}
            assert optional == {"comment", "action_id"}


def test_the_settings_of_a_client() -> None:
    """A client is made with settings by name; only where it sends to, and its token, have no default."""
    parameters = signature(ConfirmaClient).parameters
    assert [name for name in parameters if name in SETTINGS] == SETTINGS
    assert {parameter.kind for parameter in parameters.values()} == {Parameter.KEYWORD_ONLY}
    required = [name for name, parameter in parameters.items() if parameter.default is Parameter.empty]
    assert required == ["environment", "token"]


def test_the_defaults_of_a_client_are_frozen() -> None:
    """Settings that clients share by default cannot be changed by one of them."""
    for name in ("batch", "retry", "rate", "timeouts", "assumptions", "disposition"):
        default = signature(ConfirmaClient).parameters[name].default
        attribute = attrs.fields(type(default))[0].name
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(default, attribute, None)


def test_what_a_client_does() -> None:
    """The calls of a client, of `client.actions` and of `client.token` are there, with their parameters."""
    annotations = inspect.get_annotations(ConfirmaClient)
    calls = {
        ConfirmaClient: {
            "from_env": [],
            "open": ["self"],
            "close": ["self", "grace"],
            "request": ["self", "method", "path", "params", "json"],
            "statistics": ["self"],
        },
        annotations["actions"]: {
            "send": ["self", "action", "validate"],
            "push": ["self", "actions", "validate"],
            "post": ["self", "actions", "validate"],
            "flush": ["self"],
            "drain": ["self", "grace"],
        },
        annotations["token"]: {"validate": ["self"], "renew": ["self"]},
    }
    for kind, expected in calls.items():
        for name, parameters in expected.items():
            assert [*signature(getattr(kind, name)).parameters][: len(parameters)] == parameters, name
    assert signature(ConfirmaClient.close).parameters["grace"].default == 25.0
    request = signature(ConfirmaClient.request).parameters
    assert all(request[name].kind is Parameter.KEYWORD_ONLY for name in ("params", "json"))


def test_the_values_of_the_closed_lists() -> None:
    """The ends of an action, the effect classes and the environments are closed lists, with the names of the design."""
    assert [member.name for member in confirma_async.Disposition] == ["ACCEPTED", "REJECTED", "NOT_APPLIED", "UNKNOWN"]
    assert [member.name for member in confirma_async.EffectClass] == ["SET_STATE", "APPEND", "MONEY"]
    assert {member.name: member.base_url for member in confirma_async.Environment} == {
        "STAGING": "https://staging-integrations.confirmafinance.com/api/v1/partner",
        "PRODUCTION": "https://integrations.confirmafinance.com/api/v1/partner",
    }


def test_every_module_says_what_it_is_for() -> None:
    """Each module of the package opens with a docstring, and what it lists as its names is there."""
    for found in pkgutil.walk_packages(confirma_async.__path__, "confirma_async."):
        if found.name.rpartition(".")[2] == "__main__":
            continue
        module = importlib.import_module(found.name)
        assert module.__doc__, found.name
        assert all(hasattr(module, name) for name in getattr(module, "__all__", ())), found.name


def test_a_version_is_told() -> None:
    """The package tells its version."""
    assert confirma_async.__version__.count(".") >= 2
