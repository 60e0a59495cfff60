# Words that say nothing, promises that nobody keeps, and places that exist on one machine only.
import re

from reader import CXX, ROOT, code_of, comments_of, files, line_at, name_of, plant, report, text_of

# Written in halves, so that this file may be read by its own rules.
PROMISES = ["TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK"]
PLACES = ["/wo" "rk/", "/fa" "rm/", "deb." "debian.org", "security." "debian.org", "archive." "ubuntu.com", "pypi." "org",
          "files." "pythonhosted.org", "crates." "io", "registry." "npmjs", "proxy." "golang.org", "/home" "/"]

EMPTY_NAMES = {"ctx", "data", "data_", "info", "mgr"}
EMPTY_STARTS = ("handle_", "process_", "do_")
EMPTY_PARTS = {"ctx", "mgr"}

# (file, name): why it may stay. A file ending in "/" is a folder, "" is everywhere.
ALLOWED = {
    ("bpf/", "ctx"): "what every BPF program calls its one argument",
    ("include/usher/base/log.h", "info"): "an enumerator of LogLevel: the word that the configuration uses",
    ("include/usher/relay/session.h", "int fd"): "slots are plain memory: the worker closes a session's sockets by name",
    ("src/admin/http_protocol.cc", "process_request"): "httplib's name for it",
    ("src/steer/kernel_path.cc", "ctx_in"): "libbpf's name for a program's argument",
    ("src/steer/kernel_path.cc", "ctx_size_in"): "likewise",
}

_NAME = re.compile(r"(?:(?P<before>::|\.|->)\s*|(?<!\w))(?P<name>[A-Za-z_]\w*)(?P<after>\s*\(?)")


def allowed(file, word):
    return any(word == name and (file == place or (place.endswith("/") and file.startswith(place)) or place == "")
               for place, name in ALLOWED)


def empty_name(match):
    """Whether the name says nothing where it stands. `x.data()` and `Level::info` are other people's names."""
    name = match["name"]
    if name.endswith("Manager"):
        return True
    if name in EMPTY_NAMES:
        foreign = bool(match["before"]) or (name == "data" and match["after"].endswith("("))
        return not foreign
    return name.startswith(EMPTY_STARTS) or bool(EMPTY_PARTS & set(name.split("_")))


def name_violations(root):
    out = []
    for path in files(root, CXX):
        file = name_of(path, root)
        code = code_of(text_of(path))
        code = re.sub(r"^[ \t]*#[ \t]*include[^\n]*", lambda m: " " * len(m.group()), code, flags=re.M)
        for match in _NAME.finditer(code):
            if empty_name(match) and not allowed(file, match["name"]):
                out.append(f"'{match['name']}' says nothing, name what it is ({file}:{line_at(code, match.start('name'))})")
    return out


def python_name_violations(root):
    out = []
    pattern = re.compile(r"^\s*(?:async\s+)?(?:def|class)\s+(\w+)", re.M)
    for path in files(root, {".py"}):
        file = name_of(path, root)
        text = text_of(path)
        for match in pattern.finditer(text):
            name = match[1]
            if name.endswith("Manager") or name.startswith(EMPTY_STARTS) or EMPTY_PARTS & set(name.split("_")) or name in EMPTY_NAMES:
                out.append(f"'{name}' says nothing, name what it is ({file}:{line_at(text, match.start(1))})")
    return out


def promise_violations(root):
    word = re.compile(r"\b(" + "|".join(PROMISES) + r")\b")
    out = []
    for path in files(root):
        text = text_of(path)
        if text is None:
            continue
        file = name_of(path, root)
        if path.suffix in CXX:
            places = [(line + comment.count("\n", 0, m.start()), m[1]) for line, comment in comments_of(text) for m in word.finditer(comment)]
            places += [(line_at(text, m.start()), m[1]) for m in word.finditer(code_of(text))]
        else:
            places = [(line_at(text, m.start()), m[1]) for m in word.finditer(text)]
        out += [f"{found} is a promise: keep it or drop it ({file}:{line})" for line, found in sorted(places)]
    return out


def place_violations(root):
    place = re.compile("|".join(re.escape(p) for p in PLACES))
    out = []
    for path in files(root):
        text = text_of(path)
        if text is not None:
            file = name_of(path, root)
            out += [f"'{m[0]}' belongs to one machine ({file}:{line_at(text, m.start())})" for m in place.finditer(text)]
    return out


def raw_descriptor_violations(root):
    """A public header hands descriptors over as Fd, so that somebody owns them."""
    pattern = re.compile(r"\b(?:int|std::int32_t|int32_t)\s+(fd|\w+_fd_?|fd_\w*|descriptor|\w+_descriptor)\b")
    out = []
    for path in files(root, CXX, "include"):
        code = code_of(text_of(path))
        file = name_of(path, root)
        if not allowed(file, "int fd"):
            out += [f"'{m[0]}': a public header hands out descriptors as Fd ({file}:{line_at(code, m.start())})" for m in pattern.finditer(code)]
    return out


def test_names_say_something():
    report(name_violations(ROOT) + python_name_violations(ROOT))


def test_no_promises():
    report(promise_violations(ROOT))


def test_no_machine_paths_and_no_registry_hosts():
    report(place_violations(ROOT))


def test_no_raw_descriptors_in_public_headers():
    report(raw_descriptor_violations(ROOT))


# The rules themselves.

def test_empty_names_are_found_and_foreign_ones_are_not(tmp_path):
    plant(tmp_path, "src/base/x.cc", "// info in a comment, data too\n"
          "#include <bits/info.h>\n"
          "int ctx; auto info = 1; SessionManager m; void handle_read(); void process_it(); void do_it();\n"
          "int my_mgr; int data_; auto data = v.data(); std::data(v); x.info; L::info; \"info\"; int database, undo_log, informed;\n")
    found = [v.split("'")[1] for v in name_violations(tmp_path)]
    assert found == ["ctx", "info", "SessionManager", "handle_read", "process_it", "do_it", "my_mgr", "data_", "data"]
    assert name_violations(tmp_path)[0] == "'ctx' says nothing, name what it is (src/base/x.cc:3)"


def test_empty_names_of_python_are_found(tmp_path):
    plant(tmp_path, "tests/x.py", "class PoolManager:\n    def handle_it(self):\n        pass\n    def serve(self):\n        pass\n")
    assert [v.split("'")[1] for v in python_name_violations(tmp_path)] == ["PoolManager", "handle_it"]


def test_an_exception_holds_for_its_file_only(tmp_path):
    plant(tmp_path, "bpf/x.bpf.c", "int f(struct sk_reuseport_md *ctx);\n")
    assert name_violations(tmp_path) == []
    plant(tmp_path, "src/base/x.cc", "int f(int *ctx);\n")
    assert len(name_violations(tmp_path)) == 1


def test_promises_are_found_in_comments_names_and_scripts(tmp_path):
    word = PROMISES[0]
    plant(tmp_path, "src/base/x.cc", f"// x\n/* one\n   {word}: later */\nint {PROMISES[1]};\nauto s = \"{word}\";\n")
    plant(tmp_path, "tools/x", f"# {PROMISES[3]}\n")
    assert promise_violations(tmp_path) == [f"{word} is a promise: keep it or drop it (src/base/x.cc:3)",
                                            f"{PROMISES[1]} is a promise: keep it or drop it (src/base/x.cc:4)",
                                            f"{PROMISES[3]} is a promise: keep it or drop it (tools/x:1)"]


def test_machine_paths_and_hosts_are_found_anywhere(tmp_path):
    for place in PLACES:
        plant(tmp_path, "README.md", f"see\n{place}x\n")
        assert place_violations(tmp_path) == [f"'{place}' belongs to one machine (README.md:2)"]


def test_raw_descriptors_are_found_in_public_headers_only(tmp_path):
    plant(tmp_path, "src/base/x.h", "int fd;\n")
    plant(tmp_path, "include/usher/base/x.h", "// int fd\nint fd = -1;\nvoid f(int client_fd);\nint fdx;\n")
    assert raw_descriptor_violations(tmp_path) == [
        "'int fd': a public header hands out descriptors as Fd (include/usher/base/x.h:2)",
        "'int client_fd': a public header hands out descriptors as Fd (include/usher/base/x.h:3)"]
