"""Where to send, and with which token: options over environment variables. No I/O.

The token itself never comes from an option, where other users of the machine would see it.
"""

from collections.abc import Callable, Mapping

from attrs import field, frozen

from .._core.address import checked_base_url
from .._core.journal import JournalTarget
from .._io.sqlite_journal import SqliteJournal
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
            token=_token(token_file, variables),
            base_url=base_url or variables.get("CONFIRMA_BASE_URL") or None,
        )

    @classmethod
    def of_journal(cls, target: JournalTarget, *, token_file: str | None, variables: Mapping[str, str]) -> "Connection":
        """The connection that a journal is bound to. Only the token comes from elsewhere.

        Raises:
            ConfigurationError: An environment variable names another one, or there is no token.
        """
        named = variables.get("CONFIRMA_ENVIRONMENT")
        if named and environment_named(named, by="CONFIRMA_ENVIRONMENT") is not target.environment:
            raise _of_another_target("CONFIRMA_ENVIRONMENT", target)
        base_url = variables.get("CONFIRMA_BASE_URL")
        if base_url and checked_base_url(base_url) != target.base_url:
            raise _of_another_target("CONFIRMA_BASE_URL", target)
        return cls(environment=target.environment, token=_token(token_file, variables), base_url=target.base_url)

    @classmethod
    def to(cls, sandbox: Sandbox) -> "Connection":
        """The connection to a running sandbox, with a token that renews itself."""
        return cls(environment=Environment.STAGING, token=MemoryTokenStore(sandbox.token), base_url=sandbox.base_url)

    def client(
        self, *, retry: RetryPolicy, journal: SqliteJournal | None, on_event: Callable[[Event], None]
    ) -> ConfirmaClient:
        """A client of it, not opened yet.

        Raises:
            ConfigurationError: The base URL is none, or would carry the token in the clear; or the token is none.
        """
        return ConfirmaClient(
            environment=self.environment,
            token=self.token,
            base_url=self.base_url,
            retry=retry,
            journal=journal,
            on_event=on_event,
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


def _of_another_target(variable: str, target: JournalTarget) -> ConfigurationError:
    return ConfigurationError(
        f"{variable} names another target than the journal, which is of {target}; nothing was sent; unset it, if the "
        "journal is the right one."
    )


def _token(file: str | None, variables: Mapping[str, str]) -> str | TokenStore:
    return FileTokenStore(file) if file else token_named(variables, also="--token-file or ")


def _environment(option: str | None, variables: Mapping[str, str]) -> Environment:
    if option:
        return environment_named(option, by="--environment")
    variable = variables.get("CONFIRMA_ENVIRONMENT")
    by = "CONFIRMA_ENVIRONMENT" if variable else "--environment (or CONFIRMA_ENVIRONMENT)"
    return environment_named(variable, by=by)
