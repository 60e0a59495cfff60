# A switch over an enum is complete and has no default, so that a new enumerator is an error and not a surprise.
import re

from reader import CXX, ROOT, code_of, files, line_at, name_of, plant, report, text_of

# What may be switched with a default, because its values are no enum of ours: (what stands in the parentheses, why).
OPEN = [
    (r"(\w+[.>-]*)*family\(\)|(\w+[.>-]+)*\w*family\w*", "address families are ints of the kernel"),
    (r"errno|-?(\w+[.>-]+)*(code|error|res|result|errno_value|status)", "errnos and results are ints of the kernel"),
    (r"(\w+[.>-]+)*(c|letter|character|byte|digit)|\w+\[[^\]]*\]|\w+\.(front|back|peek)\(\)", "characters are open"),
    (r"(\w+[.>-]+)*(signal|number|ssi_signo|signo)", "signals are ints of the kernel"),
]
# (file, what is switched): the reason. For what the patterns above don't know.
ALLOWED = {}

_SWITCH = re.compile(r"\bswitch\s*\(")


def inside_parentheses(code, at):
    """What stands in the parentheses that open at `at`."""
    depth = 0
    for end in range(at, len(code)):
        depth += {"(": 1, ")": -1}.get(code[end], 0)
        if depth == 0:
            return code[at + 1:end]
    return code[at + 1:]


def defaults_of(code):
    """(line of the default, what its switch looks at), with nested switches told apart by their braces."""
    out = []
    stack = []  # what the switch looks at, or None for another brace
    subject = None
    for match in re.finditer(r"\bswitch\s*\(|\bdefault\s*:(?!:)|[{};]", code):
        token = match[0]
        if token.startswith("switch"):
            subject = re.sub(r"\s+", " ", inside_parentheses(code, match.end() - 1)).strip()
        elif token == "{":
            stack.append(subject)
            subject = None
        elif token == "}":
            if stack:
                stack.pop()
        elif token.startswith("default"):
            looks_at = next((s for s in reversed(stack) if s is not None), "")
            out.append((line_at(code, match.start()), looks_at))
    return out


def default_violations(root):
    out = []
    for under in ("src", "include", "bpf"):
        for path in files(root, CXX, under):
            file = name_of(path, root)
            for line, subject in defaults_of(code_of(text_of(path))):
                last = subject.split(";")[-1].strip()  # switch (const auto x = f(); x)
                last = re.sub(r"^(?:const )?\w+ (\w+) = .*$", r"\1", last)  # switch (const int x = f())
                if any(re.fullmatch(pattern, last) for pattern, _ in OPEN) or (file, subject) in ALLOWED:
                    continue
                out.append(f"switch ({subject}) has a default: name every enumerator, or say in tests/tree/test_defaults.py "
                           f"why it is open ({file}:{line})")
    return out


def test_no_switch_over_an_enum_has_a_default():
    report(default_violations(ROOT))


# The rule itself.

def test_a_default_is_named_and_an_open_switch_is_not(tmp_path):
    plant(tmp_path, "src/base/x.cc", "// x\nvoid f() {\n  switch (outcome) {\n    case A: break;\n    default: break;\n  }\n"
          "  switch (endpoint.family()) {\n    case 2: { x(); }\n    default: break;\n  }\n"
          "  switch (errno) { default: break; }\n  switch (const int code = connect_to(path)) { default: break; }\n  switch (text[i + 1]) { default: break; }\n"
          "  X() = default;\n  // default: in a comment\n}\n")
    assert default_violations(tmp_path) == ["switch (outcome) has a default: name every enumerator, or say in "
                                            "tests/tree/test_defaults.py why it is open (src/base/x.cc:5)"]


def test_a_default_in_a_nested_switch_is_blamed_on_its_own(tmp_path):
    plant(tmp_path, "src/base/x.cc", "void f() {\n switch (errno) {\n  case 1:\n   switch (stage) {\n    default: break;\n   }\n   break;\n  default: break;\n }\n}\n")
    assert [v.split(" has")[0] for v in default_violations(tmp_path)] == ["switch (stage)"]
