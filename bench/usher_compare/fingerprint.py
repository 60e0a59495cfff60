"""What the figures belong to: kernel, processors, mitigations, versions, settings. No host name: reports get shared."""
import datetime
import os
import pathlib
import platform
import subprocess

from .network import CONGESTION_CONTROL


def processor_model(text):
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def mitigations(folder="/sys/devices/system/cpu/vulnerabilities"):
    """{vulnerability: state}, without those that this processor doesn't have."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*")):
        try:
            state = path.read_text().strip()
        except OSError:
            continue
        if state != "Not affected":
            found[path.name] = state
    return found


def _git(root, *words):
    try:
        done = subprocess.run(["git", "-c", "safe.directory=*", "-C", str(root), *words], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def commit(root):
    """The commit that the tree is at, with "-dirty" where it has changes; "unknown" without git."""
    head = _git(root, "rev-parse", "--short=12", "HEAD")
    if not head:
        return "unknown"
    return head + ("-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def release_name(text):
    for line in text.splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "unknown"


def _read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""


def take(root):
    memory = next((line.split()[1] for line in _read("/proc/meminfo").splitlines() if line.startswith("MemTotal:")), "0")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0).isoformat(),
        "commit": commit(root),
        "kernel": platform.release(),
        "system": release_name(_read("/etc/os-release")),
        "processor": processor_model(_read("/proc/cpuinfo")),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory) / 2**20, 1),
        "hypervisor": "yes" if " hypervisor" in _read("/proc/cpuinfo") else "no",
        "mitigations": mitigations(),
        "congestion_control": CONGESTION_CONTROL,
        "clock_source": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource").strip(),
        "load_average": _read("/proc/loadavg").split()[:1],
    }
