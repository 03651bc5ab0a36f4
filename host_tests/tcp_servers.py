"""Servers on loopback for the firmware's TCP client: one that echoes, one that resets, one that is silent; and a port
at which there is none. A context manager; `ports` has them by name."""

import contextlib
import socket
import socketserver
import struct
import threading

from tools import build

HOST = "127.0.0.1"
# The client that tries them all, on MicroPython, and what it prints.
SCRIPT = build.ROOT / "host_tests" / "on_micropython" / "use_tcp_client.py"
EXPECTED = [
    "echo True",
    "closed refused",
    "reset closed by the server",
    "silent time-out",
    "waited True",
    "name no address: cannot resolve meters.example: no name server",
    "open False False",
    "heap 0",
]


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(4096):
                self.request.sendall(data)


class Reset(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()


class Silent(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(ConnectionError):
            while self.request.recv(4096):
                pass


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    block_on_close = False

    def shutdown_request(self, request):
        with contextlib.suppress(OSError):  # a handler has closed it
            super().shutdown_request(request)


class TcpServers:
    def __enter__(self):
        self._stack = contextlib.ExitStack()
        self.ports = {}
        for name, handler in (("echo", Echo), ("reset", Reset), ("silent", Silent)):
            server = self._stack.enter_context(_Server((HOST, 0), handler))
            self.ports[name] = server.server_address[1]
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            self._stack.callback(server.shutdown)
        held = self._stack.enter_context(socket.socket())  # bound and not listening: a SYN is refused
        held.bind((HOST, 0))
        self.ports["closed"] = held.getsockname()[1]
        return self

    def __exit__(self, *exc):
        self._stack.close()
