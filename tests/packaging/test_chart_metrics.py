"""Checks alerts, dashboard and runbooks against the documented metrics, and alerts against scenes in which they must fire."""

import functools
import itertools
import json
import pathlib
import re
import shlex
import tempfile
import unittest

import yaml

from parts import CHART, ROOT, assert_accepted, blocks, commands, objects, one, run

METRICS = ROOT / "docs/metrics.md"
RUNBOOKS = ROOT / "docs/runbooks.md"
SCENES = pathlib.Path(__file__).with_name("alerts.yaml")
PICTURES = pathlib.Path(__file__).with_name("dashboard.yaml")
RULES = CHART / "rules/twintier.yaml"
DASHBOARD = CHART / "dashboards/twintier.json"
RUNBOOK_URL = "https://github.com/twintier/twintier/blob/main/docs/runbooks.md#"

# Series and labels that Prometheus adds.
PROMETHEUS_METRICS = {"up"}
TARGET_LABELS = {"job", "instance"}
# Labels whose values docs/metrics.md lists in full.
LISTED_LABELS = {"outcome", "tier", "cause", "event", "operation", "state"}


@functools.cache
def documented():
    """Parses docs/metrics.md: the labels of each metric, and all words of its row."""
    found = {}
    for line in METRICS.read_text().splitlines():
        if row := re.match(r"^\| `([a-z][a-z0-9_]*)` \|(.*)\|$", line):
            words = set(re.findall(r"[a-z][a-z0-9_]*", " ".join(re.findall(r"`([^`]+)`", row[2]))))
            found[row[1]] = (words, set(re.findall(r"[A-Za-z0-9_]+", row[2])))
    return found


def base(name):
    """Returns the documented name: a histogram has one for its three series."""
    short = re.sub(r"_(bucket|sum|count)$", "", name)
    return name if name in documented() else short


def ask(queries):
    """Parses queries with the parser of Prometheus."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "queries.json"
        file.write_text(json.dumps(queries))
        return json.loads(run("check", "expressions", file))


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels(kind=None):
    found = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if (panel["type"] == kind if kind else panel["type"] != "row")]


def concrete(query):
    """Replaces Grafana's variables in a query."""
    for variable, value in {"$__rate_interval": "5m", "$__range": "1h", "$__interval": "1m",
                            "$job": "twintier", "$instance": ".*", "$namespace": ".*"}.items():
        query = query.replace(variable, value)
    return query


def unknown(queries):
    """Yields a message for each unknown metric, label or value in the queries."""
    for query, asked in zip(queries, ask(queries)):
        for metric, labels in asked["metrics"].items():
            if metric not in PROMETHEUS_METRICS and base(metric) not in documented():
                yield f"there is no {metric}: {query}"
                continue
            own, words = documented().get(base(metric), (set(), set()))
            known = own | TARGET_LABELS | ({"le"} if metric.endswith("_bucket") else set())
            yield from (f"{metric} has no label {label}: {query}" for label in labels.keys() - known)
            for label in labels.keys() & LISTED_LABELS:
                yield from (f"{metric} has no {label} {value}: {query}" for value in set(labels[label]) - words)
            if "job" not in labels:
                yield f"{metric} of every job: {query}"


def queries(panel):
    return [concrete(target["expr"]) for target in panel.get("targets", [])]


class ExistingMetrics(unittest.TestCase):
    """Queries use existing metrics, labels and values."""

    def assert_known(self, asked):
        self.assertEqual(list(unknown(asked)), [])

    def test_the_page_lists_metrics(self):
        self.assertGreater(len(documented()), 50)

    def test_alerts_use_existing_metrics(self):
        self.assert_known([rule["expr"] for rule in rules()])

    def test_the_dashboard_uses_existing_metrics(self):
        self.assert_known([query for panel in panels() for query in queries(panel)])

    def test_variables_and_annotations_use_existing_metrics(self):
        dashboard = json.loads(DASHBOARD.read_text())
        found = [re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["query"]["query"])
                 for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
        self.assertEqual([each[2] for each in found], ["job", "instance", "namespace"])
        for each in found:
            self.assertIn(each[2], documented()[each[1]][0] | TARGET_LABELS)
        self.assert_known([concrete(each["expr"]) for each in dashboard["annotations"]["list"] if "expr" in each])

    def test_runbooks_use_existing_metrics(self):
        self.assert_known([line for block in blocks(RUNBOOKS, "promql") for line in block.strip().splitlines()])

    def test_an_unknown_name_is_detected(self):
        for wrong in ['rate(twintier_gotten_total{job="twintier"}[5m])', 'sum by (colour) (twintier_ready{job="twintier"})',
                      'twintier_redis_state{job="twintier",state="tired"}', "twintier_ready"]:
            self.assertTrue(list(unknown([wrong])), wrong)


class Alerts(unittest.TestCase):
    """Alerts are documented, and fire in the right scenes."""

    def test_the_rules_are_valid(self):
        run("check", "rules", RULES)

    def test_each_alert_has_a_runbook(self):
        names = [rule["alert"] for rule in rules()]
        self.assertEqual(len(names), len(set(names)))
        for rule in rules():
            with self.subTest(rule["alert"]):
                # The chart replaces this job by that of the release.
                self.assertIn('job="twintier"', rule["expr"])
                self.assertEqual(set(rule["annotations"]), {"summary", "description", "runbook_url"})
                self.assertEqual(rule["annotations"]["runbook_url"], RUNBOOK_URL + rule["alert"].lower())
                self.assertIn(rule["labels"]["severity"], ["critical", "warning", "info"])

    def test_annotations_use_labels_of_the_result(self):
        for rule, asked in zip(rules(), ask([rule["expr"] for rule in rules()])):
            output = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
            left = TARGET_LABELS if asked["kept"] is None else set(asked["kept"])
            self.assertLessEqual(output, left, rule["alert"])

    def test_each_alert_fires_only_in_its_scenes(self):
        both = run("check", "alerts", SCENES).split()
        self.assertEqual(sorted(both), sorted(rule["alert"] for rule in rules()))

    def test_a_wrong_scene_is_detected(self):
        file = yaml.safe_load(SCENES.read_text())
        file["scenes"] = [scene | {"fires": not scene["fires"]} for scene in file["scenes"]]
        with tempfile.TemporaryDirectory() as folder:
            turned = pathlib.Path(folder) / "alerts.yaml"
            turned.write_text(yaml.safe_dump(file | {"rules": "twintier.yaml"}))
            (pathlib.Path(folder) / "twintier.yaml").write_text(RULES.read_text())
            output = run("check", "alerts", turned, ok=False)
        for scene in file["scenes"]:
            self.assertIn(f"{scene['alert']} when {scene['when']}: fires", output)

    def test_the_chart_renders_all_alerts_for_its_release(self):
        for release in ["cache", "twintier", "3.x"]:
            text = run("helm", "template", release, CHART, "--namespace", "shop", "--set", "metrics.prometheusRule.enabled=true",
                       "--set", "metrics.grafanaDashboard.enabled=true")
            found = [each for each in yaml.safe_load_all(text) if each]
            [rule] = [each for each in found if each["kind"] == "PrometheusRule"]
            [board] = [each for each in found if each["kind"] == "ConfigMap" and each["metadata"]["name"].endswith("-dashboards")]
            job = f"shop/{rule['metadata']['name']}"
            rendered = [each for group in rule["spec"]["groups"] for each in group["rules"]]
            with self.subTest(release):
                self.assertEqual([each["expr"].replace(job, "twintier") for each in rendered], [rule["expr"] for rule in rules()])
                self.assertEqual([each["annotations"] for each in rendered], [rule["annotations"] for rule in rules()])
                self.assertEqual(json.loads(board["data"]["twintier.json"]), json.loads(DASHBOARD.read_text()))

    def test_the_scrape_has_the_job_of_the_alerts(self):
        found = objects("full")
        [monitor] = [each for each in found if each["kind"] == "ServiceMonitor"]
        [endpoint] = monitor["spec"]["endpoints"]
        jobs = [each["replacement"] for each in endpoint["relabelings"] if each["targetLabel"] == "job"]
        self.assertIn(f'job="{jobs[0]}"', one(found, "PrometheusRule")["spec"]["groups"][0]["rules"][0]["expr"])
        self.assertIs(endpoint["honorLabels"], True)


class Dashboard(unittest.TestCase):
    """The dashboard is readable without an explanation."""

    def test_identifiers_are_unique(self):
        found = [json.loads(file.read_text()) for file in DASHBOARD.parent.glob("*.json")]
        self.assertEqual([dashboard["uid"] for dashboard in found], ["twintier"])
        ids = [panel["id"] for panel in found[0]["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        titles = [panel["title"] for panel in found[0]["panels"]]
        self.assertEqual(len(titles), len(set(titles)))

    def test_each_panel_has_a_unit_and_a_description(self):
        for panel in panels():
            with self.subTest(panel["title"]):
                self.assertGreater(len(panel["description"]), 4)
                if panel["type"] != "alertlist":
                    self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                    self.assertTrue(panel["targets"])

    def test_every_query_uses_the_selected_source(self):
        for panel in panels():
            for part in [panel, *panel.get("targets", [])]:
                if panel["type"] != "alertlist":
                    self.assertEqual(part["datasource"], {"type": "prometheus", "uid": "${datasource}"}, panel["title"])

    def test_queries_of_a_panel_have_unique_names(self):
        for panel in panels():
            names = [target["refId"] for target in panel.get("targets", [])]
            self.assertEqual(len(names), len(set(names)), panel["title"])

    def test_panels_do_not_overlap(self):
        places = [(panel["title"], panel["gridPos"]) for panel in json.loads(DASHBOARD.read_text())["panels"]]
        for name, at in places:
            self.assertLessEqual(at["x"] + at["w"], 24, name)
        for (one_name, a), (other_name, b) in itertools.combinations(places, 2):
            apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"] or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
            self.assertTrue(apart, f"{one_name} and {other_name}")

    def test_legends_use_labels_of_the_result(self):
        for panel in panels():
            for target, asked in zip(panel.get("targets", []), ask(queries(panel))):
                named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                with self.subTest(panel["title"]):
                    self.assertIsNotNone(asked["kept"], target["expr"])
                    self.assertLessEqual(named, set(asked["kept"]) | ({"le"} if panel["type"] == "heatmap" else set()), target["expr"])
                    if panel["type"] == "timeseries":
                        self.assertLessEqual(set(asked["kept"]), named, f"lines that look alike: {target['expr']}")

    def test_the_first_row_shows_problems(self):
        """Evaluates each scene with a rule that fires if the panel shows the expected value."""
        pictures = yaml.safe_load(PICTURES.read_text())
        shown = {panel["title"]: queries(panel) for panel in panels("stat")}
        with tempfile.TemporaryDirectory() as folder:
            rules, scenes = [], []
            for number, picture in enumerate(pictures):
                [query] = shown[picture["panel"]]
                rules.append({"alert": f"Picture{number}", "expr": f"({query}) {picture['shows']}"})
                scenes.append({"alert": f"Picture{number}", "when": f"{picture['panel']}: {picture['when']}", "fires": True,
                               "series": picture["series"]})
            (pathlib.Path(folder) / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "pictures", "rules": rules}]}))
            file = pathlib.Path(folder) / "scenes.yaml"
            file.write_text(yaml.safe_dump({"rules": "rules.yaml", "scenes": scenes}))
            run("check", "alerts", file)
        self.assertLessEqual({"State of Redis", "Redis gone", "Redis slow", "Subscription broken", "Namespaces thrashing", "Hot key", "Stampede"},
                             {picture["panel"] for picture in pictures})

    def test_links_have_targets(self):
        for url in re.findall(r"https://github\.com/twintier/twintier/blob/main/([\w./-]+)", DASHBOARD.read_text()):
            self.assertTrue((ROOT / url).is_file(), url)


class Runbooks(unittest.TestCase):
    """Every alert has a section, and the commands of the section work."""

    def sections(self):
        parts = re.split(r"(?m)^## (Twintier\w+)\n", RUNBOOKS.read_text())
        return dict(zip(parts[1::2], parts[2::2]))

    def test_alerts_and_sections_are_the_same(self):
        self.assertEqual(list(self.sections()), [rule["alert"] for rule in rules()])

    def test_a_section_has_all_parts(self):
        for alert, text in self.sections().items():
            with self.subTest(alert):
                for part in ["**Means.**", "**Callers.**", "**Confirm.**", "**Do.**"]:
                    self.assertIn(part, text)
                self.assertIn("```promql\n", text)
                self.assertRegex(text, r"```bash\n(.*\n)*?.*twintier ")

    def test_commands_exist(self):
        for line in commands(RUNBOOKS, "twintier"):
            with self.subTest(line):
                assert_accepted(*shlex.split(line)[1:])

    def test_links_have_targets(self):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", RUNBOOKS.read_text()):
            if "://" not in link:
                self.assertTrue((RUNBOOKS.parent / link).exists(), link)


if __name__ == "__main__":
    unittest.main()
