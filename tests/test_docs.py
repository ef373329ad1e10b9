"""The documents are true: their commands run, their links lead somewhere, what they name exists.

A fenced `sh` block is run against a gateway like the one of `./dev run`. A comment above it may say more:
`<!-- docs-test: REASON -->` is why it isn't run here. A `json` block right behind it shows the answer: same
keys, other values.
"""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml
from harness import tokens
from harness.gateway import ROOT, Gateway, wait_for
from harness.site import serving_site

PAGES = [
    *(
        ROOT / name
        for name in (
            "README.md",
            "README.zh-CN.md",
            "ARCHITECTURE.md",
            "sdk/js/README.md",
            "examples/README.md",
        )
    ),
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(
    r"^(?:<!-- docs-test: (?P<reason>.*?) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```\n"
    r"(?:\n```json\n(?P<answer>.*?)^```)?",
    re.MULTILINE | re.DOTALL,
)
CURLRC = "silent\nshow-error\nfail-with-body\nmax-time = 20\n"
SECONDS = 30


def name_of(page):
    return str(page.relative_to(ROOT))


def blocks(page, kind):
    return [match for match in BLOCK.finditer(page.read_text()) if match["kind"] == kind]


WITH_COMMANDS = [page for page in PAGES if any(not block["reason"] for block in blocks(page, "sh"))]


class Place:
    """A folder that looks like the root of the source while ./dev run runs."""

    def __init__(self, gateway, folder):
        self.gateway, self.folder = gateway, folder
        self.home = folder / "home"
        run = folder / "build" / "run"
        run.mkdir(parents=True)
        (folder / "build" / "release").mkdir()
        self.home.mkdir()
        (self.home / ".curlrc").write_text(CURLRC)
        (run / "auth-header").write_text(f"Authorization: Bearer {gateway.api_key}\n")
        shutil.copy(gateway.config_path, run / "tidegate.yaml")
        (folder / "build" / "release" / "tidegate").symlink_to(ROOT / "build" / gateway.preset / "tidegate")
        for name in ("config", "docs", "deploy"):
            (folder / name).symlink_to(ROOT / name)

    def adapt(self, text):
        """The ports of this gateway instead of the usual ones."""
        gateway = self.gateway
        for usual, ours in (
            (8080, gateway.client_port),
            (8081, gateway.api_port),
            (8082, gateway.admin_port),
        ):
            text = text.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{ours}")
        text = text.replace("release/tidegate push", f"release/tidegate push --url {gateway.api_url('')}")
        return re.sub(
            "release/tidegate tail(?! --url)", f"release/tidegate tail --url {gateway.ws_url()}", text
        ).replace("ws://127.0.0.1:8080", gateway.ws_url(""))

    def run(self, text):
        ours = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.adapt(text)],
            cwd=self.folder,
            env={**ours, "CURL_HOME": str(self.home), "gateway": str(self.gateway.process.pid)},
            capture_output=True,
            text=True,
            timeout=SECONDS * self.gateway.slowness,
            check=False,
        )


@pytest.fixture
def place(request, tmp_path):
    folder = tmp_path / "gateway"
    folder.mkdir()
    demo = {"debug": {"demo": True}}
    gateway = Gateway(request.config.getoption("preset"), folder, demo).start()
    yield Place(gateway, tmp_path)
    gateway.stop()


def keys_of(value):
    """What has to be the same in an answer and in the example of it."""
    if isinstance(value, dict):
        return {name: keys_of(inner) for name, inner in value.items()}
    return type(value).__name__


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_the_commands_of_a_page_run(place, page):
    for block in blocks(page, "sh"):
        if block["reason"]:
            continue
        done = place.run(block["text"])
        words = f"{block['text']}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, words
        if block["answer"]:
            assert keys_of(json.loads(done.stdout)) == keys_of(json.loads(block["answer"])), words


SCRIPTS = [(page, block["text"]) for page in PAGES for block in blocks(page, "js")]


@pytest.mark.parametrize(
    ("page", "script"), SCRIPTS, ids=lambda value: name_of(value) if value in PAGES else ""
)
def test_the_scripts_for_pages_receive_a_push(place, page, script):
    globals_of_pages = f'globalThis.WebSocket = require("ws"); require("{ROOT}/tests/node/event_source.js");'
    command = ["node", "-e", globals_of_pages + place.adapt(script)]
    environment = {"PATH": "/usr/bin:/bin", "NODE_PATH": "/usr/share/nodejs"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:

        def reaches_it():
            answer = place.gateway.push({"all": True}, {"text": "hello page"}, wait="routed")
            return answer["receipt"]["sessions"]["matched"] == 1

        wait_for(reaches_it, SECONDS, "a session", interval=0.05)
        assert process.stdout.readline() == "hello page\n"
        process.kill()


# What a page of the application is in the examples for browsers: names that they use and don't define.
STUBS = """
window.show = (...values) => document.body.append(JSON.stringify(values));
window.reload = window.connectAgain = () => {};
"""
IN_PAGES = [
    (page, block["kind"], block["text"])
    for page in PAGES
    for kind in ("html", "javascript")
    for block in blocks(page, kind)
]


@pytest.mark.parametrize(
    ("page", "kind", "text"), IN_PAGES, ids=lambda value: name_of(value) if value in PAGES else ""
)
def test_the_examples_for_browsers_show_a_push(make_gateway, browser, tmp_path, page, kind, text):
    own = tmp_path / "page.html"
    with serving_site({"/page.html": own, "/sdk/": ROOT / "sdk/js"}, {"/push-token": token_for_ann}) as site:
        gateway = make_gateway(app={"origins": [site], "groups": {"join": ["room:*", "article:*"]}})
        made = gateway.api("POST", "/v1/tickets", {"scene": "docs"})[2]
        if kind == "javascript":
            script = f"{STUBS}window.ticket = '{made['ticket']}';"
            text = f"<body><script>{script}</script><script type=module>{text}</script>"
        for usual in ("http://127.0.0.1:8080", "https://push.example.com", "wss://push.example.com"):
            ours = gateway.ws_url("") if usual.startswith("wss") else gateway.http_url("").rstrip("/")
            text = text.replace(usual, ours)
        own.write_text(text)
        browser.get(f"{site}/page.html")

        def shows():
            gateway.push({"all": True}, {"text": "hello page"}, type="comment.created")
            return "hello page" in browser.find_element("css selector", "body").text

        gateway.push({"tickets": [made["id"]]}, {"text": "hello page"}, final=True)
        wait_for(shows, SECONDS, lambda: browser.page_source, interval=0.1)
        browser.get("about:blank")


def token_for_ann(_):
    return tokens.mint(tokens.claims("ann"))


def test_every_block_of_commands_is_found():
    for page in PAGES:
        assert len(blocks(page, "sh")) == page.read_text().count("```sh\n"), (
            f"{name_of(page)}: a block is hidden"
        )
        for kind in ("bash", "shell", "console"):
            assert not blocks(page, kind), f"{name_of(page)}: commands are in sh blocks"


SECTIONS = set(yaml.safe_load((ROOT / "config/tidegate.yaml").read_text()))
PARTS = [
    (page, match[1])
    for page in PAGES
    for match in re.finditer(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    if isinstance(value := yaml.safe_load(match[1]), dict) and set(value) <= SECTIONS
]


@pytest.mark.parametrize(("page", "part"), PARTS, ids=lambda value: name_of(value) if value in PAGES else "")
def test_a_part_of_a_configuration_is_one_that_the_gateway_takes(request, tmp_path, page, part):
    """What may be missing are the files that it names, and what it leaves out by "…"."""
    (tmp_path / "tidegate.yaml").write_text(part)
    (tmp_path / "tidegate.yaml").chmod(0o600)
    done = subprocess.run(
        [ROOT / "build" / request.config.getoption("preset") / "tidegate", "check", "tidegate.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    missing = re.compile(r"No such file|needs a secret that all nodes share|hash: expected")
    assert not [line for line in done.stderr.splitlines() if not missing.search(line)], done.stderr


def test_examples_of_json_and_yaml_can_be_read():
    for page in PAGES:
        for block in re.finditer(r"^```(json|yaml)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            if block[1] == "yaml":
                yaml.safe_load(block[2])
                continue
            rest, decoder = block[2].strip(), json.JSONDecoder()
            while rest:
                _, end = decoder.raw_decode(rest)
                rest = rest[end:].strip()


def slug(heading):
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def links(page):
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in [slug(heading) for heading in headings], link


def test_every_page_is_in_the_index():
    reached, to_read = set(), [ROOT / "README.md"]
    while to_read:
        page = to_read.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        to_read += [
            (page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link
        ]
    assert {name_of(page) for page in PAGES} <= {
        name_of(page) for page in reached if page.is_relative_to(ROOT)
    }


SOURCES = [path for path in (ROOT / "src").rglob("*.[ch]") if not path.name.endswith("_test.c")]


def test_what_the_tour_names_exists():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    code = "\n".join(path.read_text() for path in SOURCES)
    for path in re.findall(r"`((?:[\w-]+/)+[\w.-]+)`", text):
        assert (ROOT / path).exists() or (ROOT / "src" / path).exists(), f"there is no {path}"
    for name in re.findall(r"`(\w+)\(\)`", text):
        assert re.search(rf"\b{name}\(", code), f"there is no {name}()"
    for name in re.findall(r"`struct (\w+)`", text):
        assert re.search(rf"^struct {name} \{{", code, re.MULTILINE), f"there is no struct {name}"


def test_the_tests_that_the_readme_names_exist():
    text = (ROOT / "README.md").read_text()
    named = re.findall(r"\[`(\w+)`\]\(([^)]+)\)", text)
    assert len(named) >= 5
    for name, path in named:
        assert re.search(rf"\b{name}\(", (ROOT / path).read_text()), f"{path} has no {name}"
    assert "GUARANTEE" not in text


def test_the_options_that_pages_name_exist():
    rows = re.findall(r"^\| `([\w.\[\]]+)` \|", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE)
    known = {name.replace("[]", "") for name in rows}
    sections = {name.split(".")[0] for name in known if "." in name} - {"bus", "apps"}
    known |= set(re.findall(r"`(\w+\.\w+)`", (ROOT / "docs/logs.md").read_text()))  # events
    for page in PAGES:
        for name in re.findall(r"`(\w+\.\w+)`", page.read_text()):
            if name.split(".")[0] in sections:
                assert name in known or f"apps.{name}" in known, f"{name_of(page)} names {name}"


def test_the_metrics_that_pages_name_exist(request):
    """docs/metrics.md itself is held to the catalogue by the unit test server.families."""
    binary = ROOT / "build" / request.config.getoption("preset") / "tidegate"
    lines = subprocess.run([binary, "metrics", "--json"], capture_output=True, text=True, check=True).stdout
    made = {json.loads(line)["name"] for line in lines.splitlines()}
    for page in PAGES:
        for name in re.findall(r"\btidegate_[a-z_]+[a-z]\b", page.read_text()):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            is_custom = name.startswith("tidegate_app_") or page.parent.name == "decisions"
            assert base in made or is_custom, f"{name_of(page)} names {name}"


def test_every_close_code_is_documented():
    header = (ROOT / "src/server/ws_session.h").read_text()
    codes = re.findall(r"WS_CLOSE_\w+ = (4\d{3})", header)
    assert len(codes) > 10
    text = (ROOT / "docs/protocol.md").read_text()
    for code in codes:
        assert code in text, f"{code} is missing"
