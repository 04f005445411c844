"""The metrics table, the alerts and the dashboard use metrics that exist."""

import copy
import json
import re
import subprocess
from collections.abc import Iterator

import pytest
import requests
import yaml
from answers import Agent
from manifests import documents, of_kind
from polling import wait_until
from programs import KEY, ROOT, start_gateway
from rows import DAY, make_rows, now, text_of
from tools import tool
from upstream import Upstream

MONITORING = ROOT / "deploy/monitoring"
# The format that Prometheus requests, whose names differ from the plain text format.
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
RULES = MONITORING / "fanfold.rules.yaml"
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
OPERATIONS = (ROOT / "docs/operations.md").read_text()
# Values for Grafana's variables.
VARIABLES = {"$__rate_interval": "1m", "$job": ".+", "$instance": ".+"}
# Words of expressions that are not metrics.
NOT_NAMES = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|without|ignoring|group_left|group_right) ?\([^)]*\)')
WORDS = {"and", "or", "unless", "bool", "offset"}
# The suffixes of sample names, by type of metric.
SUFFIXES = {"counter": ["_total"], "info": ["_info"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}


class Exposed:
    """The content of `/metrics`: types by metric, and labels by sample."""

    def __init__(self, text: str):
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        self.labels: dict[str, set[str]] = {}
        for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.M):
            self.labels.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))

    @property
    def samples(self) -> set[str]:
        return {name + suffix for name, type in self.types.items() for suffix in SUFFIXES[type]}


@pytest.fixture(scope="module")
def exposed(tmp_path_factory):
    """The metrics of a gateway after responses, refusals and failures, because metrics without samples show no labels."""
    upstream, id = Upstream(), "3fa85f64-5717-4562-b3fc-2c963f66afa6"
    upstream.agent(id, make_rows(120, 6), KEY, 7)
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "secret").write_text("s" * 40)
    tier = ["--tier-url", f"file://{folder}/tier", "--tier-secret-file", str(folder / "secret")]
    program = start_gateway(folder, upstream.url, *tier)
    try:
        agent = Agent(program.url, id, KEY)
        agent.rows(f"from={text_of(now() - DAY, 1)}")
        assert agent.ask("page_size=9").status_code == 400
        upstream.script.extend([(500, {}, b"{}")] * 20)
        assert agent.ask(Prefer="handling=lenient, wait=1").status_code == 200
        upstream.script.clear()
        # A response is counted once its body is sent; the client may see its end a moment earlier.
        wait_until(lambda: program.metric("fanfold_requests_total") >= 3)
        yield Exposed(requests.get(f"{program.admin}/metrics", headers=OPENMETRICS, timeout=10).text)
    finally:
        program.stop()
        upstream.stop()


def names_in(expression: str) -> set[str]:
    """The samples in an expression."""
    bare = NOT_NAMES.sub(" ", expression)
    return {word for word in re.findall(r"\b[a-z]\w*\b(?!\s*\()", bare) if word not in WORDS}


def labels_in(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each sample with label matchers, and their labels without those of the scrape."""
    for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", expression):
        yield name, set(re.findall(r'(\w+)\s*[=!]~?\s*"', matchers)) - {"job", "instance"}


def alerts() -> list[dict]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    """Every expression on the dashboard, as Grafana sends it."""
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    for variable, value in VARIABLES.items():
        found = [expression.replace(variable, value) for expression in found]
    assert found and not any("$" in expression for expression in found)
    return found


def promtool(*arguments: str, **more) -> str:
    done = subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def table() -> dict[str, str]:
    """The metrics in docs/operations.md, and their types."""
    section = OPERATIONS.split("\n## Metrics\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)`[^|]*\| (\w+) \| .+ \|$", section, re.M)
    assert len(rows) == len(dict(rows)), "a metric is documented twice"
    return dict(rows)


def test_the_table_has_exactly_the_metrics_of_the_gateway(exposed):
    assert table() == exposed.types


def test_every_label_is_in_the_table(exposed):
    section = OPERATIONS.split("\n## Metrics\n")[1].split("\n## ")[0]
    documented = {
        name: set(re.findall(r"`(\w+)`", rest)) for name, rest in re.findall(r"^\| `(\w+)`([^|]*)\|", section, re.M)
    }
    for name, type in exposed.types.items():
        shown = set().union(*(exposed.labels.get(name + suffix, set()) for suffix in SUFFIXES[type])) - {"le"}
        assert documented[name] == shown, name


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_alerts_use_existing_metrics_and_are_documented(alert, exposed):
    assert names_in(alert["expr"]) and names_in(alert["expr"]) <= exposed.samples
    for name, labels in labels_in(alert["expr"]):
        assert labels <= exposed.labels[name], name
    assert f"\n### {alert['alert']}\n" in OPERATIONS
    assert alert["annotations"]["runbook"] == f"docs/operations.md#{alert['alert'].lower()}"
    assert alert["labels"]["severity"] in {"page", "ticket"}


def test_every_documented_alert_exists():
    section = OPERATIONS.split("\n## Alerts\n")[1].split("\n## ")[0]
    assert re.findall(r"^### (\w+)$", section, re.M) == [alert["alert"] for alert in alerts()]


def test_alerts_fire_exactly_when_they_should():
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", "fanfold.rules.test.yaml", cwd=MONITORING)
    cases = (MONITORING / "fanfold.rules.test.yaml").read_text()
    for alert in alerts():
        assert cases.count(f'alertname="{alert["alert"]}"') == 2, "one case that raises it, and one that does not"


def test_the_operator_gets_the_same_rules():
    (rule,) = of_kind(documents("held-key"), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(RULES.read_text())


def test_the_dashboard_uses_existing_metrics(exposed, tmp_path):
    shown = expressions()
    for expression in shown:
        assert names_in(expression) <= exposed.samples, expression
        for name, labels in labels_in(expression):
            assert labels <= exposed.labels.get(name, set()) | {"job", "instance"}, expression
    # promtool checks each as the expression of a rule.
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(shown)]
    file = tmp_path / "dashboard.rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_the_dashboard_shows_every_metric(exposed):
    shown = set().union(*(names_in(expression) for expression in expressions()))
    for name, type in exposed.types.items():
        assert shown & {name + suffix for suffix in SUFFIXES[type]}, name


def test_finds_names_that_do_not_exist(exposed):
    assert names_in('sum by (job) (rate(fanfold_nonsense_total{code="a b"}[5m])) > 0 and on (job) up') == {
        "fanfold_nonsense_total",
        "up",
    }
    changed = copy.deepcopy(alerts()[0]) | {"expr": "absent(fanfold_built)"}
    assert not names_in(changed["expr"]) <= exposed.samples
    assert dict(labels_in('fanfold_problems_total{colour="red", job="x"}')) == {"fanfold_problems_total": {"colour"}}
