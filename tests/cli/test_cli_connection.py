"""Options over environment variables."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from confirma_async import ConfigurationError, Environment, FileTokenStore
from confirma_async.cli.connection import Connection, refuse_beside_sandbox


def chosen(
    variables: Mapping[str, str], *, environment: str | None = None, token_file: str | None = None
) -> Connection:
    return Connection.chosen(environment=environment, token_file=token_file, base_url=None, variables=variables)


def test_takes_the_environment_variables() -> None:
    """Without options, the variables say where to send, and with which token."""
    connection = chosen(
        {"CONFIRMA_ENVIRONMENT": " Production ", "CONFIRMA_TOKEN": "t\n", "CONFIRMA_BASE_URL": "https://x/y"}
    )
    assert connection == Connection(environment=Environment.PRODUCTION, token="t", base_url="https://x/y")
    assert "'t'" not in repr(connection)


def test_options_go_before_variables(tmp_path: Path) -> None:
    """An option has its way over the variable of the same meaning, a token file also over a token."""
    variables = {"CONFIRMA_ENVIRONMENT": "production", "CONFIRMA_TOKEN": "t"}
    connection = chosen(variables, environment="staging", token_file=str(tmp_path / "token"))
    assert connection.environment is Environment.STAGING
    assert isinstance(connection.token, FileTokenStore)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "takes staging or production, and none is named"),
        ({"CONFIRMA_ENVIRONMENT": "test"}, "CONFIRMA_ENVIRONMENT takes staging or production, and 'test' is neither"),
        ({"CONFIRMA_ENVIRONMENT": "staging"}, "There is no token"),
        ({"CONFIRMA_ENVIRONMENT": "staging", "CONFIRMA_TOKEN": ""}, "There is no token"),
        ({"CONFIRMA_ENVIRONMENT": "staging", "CONFIRMA_TOKEN": "t", "CONFIRMA_TOKEN_FILE": "f"}, "are both set"),
    ],
)
def test_says_what_is_missing(variables: Mapping[str, str], told: str) -> None:
    """Nothing is guessed: what is missing or contradicts itself is told."""
    with pytest.raises(ConfigurationError) as caught:
        chosen(variables)
    assert told in str(caught.value)


def test_the_sandbox_takes_no_other_target() -> None:
    """An option that says where to send contradicts one that says: to the sandbox."""
    with pytest.raises(ConfigurationError, match="leave out --token-file"):
        refuse_beside_sandbox(environment=None, token_file="x", base_url=None)
    refuse_beside_sandbox(environment=None, token_file=None, base_url=None)
