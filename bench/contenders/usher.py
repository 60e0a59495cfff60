"""usher: the proxy datapath with one worker, everything else at its default. Variants are other binaries or settings."""
import hashlib
import pathlib
import signal

from usher_compare.contender import ProcessContender, first_line_of
from usher_compare.failure import UsageError

TEMPLATE = """\
{global}
[admin]
{admin}
[[listener]]
{listener}
[[pool]]
{pool}
[pool.health]
{health}
"""
TABLES = ("global", "admin", "listener", "pool", "health")


def toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def value_of(word):
    """What a setting of the command line means in TOML: a boolean or a number where it looks like one, else a string."""
    if word in ("true", "false"):
        return word == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


class Usher(ProcessContender):
    name = "usher"
    title = "usher, proxy, one worker"
    family = "usher"
    datapath = "proxy"
    in_quick = True
    can_reload = True
    checks_backends = True
    config_name = "usher.toml"

    def __init__(self, name="usher", binary=None, settings=None):
        super().__init__()
        self.name = name
        self.binary = binary
        self.settings = dict(settings or {})
        if name != "usher":
            said = ", ".join(f"{key} = {value}" for key, value in self.settings.items())
            self.title = f"usher {name.removeprefix('usher-')}" + (f" ({said})" if said else "")
        for key in self.settings:
            table = key.rpartition(".")[0] or "global"
            if table not in TABLES:
                raise UsageError(f"--set {key}: the table is one of {', '.join(TABLES)}; a bare key belongs to global")

    def version(self):
        """With the start of the binary's SHA-256: two builds of one version are different contenders."""
        content = hashlib.sha256(pathlib.Path(self.binary).read_bytes()).hexdigest()
        return f"{first_line_of([self.binary, '--version'])}, binary {content[:12]}"

    def configuration(self, setup):
        tables = {
            "global": {"workers": 1, "max_connections": setup.sessions_max, "log_level": "warning", "drain_timeout": "1s"},
            "admin": {"socket": f"{setup.directory}/{self.name}.sock", "http": ""},
            "listener": {"name": "front", "bind": f"{setup.network.balancer.ip}:700", "pool": "back"},
            "pool": {"name": "back", "initial": "up"},
            "health": {"type": "tcp", "interval": "500ms", "fall": 2} if setup.checks else {"type": "none"},
        }
        for key, word in self.settings.items():
            table, _, last = key.rpartition(".")
            tables[table or "global"][last] = value_of(word)
        texts = {name: "\n".join(f"{key} = {toml(value)}" for key, value in table.items()) for name, table in tables.items()}
        texts["global"] = "[global]\n" + texts["global"]
        backends = "".join(f'[[pool.backend]]\naddress = "{ip}:{port}"\n' for ip, port in setup.backends)
        return TEMPLATE.format(**texts) + backends

    def command(self, setup, config_path):
        return [self.binary, "run", "-c", config_path]

    def reload(self, setup):
        self.write(setup)
        self.process.send(signal.SIGHUP)

    def stop(self):
        # A second signal ends a drain at once: an idle session of this turn must not delay the next one.
        if self.process:
            self.process.send(signal.SIGTERM)
        super().stop()


CONTENDER = Usher
