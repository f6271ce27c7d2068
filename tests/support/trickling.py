"""A server whose answers come drop by drop."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

DROPS: Final = 200
"""How many bytes an answer has."""

INTERVAL: Final = 0.05
"""Seconds between two of them."""


@contextmanager
def a_trickle() -> Iterator[str]:
    """The URL of a server that answers each script, and INFO, over ten seconds, and everything else at once."""
    listener = socket.create_server(("127.0.0.1", 0))
    ending = threading.Event()

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            while data := client.recv(1 << 16):
                if b"INFO" in data or b"EVALSHA" in data:
                    answer = b"$%d\r\n%s\r\n" % (DROPS, b"x" * DROPS)
                    for at in range(len(answer)):
                        client.sendall(answer[at : at + 1])
                        if ending.wait(INTERVAL):
                            return
                else:
                    client.sendall(b"+OK\r\n" * data.count(b"*"))

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ending.set()
        listener.close()
