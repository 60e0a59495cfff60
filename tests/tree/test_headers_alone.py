# Every public header compiles alone, without another one in front of it.
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from reader import ROOT, files, name_of, plant, report

COMPILER = os.environ.get("CXX") or "g++"
FLAGS = ["-std=c++23", "-fsyntax-only", "-x", "c++", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-DSPDLOG_COMPILED_LIB", "-DSPDLOG_FMT_EXTERNAL"]
SECONDS_MAX = 120

pytestmark = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"no {COMPILER} here")


def complaint_about(root, header):
    """The compiler's first complaint, or None. Included twice: the second time must be silent."""
    include = header.relative_to(root / "include").as_posix()
    source = f'#include "{include}"\n#include "{include}"\n'
    done = subprocess.run([COMPILER, *FLAGS, "-I", str(root / "include"), "-"], input=source, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS_MAX)
    if done.returncode == 0:
        return None
    first = next((line for line in done.stdout.splitlines() if re.search(r"\berror\b", line)), done.stdout[:300])
    return f"{name_of(header, root)} doesn't compile alone: {first}"


def alone_violations(root):
    with ThreadPoolExecutor(max_workers=2) as two:
        answers = two.map(lambda header: complaint_about(root, header), files(root, {".h"}, "include/usher"))
        return [answer for answer in answers if answer is not None]


def test_every_public_header_compiles_alone():
    report(alone_violations(ROOT))


# The rule itself.

def test_a_header_that_leans_on_another_is_named(tmp_path):
    plant(tmp_path, "include/usher/base/leans.h", "#pragma once\nstd::string name();\n")
    plant(tmp_path, "include/usher/base/once.h", "struct Twice {};\n")
    plant(tmp_path, "include/usher/base/stands.h", "#pragma once\n#include <string>\nstd::string name();\n")
    found = alone_violations(tmp_path)
    assert [v.split(" ")[0] for v in found] == ["include/usher/base/leans.h", "include/usher/base/once.h"]
