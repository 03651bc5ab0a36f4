"""nginx as a reverse proxy with TLS before a gateway: Debian's, not installed, on a free port of 127.0.0.1, with no
files but those of its folder. A context manager.
"""

import subprocess

from host_tests.certificates import Certificate
from host_tests.system.rig import HOST, wait_for
from tools import debian, gateway

_START_S = 10
_STOP_S = 5
_SETTINGS = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {host}:{port} ssl;
        server_name {name};
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        location {path} {{
            proxy_pass http://{host}:{gateway_port}/;
            {location}
        }}
    }}
}}
"""


class Nginx:
    """Runs within its `with` block. `url` leads to the gateway at `gateway_port`; `path` begins and ends with "/".
    `location`: more directives of nginx for that path."""

    def __init__(self, folder, gateway_port, name, path, location=()):
        self.name = name
        self.port = gateway.free_ports(1)[0]
        self.url = f"https://{name}:{self.port}{path}"
        self._folder = folder
        self._process = None
        folder.mkdir()
        certificate = Certificate(name).write(folder, "certificate")
        text = _SETTINGS.format(
            folder=folder, host=HOST, port=self.port, name=name, certificate=certificate, path=path,
            gateway_port=gateway_port, location="\n            ".join(location),
        )  # fmt: skip
        (folder / "nginx.conf").write_text(text)

    def __enter__(self):
        program = debian.unpack("nginx") / "usr" / "sbin" / "nginx"
        command = [program, "-p", self._folder, "-c", self._folder / "nginx.conf", "-e", self._folder / "error.log"]
        self._process = subprocess.Popen(command)
        try:
            wait_for(lambda: gateway.port_error(self.port), _START_S, "nginx on its port")
        except AssertionError as error:
            error.add_note((self._folder / "error.log").read_text())
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self._process.terminate()
        self._process.wait(_STOP_S)
