import asyncio
import errno
import socket
from collections.abc import AsyncIterator

import pytest

from confirma_async.sandbox.listener import Listener


class Greeter(asyncio.Protocol):
    """Says that it is there, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"here")
        transport.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener("127.0.0.1", 0, Greeter)
    yield listener
    listener.close()


async def heard_at(port: int, host: str = "127.0.0.1") -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_nobody_is_there_until_it_listens(listener: Listener) -> None:
    """The port is taken from the start, and refuses connections; listening twice is listening."""
    with pytest.raises(ConnectionRefusedError):
        await heard_at(listener.port)
    listener.listen()
    listener.listen()
    assert await heard_at(listener.port) == b"here"


async def test_it_may_refuse_and_listen_again_at_the_same_port(listener: Listener) -> None:
    """Refusing keeps the port; it takes effect at once, both ways."""
    listener.listen()
    port = listener.port
    for _ in range(2):
        listener.refuse()
        listener.refuse()
        assert listener.port == port
        with pytest.raises(ConnectionRefusedError):
            await heard_at(port)
        listener.listen()
        assert await heard_at(port) == b"here"


async def test_a_connection_of_the_same_moment_is_taken(listener: Listener) -> None:
    """Whoever connects before the event loop turns is heard."""
    listener.listen()
    listener.refuse()
    listener.listen()
    with socket.create_connection(("127.0.0.1", listener.port)) as connection:
        connection.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(connection, 10) == b"here"


async def test_closed_it_gives_the_port_up(listener: Listener) -> None:
    """Another one may have the port then, and not before."""
    listener.listen()
    port = listener.port
    with pytest.raises(OSError, match=r"(?i)address already in use"):
        Listener("127.0.0.1", port, Greeter)
    listener.close()
    second = Listener("127.0.0.1", port, Greeter)
    assert second.port == port
    second.close()


@pytest.mark.looptime
async def test_it_outlives_a_lack_of_descriptors(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system hands out no connection for a while, the next ones are taken all the same."""
    loop = asyncio.get_running_loop()
    accept = loop.sock_accept
    fails = [OSError(errno.EMFILE, "too many open files"), ConnectionAbortedError()]

    async def scarce(listening: socket.socket) -> tuple[socket.socket, object]:
        if fails:
            raise fails.pop()
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", scarce)
    listener.listen()
    assert await heard_at(listener.port) == b"here"
    assert not fails
