"""What PgBouncer does to the options of a connection, on the real wire, before a real server.

Here: a proxy that reads the start-up packet and refuses its options, or forgets them, as PgBouncer
does by default and with ``ignore_startup_parameters = options``. Not here: pooling.
https://www.postgresql.org/docs/17/protocol-message-formats.html (StartupMessage, ErrorResponse)
"""

import socket
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

_PROTOCOL_3 = 196608
_REFUSAL = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"


@contextmanager
def pg_bouncer(host: str, port: int, *, forgets_options: bool) -> Generator[int]:
    """Serve in front of a server, on a port of its own, which is given.

    Args:
        host: Of the server.
        port: Of the server.
        forgets_options: Leave them out instead of refusing the connection.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    of_client = (client, (host, port), forgets_options)
                    threading.Thread(target=_answer, args=of_client, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def _answer(client: socket.socket, server: tuple[str, int], forgets_options: bool) -> None:
    with client, suppress(OSError):
        parameters = _startup(client)
        if "options" in parameters and not forgets_options:
            client.sendall(b"E" + struct.pack("!I", len(_REFUSAL) + 4) + _REFUSAL)
            return
        parameters.pop("options", None)
        startup = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items())
        with socket.create_connection(server) as upstream:
            upstream.sendall(struct.pack("!II", len(startup) + 9, _PROTOCOL_3) + startup + b"\0")
            back = threading.Thread(target=_copy, args=(upstream, client), daemon=True)
            back.start()
            _copy(client, upstream)


def _startup(client: socket.socket) -> dict[str, str]:
    while True:
        length, code = struct.unpack("!II", _exactly(client, 8))
        rest = _exactly(client, length - 8)
        if code == _PROTOCOL_3:
            parts = rest.rstrip(b"\0").decode().split("\0")
            return dict(zip(parts[::2], parts[1::2], strict=True))
        client.sendall(b"N")  # No encryption here.


def _exactly(client: socket.socket, length: int) -> bytes:
    read = b""
    while len(read) < length:
        more = client.recv(length - len(read))
        if not more:
            raise ConnectionError
        read += more
    return read


def _copy(source: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            other.sendall(part)
        other.shutdown(socket.SHUT_WR)
