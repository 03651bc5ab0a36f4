"""mosquitto, Debian's, not installed, as a broker on a free port of 127.0.0.1, and its client that listens.

What it links and a small Debian lacks is unpacked beside it.
"""

import os
import socket
import subprocess
import threading

from host_tests.daemon import Daemon
from host_tests.line_protocol_reader import read_line
from host_tests.system.rig import HOST
from tools import debian, gateway

_LIBRARIES = ("libwrap0", "libdlt2", "libcjson1", "libmosquitto1")


def _environment():
    folders = {str(file.parent) for name in _LIBRARIES for file in debian.unpack(name).rglob("*.so*")}
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(sorted(folders))}


class Mosquitto(Daemon):
    """A context manager; may be entered again, on the same port. `user`, `password`: of its only user; without one it
    takes everybody. `more`: further lines of its configuration. `certificates`: {name: PEM file with a certificate and
    its key}, of each of which it listens with TLS at tls_ports[name]."""

    def __init__(self, folder, user="", password="", more=(), certificates=None):
        super().__init__(folder)
        self._more = more
        self._certificates = certificates or {}
        self.port, *ports = gateway.free_ports(1 + len(self._certificates))
        self.tls_ports = dict(zip(self._certificates, ports, strict=True))
        self._user = user
        self._password = password
        self._program = debian.unpack("mosquitto") / "usr"
        self.environment = _environment()

    def command(self):
        lines = [f"listener {self.port} {HOST}", f"allow_anonymous {'false' if self._user else 'true'}"]
        if self._user:
            passwords = self.folder / "passwords"
            passwords.write_text(f"{self._user}:{self._password}\n")
            passwords.chmod(0o600)
            subprocess.run(
                [self._program / "bin" / "mosquitto_passwd", "-U", passwords], check=True, env=self.environment
            )
            lines.append(f"password_file {passwords}")
        if os.geteuid() == 0:
            lines.append("user root")
        lines += self._more
        for name, path in self._certificates.items():
            lines += [f"listener {self.tls_ports[name]} {HOST}", f"certfile {path}", f"keyfile {path}"]
        path = self.folder / "mosquitto.conf"
        path.write_text("\n".join(lines) + "\n")
        return [self._program / "sbin" / "mosquitto", "-c", path]

    def answers(self):
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self):
        """Ends it as a power cut does."""
        self._process.kill()
        self._process.wait(self.STOP_S)

    def retain(self, topic, payload):
        """Publishes a retained message, to a broker that takes everybody."""
        self.publish(topic, payload.encode(), "-r")

    def publish(self, topic, payload, *options):
        """Publishes bytes, to a broker that takes everybody."""
        program = debian.unpack("mosquitto-clients") / "usr" / "bin" / "mosquitto_pub"
        command = [program, "-h", HOST, "-p", str(self.port), *options, "-t", topic, "-s"]
        subprocess.run(command, check=True, env=self.environment, timeout=self.STOP_S, input=payload)


class Listener:
    """Subscribes to all topics of a broker. A context manager. `decode` makes a payload of bytes.

    seen   {topic: payload}, the last ones; an empty payload is ""
    all    [(topic, payload, whether it was retained)] in their order"""

    def __init__(self, broker, user="", password="", decode=bytes.decode):
        self._decode = decode
        self.seen = {}
        self.all = []
        program = debian.unpack("mosquitto-clients") / "usr" / "bin" / "mosquitto_sub"
        login = ["-u", user, "-P", password] if user else []
        self._process = subprocess.Popen(
            [program, "-h", HOST, "-p", str(broker.port), "-t", "#", "-F", "%r %t %x", *login],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=broker.environment,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self._process.stdout:
            retained, _, rest = line.rstrip("\n").partition(" ")
            topic, _, payload = rest.rpartition(" ")  # a topic may have spaces
            if retained not in ("0", "1"):
                continue  # what it says of itself
            payload = self._decode(bytes.fromhex(payload))
            self.all.append((topic, payload, retained == "1"))
            self.seen[topic] = payload

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)
        self._process.stdout.close()


def history_of(listeners):
    """({(meter, time): fields}, number of lines) of all records that they heard of one gateway. What came twice has the
    same content."""
    found, count = {}, 0
    for listener in listeners:
        for topic, payload, retained in list(listener.all):
            if not topic.endswith("/history"):
                continue
            assert not retained
            for line in payload.encode()[:-1].split(b"\n"):
                _, tags, fields, time = read_line(line)
                assert found.setdefault((tags[b"meter"].decode(), time), fields) == fields
                count += 1
    return found, count


def history_points(found, i):
    """{(meter, time): value} of what history_of() gives, as Backlog.points(i): energy or power."""
    names = (b"active_power_w",) if i else (b"energy_import_wh", b"energy_total_wh")
    return {
        key: int(value.rstrip(b"i")) for key, fields in found.items() for name, value in fields.items() if name in names
    }
