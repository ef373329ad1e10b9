"""The text format of /metrics as numbers."""

import re

LINE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """One scrape: {(name, frozenset of (label, value)): number}."""

    def __init__(self, text):
        self.text = text
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        self.series = {}
        for line in text.splitlines():
            match = LINE.match(line)
            if match and not line.startswith("#"):
                labels = frozenset(LABEL.findall(match["labels"] or ""))
                self.series[match["name"], labels] = float(match["value"])

    def get(self, name, **labels):
        """The sum over the series of this name that have these labels; 0 when there is none."""
        wanted = set(labels.items())
        return sum(value for (found, has), value in self.series.items() if found == name and wanted <= has)

    def moved(self, before):
        """{(name, labels as dict): increase} of the counters that are higher than before."""
        return [
            (name, dict(labels), value - before.series.get((name, labels), 0))
            for (name, labels), value in self.series.items()
            if name.endswith("_total") and value > before.series.get((name, labels), 0)
        ]
