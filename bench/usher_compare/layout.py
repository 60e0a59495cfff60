"""JSON that a person can read and compare: one line for each measurement and each contender, and few for the rest."""
import json

WIDTH = 120


def line(value):
    return json.dumps(value, ensure_ascii=False)


def holds_lists(value):
    """Whether a list is in it anywhere. A dict that holds none is a record: one line, however long."""
    return isinstance(value, list) or isinstance(value, dict) and any(holds_lists(one) for one in value.values())


def filled(members, indent):
    """Members side by side until a line has reached the width."""
    out = ""
    for member in members:
        full = len(out.rpartition("\n")[2]) >= WIDTH
        out += (f",\n{indent}" if full else ", " if out else "") + member
    return out


def dumps(value, indent=""):
    """The text of `value`, which json.loads reads back as it was."""
    inner = indent + " "
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return f"[\n{inner}" + f",\n{inner}".join(dumps(one, inner) for one in value) + f"\n{indent}]"
    named_records = isinstance(value, dict) and value and all(isinstance(one, dict) for one in value.values())
    if not isinstance(value, dict) or not (named_records or holds_lists(value)):
        return line(value)
    members = [f"{line(key)}: {dumps(one, inner)}" for key, one in value.items()]
    return f"{{\n{inner}" + (f",\n{inner}".join(members) if named_records else filled(members, inner)) + f"\n{indent}}}"
