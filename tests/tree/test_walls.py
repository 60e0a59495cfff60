# The walls between the rooms: who may include whom, which library belongs to one room alone, and what the linker is told.
import re

from reader import CXX, ROOT, code_of, files, line_at, name_of, plant, report, text_of

# ROOM: the rooms whose public headers it may include, "room" for all of them or "room/header.h" for one. ARCHITECTURE.md
# shows the same table and says why.
MAY = {
    "base": [],
    "ring": ["base"],
    "policy": ["base"],
    "health": ["base"],
    "metrics": ["base"],
    # backend.h for its limits: what a file may ask for is what policy can hold
    "config": ["base", "policy/options.h", "policy/backend.h", "health/options.h"],
    "relay": ["base", "ring"],
    "worker": ["base", "ring", "relay", "policy", "metrics"],
    "steer": ["base"],
    "load": ["base", "ring"],
    # relay's innards (flow, session, pump, pipes) are the worker's business
    "control": ["base", "ring", "policy", "health", "metrics", "config", "relay/proxy_header.h", "worker", "steer"],
    "admin": ["base", "control/service.h", "metrics"],
    # the one that builds the parts and shows them: it starts control and admin, and reads what Service reports
    "cli": ["base", "config", "control", "admin", "metrics", "load/histogram.h", "steer/dsr_backend.h"],
    # a program of its own; units.h so that durations and sizes are written as in the configuration
    "bench": ["base", "load", "config/units.h"],
    "main": ["cli", "bench"],
    "bpf": ["steer/abi.h", "steer/path_abi.h", "steer/dsr_abi.h"],
}

# A library and the rooms that alone may include it.
ALONE = [
    (r"liburing(/|\.h)", "liburing", ["ring"]),
    (r"bpf/(?!bpf_)", "libbpf", ["steer"]),
    (r"bpf/bpf_|vmlinux\.h", "libbpf's headers for BPF programs", ["bpf"]),
    (r".*\.skel\.h", "a BPF skeleton", ["steer"]),
    (r"toml\+\+/|toml\.hpp", "toml++", ["config"]),
    (r"httplib\.h", "the HTTP library", ["admin"]),
    (r"nlohmann/", "the JSON library", ["admin", "cli", "bench"]),  # cli reads what the API answers, bench its own reports
    (r"CLI/", "the command line library", ["cli", "bench"]),
    (r"systemd/", "libsystemd", ["control"]),
    (r"libmnl/", "libmnl", ["control"]),
    (r"prometheus/", "the Prometheus library", ["metrics"]),
    (r"spdlog/", "spdlog", ["base"]),
    (r"ares(_.*)?\.h", "c-ares", []),
    (r"fmt/", "fmt", [room for room in MAY if room not in ("main", "bpf")]),
]
# The kernel's and the C library's headers that have a folder.
SYSTEM_FOLDERS = ("sys/", "netinet/", "arpa/", "linux/", "net/", "asm/")
LIBC = {"assert", "ctype", "dirent", "endian", "errno", "fcntl", "grp", "ifaddrs", "limits", "math", "netdb", "poll", "pthread", "pwd",
        "sched", "semaphore", "signal", "spawn", "stdarg", "stdbool", "stddef", "stdint", "stdio", "stdlib", "string", "strings",
        "syslog", "termios", "time", "ucontext", "unistd", "utime", "wait"}
# System calls that belong to one room. `x.splice(` is a list's.
CALLS = [(r"(?<![\w.>])(?:::\s*)?(splice|vmsplice|tee|pipe2|pipe)\s*\(", ["relay"])]

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"(?P<own>[^"\n]+)"|<(?P<system>[^>\n]+)>)', re.M)


def room_of(name):
    """The room that a file belongs to, and whether it is a public header; (None, False) for what has no walls."""
    parts = name.split("/")
    if parts[:2] == ["include", "usher"] and len(parts) > 3:
        return parts[2], True
    if parts[0] == "src":
        return (parts[1] if len(parts) > 2 else "main"), False
    if parts[0] == "bpf":
        return "bpf", False
    return None, False


def may_know(room, header):
    """`header` is "room/name.h" below include/usher."""
    return any(header == allowed or header.startswith(allowed + "/") for allowed in MAY[room] + [room])


def own_include(name, room, public, header):
    """Why a file of `room` may not include "header"; None where it may."""
    if header.startswith("usher/"):
        target = header[len("usher/"):]
        if may_know(room, target):
            return None
        whole = target.split("/")[0]
        return f"{room} may not include {target if any(a.startswith(whole + '/') for a in MAY[room]) else whole}"
    if header.endswith(".skel.h"):
        return None
    if public:
        return f"a public header may not include the private {header}"
    if header.startswith(f"{room}/"):
        return None
    if "/" not in header:
        return f"{room} must name {header} with its room"
    return f"{room} may not include {header.split('/')[0]}'s private {header}"


def library_include(room, public, header):
    for pattern, library, rooms in ALONE:
        if re.match(pattern, header):
            if room not in rooms:
                return f"{room} may not include {library}"
            return f"a public header may not include {library}" if public and library != "fmt" else None
    stem = header[:-2] if header.endswith(".h") else header
    if header.startswith(SYSTEM_FOLDERS) or (header.endswith(".h") and stem in LIBC) or re.fullmatch(r"[a-z_0-9]+", header):
        return None
    return f"{room} includes <{header}>, a library that no room was given"


def wall_violations(root):
    out = []
    for path in files(root, CXX):
        name = name_of(path, root)
        room, public = room_of(name)
        if room is None:
            continue
        if room not in MAY:
            out.append(f"{room} is no room of the house ({name})")
            continue
        code = code_of(text_of(path))
        for match in _INCLUDE.finditer(code):
            header = match["own"] or match["system"]
            wrong = own_include(name, room, public, header) if match["own"] else None
            if wrong is None and (match["system"] or header.endswith(".skel.h")):
                wrong = library_include(room, public, header)
            if wrong:
                out.append(f"{wrong} ({name}:{line_at(code, match.start())})")
        for pattern, rooms in CALLS:
            if room not in rooms:
                out += [f"{room} may not call {m[1]} ({name}:{line_at(code, m.start(1))})" for m in re.finditer(pattern, code)]
    return out


def unit_test_violations(root):
    """A room's tests see its private headers, their own, and what the room itself may know."""
    needs = dict(re.findall(r"usher_room_test\((\w+) NEEDS ([\w ]+?)(?: LIBS[^)]*)?\)", text_of(root / "tests/CMakeLists.txt") or ""))
    out = []
    for path in files(root, CXX, "tests/unit"):
        name = name_of(path, root)
        room = name.split("/")[2]
        if room not in MAY:
            out.append(f"{room} is no room of the house ({name})")
            continue
        code = code_of(text_of(path))
        for match in _INCLUDE.finditer(code):
            header = match["own"]
            if header is None or "/" not in header:
                continue
            known = needs.get(room, "").split() + [room]
            if header.startswith("usher/"):
                fits = may_know(room, header[len("usher/"):]) or header.split("/")[1] in known
            else:
                fits = header.split("/")[0] in known
            if not fits:
                out.append(f"the tests of {room} may not include {header} ({name}:{line_at(code, match.start())})")
    return out


def link_violations(root):
    """What src/CMakeLists.txt links is a subset of MAY, so that the linker stands guard too."""
    out = []
    text = text_of(root / "src/CMakeLists.txt")
    rooms = re.findall(r"^usher_room\((\w+)([^)]*)\)", text, re.M)
    for room, rest in rooms:
        if room not in MAY:
            out.append(f"{room} is no room of the house (src/CMakeLists.txt)")
            continue
        may = {allowed.split("/")[0] for allowed in MAY[room]}
        needs = re.search(r"NEEDS ([\w ]+?)(?: LIBS|$)", rest)
        out += [f"{room} may not link {need} (src/CMakeLists.txt)" for need in (needs[1].split() if needs else []) if need not in may]
    out += [f"{room} has no usher_room() (src/CMakeLists.txt)" for room in MAY if room not in ("main", "bpf", *dict(rooms))]
    return out


def test_every_room_includes_only_what_it_may():
    report(wall_violations(ROOT))


def test_unit_tests_include_only_what_their_room_may():
    report(unit_test_violations(ROOT))


def test_the_linker_is_told_the_same_table():
    report(link_violations(ROOT))


# The rules themselves.

def one_bad_file(tmp_path, name, text):
    plant(tmp_path, name, text)
    return wall_violations(tmp_path)


def test_a_wall_that_is_crossed_is_named_with_file_and_line(tmp_path):
    assert one_bad_file(tmp_path, "src/relay/x.cc", '// x\n#include "usher/policy/picker.h"\n') == [
        "relay may not include policy (src/relay/x.cc:2)"]


def test_public_headers_have_walls_too(tmp_path):
    assert one_bad_file(tmp_path, "include/usher/base/x.h", '#include "usher/ring/ring.h"\n') == [
        "base may not include ring (include/usher/base/x.h:1)"]
    assert one_bad_file(tmp_path, "include/usher/base/x.h", '#include "base/y.h"\n') == [
        "a public header may not include the private base/y.h (include/usher/base/x.h:1)"]


def test_one_header_of_a_room_is_not_the_whole_room(tmp_path):
    assert one_bad_file(tmp_path, "src/config/x.cc", '#include "usher/policy/options.h"\n') == []
    assert one_bad_file(tmp_path, "src/config/x.cc", '#include "usher/policy/picker.h"\n') == [
        "config may not include policy/picker.h (src/config/x.cc:1)"]
    assert one_bad_file(tmp_path, "src/config/x.cc", "")  == []
    assert one_bad_file(tmp_path, "src/control/x.cc", '#include "usher/relay/pump.h"\n') == [
        "control may not include relay/pump.h (src/control/x.cc:1)"]


def test_private_headers_stay_in_their_room(tmp_path):
    assert one_bad_file(tmp_path, "src/admin/x.cc", '#include "control/world.h"\n') == [
        "admin may not include control's private control/world.h (src/admin/x.cc:1)"]
    assert one_bad_file(tmp_path, "src/admin/x.cc", '#include "world.h"\n') == [
        "admin must name world.h with its room (src/admin/x.cc:1)"]
    assert one_bad_file(tmp_path, "src/admin/x.cc", '#include "admin/api.h"\n') == []


def test_libraries_stay_in_their_room(tmp_path):
    cases = {"<liburing.h>": "liburing", "<toml++/toml.hpp>": "toml++", "<bpf/libbpf.h>": "libbpf", '"steer.skel.h"': "a BPF skeleton",
             "<httplib.h>": "the HTTP library", "<nlohmann/json.hpp>": "the JSON library", "<CLI/CLI.hpp>": "the command line library",
             "<systemd/sd-daemon.h>": "libsystemd", "<prometheus/registry.h>": "the Prometheus library", "<spdlog/spdlog.h>": "spdlog"}
    for header, library in cases.items():
        assert one_bad_file(tmp_path, "src/policy/x.cc", f"#include {header}\n") == [f"policy may not include {library} (src/policy/x.cc:1)"]
    plant(tmp_path, "src/policy/x.cc", "#include <vector>\n#include <sys/socket.h>\n#include <unistd.h>\n#include <fmt/format.h>\n")
    assert wall_violations(tmp_path) == []
    assert one_bad_file(tmp_path, "src/policy/x.cc", "#include <boost/asio.hpp>\n") == [
        "policy includes <boost/asio.hpp>, a library that no room was given (src/policy/x.cc:1)"]
    plant(tmp_path, "src/policy/x.cc", "")
    assert one_bad_file(tmp_path, "include/usher/ring/x.h", "#include <liburing.h>\n") == [
        "a public header may not include liburing (include/usher/ring/x.h:1)"]


def test_calls_stay_in_their_room(tmp_path):
    bad = "void f() {\n  // splice( in a comment\n  a.splice(b);\n  ::splice(1, 2);\n  log(\"pipe2(2)\");\n  pipe2(p, 0);\n}\n"
    assert one_bad_file(tmp_path, "src/worker/x.cc", bad) == [
        "worker may not call splice (src/worker/x.cc:4)", "worker may not call pipe2 (src/worker/x.cc:6)"]
    (tmp_path / "src/worker/x.cc").unlink()
    assert one_bad_file(tmp_path, "src/relay/x.cc", bad) == []


def test_a_room_that_nobody_drew_is_named(tmp_path):
    assert one_bad_file(tmp_path, "src/attic/x.cc", "// x\n") == ["attic is no room of the house (src/attic/x.cc)"]


def test_a_unit_test_that_looks_into_another_room_is_named(tmp_path):
    plant(tmp_path, "tests/CMakeLists.txt", "usher_room_test(relay)\nusher_room_test(admin NEEDS cli LIBS x)\n")
    plant(tmp_path, "tests/unit/relay/a_test.cc", '#include "usher/relay/flow.h"\n#include "usher/policy/picker.h"\n#include "worker/loop.h"\n')
    plant(tmp_path, "tests/unit/admin/a_test.cc", '#include "usher/cli/cli.h"\n#include "admin/api.h"\n#include "fake.h"\n')
    assert unit_test_violations(tmp_path) == [
        "the tests of relay may not include usher/policy/picker.h (tests/unit/relay/a_test.cc:2)",
        "the tests of relay may not include worker/loop.h (tests/unit/relay/a_test.cc:3)"]


def test_a_link_that_the_table_forbids_is_named(tmp_path):
    good = "".join(f"usher_room({room} NEEDS base)\n" for room in MAY if room not in ("base", "main", "bpf", "policy"))
    plant(tmp_path, "src/CMakeLists.txt", "usher_room(base LIBS)\n" + good + "usher_room(policy NEEDS base relay LIBS x)\n")
    assert link_violations(tmp_path) == ["policy may not link relay (src/CMakeLists.txt)"]
    plant(tmp_path, "src/CMakeLists.txt", "usher_room(base LIBS)\n" + good)
    assert link_violations(tmp_path) == ["policy has no usher_room() (src/CMakeLists.txt)"]
