# Every type of usher has one definition: rooms share a namespace, and the linker keeps one of two without a word.
import re

from reader import CXX, ROOT, code_of, files, line_at, name_of, plant, report, text_of

_TYPE = re.compile(r"^(?:struct|class|enum class|enum|union)\s+(?:alignas\(\w+\)\s+)?([A-Z]\w*)(?=\s)(?!\s*::)[^;{]*\{", re.MULTILINE)
_ANONYMOUS = re.compile(r"^namespace \{$.*?^\}  // namespace$", re.MULTILINE | re.DOTALL)


def named_types(root):
    """(name, place) of each type that is defined at namespace scope, in no anonymous namespace, under include/ and src/."""
    for path in files(root, CXX, "include") + files(root, CXX, "src"):
        code = code_of(_ANONYMOUS.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text_of(path)))
        for match in _TYPE.finditer(code):
            yield match[1], f"{name_of(path, root)}:{line_at(code, match.start())}"


def double_definitions(root):
    places = {}
    for name, place in named_types(root):
        places.setdefault(name, []).append(place)
    return [f"{name} is defined more than once: {', '.join(all_of)}" for name, all_of in sorted(places.items()) if len(all_of) > 1]


def test_every_type_is_defined_once():
    report(double_definitions(ROOT))


def test_two_types_of_one_name_are_found(tmp_path):
    plant(tmp_path, "src/config/a.h", "// A.\nnamespace usher {\nstruct Member {\n};\n}\n")
    plant(tmp_path, "src/policy/b.h", "// B.\nnamespace usher {\nstruct Member {\n};\n}\n")
    plant(tmp_path, "src/policy/c.cc", "// C.\nnamespace usher {\nnamespace {\nstruct Member {\n};\n}  // namespace\n}\n")
    assert double_definitions(tmp_path) == ["Member is defined more than once: src/config/a.h:3, src/policy/b.h:3"]
