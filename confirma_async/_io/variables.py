"""What environment variables say of where to send, and with which token."""

from collections.abc import Mapping

from ..codes import Environment
from ..errors import ConfigurationError
from .token_store import FileTokenStore, TokenStore

__all__ = ["environment_named", "token_named"]


def environment_named(name: str | None, *, by: str) -> Environment:
    """The environment that is named so.

    Args:
        name: `staging` or `production`, in whatever case.
        by: What names it, for the error.

    Raises:
        ConfigurationError: It is neither, or there is no name.
    """
    try:
        return Environment((name or "").strip().lower())
    except ValueError:
        found = f"{name!r} is neither" if name else "none is named"
        raise ConfigurationError(f"{by} takes staging or production, and {found}.") from None


def token_named(variables: Mapping[str, str], *, also: str = "") -> str | TokenStore:
    """The token that `CONFIRMA_TOKEN_FILE` or `CONFIRMA_TOKEN` holds.

    Args:
        variables: The environment variables.
        also: Another way to name a file, for the error, with " or " behind it.

    Raises:
        ConfigurationError: Both are set, or none.
    """
    path, token = variables.get("CONFIRMA_TOKEN_FILE"), variables.get("CONFIRMA_TOKEN")
    if path and token:
        raise ConfigurationError("CONFIRMA_TOKEN and CONFIRMA_TOKEN_FILE are both set; keep the one that is meant.")
    if path:
        return FileTokenStore(path)
    if not token:
        raise ConfigurationError(
            f"There is no token: name the file that holds it with {also}CONFIRMA_TOKEN_FILE, or put it into "
            "CONFIRMA_TOKEN."
        )
    return token.strip()
