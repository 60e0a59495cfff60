# Sizes: what grows past them says why, in a comment "long: REASON".
import ast
import re

from reader import CXX, ROOT, code_of, files, line_at, name_of, plant, report, text_of

HEADER_LINES_MAX = 200
SOURCE_LINES_MAX = 450
FUNCTION_LINES_MAX = 70
SOURCES = {".cc", ".c", ".py"}

_REASON = re.compile(r"(//|#)\s*long:\s*\S+")
_NO_FUNCTION = re.compile(r"^\s*(?:(?:inline\s+)?namespace|class|struct|union|enum|concept|requires)\b")
_BEFORE_HEAD = re.compile(r"(?:\s|\b(?:public|private|protected)\s*:)*")
_CONTROL = re.compile(r"^\s*(?:if|for|while|switch|else|do|try|catch|return)\b")


def is_function(head):
    """Whether the code in front of a brace, since the last statement, opens a function."""
    head = re.sub(r"^\s*#[^\n]*", "", head, flags=re.M)
    head = re.sub(r"template\s*<[^{}]*?>\s*(?=[\w:\[])", "", head).strip()
    head = re.sub(r"^(?:\s|\[\[[^\]]*\]\]|(?:public|private|protected)\s*:)*", "", head)
    if "(" not in head or _NO_FUNCTION.match(head) or _CONTROL.match(head):
        return False
    return re.search(r"=\s*$|=\s*\{?$", head) is None


def functions_of(code):
    """(first line, last line) of every function at the outer level, found by its braces."""
    found = []
    stack = []  # (is it a function, where its head starts)
    head_start = 0
    inside = 0
    for at, letter in enumerate(code):
        if letter == "{":
            head = code[head_start:at]
            if inside == 0 and head.count("(") > head.count(")"):  # a default argument: the head goes on behind it
                stack.append((False, None))
                continue
            function = inside == 0 and is_function(head)
            stack.append((function, head_start))
            inside += function
            head_start = at + 1
        elif letter == "}" and stack:
            function, start = stack.pop()
            if start is None:
                continue
            head_start = at + 1
            if function:
                inside -= 1
                if re.match(r"\s*[,{]", code[at + 1:at + 200]):  # `: a_{1}, b_{2} {`: that was no body yet
                    head_start = start
                else:
                    first = _BEFORE_HEAD.match(code, start).end()
                    found.append((line_at(code, first), line_at(code, at)))
        elif letter == ";" and inside == 0:
            head_start = at + 1
    return found


def has_reason(lines, first, last):
    return any(_REASON.search(line) for line in lines[max(0, first - 1):last])


def size_violations(root):
    out = []
    for path in files(root, CXX | SOURCES):
        file, text = name_of(path, root), text_of(path)
        lines = text.splitlines()
        limit = HEADER_LINES_MAX if path.suffix == ".h" else SOURCE_LINES_MAX
        if len(lines) > limit and not has_reason(lines, 1, 10):
            out.append(f"{file} has {len(lines)} lines, {limit} are the limit: split it, or say 'long: why' at its top")
        if path.suffix == ".py":
            nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
            functions = [(n.lineno, n.end_lineno) for n in nodes]
        else:
            functions = functions_of(code_of(text))
        for first, last in functions:
            if last - first + 1 > FUNCTION_LINES_MAX and not has_reason(lines, first - 3, first + 3):
                out.append(f"{file}:{first}: a function of {last - first + 1} lines, {FUNCTION_LINES_MAX} are the limit: "
                           "split it, or say 'long: why' above it")
    return out


def test_what_is_long_says_why():
    report(size_violations(ROOT))


# The rules themselves.

BODY = "  x();\n" * 70


def test_long_files_are_named_unless_they_say_why(tmp_path):
    plant(tmp_path, "include/usher/base/x.h", "// x\n" + "int a;\n" * 200)
    plant(tmp_path, "src/base/x.cc", "// x\n" + "int a;\n" * 450)
    plant(tmp_path, "src/base/y.cc", "// x\n// long: a table of the standard\n" + "int a;\n" * 450)
    plant(tmp_path, "src/base/z.cc", "// x\n" + "int a;\n" * 449)
    assert [v.split(" has ")[0] for v in size_violations(tmp_path)] == ["include/usher/base/x.h", "src/base/x.cc"]


def test_long_functions_are_named_however_they_are_written(tmp_path):
    heads = ["void f() ", "TEST_CASE(\"a { b\") ", "template <typename T, typename U = int>\nauto A<T>::f(T (*g)(int)) const noexcept -> int ",
             "A::A(int a) : a_{a}, b_(a), c_{1, 2} ", "[[nodiscard]] static bool f(std::vector<int> v = {}) ", "extern \"C\" int f() "]
    for head in heads:
        plant(tmp_path, "src/base/x.cc", "// x\nnamespace a {\nclass B {\n public:\n" + head + "{\n" + BODY + "}\n};\n}\n")
        assert [v.split(": a function")[0] for v in size_violations(tmp_path)] == ["src/base/x.cc:5"], head
        plant(tmp_path, "src/base/x.cc", "// x\n// long: one line a state\n" + head + "{\n" + BODY + "}\n")
        assert size_violations(tmp_path) == [], head


def test_what_is_long_and_no_function_is_left_alone(tmp_path):
    for head in ["namespace a ", "struct A ", "enum class E : int ", "const int table[] = ", "static const std::vector<int> v = "]:
        plant(tmp_path, "src/base/x.cc", "// x\n" + head + "{\n" + "  // a\n" * 80 + "};\n")
        assert size_violations(tmp_path) == [], head
    plant(tmp_path, "src/base/x.cc", "// x\nvoid f() {\n" + "  x();\n" * 68 + "}\n")
    assert size_violations(tmp_path) == []


def test_long_functions_of_python_are_named(tmp_path):
    plant(tmp_path, "tests/x.py", "# x\ndef f():\n" + "    x()\n" * 70)
    assert [v.split(": a function")[0] for v in size_violations(tmp_path)] == ["tests/x.py:2"]
