"""nginx, Debian's, not installed, on loopback: a TLS server and reverse proxy that is not ours. A context manager."""

import os
import socket

from host_tests.daemon import Daemon
from host_tests.system.rig import HOST
from tools import debian

KEEPING = ("proxy_http_version 1.1;", "proxy_set_header Connection '';")  # connections to whom it passes requests
_CONFIG = """
daemon off;
{user}worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log info;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_max_body_size 1m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{servers}
}}
"""


def tls_proxy(port, certificate, to_port, path="/", directives=KEEPING):
    """The text of a server that ends TLS with the PEM file `certificate` (which has its key, too) and passes requests
    below `path` to `to_port`. `directives`: more of them for that path."""
    keys = f"ssl_certificate {certificate}; ssl_certificate_key {certificate};"
    location = f"location {path} {{ proxy_pass http://{HOST}:{to_port}/; {' '.join(directives)} }}"
    return f"server {{ listen {HOST}:{port} ssl; {keys} {location} }}"


class Nginx(Daemon):
    """`servers`: texts of server blocks of its http block; `ports`: where they listen."""

    def __init__(self, folder, servers, ports):
        super().__init__(folder)
        self._servers = servers
        self._ports = ports

    def command(self):
        path = self.folder / "nginx.conf"
        user = "user root;\n" if os.geteuid() == 0 else ""
        path.write_text(_CONFIG.format(user=user, folder=self.folder, servers="\n".join(self._servers)))
        program = debian.unpack("nginx") / "usr" / "sbin" / "nginx"
        return [program, "-p", self.folder, "-c", path, "-e", self.folder / "nginx.log"]

    def answers(self):
        for port in self._ports:
            with socket.socket() as client:
                if client.connect_ex((HOST, port)):
                    return False
        return True

    def output(self):
        """With the end of its log of errors."""
        path = self.folder / "nginx.log"
        return super().output() + (path.read_text() if path.exists() else "")
