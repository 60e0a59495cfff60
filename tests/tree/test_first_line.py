# The first line of every file says, in a sentence, what the file is.
import re

from reader import ROOT, files, name_of, plant, report, text_of

SUFFIXES = {".h", ".cc", ".c", ".py", ".sh", ".cmake", ".toml", ".service"}
_COMMENT = re.compile(r'^(?://|#|/\*+|""")\s*(?P<says>.*?)\s*(?:\*/|""")?$')


def is_script(path, text):
    return path.suffix == "" and text.startswith("#!")


def says_what_it_is(text):
    lines = text.splitlines()
    if lines and lines[0].startswith("#!"):
        lines = lines[1:]
    while lines and "SPDX-License-Identifier" in lines[0]:  # BPF's tools want it first
        lines = lines[1:]
    match = _COMMENT.match(lines[0]) if lines else None
    return match is not None and len(re.findall(r"\w+", match["says"])) >= 3 and not match["says"].startswith("Copyright")


def first_line_violations(root):
    out = []
    for path in files(root):
        text = text_of(path)
        if text is None:
            continue
        if (path.suffix in SUFFIXES or path.name == "CMakeLists.txt" or is_script(path, text)) and not says_what_it_is(text):
            out.append(f"{name_of(path, root)}: the first line doesn't say what this file is")
    return out


def test_every_file_says_what_it_is():
    report(first_line_violations(ROOT))


# The rule itself.

def test_silent_files_are_named(tmp_path):
    silent = {"a.cc": "#include <x>\n", "b.h": "#pragma once\n", "c.py": "import os\n", "d.sh": "#!/bin/sh\nset -e\n", "run": "#!/bin/sh\n\n# Late.\n",
              "e.c": "// Copyright of somebody or other\n", "f.cc": "// x\n", "g.cc": "", "CMakeLists.txt": "project(x)\n"}
    for name, text in silent.items():
        plant(tmp_path, name, text)
    assert sorted(v.split(":")[0] for v in first_line_violations(tmp_path)) == sorted(silent)


def test_speaking_files_pass(tmp_path):
    speaking = {"a.cc": "// Fd: owns one descriptor.\n", "b.h": "/* What both sides share. */\n", "c.py": '"""Starts real servers for tests."""\n',
                "d.sh": "#!/bin/sh\n# Builds and starts usher.\n", "e.c": "// SPDX-License-Identifier: GPL-2.0\n// Picks a worker by load.\n",
                "notes": "free text\n", "LICENSE": "MIT\n"}
    for name, text in speaking.items():
        plant(tmp_path, name, text)
    assert first_line_violations(tmp_path) == []
