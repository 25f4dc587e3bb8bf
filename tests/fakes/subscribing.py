"""Another program that subscribes to a proxy's records, and connections to the proxy that can break or use TLS."""

import asyncio
import contextlib
import json
import queue
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import urlsplit

import hiredis

from exporter.simulator.world import MANAGEMENT_KEY
from tests.stack.waiting import PATIENCE_SECONDS

_CHUNK = 65_536


class RespClient:
    """Speaks RESP to a server: one command, one reply."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname or "", address.port or 0), PATIENCE_SECONDS)
        self._reader = hiredis.Reader()

    def ask(self, *words: str) -> Any:
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w.encode()) for w in words))
        return self.reply()

    def reply(self) -> Any:
        """The next reply, or the text of the server's error. Raises EOFError if the server closed the connection."""
        while (reply := self._reader.gets()) is False:
            chunk = self.socket.recv(_CHUNK)
            if not chunk:
                raise EOFError
            self._reader.feed(chunk)
        return str(reply) if isinstance(reply, hiredis.ReplyError) else reply

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


class OtherSubscriber:
    """A dashboard that subscribes and keeps each record that it receives."""

    def __init__(self, url: str) -> None:
        self._client = RespClient(url)
        assert self._client.ask("AUTH", MANAGEMENT_KEY) == b"OK"
        assert self._client.ask("SUBSCRIBE", "usage") == [b"subscribe", b"usage", 1]
        self._client.socket.settimeout(None)
        self.records: list[bytes] = []
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                kind, _, body = self._client.reply()
                assert kind == b"message"
                if "timestamp" in json.loads(body):
                    self.records.append(body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._client.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._client.socket.close()


class Line:
    """A relay: each connection to ``self.url`` gets a TCP connection to ``url``.

    ``cut`` breaks open connections, and ``go_dead`` makes them swallow everything. New ones wait until ``mend``.
    """

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._target = (address.hostname or "", address.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._dead: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._whole = threading.Event()
        self._whole.set()
        self._threads = [threading.Thread(target=self._accept)]

    def go_dead(self) -> None:
        self._whole.clear()
        self._dead |= self._open

    def cut(self) -> None:
        self._whole.clear()
        _break(*self._open)

    def mend(self) -> None:
        self._whole.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._whole.wait()
                far = socket.create_connection(self._target)
                self._open |= {near, far}
                if not self._whole.is_set():  # it was cut meanwhile
                    _break(near, far)
                for one, other in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._carry, args=(one, other))
                    self._threads.append(thread)
                    thread.start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := one.recv(_CHUNK):
                if one not in self._dead:
                    other.sendall(chunk)
        if one not in self._dead:
            with contextlib.suppress(OSError):
                other.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.mend()
        self._threads[0].join()
        _break(*self._open)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._open):
            each.close()


def _break(*connections: socket.socket) -> None:
    for each in connections:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def behind_tls(url: str, context: ssl.SSLContext) -> Iterator[str]:
    """Puts TLS in front of the server at ``url``; yields its URL. Like CPA, takes clients that offer ALPN for HTTP."""
    address = urlsplit(url)
    context.set_alpn_protocols(["http/1.1"])
    started: queue.SimpleQueue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.SimpleQueue()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_http: bool = False) -> None:
        with contextlib.suppress(OSError):
            while (chunk := await reader.read(_CHUNK)) and not (is_http and chunk.startswith(b"*")):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_http = writer.get_extra_info("ssl_object").selected_alpn_protocol() is not None
        far_reader, far_writer = await asyncio.open_connection(address.hostname, address.port)
        await asyncio.gather(carry(reader, far_writer, is_http=is_http), carry(far_reader, writer))

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        end = asyncio.Event()
        started.put((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), end))
        await end.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    port, loop, end = started.get(timeout=PATIENCE_SECONDS)
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
