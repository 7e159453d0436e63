"""Where a token lives: what a file may hold, how it is written, and what is said when it cannot be used."""

import asyncio
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from confirma_async import (
    ConfigurationError,
    ConfirmaClient,
    Environment,
    FileTokenStore,
    MemoryTokenStore,
    TokenStoreError,
)
from confirma_async._core.token import TokenRecord
from confirma_async.sandbox import Sandbox

TOKEN = "tok-1234567890abcdef"
FULL = TokenRecord(current=TOKEN, candidate="tok-candidate", environment=Environment.STAGING, renewing=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token"


def all_of(error: BaseException | None) -> str:
    """The error and whatever stands behind it, whether or not Python would show it."""
    shown = []
    while error is not None:
        shown.append(f"{error!r} {error.args!r}")
        error = error.__cause__ or error.__context__
    return "\n".join(shown)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [TOKEN, f"{TOKEN}\n", f"  {TOKEN}\r\n"], ids=["bare", "line", "white space"])
async def test_a_file_with_the_token_alone_is_read(path: Path, text: str) -> None:
    """A file that a person wrote holds the token and nothing else, with or without a line end."""
    path.write_text(text)
    assert await FileTokenStore(path).load() == TokenRecord(current=TOKEN)


@pytest.mark.parametrize(
    "record",
    [FULL, TokenRecord(current=TOKEN), TokenRecord(current=TOKEN, environment=Environment.PRODUCTION)],
    ids=["full", "bare", "bound"],
)
async def test_what_was_saved_is_loaded(path: Path, record: TokenRecord) -> None:
    """A store gives back exactly what it was given, also through another object for the same file."""
    await FileTokenStore(path).save(record)
    assert await FileTokenStore(str(path)).load() == record


async def test_every_write_leaves_a_private_file(path: Path) -> None:
    """The file is readable for its owner alone after every write, whatever a person had made of it."""
    path.write_text(TOKEN)
    path.chmod(0o666)
    store = FileTokenStore(path)
    for _ in range(2):
        await store.save(FULL)
        assert mode(path) == 0o600
        path.chmod(0o644)


async def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(path: Path) -> None:
    """A write makes a new file and moves it into place: whoever has the old one open still reads the old token."""
    store = FileTokenStore(path)
    await store.save(TokenRecord(current="old"))
    with path.open() as old:
        await store.save(FULL)
        assert json.load(old)["token"] == "old"
    assert [entry.name for entry in path.parent.iterdir()] == ["token"]


async def test_a_failed_write_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails says so, leaves the old token in place, and no temporary file."""
    store = FileTokenStore(path)
    await store.save(TokenRecord(current=TOKEN))

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(TokenStoreError, match="could not be written: No space left on device"):
        await store.save(FULL)
    monkeypatch.undo()
    assert await store.load() == TokenRecord(current=TOKEN)
    assert [entry.name for entry in path.parent.iterdir()] == ["token"]


async def test_a_write_is_on_disk_before_it_takes_the_place_of_the_old_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new content is synced, then moved into place, and then the folder is synced: no crash leaves half a token."""
    steps: list[str] = []
    sync, replace = os.fsync, os.replace

    def note_sync(descriptor: int) -> None:
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        sync(descriptor)

    def note_replace(source: str, target: Path) -> None:
        steps.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    await FileTokenStore(path).save(FULL)
    assert steps == ["sync file", "replace", "sync folder"]


async def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """Where the path is a link, the file behind it is replaced, and the link goes on pointing there."""
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "token", tmp_path / "link"
    target.write_text(TOKEN)
    link.symlink_to(target)
    await FileTokenStore(link).save(FULL)
    assert link.is_symlink()
    assert json.loads(target.read_text())["token"] == TOKEN


UNUSABLE = [
    pytest.param(b"", "holds no token", id="empty"),
    pytest.param(b"\n \n", "holds no token", id="white space"),
    pytest.param(b"two words", "holds no token", id="two words"),
    pytest.param(b"tok\r\nX-Evil: 1", "holds no token", id="header injection"),
    pytest.param(b"\xff\xfe\x00-1234", "is not text", id="binary"),
    pytest.param("tök".encode(), "holds no token", id="not ASCII"),
    pytest.param(b'{"token": "tok-1234', "is damaged", id="cut JSON"),
    pytest.param(b"{}", "is damaged", id="no member"),
    pytest.param(b'{"token": null}', "is damaged", id="null"),
    pytest.param(b'{"token": 17}', "is damaged", id="number"),
    pytest.param(b'{"token": ""}', "holds no token", id="empty member"),
    pytest.param(b'{"token": "t", "candidate": 1}', "is damaged", id="odd candidate"),
    pytest.param(b'{"token": "t", "environment": "moon"}', "is damaged", id="odd environment"),
    pytest.param(b"{" * 100_000, "is damaged", id="deep JSON"),
]


@pytest.mark.parametrize(("content", "said"), UNUSABLE)
async def test_a_file_that_holds_no_token_is_one_sentence(path: Path, content: bytes, said: str) -> None:
    """A file that cannot be read as a token is an error of one sentence that names the file, not its content."""
    path.write_bytes(content)
    with pytest.raises(TokenStoreError) as caught:
        await FileTokenStore(path).load()
    text = str(caught.value)
    assert said in text
    assert str(path) in text
    assert text.endswith(".")
    assert "\n" not in text
    assert "1234" not in text
    assert "Evil" not in text
    shown = all_of(caught.value)
    assert "1234" not in shown
    assert "moon" not in shown


async def test_a_missing_file_is_one_sentence(path: Path) -> None:
    """A missing file, or a folder in its place, is a TokenStoreError that says so."""
    with pytest.raises(TokenStoreError, match=r"could not be read: No such file or directory\.$"):
        await FileTokenStore(path).load()
    path.mkdir()
    with pytest.raises(TokenStoreError, match=r"could not be read: Is a directory\.$"):
        await FileTokenStore(path).load()
    with pytest.raises(TokenStoreError, match=r"could not be written: Is a directory\.$"):
        await FileTokenStore(path).save(FULL)
    assert [entry.name for entry in path.parent.iterdir()] == ["token"]


async def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    """A path that leads nowhere is an error; asking for the token there makes no folder."""
    store = FileTokenStore(tmp_path / "nowhere" / "token")
    with pytest.raises(TokenStoreError):
        await store.load()
    with pytest.raises(TokenStoreError):
        await store.save(FULL)
    with pytest.raises(TokenStoreError):
        async with store.lock(1.0):
            await store.load()
    assert list(tmp_path.iterdir()) == []


def test_no_repr_shows_a_token(path: Path) -> None:
    """Stores and records show their path or their state, never a token."""
    shown = f"{FileTokenStore(path)!r} {MemoryTokenStore(TOKEN)!r} {FULL!r}"
    assert str(path) in shown
    assert TOKEN not in shown
    assert "tok-candidate" not in shown


@pytest.mark.parametrize("token", ["", "two words", "a\r\nX-Evil: 1", "tök", "tab\t", "nul\0"])
def test_a_token_that_cannot_stand_in_a_header_is_refused(token: str) -> None:
    """A token that would break out of its header is refused before anything is opened, and not shown."""
    for make in (
        lambda: MemoryTokenStore(token),
        lambda: ConfirmaClient(environment=Environment.STAGING, token=token),
    ):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert "give the access token alone" in str(caught.value)
        assert not token or token not in str(caught.value)


# --- the lock ---------------------------------------------------------------------------------------------------------


async def test_the_lock_is_held_by_one_at_a_time(path: Path) -> None:
    """Of all who share a file, through one store object or several, one at a time holds its lock."""
    shared = FileTokenStore(path)
    inside = most = 0

    async def enter(store: FileTokenStore) -> None:
        nonlocal inside, most
        async with store.lock(10.0):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*map(enter, [shared, shared, FileTokenStore(path), FileTokenStore(path)]))
    assert most == 1
    assert mode(path.with_name("token.lock")) == 0o600


async def test_a_lock_that_is_held_too_long_is_one_sentence(path: Path) -> None:
    """A lock that another process does not let go of is a TokenStoreError that says for how long was waited."""
    said = r"has held the lock of the token file .* for 0\.1 s; is it hung\?"
    with FileLock(f"{path}.lock"), pytest.raises(TokenStoreError, match=said):
        async with FileTokenStore(path).lock(0.1):
            pytest.fail("the lock was held by somebody else")
    async with FileTokenStore(path).lock(0.1):
        pass


async def test_a_lock_whose_waiter_was_cancelled_is_free(path: Path) -> None:
    """Cancelling one who waits for the lock leaves it to the next."""
    store = FileTokenStore(path)
    with FileLock(f"{path}.lock"):

        async def wait() -> None:
            async with store.lock(10.0):
                pytest.fail("the lock was held by somebody else")

        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0.02)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
    async with store.lock(1.0):
        pass


async def test_a_lock_that_was_won_too_late_is_let_go_of(path: Path) -> None:
    """However far the try at the lock had come when its waiter was cancelled: it is free for other processes."""
    stores = []
    for turns in range(40):
        store = FileTokenStore(path)
        stores.append(store)

        async def wait(store: FileTokenStore = store) -> None:
            async with store.lock(10.0):
                await asyncio.sleep(3600)

        waiter = asyncio.create_task(wait())
        for _ in range(turns % 20):
            await asyncio.sleep(0 if turns < 20 else 0.0001)
        waiter.cancel()
        await asyncio.wait([waiter])
        with FileLock(f"{path}.lock", blocking=False):
            pass


async def test_a_write_that_nobody_waits_for_any_more_is_over_when_the_lock_is_free(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write is ended, not left behind: without the lock it might take the place of a newer token."""
    store = FileTokenStore(path)
    began, may_end = threading.Event(), threading.Event()
    sync = os.fsync

    def slow_sync(descriptor: int) -> None:
        began.set()
        may_end.wait(5)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slow_sync)

    async def write() -> None:
        async with store.lock(1.0):
            await store.save(FULL)

    writing = asyncio.create_task(write())
    while not began.is_set():
        await asyncio.sleep(0)
    for _ in range(2):
        writing.cancel()
        await asyncio.wait([writing], timeout=0.02)
    assert not writing.done()
    with pytest.raises(Timeout):
        FileLock(f"{path}.lock", blocking=False).acquire()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await FileTokenStore(path).load() == FULL


# --- adoption ---------------------------------------------------------------------------------------------------------


async def test_opening_a_client_adopts_a_plain_file_and_binds_it(sandbox: Sandbox, path: Path) -> None:
    """A file that a person wrote is bound to the client's environment when it is first used, and made private."""
    path.write_text(sandbox.token)
    path.chmod(0o644)
    async with ConfirmaClient(
        environment=Environment.STAGING, token=FileTokenStore(path), base_url=sandbox.base_url
    ) as client:
        assert await client.token.validate()
    assert json.loads(path.read_text()) == {
        "token": sandbox.token,
        "candidate": None,
        "environment": "staging",
        "renewing": False,
    }
    assert mode(path) == 0o600
    assert sorted(entry.name for entry in path.parent.iterdir()) in (["token"], ["token", "token.lock"])


async def test_a_token_of_another_environment_is_refused(sandbox: Sandbox, path: Path) -> None:
    """A staging token is never sent to production: opening fails before anything is sent, and changes nothing."""
    await FileTokenStore(path).save(TokenRecord(current=sandbox.token, environment=Environment.STAGING))
    before = path.read_bytes()
    client = ConfirmaClient(environment=Environment.PRODUCTION, token=FileTokenStore(path), base_url=sandbox.base_url)
    with pytest.raises(TokenStoreError, match="belongs to staging, and this client to production"):
        await client.open()
    assert sandbox.requests == []
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b'{"token": '], ids=["empty", "damaged"])
async def test_a_client_whose_store_is_unusable_does_not_open(sandbox: Sandbox, path: Path, content: bytes) -> None:
    """A store without a token stops a client at open; once the file is mended the same client opens."""
    path.write_bytes(content)
    client = ConfirmaClient(environment=Environment.STAGING, token=FileTokenStore(path), base_url=sandbox.base_url)
    with pytest.raises(TokenStoreError):
        await client.open()
    assert sandbox.requests == []
    path.write_text(sandbox.token)
    async with client:
        assert await client.token.validate()
