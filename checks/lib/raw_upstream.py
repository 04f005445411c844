"""An upstream on bare sockets that records bytes and responds as a check tells it to."""

import contextlib
import socket
import ssl
import threading
from urllib.parse import urlsplit

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class RawUpstream:
    """Calls `answer` with the head of each request and its socket, and closes the connection if it returns something true."""

    def __init__(self, answer=None, tls: ssl.SSLContext | None = None):
        self.answer = answer or (lambda head, connection: connection.sendall(OK))
        self.heads: list[bytes] = []
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.tls = tls
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            while head := read_head(connection):
                self.heads.append(head)
                if self.answer(head, connection):
                    return

    def lines(self) -> list[bytes]:
        """The request lines."""
        return [head.split(b"\r\n")[0] for head in self.heads]

    def stop(self):
        # Closing alone doesn't wake the thread that accepts.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def connect(url: str, seconds: float | None = None) -> socket.socket:
    """A connection to the host and port of a URL."""
    at = urlsplit(url)
    return socket.create_connection((at.hostname, at.port), timeout=seconds)


def read_head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def read_request(head: bytes, connection: socket.socket) -> bytes:
    """The body of a request, by its length or in chunks."""
    lines = head.lower().split(b"\r\n")
    body = b""
    if b"transfer-encoding: chunked" in lines:
        while not body.endswith(b"0\r\n\r\n") and (piece := connection.recv(65536)):
            body += piece
        return body
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
    while len(body) < length and (piece := connection.recv(min(65536, length - len(body)))):
        body += piece
    return body


def ask(url: str, request: bytes, seconds: float = 20) -> bytes:
    """Sends bytes; returns everything received until the other side closes or is silent for this long."""
    with connect(url, seconds) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        answer = b""
        with contextlib.suppress(OSError):
            while piece := connection.recv(65536):
                answer += piece
    return answer
