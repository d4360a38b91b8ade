#!/usr/bin/env python3
"""Holds deploy/cloudwatch together: what an alarm looks at is scraped, declared with those dimensions, and of a type that the
agent passes on. What the runbook is named for is there.
"""

import json
import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "deploy/cloudwatch"
# Those of deploy/prometheus.
SIGNALS = {
    "portcullis-anomaly": "portcullis_anomaly",
    "portcullis-refusals-jump": "portcullis_denied_total",
    "portcullis-audit-not-writable": "portcullis_audit_writable",
    "portcullis-shipping-late": "portcullis_audit_ship_oldest_waiting_seconds",
    "portcullis-upstream-down": "portcullis_upstream_addresses",
    "portcullis-certificate-ends": "portcullis_certificate_expiry_timestamp_seconds",
    "portcullis-errors": "portcullis_requests_total",
}


def main():
    alarms = {alarm["AlarmName"]: alarm for alarm in json.loads((FOLDER / "alarms.json").read_text())}
    agent = json.loads((FOLDER / "agent.json").read_text())
    scrape = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    declared = metrics_are_declared_once(agent)
    what_is_declared_is_scraped(declared, scrape)
    signals_have_alarms(alarms)
    for alarm in alarms.values():
        alarm_is_whole(alarm, declared)
        alarm_names_a_part_of_the_runbook(alarm)
    print(f"cloudwatch: {len(alarms)} alarms hold")


def metrics_are_declared_once(agent):
    """Dimensions of each metric, and none that an EMF line could not have."""
    prometheus = agent["logs"]["metrics_collected"]["prometheus"]
    processor = prometheus["emf_processor"]
    assert processor["metric_namespace"] == "Portcullis"
    declared = {}
    for declaration in processor["metric_declaration"]:
        assert declaration["source_labels"] == ["job"] and declaration["label_matcher"] == "^portcullis$"
        for selector in declaration["metric_selectors"]:
            assert re.fullmatch(r"\^portcullis_\w+\$", selector), selector
            dimensions = declared.setdefault(selector[1:-1], set())
            for names in map(frozenset, declaration["dimensions"]):
                assert names not in dimensions, f"{selector}: {names} twice"
                assert "fleet" in names and len(names) <= 30
                dimensions.add(names)
    assert set(processor["metric_unit"]) <= set(declared)
    return declared


def what_is_declared_is_scraped(declared, scrape):
    (job,) = scrape["scrape_configs"]
    assert job["job_name"] == "portcullis"
    (target,) = job["static_configs"]
    assert target["targets"] == ["127.0.0.1:9464"], "the admin address of conf/portcullis.toml"
    assert 'address = "127.0.0.1:9464"' in (ROOT / "conf/portcullis.toml").read_text()
    keep, status = job["metric_relabel_configs"]
    assert keep["action"] == "keep"
    names = re.fullmatch(r"portcullis_\((.*)\)", keep["regex"])[1].split("|")
    assert sorted(f"portcullis_{name}" for name in names) == sorted(declared), set(declared) ^ {f"portcullis_{n}" for n in names}
    assert re.fullmatch(status["regex"], "503")[1] + "xx" == "5xx" and status["replacement"] == "${1}xx"
    labels = set(target["labels"]) | {status["target_label"]}
    reference = labels_of_metrics()
    for metric, dimensions in declared.items():
        for names in dimensions:
            assert names - labels <= reference[metric], f"{metric} has no {set(names) - labels - reference[metric]}"


def labels_of_metrics():
    """By name, from docs/metrics.md and docs/keys.md, which write NAME{label,label}, and …NAME for a name that goes on."""
    found = {}
    for page in ("metrics.md", "keys.md"):
        for row in (ROOT / "docs" / page).read_text().splitlines():
            names = re.findall(r"`(portcullis_\w+)(?:\{([\w,]*)\})?`", row.split("|")[1]) if row.startswith("| `portcullis") else []
            for name, labels in names:
                found[name] = set(filter(None, labels.split(",")))
    return found


def signals_have_alarms(alarms):
    there = labels_of_metrics()
    for name, metric in SIGNALS.items():
        if not any(one.startswith(metric) for one in there):
            print(f"cloudwatch: {name} waits for {metric}_..., which docs/metrics.md does not have")
            continue
        assert name in alarms, f"no alarm is called {name}"
        assert any(metric in query["MetricStat"]["Metric"]["MetricName"] for query in alarms[name]["Metrics"] if "MetricStat" in query), name


def alarm_is_whole(alarm, declared):
    name = alarm["AlarmName"]
    ids = {query["Id"]: query for query in alarm["Metrics"]}
    assert len(ids) == len(alarm["Metrics"]) <= 10 and all(re.fullmatch(r"[a-z]\w*", id_) for id_ in ids), name
    assert alarm["DatapointsToAlarm"] <= alarm["EvaluationPeriods"]
    assert alarm["TreatMissingData"] in ("breaching", "notBreaching")
    band = alarm.get("ThresholdMetricId")
    assert (band in ids) != ("Threshold" in alarm), name
    assert (band is not None) == alarm["ComparisonOperator"].endswith("UpperThreshold"), name
    returned = [query for query in ids.values() if query["ReturnData"]]
    assert len(returned) == (2 if band else 1), f"{name} returns {len(returned)}"
    periods = set()
    for query in ids.values():
        if "Expression" in query:
            words = set(re.findall(r"\b[a-z]\w*", query["Expression"]))
            assert words and words <= set(ids) - {query["Id"]}, f"{name}: {words}"
            continue
        metric = query["MetricStat"]["Metric"]
        dimensions = frozenset(dimension["Name"] for dimension in metric["Dimensions"])
        assert metric["Namespace"] == "Portcullis"
        assert dimensions in declared[metric["MetricName"]], f"{name}: {metric['MetricName']} is not declared by {set(dimensions)}"
        assert query["MetricStat"]["Period"] % 60 == 0
        periods.add(query["MetricStat"]["Period"])
        counter = metric["MetricName"].endswith("_total")
        assert (query["MetricStat"]["Stat"] == "Sum") == counter, f"{name}: a counter comes as its growth, and is summed"
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    assert len(periods) == 1 and max(periods) * alarm["EvaluationPeriods"] <= 86_400, name


def alarm_names_a_part_of_the_runbook(alarm):
    part = re.search(r"docs/runbook\.md, (.+)$", alarm["AlarmDescription"])[1]
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs/runbook.md").read_text(), flags=re.M)
    assert part in headings, f"{alarm['AlarmName']}: the runbook has no part {part!r}"


if __name__ == "__main__":
    main()
