"""Where to send, and with which token: options over environment variables. No I/O.

The token itself never comes from an option, where other users of the machine would see it.
"""

from collections.abc import Callable, Mapping

from attrs import field, frozen

from .._io.token_store import FileTokenStore, MemoryTokenStore, TokenStore
from .._io.variables import environment_named, token_named
from ..client import ConfirmaClient
from ..codes import Environment
from ..errors import ConfigurationError
from ..events import Event
from ..policies import RetryPolicy
from ..sandbox import Sandbox

__all__ = ["Connection", "refuse_beside_sandbox"]


@frozen(kw_only=True)
class Connection:
    """Where a client sends, and with which token."""

    environment: Environment
    token: str | TokenStore = field(repr=False)
    base_url: str | None = None

    @classmethod
    def chosen(
        cls,
        *,
        environment: str | None,
        token_file: str | None,
        base_url: str | None,
        variables: Mapping[str, str],
    ) -> "Connection":
        """The connection that options, and behind them environment variables, name. Empty ones are not given.

        Raises:
            ConfigurationError: One is missing, contradicts another, or is not what it should be.
        """
        return cls(
            environment=_environment(environment, variables),
            token=FileTokenStore(token_file) if token_file else token_named(variables, also="--token-file or "),
            base_url=base_url or variables.get("CONFIRMA_BASE_URL") or None,
        )

    @classmethod
    def to(cls, sandbox: Sandbox) -> "Connection":
        """The connection to a running sandbox, with a token that renews itself."""
        return cls(environment=Environment.STAGING, token=MemoryTokenStore(sandbox.token), base_url=sandbox.base_url)

    def client(self, *, retry: RetryPolicy, on_event: Callable[[Event], None]) -> ConfirmaClient:
        """A client of it, not opened yet.

        Raises:
            ConfigurationError: The base URL is none, or would carry the token in the clear; or the token is none.
        """
        return ConfirmaClient(
            environment=self.environment, token=self.token, base_url=self.base_url, retry=retry, on_event=on_event
        )


def refuse_beside_sandbox(*, environment: str | None, token_file: str | None, base_url: str | None) -> None:
    """Refuse options that say where to send, beside one that says: to the sandbox.

    Raises:
        ConfigurationError: One of them is given.
    """
    given = {"--environment": environment, "--token-file": token_file, "--base-url": base_url}
    for option, value in given.items():
        if value is not None:
            raise ConfigurationError(
                f"--sandbox sends to a sandbox with a token of its own; leave out {option}, or leave out --sandbox."
            )


def _environment(option: str | None, variables: Mapping[str, str]) -> Environment:
    if option:
        return environment_named(option, by="--environment")
    variable = variables.get("CONFIRMA_ENVIRONMENT")
    by = "CONFIRMA_ENVIRONMENT" if variable else "--environment (or CONFIRMA_ENVIRONMENT)"
    return environment_named(variable, by=by)
