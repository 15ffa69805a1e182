"""What `deploy/` holds fits together and fits the code: linters cannot see either."""

import itertools
import json
import re
from typing import Any

import yaml

from patchline.ops.telemetry.metrics import Metrics
from patchline.ops.telemetry.worker_metrics import ReloadMetrics, http_refusals, show_silence
from patchline.ops.web.connections import Refusal
from patchline.stream.support.heartbeat import Watchdog
from tests.services.process import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "patchline.json").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_panels_lie_side_by_side() -> None:
    """No panel of the dashboard lies over another or beyond its 24 columns, and each says what it shows."""
    panels = DASHBOARD["panels"]
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, panel["title"]
        assert panel["type"] == "row" or panel["description"], panel["title"]
    for one, other in itertools.combinations([p["gridPos"] for p in panels], 2):
        apart_across = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_down = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_across or apart_down, (one, other)
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_dashboard_reads_the_provisioned_source() -> None:
    """The dashboard's data source is the one that Grafana is given."""
    sources = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())
    chosen = next(v for v in DASHBOARD["templating"]["list"] if v["name"] == "datasource")
    assert chosen["current"]["value"] in {source["uid"] for source in sources["datasources"]}
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "datasource" in panel} == {"${datasource}"}


def test_every_alert_is_tested() -> None:
    """promtool's unit tests let every alert fire once."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    cases = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yml").read_text())
    fired = {c["alertname"] for t in cases["tests"] for c in t["alert_rule_test"] if c.get("exp_alerts")}
    assert fired == {rule["alert"] for group in rules["groups"] for rule in group["rules"]}


def test_images_are_pinned() -> None:
    """Every image that compose pulls, and every base of the Dockerfile, names a version of three parts."""
    pulled = [s["image"] for s in COMPOSE["services"].values() if "build" not in s]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", dockerfile, re.MULTILINE))
    bases = [base for base in re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) if base not in stages]
    assert len(pulled) == 4
    assert len(bases) == 1
    assert all(re.search(r":v?\d+\.\d+\.\d+", image) for image in pulled + bases), pulled + bases


def test_mounted_files_exist() -> None:
    """Every file and folder that compose mounts from the repository is there."""
    mounted = [
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    ]
    assert mounted
    assert [path for path in mounted if not (DEPLOY / path).exists()] == []


def test_worker_drains_before_it_is_killed() -> None:
    """Docker waits longer for the worker than its settings let it drain."""
    settings = yaml.safe_load((DEPLOY / "patchline.yaml").read_text())
    grace_s = float(COMPOSE["services"]["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > settings["limits"]["drain_s"]


def test_every_metric_asked_for_exists() -> None:
    """Every metric that the dashboard and the alerts name is one the service has."""
    registry = Metrics().registry
    show_silence(Watchdog(1), registry)
    http_refusals(Refusal, registry)
    ReloadMetrics(registry)
    kinds = {metric.name: metric.type for metric in registry.collect()}
    exposed = {name + ("_total" if kind == "counter" else "") for name, kind in kinds.items()}
    for source in (DASHBOARD, yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())):
        asked = {name for expression in expressions(source) for name in names_in(expression)}
        assert len(asked) > 5
        assert asked <= exposed, f"unknown: {sorted(asked - exposed)}"


def names_in(expression: str) -> set[str]:
    """The metric names of an expression, histograms by their base name."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bpatchline_[a-z_]+", expression)}


def expressions(value: Any) -> list[str]:
    """Every query of the dashboard or the rules: the values of `expr`, and of `query` that are text."""
    if isinstance(value, dict):
        own = [v for k, v in value.items() if k in ("expr", "query") and isinstance(v, str)]
        return own + [e for v in value.values() for e in expressions(v)]
    if isinstance(value, list):
        return [e for v in value for e in expressions(v)]
    return []
