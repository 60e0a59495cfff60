"""The Prometheus text format, parsed as far as the tests need it."""
import re

SAMPLE = re.compile(r'^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$')
LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)",?')


class Metrics:
    def __init__(self, text):
        self.samples = []
        for line in text.splitlines():
            if not line or line.startswith("#"):
                continue
            found = SAMPLE.match(line)
            if not found:
                raise AssertionError(f"not a line of the text format: {line!r}")
            self.samples.append((found.group(1), dict(LABEL.findall(found.group(2) or "")), float(found.group(3))))

    def rows(self, name, **labels):
        return [(have, value) for called, have, value in self.samples
                if called == name and all(have.get(key) == wanted for key, wanted in labels.items())]

    def sum(self, name, **labels):
        """The sum of every row that fits; a metric that isn't there at all is an error, not a zero."""
        rows = self.rows(name, **labels)
        if not rows and not any(called == name for called, _, _ in self.samples):
            raise KeyError(f"no metric {name}")
        return sum(value for _, value in rows)

    def values(self, name, label):
        """{label value: sum} over every row of the metric."""
        found = {}
        for have, value in self.rows(name):
            found[have.get(label)] = found.get(have.get(label), 0) + value
        return found
