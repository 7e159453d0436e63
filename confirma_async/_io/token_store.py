"""Where a token lives, so that a renewed one outlives the process: memory, or a file."""

import asyncio
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from filelock import FileLock, Timeout

from .._core.token import TokenRecord
from .._core.wire import JsonError, decode_json, encode_json
from ..codes import Environment
from ..errors import ConfigurationError, TokenStoreError

__all__ = ["FileTokenStore", "MemoryTokenStore", "TokenStore", "check_token"]

P = ParamSpec("P")
T = TypeVar("T")

_LOOK_EVERY = 0.05
"""Seconds between two tries at a lock that another process holds."""


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
        async with self._lock:
            if not self._path.parent.is_dir():
                # The lock would make it, and a misspelt path would look like a place for a token.
                raise TokenStoreError(f"The token file {self._path} could not be locked: there is no such folder.")
            between_processes = FileLock(f"{self._path}.lock", mode=0o600, thread_local=False)
            try:
                await self._acquire(between_processes, timeout)
                yield
            finally:
                await _to_its_end(between_processes.release)

    async def _acquire(self, between_processes: FileLock, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while not await _to_its_end(partial(self._try, between_processes)):
            if loop.time() >= until:
                raise TokenStoreError(
                    f"Another process has held the lock of the token file {self._path} for {timeout:g} s; is it hung?"
                )
            await asyncio.sleep(_LOOK_EVERY)

    def _try(self, between_processes: FileLock) -> bool:
        try:
            between_processes.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            raise self._failed("locked", error) from error
        return True

    async def load(self) -> TokenRecord:
        """See `TokenStore.load`."""
        return await _to_its_end(self._load)

    async def save(self, record: TokenRecord) -> None:
        """See `TokenStore.save`."""
        await _to_its_end(self._save, record)

    def _load(self) -> TokenRecord:
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise self._failed("read", error) from error
        text = _decoded(content)
        if text is None:
            raise TokenStoreError(f"The token file {self._path} is not text; it must hold the token.")
        record = self._from_json(text) if text.startswith("{") else TokenRecord(current=self._checked(text))
        if record is None:
            raise TokenStoreError(f"The token file {self._path} is damaged; write the token into it, and nothing else.")
        return record

    def _from_json(self, text: str) -> TokenRecord | None:
        """The record; None where it cannot be read. No error of a reader is passed on: it may quote the file."""
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
            return None

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


async def _to_its_end(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in a thread, and wait for its end also when the caller is cancelled meanwhile.

    A write that went on behind the back of one who gave up would do so without the lock, and might take the place of
    a newer token; a lock that was won that way would never be let go of.
    """
    running = asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return running.result()
    running.exception()  # Looked at, so that asyncio does not complain: nobody is left to raise it to.
    raise cancelled


def _decoded(content: bytes) -> str | None:
    """The text in a file, without white space around it; None if it is none."""
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        return None


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
