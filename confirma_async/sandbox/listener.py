"""Where the sandbox listens, and how it stops to listen while its port stays its own."""

import asyncio
import os
import socket
from collections.abc import Callable

__all__ = ["Listener"]

_BACKLOG = 1024
_SECONDS_WITHOUT_DESCRIPTORS = 0.1
"""When to look again after the system would not hand out a connection."""


class Listener:
    """A port on loopback. Made, it is taken, and refuses connections until `listen()`.

    Raises:
        OSError: The port cannot be had.
    """

    def __init__(self, host: str, port: int, serve: Callable[[], asyncio.BaseProtocol]) -> None:
        self._host = host
        self._serve = serve
        self._socket = _bound(host, port)
        self._accepting: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port, which the system may have chosen."""
        port: int = self._socket.getsockname()[1]
        return port

    def listen(self) -> None:
        """Take connections, from this moment on. A second call does nothing."""
        if self._accepting is None:
            self._socket.listen(_BACKLOG)
            self._accepting = asyncio.create_task(self._accept(self._socket), name="sandbox-listener")

    def refuse(self) -> None:
        """Have the system refuse connections, and keep the port. A second call does nothing.

        Raises:
            OSError: Somebody else took the port just then.
        """
        if self._accepting is not None:
            port = self.port
            self.close()
            # Bound and not listened on: that is what nobody being there looks like.
            self._socket = _bound(self._host, port)

    def close(self) -> None:
        """Give the port up. Connections that stand are not concerned."""
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None
            asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
                await loop.connect_accepted_socket(self._serve, connection)
            except ConnectionError:
                pass  # The client left at once.
            except OSError:
                await asyncio.sleep(_SECONDS_WITHOUT_DESCRIPTORS)


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setblocking(False)
        if os.name == "posix":
            # Connections of a former listener that linger in the system do not keep the port from us.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
