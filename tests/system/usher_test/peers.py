"""Real servers from Debian, each with a configuration of its own, on free ports, ended with the test."""
import glob
import os
import pathlib
import pwd
import shutil
import socket
import sys

import pytest

from .network import Address, family_of, fresh_address
from .waiting import eventually

SERVERS = pathlib.Path(__file__).resolve().parents[1] / "servers.py"
NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"


def needs(program):
    """The program's path; without it the test fails: ./test installs everything that the tests start."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    assert found, f"{program} is missing; tools/install_deps test installs it"
    return found


def wait_for_port(process, place, address, seconds=15):
    def answers():
        with place.new_socket(family_of(address[0])) as probe:
            probe.settimeout(2)
            return probe.connect_ex(tuple(address)) == 0
    process.wait_until(answers, seconds, f"listening on {address}")


class NameServers:
    """servers.py: one process, any number of named ports."""

    def __init__(self, bench, names, mode="name", family=socket.AF_INET, addresses=None):
        place = bench.net.backend
        self.bench = bench
        self.mode = mode
        self.addresses = addresses or {name: fresh_address(place, family) for name in names}
        self.process = None
        self.start()

    def start(self):
        bindings = [f"{name}={address.text}" for name, address in self.addresses.items()]
        self.process = self.bench.start([sys.executable, SERVERS, self.mode, *bindings],
                                        name="servers", place=self.bench.net.backend)
        self.process.wait_until(lambda: "listening" in self.process.output(), 15, "listening")

    def kill(self):
        self.process.kill()

    @property
    def pairs(self):
        """What toml.pool() takes."""
        return [(name, address.text) for name, address in self.addresses.items()]


class Nginx:
    """nginx in the foreground; `http` and `stream` are the bodies of these blocks."""

    def __init__(self, bench, address, http="", stream="", place=None):
        root = bench.path(f"nginx-{address.port}")
        root.mkdir()
        self.root = root
        self.address = address
        for log in ("access.log", "stream.log"):
            (root / log).touch()
        parts = [f"load_module {NGINX_STREAM};" if stream else "", "daemon off;", "user root;" if os.geteuid() == 0 else "", "worker_processes 1;",
                 f"pid {root}/pid;", f"error_log {root}/error.log info;", "events { worker_connections 4096; }"]
        if http:
            bodies = "".join(f"{kind}_temp_path {root}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            parts.append(f"http {{ access_log off; {bodies} keepalive_requests 1000000; {http} }}")
        if stream:
            parts.append(f"stream {{ {stream} }}")
        (root / "nginx.conf").write_text("\n".join(parts) + "\n")
        place = place or bench.net.backend
        self.process = bench.start([needs("nginx"), "-c", root / "nginx.conf", "-p", root, "-e", root / "error.log"], place=place)
        wait_for_port(self.process, place, address)

    @classmethod
    def hello(cls, bench, name="hello", family=socket.AF_INET):
        """Answers every request with `name`."""
        address = fresh_address(bench.net.backend, family)
        return cls(bench, address, http=f'server {{ listen {address.text}; location / {{ return 200 "{name}\\n"; }} }}')


class HAProxy:
    """HAProxy in the foreground; `sections` is everything after global and defaults."""

    def __init__(self, bench, address, sections, mode="tcp", place=None):
        path = bench.path(f"haproxy-{address.port}.cfg")
        path.write_text("global\n  maxconn 2000\n"
                        f"defaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n{sections}\n")
        self.address = address
        place = place or bench.net.backend
        self.process = bench.start([needs("haproxy"), "-db", "-f", path], place=place)
        wait_for_port(self.process, place, address)


class Iperf3:
    def __init__(self, bench, family=socket.AF_INET):
        self.address = fresh_address(bench.net.backend, family)
        self.process = bench.start([needs("iperf3"), "-s", "--forceflush", "-B", self.address.ip, "-p", self.address.port], place=bench.net.backend)
        self.process.wait_until(lambda: "listening" in self.process.output(), 15, "listening")


class Redis:
    def __init__(self, bench, family=socket.AF_INET):
        self.address = fresh_address(bench.net.backend, family)
        self.process = bench.start([needs("redis-server"), "--port", self.address.port, "--bind", self.address.ip, "--save", "", "--appendonly",
                                    "no", "--protected-mode", "no", "--dir", bench.directory], place=bench.net.backend)
        wait_for_port(self.process, bench.net.backend, self.address)


class Postgres:
    """A fresh cluster that trusts every client, run by the user postgres (it refuses to run as root)."""

    def __init__(self, bench, family=socket.AF_INET):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4]))
        assert found, "postgresql is missing; tools/install_deps test installs it"
        programs = pathlib.Path(found[-1]).parent
        self.address = fresh_address(bench.net.backend, family)
        root = bench.path("postgres")
        root.mkdir()
        as_user = []
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(root, account.pw_uid, account.pw_gid)
            as_user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]
        bench.run([*as_user, programs / "initdb", "-D", root / "data", "-A", "trust", "-U", "postgres", "--no-sync", "--locale=C.UTF-8"])
        with open(root / "data/pg_hba.conf", "a") as rules:
            rules.write("host all all 10.77.0.0/16 trust\nhost all all fd77::/16 trust\n")
        self.process = bench.start([*as_user, programs / "postgres", "-D", root / "data", "-p", self.address.port, "-c", "fsync=off", "-c",
                                    f"listen_addresses={self.address.ip}", "-c", f"unix_socket_directories={root}"],
                                   name="postgres", place=bench.net.backend)
        self.process.wait_until(lambda: "ready to accept connections" in self.process.output(), 30, "ready")


class TlsServer:
    """openssl s_server with a certificate of its own; sends every line back reversed."""

    def __init__(self, bench, server_name, family=socket.AF_INET):
        self.address = fresh_address(bench.net.backend, family)
        key, self.certificate = bench.path("tls.key"), bench.path("tls.pem")
        bench.run([needs("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                   f"/CN={server_name}", "-addext", f"subjectAltName=DNS:{server_name}", "-keyout", key, "-out", self.certificate])
        self.process = bench.start(["openssl", "s_server", "-accept", self.address.text, "-cert", self.certificate, "-key", key, "-rev"],
                                   place=bench.net.backend)
        self.process.wait_until(lambda: "ACCEPT" in self.process.output(), 15, "listening")


class BlackHole:
    """An address whose connects are neither accepted nor refused: a listening socket with a full queue."""

    def __init__(self, bench):
        self.place = bench.net.backend
        self.listener = self.place.listen(backlog=0)
        self.address = Address(*self.listener.getsockname()[:2])
        self.stuffing = []
        eventually(self._full, 15, "a full accept queue")

    def _full(self):
        """True once a connect stays without an answer."""
        one = self.place.new_socket()
        self.stuffing.append(one)
        one.settimeout(0.5)
        try:
            one.connect(tuple(self.address))
            return False
        except TimeoutError:
            return True

    def close(self):
        for one in (*self.stuffing, self.listener):
            one.close()


def require_separate(network):
    if not network.separate:
        pytest.skip(network.why_loopback)
