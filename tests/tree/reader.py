# What every test of the tree needs: its files, and C++ without its comments and strings, line for line.
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIPPED_FOLDERS = {".git", "build", "out", "__pycache__", ".pytest_cache", ".cache", "seeds"}
CXX = {".h", ".cc", ".c"}


def files(root, suffixes=None, under=""):
    """Every file below root/under, sorted; `suffixes` narrows it. Build folders and generated ones are left out."""
    found = []
    for folder, folders, names in os.walk(Path(root) / under):
        folders[:] = [f for f in folders if f not in SKIPPED_FOLDERS and not f.startswith("build-")]
        found += [Path(folder) / name for name in names]
    return sorted(f for f in found if suffixes is None or f.suffix in suffixes)


def text_of(path):
    """The file's text, or None where it is no text."""
    raw = path.read_bytes()
    if b"\0" in raw:
        return None
    return raw.decode("utf-8", errors="replace")


def name_of(path, root):
    return Path(path).relative_to(root).as_posix()


_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<raw>R"(?P<tag>[^\s()\\]{0,16})\(.*?\)(?P=tag)")
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<number>\b[0-9][0-9a-fA-FxXbB]*(?:'[0-9a-fA-F]+)+)
      | (?P<char>'(?:[^'\\\n]|\\.)+')""",
    re.DOTALL | re.VERBOSE,
)


def _blank(match):
    """Spaces of the same shape, so that lines and columns stay; a string keeps its quotes."""
    text = match.group(0)
    hollow = re.sub(r"[^\n]", " ", text)
    if match.lastgroup == "comment" or match.group("comment"):
        return hollow
    return text[0].replace("R", " ") + hollow[1:-1] + text[-1] if match.group("string") else hollow


def code_of(text):
    """C++ with comments, strings and characters blanked. `#include` lines keep their name."""
    includes = {m.start("name"): m.group("name") for m in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*(?P<name>"[^"\n]*")', text, re.M)}
    out = _TOKEN.sub(_blank, text)
    for at, name in includes.items():
        out = out[:at] + name + out[at + len(name):]
    return out


def comments_of(text):
    """(line, comment) of C++."""
    return [(text.count("\n", 0, m.start()) + 1, m.group(0)) for m in _TOKEN.finditer(text) if m.group("comment")]


def line_at(text, offset):
    return text.count("\n", 0, offset) + 1


def report(violations):
    """Fails with every violation, one a line."""
    assert not violations, "\n" + "\n".join(violations)


def plant(root, name, text):
    """Writes one file of a small bad tree."""
    path = Path(root) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
