# The documents: their links lead somewhere in the tree, their configurations are TOML, and the table of walls is the one that is tested.
import re
import tomllib

from reader import ROOT, files, line_at, name_of, plant, report, text_of
from test_walls import MAY

_LINK = re.compile(r"\[[^\]\n]*\]\((?P<to>[^)\s]+)\)")
_BLOCK = re.compile(r"^```toml\n(?P<toml>.*?)^```$", re.MULTILINE | re.DOTALL)


def link_violations(root):
    out = []
    for path in files(root, {".md"}):
        text = text_of(path)
        for match in _LINK.finditer(text):
            to = match["to"].split("#")[0]
            if to and "://" not in to and not to.startswith("mailto:") and not (path.parent / to).exists():
                out.append(f"{to} isn't there ({name_of(path, root)}:{line_at(text, match.start())})")
    return out


def toml_violations(root):
    out = []
    for path in files(root, {".md"}):
        text = text_of(path)
        for match in _BLOCK.finditer(text):
            try:
                tomllib.loads(match["toml"])
            except tomllib.TOMLDecodeError as error:
                out.append(f"no TOML: {error} ({name_of(path, root)}:{line_at(text, match.start())})")
    return out


def example_violations(root):
    """README shows the shipped examples whole; a test of the configuration's reader proves that those are good."""
    text = text_of(root / "README.md")
    shown = [tomllib.loads(match["toml"]) for match in _BLOCK.finditer(text)]
    examples = sorted({match["to"] for match in _LINK.finditer(text) if match["to"].startswith("conf/examples/")})
    return [f"README.md links {example} and shows another" for example in examples
            if (root / example).exists() and tomllib.loads(text_of(root / example)) not in shown]


def undrawn_rooms(root):
    """Rooms of the walls' test that ARCHITECTURE.md's table doesn't show."""
    rows = set(re.findall(r"^\| `(\w+)/?` \|", text_of(root / "ARCHITECTURE.md"), re.MULTILINE))
    return [f"ARCHITECTURE.md doesn't show the room {room}" for room in MAY if room not in rows and room != "main"]


def test_links_lead_somewhere():
    report(link_violations(ROOT))


def test_configurations_in_documents_are_toml():
    report(toml_violations(ROOT))


def test_readme_shows_the_examples_that_are_shipped():
    report(example_violations(ROOT))


def test_every_room_is_in_the_architecture():
    report(undrawn_rooms(ROOT))


# The rules themselves.

def test_a_dead_link_is_named(tmp_path):
    plant(tmp_path, "a.md", "[x](b.md) [y](a.md#part) [z](https://example.org)\n")
    assert link_violations(tmp_path) == ["b.md isn't there (a.md:1)"]


def test_a_block_that_is_no_toml_is_named(tmp_path):
    plant(tmp_path, "a.md", "x\n\n```toml\na = 1\n```\n\n```toml\na = \n```\n")
    found = toml_violations(tmp_path)
    assert len(found) == 1 and found[0].endswith("(a.md:7)")


def test_a_room_without_a_row_is_named(tmp_path):
    rows = "".join(f"| `{room}` | x |\n" for room in MAY if room != "policy")
    plant(tmp_path, "ARCHITECTURE.md", rows)
    assert undrawn_rooms(tmp_path) == ["ARCHITECTURE.md doesn't show the room policy"]


def test_an_example_that_has_moved_on_is_named(tmp_path):
    plant(tmp_path, "conf/examples/a.toml", "# other words\na = 1\n")
    plant(tmp_path, "README.md", "[a](conf/examples/a.toml)\n\n```toml\na = 1\n```\n")
    assert example_violations(tmp_path) == []
    plant(tmp_path, "conf/examples/a.toml", "a = 2\n")
    assert example_violations(tmp_path) == ["README.md links conf/examples/a.toml and shows another"]
