"""A forward proxy that only tunnels (CONNECT), on its own thread, and records the targets."""

import contextlib
import socket
import socketserver
import threading


class Proxy:
    def __init__(self, places: dict[str, tuple[str, int]]):
        """Redirects tunnels for a name to the address that stands for it."""
        self.asked: list[str] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = self.rfile.readline()
                    if not line:
                        return
                    head += line
                outer.asked.append(head.decode())
                method, target, _ = head.split(b"\r\n")[0].decode().split()
                if method != "CONNECT" or target not in places:
                    self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                    return
                with socket.create_connection(places[target]) as other:
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    back = threading.Thread(target=pump, args=(other, self.connection), daemon=True)
                    back.start()
                    pump(self.connection, other)
                    back.join(5)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
