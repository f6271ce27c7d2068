"""A TCP proxy in front of a server, for faults of the network: cut connections, silence, lost replies."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

CHUNK: Final = 1 << 16


class Proxy:
    """Passes bytes on between clients and one server, until it is told otherwise."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._target = (target.hostname or "127.0.0.1", target.port or 6379)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        """Where it listens."""
        self._lock = threading.Lock()
        self._pairs: list[_Pair] = []
        self._silent = False
        self._countdown = 0
        self.dropped = 0
        """How many replies were dropped."""
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close every connection."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.close()

    def fall_silent(self) -> None:
        """From now on swallow every byte; connections stay open."""
        self._silent = True

    def speak_again(self) -> None:
        """Serve new connections; those that were open in the silence stay dead."""
        with self._lock:
            for pair in self._pairs:
                pair.dead = True
        self._silent = False

    def drop_reply(self, number: int) -> None:
        """Let the server execute the script call of this number from now, but cut instead of passing its reply."""
        with self._lock:
            self._countdown = number

    def close(self) -> None:
        """Stop."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                if self._listener.fileno() < 0:
                    return
                client.close()
                continue
            pair = _Pair(client, server)
            with self._lock:
                self._pairs.append(pair)
            for pump in (self._requests, self._replies):
                threading.Thread(target=pump, args=(pair,), daemon=True).start()

    def _requests(self, pair: "_Pair") -> None:
        with suppress(OSError):
            while data := pair.client.recv(CHUNK):
                if self._silent or pair.dead:
                    continue
                with self._lock:
                    calls = data.count(b"EVALSHA")
                    doomed = 0 < self._countdown <= calls
                    self._countdown -= min(calls, self._countdown)
                pair.doomed = pair.doomed or doomed
                pair.server.sendall(data)
        pair.close()

    def _replies(self, pair: "_Pair") -> None:
        with suppress(OSError):
            while data := pair.server.recv(CHUNK):
                if pair.doomed:
                    self.dropped += 1
                    break
                if not self._silent and not pair.dead:
                    pair.client.sendall(data)
        pair.close()


class _Pair:
    """A client's connection, and the one to the server for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.dead = self.doomed = False

    def close(self) -> None:
        for one in (self.client, self.server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def a_proxy(url: str) -> Iterator[Proxy]:
    """A proxy in front of this server."""
    proxy = Proxy(url)
    try:
        yield proxy
    finally:
        proxy.close()
