"""Logs as their reference page has them: events, keys, request ids, the audit log, recent errors."""

import collections
import re

from harness.gateway import ROOT

LEVELS = ("debug", "info", "warn", "error")
CALL = re.compile(r'\blog_(debug|info|warn|error|write|lines)(?:_of)?\(((?:[^;"]|"(?:[^"\\]|\\.)*")*);')
EVENT = re.compile(r'"([a-z_]+\.[a-z_]+)"')
PAGE = (ROOT / "docs/logs.md").read_text()
SOURCES = [
    path
    for path in sorted(ROOT.glob("src/*/*.c"))
    if not re.search(r"_(test|fuzz)\.c$|/base/log\.c$", str(path))
]


def spoken():
    """{event: (levels, keys)} of all lines that the source can write."""
    events = collections.defaultdict(lambda: (set(), set()))
    for path in SOURCES:
        for verb, arguments in CALL.findall(path.read_text()):
            levels = [verb] if verb in LEVELS else re.findall(r"LOG_LEVEL_([A-Z]+)", arguments)
            for event in EVENT.findall(arguments):
                events[event][0].update(level.lower() for level in levels or ["warn"])
                events[event][1].update(re.findall(r"\.(app|sid|code) =", arguments))
    return dict(events)


def rows(heading, columns):
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| (`[a-z_]+\.[a-z_]+`.*) \|$", part, re.MULTILINE)
    return [[cell.strip() for cell in row.split(" | ")] for row in found if len(row.split(" | ")) == columns]


def names(cell):
    return set(re.findall(r"`([^`]+)`", cell))


def test_every_event_is_on_the_page_with_its_level_and_keys():
    events = spoken()
    events["log.suppressed"] = (None, {"code"})  # of the log itself, at the level of what it is about
    documented = rows("Events", 4)
    assert [row[0] for row in documented] == sorted(f"`{event}`" for event in events)
    for event, levels, keys, meaning in documented:
        expected = events[event.strip("`")]
        assert expected[0] is None or set(levels.split(", ")) == expected[0], event
        assert names(keys) == expected[1], event
        assert meaning


def test_every_act_of_the_audit_log_is_on_the_page():
    code = "".join(path.read_text() for path in SOURCES)
    acts = set(
        re.findall(
            r'(?:\{\w+, |audit_signal\(|begin_act\(call, |tell_act\(exchange, |\.action = )"(\w+\.\w+)"', code
        )
    )
    assert len(acts) > 8
    documented = [name for row in rows("Audit log", 2) for name in names(row[0])]
    assert sorted(documented) == sorted(acts)
