"""Runs the Autobahn|Testsuite's cases against an echo endpoint, by either of two programs.

`kosoku` is a Python 3 runner of the suite's own case files, installed with the other test packages. The
original runs on CPython 2.7 alone; where a machine has that, install_original() makes it a place of its own.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "autobahn"

# The suite's last release, and the packages of its time that it runs on.
ORIGINAL = [
    "pyOpenSSL==19.1.0",
    "cryptography==3.3.2",
    "Twisted==19.10.0",
    "txaio==2.1.0",
    "zope.interface==4.6.0",
    "jinja2==2.11.3",
    "markupsafe==1.1.1",
    "Werkzeug==1.0.1",
    "klein==17.10.0",
    "service_identity==18.1.0",
    "unittest2==1.1.0",
    "six==1.16.0",
]
ORIGINAL_ALONE = ["autobahn==0.10.9", "autobahntestsuite==25.10.1"]

GOOD = {"OK", "INFORMATIONAL"}


def mend_kosoku():
    """Version 0.1.0 gives a text message to the compression cases as str, where they compare bytes: 12 cases
    end in an error when a server leaves a small message uncompressed. Encoding it first mends that."""
    package = pathlib.Path(importlib.util.find_spec("kosoku").origin).parent
    path = package / "cases" / "case12_x_x.py"
    text = path.read_text()
    head = "def onMessage(self, msg, binary):\n"
    mended = head + '   msg = msg if isinstance(msg, bytes) else msg.encode("utf-8")\n'
    if mended not in text:
        assert head in text, "kosoku's cases have changed; see whether they still need mending"
        path.write_text(text.replace(head, mended))


def run_kosoku(url, exclude=(), timeout=600):
    """{case id: (behaviour, behaviour at the close)} of every case but those that match exclude."""
    mend_kosoku()
    out = fresh_folder("kosoku")
    program = pathlib.Path(sys.executable).parent / "kosoku"
    command = [str(program), "-p", str(os.cpu_count()), "-o", str(out), url]
    for pattern in exclude:
        command += ["-x", pattern]
    run_logged(command, out, timeout)
    return read_report(out)


def run_original(url, exclude=(), timeout=3600):
    """The same by the original."""
    out = fresh_folder("original")
    spec = {
        "outdir": str(out),
        "servers": [{"agent": "tidegate", "url": url}],
        "cases": ["*"],
        "exclude-cases": list(exclude),
        "exclude-agent-cases": {},
    }
    (out / "spec.json").write_text(json.dumps(spec))
    program = CACHE / "python2" / "bin" / "wstest"
    run_logged([str(program), "-m", "fuzzingclient", "-s", str(out / "spec.json")], out, timeout)
    return read_report(out)


def fresh_folder(name):
    out = CACHE / "reports" / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    return out


def run_logged(command, out, timeout):
    with (out / "log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=timeout, check=False, cwd=out)


def read_report(out):
    """Both programs write the same index."""
    index = json.loads((out / "index.json").read_text())
    return {
        case: (result["behavior"], result["behaviorClose"])
        for agent in index.values()
        for case, result in agent.items()
    }


def not_ok(results):
    """The cases that are not plain OK: a non-strict or unimplemented one is a failure here."""
    return {case: found for case, found in results.items() if not set(found) <= GOOD}


def find_python2():
    """A CPython 2.7, or None."""
    managed = pathlib.Path.home().glob(".pyenv/versions/2.7.*/bin/python2.7")
    usual = [pathlib.Path(folder) / "python2.7" for folder in ("/usr/local/bin", "/usr/bin")]
    return next((str(path) for path in [*managed, *usual] if path.exists()), None)


def install_original(python2):
    place, done = CACHE / "python2", CACHE / "python2" / ".installed"
    if done.exists():
        return
    shutil.rmtree(place, ignore_errors=True)
    maker = CACHE / "virtualenv"
    check([sys.executable, "-m", "venv", maker])
    # The last virtualenv that knows Python 2.
    check([maker / "bin" / "pip", "install", "-q", "virtualenv==20.15.1"])
    check([maker / "bin" / "virtualenv", "-q", "-p", python2, place])
    pip = [place / "bin" / "pip", "install", "-q", "--no-python-version-warning"]
    check([*pip, "setuptools==44.0.0", "incremental==16.10.1"])
    check([*pip, *ORIGINAL])
    for package in ORIGINAL_ALONE:
        check([*pip, "--no-build-isolation", "--no-deps", package])
    done.touch()


def check(command):
    subprocess.run([str(part) for part in command], check=True)
