"""The systemd unit and its drop-in as this test suite can have them without systemd: capabilities, folders, read-only mounts."""
import collections
import os
import pathlib
import pwd
import re
import shlex

from .usher import BINARY, ROOT

UNIT = ROOT / "conf/usher.service"
KERNEL_DROP_IN = ROOT / "conf/usher.service.d/kernel.conf"
BPF_FILE_SYSTEM = "/sys/fs/bpf"
USER = "nobody"
CAPABILITIES = {"CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_BPF": 39}


def settings(*paths):
    """{key: [value, ...]}: a drop-in's lines after the unit's, as systemd reads them."""
    found = collections.defaultdict(list)
    for path in paths:
        for line in pathlib.Path(path).read_text().splitlines():
            key, is_one, value = line.partition("=")
            if is_one and not line.startswith("#"):
                found[key.strip()].append(value.strip())
    return found


def words(found, key):
    return " ".join(found[key]).split()


def as_the_service(*paths):
    """The command in front of usher: the account (another's, whose name systems have), and the capabilities of these unit files."""
    found = settings(*paths)
    account = pwd.getpwnam(USER)
    listed = lambda key: ",".join(["-all", *(f"+{word.removeprefix('CAP_').lower()}" for word in words(found, key))])
    ambient = listed("AmbientCapabilities")
    assert found["NoNewPrivileges"] == ["yes"]
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", f"--bounding-set={listed('CapabilityBoundingSet')}",
            f"--inh-caps={ambient}", f"--ambient-caps={ambient}", "--no-new-privs", "--"]


def capability_bits(names):
    return sum(1 << CAPABILITIES[name] for name in names)


def effective(process):
    """{thread's id: its effective capabilities}, of a running program."""
    found = {}
    for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir():
        status = (task / "status").read_text()
        found[int(task.name)] = int(re.search(r"^CapEff:\s+(\w+)$", status, re.MULTILINE).group(1), 16)
    return found


def binary_for_all(bench):
    """The binary where every user may run it."""
    copy = bench.path("usher")
    if not copy.exists():
        copy.write_bytes(BINARY.read_bytes())
        copy.chmod(0o755)
    return copy


class Sealed:
    """A mount namespace with a BPF file system of its own, mounted as systemd mounts it: for root alone."""

    def __init__(self, bench):
        self.bench = bench
        self.holder = bench.start(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                                   f"mount -t bpf -o mode=0700 bpf {BPF_FILE_SYSTEM} && echo mounted && exec sleep 600"], name="mounts")
        self.holder.wait_until(lambda: "mounted" in self.holder.output(), 10, "mounted")
        self.protected = False

    @property
    def prefix(self):
        return ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--"]

    def run(self, *command):
        return self.bench.run([*self.prefix, *command])

    def path(self, folder):
        """How the test sees what is there."""
        return pathlib.Path(f"/proc/{self.holder.pid}/root{folder}")

    def pinned(self, folder):
        """{name: user id} of what is pinned there."""
        there = self.path(folder)
        return {one.name: one.stat().st_uid for one in there.iterdir()} if there.exists() else {}

    def mode(self):
        return self.path(BPF_FILE_SYSTEM).stat().st_mode & 0o777

    def before_start(self, folder):
        """What the drop-in's ExecStartPre lines do, for `folder` and USER; a failure of "-" is none."""
        account = pwd.getpwnam(USER)
        if self.protected:  # "+" is for running outside of what protects the service
            self.run("mount", "-o", "remount,bind,rw", BPF_FILE_SYSTEM)
        for line in settings(KERNEL_DROP_IN)["ExecStartPre"]:
            flags, command = re.match(r"([-+]*)(.*)", line).groups()
            assert "+" in flags, f"{line} would be run by the service's user"
            command = command.replace("/sys/fs/bpf/usher", str(folder)).replace("usher:usher", f"{account.pw_uid}:{account.pw_gid}")
            command = command.replace("-o usher -g usher", f"-o {account.pw_uid} -g {account.pw_gid}")
            self.run(*shlex.split(command))
        if self.protected:
            self.run("mount", "-o", "remount,bind,ro", BPF_FILE_SYSTEM)

    def protect(self, folder):
        """ProtectKernelTunables=yes with the drop-in's ReadWritePaths: /sys is read-only but for the folder."""
        assert settings(UNIT)["ProtectKernelTunables"] == ["yes"]
        assert settings(KERNEL_DROP_IN)["ReadWritePaths"] == ["-/sys/fs/bpf/usher"]
        for command in (f"mount --bind {folder} {folder}", f"mount -o remount,bind,ro {BPF_FILE_SYSTEM}", "mount -o remount,bind,ro /sys"):
            self.run(*command.split())
        self.protected = True


def open_to(bench, user=USER):
    """The test's directory is the user's, too: its admin socket stands there."""
    account = pwd.getpwnam(user)
    os.chown(bench.directory, account.pw_uid, account.pw_gid)
