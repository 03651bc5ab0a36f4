"""TLS servers on loopback that echo: one for each certificate of host_tests.certificates. A context manager."""

import contextlib
import socketserver
import ssl
import threading

from host_tests.certificates import REASONS, Certificates
from tools import build

HOST = "127.0.0.1"
SCRIPT = build.ROOT / "host_tests" / "on_micropython" / "use_tls.py"  # the client that tries them all
_HANDSHAKE_S = 120  # of an emulated chip


class _Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.settimeout(_HANDSHAKE_S)
        wrap = self.server.context.wrap_socket
        # A client that does not like the certificate hangs up.
        with contextlib.suppress(OSError), wrap(self.request, server_side=True) as tls:
            while data := tls.recv(4096):
                tls.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    block_on_close = False

    def shutdown_request(self, request):
        with contextlib.suppress(OSError):
            super().shutdown_request(request)


class TlsServers:
    """`newest`: of TLS that the servers offer. `ports` by the name of the certificate."""

    def __init__(self, folder, newest=ssl.TLSVersion.TLSv1_2):
        self.certificates = Certificates()
        self.ports = {}
        self._folder = folder
        self._newest = newest
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        for name, certificate in self.certificates.servers.items():
            server = self._stack.enter_context(_Server((HOST, 0), _Echo))
            server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.context.maximum_version = self._newest
            server.context.load_cert_chain(certificate.write(self._folder, name))
            self.ports[name] = server.server_address[1]
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            self._stack.callback(server.shutdown)
        return self

    def __exit__(self, *exc):
        self._stack.close()


def cases_of(servers):
    """[(name, trust, pin, port)], and what each must print."""
    cases, expected = [], []
    for name, reason in REASONS.items():
        cases.append((name, "ca", "", servers.ports[name]))
        expected.append(f"{name} ca {reason or True}")
    good = servers.certificates.servers
    for pinned, reason in (("good", True), ("expired", "certificate has changed")):
        cases.append(("good", "pin", good[pinned].sha256, servers.ports["good"]))
        expected.append(f"good pin {reason}")
    cases.append(("unknown", "none", "", servers.ports["unknown"]))
    expected.append("unknown none True")
    return cases, expected
