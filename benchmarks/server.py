"""A server that reads requests to their end and answers `200 {}`: the least that a client can be measured against.

It runs in a process of its own, prints its port, and ends when its standard input does.
"""

import asyncio
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


class Drain(asyncio.Protocol):
    """Counts bytes and looks at nothing but the length of a body. It takes one request at a time, as clients send."""

    def __init__(self) -> None:
        self._head = b""
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer once a request is complete."""
        if not self._missing:
            self._head += data
            end = self._head.find(_END_OF_HEAD)
            if end < 0:
                return
            self._missing = _body_length(self._head[:end])
            data, self._head = self._head[end + len(_END_OF_HEAD) :], b""
        self._missing -= len(data)
        if not self._missing:
            self._transport.write(ANSWER)


def _body_length(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.find(_LENGTH)
    if start < 0:
        return 0
    return int(lowered[start + len(_LENGTH) :].split(b"\r\n", 1)[0])


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Drain, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
