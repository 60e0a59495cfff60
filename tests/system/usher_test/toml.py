"""Writes what a test wants as usher.toml: tables, arrays of tables, and plain values."""
import json


def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    raise TypeError(f"no way to write {value!r}")


def _is_tables(value):
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def dump(table, path=()):
    """The table as text; keys keep their order, tables follow plain values."""
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, dict) and not _is_tables(value)]
    for key, value in table.items():
        name = ".".join((*path, key))
        if isinstance(value, dict):
            lines += ["", f"[{name}]", dump(value, (*path, key)).rstrip()]
        elif _is_tables(value):
            for one in value:
                lines += ["", f"[[{name}]]", dump(one, (*path, key)).rstrip()]
    return "\n".join(lines).lstrip("\n") + "\n"


def backend(name, address, **keys):
    return {"name": name, "address": address, **keys}


def pool(backends, name="app", health="none", **keys):
    """`backends`: addresses, (name, address) pairs, or dicts. Without health checks unless `health` says otherwise."""
    rows = []
    for number, one in enumerate(backends):
        if isinstance(one, str):
            one = backend(f"b{number}", one)
        elif isinstance(one, tuple):
            one = backend(*one)
        rows.append(one)
    return {"name": name, **keys, "health": {"type": health} if isinstance(health, str) else health, "backend": rows}


def listener(bind, name="web", pool="app", **keys):
    return {"name": name, "bind": [bind] if isinstance(bind, str) else list(bind), "pool": pool, **keys}


def config(listeners, pools, workers=2, drain_timeout="5s", **global_keys):
    """A whole configuration; the admin table is the Usher class's own."""
    as_list = lambda one: [one] if isinstance(one, dict) else list(one)
    return {"global": {"workers": workers, "drain_timeout": drain_timeout, "log_level": "debug", **global_keys},
            "listener": as_list(listeners), "pool": as_list(pools)}
