"""Where a token lives, so that a renewed one outlives the process: memory, or a file."""

import asyncio
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from filelock import AsyncFileLock, Timeout

from .._core.token import TokenRecord
from .._core.wire import JsonError, decode_json, encode_json
from ..codes import Environment
from ..errors import ConfigurationError, TokenStoreError

__all__ = ["FileTokenStore", "MemoryTokenStore", "TokenStore", "check_token"]


def check_token(token: str) -> str:
    """Return `token` if it can stand in a header.

    Raises:
        ConfigurationError: It is empty, or holds white space or characters that a header cannot carry.
    """
    if not (token and token.isascii() and token.isprintable() and " " not in token):
        raise ConfigurationError(
            "The token is empty, or holds white space or characters that a header cannot carry; "
            "give the access token alone, as it was issued."
        )
    return token


class TokenStore(Protocol):
    """A place for one token. What `save` has returned from must survive the end of the process."""

    replaceable: bool
    """Whether somebody outside of this process can put in another token, so that waiting for one makes sense."""

    def lock(self, timeout: float) -> AbstractAsyncContextManager[None]:
        """The right to renew, one holder at a time among all who share the store; waits up to `timeout` seconds.

        Raises:
            TokenStoreError: Somebody else held it for longer.
        """

    async def load(self) -> TokenRecord:
        """Read what is kept.

        Raises:
            TokenStoreError: There is nothing that can be read as a token.
        """

    async def save(self, record: TokenRecord) -> None:
        """Keep `record` in place of what was kept, in one step.

        Raises:
            TokenStoreError: It could not be kept; what was kept before still is.
        """


class MemoryTokenStore:
    """A token that dies with the process: for tests.

    With it, a renewal makes the token that was issued to you worthless, and the new one is gone when the process ends.
    """

    replaceable = False

    def __init__(self, token: str) -> None:
        self._record = TokenRecord(current=check_token(token))
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def lock(self, timeout: float) -> AsyncIterator[None]:  # noqa: ARG002 - nobody outside holds it for long
        """See `TokenStore.lock`."""
        async with self._lock:
            yield

    async def load(self) -> TokenRecord:
        """See `TokenStore.load`."""
        return self._record

    async def save(self, record: TokenRecord) -> None:
        """See `TokenStore.save`."""
        self._record = record


class FileTokenStore:
    """A token in a file that this package may replace, shared by any number of clients and processes.

    The file holds the token alone, as it was issued, or what an earlier client wrote: a JSON object with the token, the
    environment that it belongs to, and a renewed token that is still to be checked. Every write is a durable, atomic
    replacement with mode 0600. Beside it stands a lock file.
    """

    replaceable = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # A link is followed once, so that replacing the file does not replace the link.
        self._path = Path(os.path.realpath(path))
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"FileTokenStore({str(self._path)!r})"

    @asynccontextmanager
    async def lock(self, timeout: float) -> AsyncIterator[None]:
        """See `TokenStore.lock`."""
        between_processes = AsyncFileLock(f"{self._path}.lock", timeout=timeout, mode=0o600)
        async with self._lock:
            if not self._path.parent.is_dir():
                # The lock would make it, and a misspelt path would look like a place for a token.
                raise TokenStoreError(f"The token file {self._path} could not be locked: there is no such folder.")
            try:
                await between_processes.acquire()
            except Timeout:
                text = (
                    f"Another process has held the lock of the token file {self._path} for {timeout:g} s; is it hung?"
                )
                raise TokenStoreError(text) from None
            except OSError as error:
                raise self._failed("locked", error) from error
            try:
                yield
            finally:
                await between_processes.release()

    async def load(self) -> TokenRecord:
        """See `TokenStore.load`."""
        return await asyncio.to_thread(self._load)

    async def save(self, record: TokenRecord) -> None:
        """See `TokenStore.save`."""
        await asyncio.to_thread(self._save, record)

    def _load(self) -> TokenRecord:
        try:
            text = self._path.read_text("utf-8").strip()
        except OSError as error:
            raise self._failed("read", error) from error
        except UnicodeDecodeError:
            raise TokenStoreError(f"The token file {self._path} is not text; it must hold the token.") from None
        return self._from_json(text) if text.startswith("{") else TokenRecord(current=self._checked(text))

    def _from_json(self, text: str) -> TokenRecord:
        try:
            members: dict[str, Any] = decode_json(text)
            environment, candidate = members.get("environment"), members.get("candidate")
            return TokenRecord(
                current=self._checked(members["token"]),
                candidate=None if candidate is None else self._checked(candidate),
                environment=None if environment is None else Environment(environment),
                renewing=members.get("renewing") is True,
            )
        except (JsonError, KeyError, ValueError, AttributeError, TypeError):
            text = f"The token file {self._path} is damaged; write the token into it, and nothing else."
            raise TokenStoreError(text) from None

    def _checked(self, token: object) -> str:
        if not isinstance(token, str):
            raise TypeError
        try:
            return check_token(token)
        except ConfigurationError:
            text = f"The token file {self._path} holds no token; write the token into it, and nothing else."
            raise TokenStoreError(text) from None

    def _save(self, record: TokenRecord) -> None:
        members = {
            "token": record.current,
            "candidate": record.candidate,
            "environment": None if record.environment is None else record.environment.value,
            "renewing": record.renewing,
        }
        try:
            _replace(self._path, encode_json(members) + b"\n")
        except OSError as error:
            raise self._failed("written", error) from error

    def _failed(self, verb: str, error: OSError) -> TokenStoreError:
        reason = error.strerror or type(error).__name__
        return TokenStoreError(f"The token file {self._path} could not be {verb}: {reason}.")


def _replace(path: Path, content: bytes) -> None:
    """Replace a file durably in one step: after a crash it holds either what it held or `content`, never less."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, stat.S_IRUSR | stat.S_IWUSR)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)  # noqa: PTH105 - on one line with the two calls that make it durable
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
