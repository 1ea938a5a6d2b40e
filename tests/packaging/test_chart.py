"""Checks the chart against the schemas of Kubernetes, the types of operators, itself, and the program."""

import functools
import json
import os
import pathlib
import re
import shlex
import sys
import tarfile
import tempfile
import tomllib
import unittest
import urllib.request

import kubernetes_validate
import kubernetes_validate.utils
import yaml

from parts import (CASES, CHART, NAMESPACE, PROGRAM, ROOT, Filesystem, commands, environment, free_port, image_file, manifest, objects, one, replica,
                   run, started, wait_until, values)

# The package reads a file of megabytes for every object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)
# From the oldest version that the chart supports to the newest in the package of schemas.
KUBERNETES = ["1.27.0", "1.29.0", "1.31.0", "1.33.0", "1.35.0", "1.37.0"]
OPERATORS = ["ServiceMonitor", "PodMonitor", "PrometheusRule", "GRPCRoute"]
# cert-manager publishes its types in no package of their own: tests of units compare the fields.
UNCHECKED = ["Certificate"]


class Rendering(unittest.TestCase):
    """Kubernetes accepts the rendered objects."""

    def test_lint(self):
        run("helm", "lint", "--strict", CHART)
        for case in CASES:
            with self.subTest(case):
                run("helm", "lint", "--strict", CHART, "--values", values(case))

    def test_objects_follow_the_schemas_of_every_version(self):
        self.assertEqual(yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"], f">={KUBERNETES[0]}-0")
        for version in KUBERNETES:
            found = {json.dumps(each): case for case in CASES for each in objects(case, version)}
            for text, case in found.items():
                each = json.loads(text)
                if each["kind"] not in OPERATORS + UNCHECKED:
                    with self.subTest(case, kind=each["kind"], kubernetes=version):
                        kubernetes_validate.validate(each, version, strict=True)

    def test_an_invalid_object_is_detected(self):
        wrong = one(objects("minimal"), "Deployment")
        wrong["spec"]["template"]["spec"]["enableServiceLink"] = False
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, KUBERNETES[0], strict=True)

    def test_objects_of_operators_follow_their_types(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "objects.yaml"
            seen = set()
            for case in ["full", "hpa"]:
                file.write_text(manifest(case))
                kinds = {found["kind"] for found in objects(case)} & set(OPERATORS)
                output = run("check", "objects", file)
                self.assertEqual(int(output.split()[0]), len(kinds))
                seen |= kinds
            self.assertEqual(seen, set(OPERATORS))
            file.write_text(manifest("full").replace("backendRefs:", "backends:"))
            run("check", "objects", file, ok=False)

    def test_units(self):
        run("helm-unittest", "--strict", CHART)

    def test_the_package_has_exactly_the_needed_files(self):
        with tempfile.TemporaryDirectory() as folder:
            run("helm", "package", CHART, "--destination", folder)
            [file] = pathlib.Path(folder).iterdir()
            with tarfile.open(file) as package:
                names = {name.removeprefix("twintier/") for name in package.getnames()}
        for needed in ["values.schema.json", "rules/twintier.yaml", "dashboards/twintier.json", "templates/tests/cache.yaml", "README.md"]:
            self.assertIn(needed, names)
        self.assertFalse([name for name in names if name.startswith(("ci/", "tests/")) or name.endswith(".gotmpl")])


class Connections(unittest.TestCase):
    """References between objects are valid."""

    def pods(self, found):
        for each in found:
            if each["kind"] == "Deployment":
                yield each["spec"]["template"]
            elif each["kind"] == "Pod":
                yield each

    def test_selectors_find_exactly_the_pods_of_their_component(self):
        for case in CASES:
            found = objects(case)
            for each in found:
                spec = each.get("spec", {})
                selector = spec.get("podSelector", spec.get("selector"))
                if selector is None or each["kind"] in ("ServiceMonitor", "PodMonitor"):
                    continue
                selector = selector.get("matchLabels", selector)
                with self.subTest(case, kind=each["kind"], name=each["metadata"]["name"]):
                    selected = [pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in self.pods(found)
                                if selector.items() <= pod["metadata"]["labels"].items()]
                    self.assertEqual(selected, [each["metadata"]["labels"]["app.kubernetes.io/component"]])

    def test_ports_exist_by_name(self):
        for case in CASES:
            found = objects(case)
            known = {port["name"] for pod in self.pods(found) for container in pod["spec"]["containers"] for port in container.get("ports", [])}
            for each in found:
                spec = each.get("spec", {})
                used = [port["targetPort"] for port in spec.get("ports", [])] if each["kind"] == "Service" else []
                if each["kind"] == "NetworkPolicy":
                    used = [port["port"] for rule in spec["ingress"] + spec["egress"] for port in rule.get("ports", [])]
                if each["kind"] in ("ServiceMonitor", "PodMonitor"):
                    used = [endpoint["port"] for endpoint in spec.get("endpoints", []) + spec.get("podMetricsEndpoints", [])]
                with self.subTest(case, kind=each["kind"]):
                    self.assertLessEqual({port for port in used if isinstance(port, str)}, known)

    def test_pods_meet_the_restricted_standard(self):
        """Covers namespaces that enforce the strictest pod security standard of Kubernetes."""
        for case in CASES:
            for pod in self.pods(objects(case)):
                spec = pod["spec"]
                self.assertTrue(spec["securityContext"]["runAsNonRoot"])
                self.assertEqual(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault")
                self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & spec.keys())
                self.assertLessEqual({key for volume in spec.get("volumes", []) for key in volume} - {"name"}, {"configMap", "secret", "emptyDir"})
                for container in spec["containers"] + spec.get("initContainers", []):
                    with self.subTest(case, container=container["name"]):
                        context = container["securityContext"]
                        self.assertIs(context["allowPrivilegeEscalation"], False)
                        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                        self.assertIs(context["readOnlyRootFilesystem"], True)

    def test_referenced_objects_exist(self):
        for case in CASES:
            found = objects(case)
            names = {(each["kind"], each["metadata"]["name"]) for each in found}
            pod = one(found, "Deployment")["spec"]["template"]["spec"]
            with self.subTest(case):
                self.assertIn(("ServiceAccount", pod["serviceAccountName"]), names)
                self.assertIn(("ConfigMap", pod["volumes"][0]["configMap"]["name"]), names)
                for each in found:
                    if each["kind"] == "HorizontalPodAutoscaler":
                        self.assertIn(("Deployment", each["spec"]["scaleTargetRef"]["name"]), names)
                    if each["kind"] == "GRPCRoute":
                        self.assertIn(("Service", each["spec"]["rules"][0]["backendRefs"][0]["name"]), names)
                    if each["kind"] == "Ingress":
                        for path in each["spec"]["rules"][0]["http"]["paths"]:
                            self.assertIn(("Service", path["backend"]["service"]["name"]), names)

    def test_every_object_has_the_labels_of_the_release(self):
        for each in objects("full"):
            if each["metadata"]["name"].endswith("-own"):
                continue
            with self.subTest(kind=each["kind"]):
                self.assertEqual(each["metadata"]["labels"]["app.kubernetes.io/instance"], "cache")
                self.assertEqual(each["metadata"]["labels"]["team"], "platform")

    def test_pods_restart_only_for_a_new_configuration(self):
        def template(*arguments):
            return one(objects("minimal", "1.37.0", *arguments), "Deployment")["spec"]["template"]
        self.assertNotEqual(template(), template("--set", "config.l1.size=128MiB"))
        self.assertEqual(template(), template("--set", "service.port=80", "--set", "podDisruptionBudget.maxUnavailable=2"))


class Documentation(unittest.TestCase):
    """Generated files are up to date, and the documentation is correct."""

    def test_the_schema_has_the_settings_of_the_program(self):
        run(sys.executable, ROOT / ".ci/chart-schema", "--check")

    def test_the_schema_is_closed_and_has_every_value(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        given = yaml.safe_load((CHART / "values.yaml").read_text())

        def closed(path, schema):
            if "properties" in schema:
                # Global values may belong to other charts.
                if path != "global":
                    with self.subTest(path or "values"):
                        self.assertIs(schema["additionalProperties"], False)
                for name, below in schema["properties"].items():
                    closed(f"{path}.{name}".lstrip("."), below)
            elif isinstance(schema.get("additionalProperties"), dict):
                closed(f"{path}.*", schema["additionalProperties"])

        def compare(path, schema, given):
            if "properties" not in schema or not given or path == "config":
                return
            absent = {"global"} if not path else {"claims", "initialDelaySeconds", "type", "rollingUpdate"}
            with self.subTest(path or "values"):
                self.assertEqual(set(schema["properties"]) - set(given) - absent, set())
            for name, below in schema["properties"].items():
                compare(f"{path}.{name}".lstrip("."), below, given.get(name))

        closed("", schema)
        compare("", schema, given)

    def test_the_readme_is_up_to_date(self):
        written = run("helm-docs", "--chart-search-root", ROOT / "helm", "--dry-run", "--log-level", "error")
        self.assertEqual(written.strip(), (CHART / "README.md").read_text().strip(), "run make chart")
        for line in written.splitlines():
            self.assertNotRegex(line, r"^\| .* \|  \|$", "a value without a description")

    def test_versions_agree(self):
        crate = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        self.assertEqual(yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"], crate)

    def test_documented_commands_render(self):
        seen = 0
        for page in [CHART / "README.md", ROOT / "docs/install.md", ROOT / "README.md"]:
            for line in commands(page, "helm"):
                words = shlex.split(line)
                if words[1] not in ("install", "upgrade"):
                    self.assertIn(words[1], ("test", "uninstall", "package", "rollback", "history"), line)
                    continue
                words = [word for word in words[2:] if word not in ("--install", "--reset-then-reuse-values")]
                with self.subTest(line):
                    run("helm", "template", *words, cwd=ROOT)
                    seen += 1
        self.assertGreaterEqual(seen, 4)

    def test_services_of_a_route_exist(self):
        contract = "".join(file.read_text() for file in (ROOT / "proto/twintier/v1").glob("*.proto"))
        [route] = [each for each in objects("full") if each["kind"] == "GRPCRoute"]
        [ingress] = [each for each in objects("full") if each["kind"] == "Ingress"]
        services = [match["method"]["service"] for match in route["spec"]["rules"][0]["matches"]]
        self.assertEqual([path["path"].strip("/") for path in ingress["spec"]["rules"][0]["http"]["paths"]], services)
        for service in services:
            if service.startswith("twintier.v1."):
                self.assertRegex(contract, rf"(?m)^service {service.removeprefix('twintier.v1.')} ")
            else:
                self.assertIn(service, ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"])


class Program(unittest.TestCase):
    """The program accepts the configuration of the chart."""

    def test_configurations_are_valid(self):
        for case in CASES:
            with self.subTest(case), tempfile.TemporaryDirectory() as folder:
                found = objects(case)
                filesystem, container = Filesystem(folder, found), replica(found)
                self.assertEqual(container["args"][0], "serve")
                arguments = [filesystem.map(argument) for argument in container["args"][1:]]
                run(PROGRAM, "config", "check", *arguments, env=environment(container, filesystem))

    def test_settings_take_effect(self):
        with tempfile.TemporaryDirectory() as folder:
            found = objects("full")
            filesystem, container = Filesystem(folder, found), replica(found)
            arguments = [filesystem.map(argument) for argument in container["args"][1:]]
            shown = json.loads(run(PROGRAM, "config", "show", "-o", "json", *arguments, env=environment(container, filesystem)))
        for path, value in {"server.listen": "[::]:50052", "server.max_connections": "1000000", "server.listen_unix": "/run/twintier/grpc.sock", "server.unix_mode": "0660", "namespaces.users.max_ttl": "1h",
                            "redis.url": "redis://cache-redis:6379/0", "redis.failover": "cold", "coherence.self_audit": "0.01"}.items():
            self.assertEqual(shown[path]["value"], value, path)

    def test_keys_for_data_in_redis_are_read_from_their_mounted_files(self):
        with tempfile.TemporaryDirectory() as folder:
            found = objects("full")
            filesystem, container = Filesystem(folder, found), replica(found)
            arguments = [filesystem.map(argument) for argument in container["args"][1:]]
            given = environment(container, filesystem)
            shown = json.loads(run(PROGRAM, "config", "show", "-o", "json", *arguments, env=given))
            keys = pathlib.Path(folder) / "etc/twintier/redis-keys"
            for setting, names in {"mac_key_files": ["mac-2", "mac-1"], "encryption_key_files": ["cipher"]}.items():
                self.assertEqual(json.loads(shown[f"redis.{setting}"]["value"]), [str(keys / name) for name in names])
            (keys / "mac-1").write_text("no key")
            output = run(PROGRAM, "config", "check", *arguments, env=given, ok=False)
            self.assertIn(f"redis.mac_key_files: {keys / 'mac-1'}: must hold a key", output)

    def test_the_file_of_the_image_has_no_effect(self):
        with tempfile.TemporaryDirectory() as folder:
            for more, expected in [([], ["[::]:50051", "[::]:9090"]),
                                   (["--set", "config.server.listen=[::]:6000,config.admin=null"], ["[::]:6000", "127.0.0.1:9090"])]:
                found = objects("minimal", "1.37.0", *more)
                filesystem, container = Filesystem(tempfile.mkdtemp(dir=folder), found), replica(found)
                arguments = [filesystem.map(argument) for argument in container["args"][1:]]
                given = image_file(folder) | environment(container, filesystem)
                shown = json.loads(run(PROGRAM, "config", "show", "-o", "json", *arguments, env=given))
                self.assertEqual([shown[path]["value"] for path in ["server.listen", "admin.listen"]], expected)

    def test_an_invalid_configuration_is_detected(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "twintier.yaml"
            file.write_text("server:\n  listen: nowhere\n")
            run(PROGRAM, "config", "check", "--config", file, env={}, ok=False)

    def test_a_full_memory_tier_stays_below_the_memory_limit(self):
        """Checks the formula of the chart with a replica whose memory tier is full of small entries."""
        limit = 160
        found = objects("minimal", "1.37.0", "--set",
                        f"resources.requests.memory={limit}Mi,resources.limits.memory={limit}Mi,config.server.max_bytes_in_flight=16MiB")
        with tempfile.TemporaryDirectory() as folder:
            filesystem, container, port = Filesystem(folder, found), replica(found), free_port()
            entries = pathlib.Path(folder) / "entries"
            with entries.open("w") as file:
                for number in range(240_000):
                    file.write(json.dumps({"key": f"user:{number:020}:profile", "value": f"{number:0100}"}) + "\n")
            given = {**environment(container, filesystem), "TWINTIER_SERVER_LISTEN": f"127.0.0.1:{port}",
                     "TWINTIER_ADMIN_ENABLED": "false"}
            call = {"TWINTIER_SERVER": f"http://127.0.0.1:{port}"}
            with started([PROGRAM, *map(filesystem.map, container["args"])], env=given) as process:
                wait_until([PROGRAM, "health", "readiness"], env=call)
                run(PROGRAM, "batch", "set", entries, env=call)
                stats = json.loads(run(PROGRAM, "stats", "-o", "json", env=call))
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            [peak] = re.findall(r"VmHWM:\s+(\d+) kB", status)
            self.assertLess(stats["l1"]["entries"], 240_000, "the memory tier was not full")
            self.assertLess(int(peak) / 1024, limit)

    def test_it_serves_without_redis(self):
        self.serve("minimal")

    def test_it_serves_with_the_redis_of_the_chart(self):
        container = one(objects("full"), "Deployment", "-redis")["spec"]["template"]["spec"]["containers"][0]
        port = free_port()
        with started([*container["command"], *container["args"], "--port", port, "--bind", "127.0.0.1"]):
            wait_until(["redis-cli", "-p", port, "ping"])
            self.serve("full", port)

    def serve(self, case, redis=None):
        """Starts the containers' programs, and runs the probes of the kubelet and the steps of `helm test`."""
        found = objects(case)
        container, test = replica(found), one(found, "Pod", "-test")
        with tempfile.TemporaryDirectory() as folder:
            filesystem, port = Filesystem(folder, found), free_port()
            given = {**environment(container, filesystem), "TWINTIER_SERVER_LISTEN": f"127.0.0.1:{port}", "TWINTIER_SERVER_REFLECTION": "true"}
            given = {name: value for name, value in given.items() if not name.startswith("OTEL_")}
            given["TWINTIER_ADMIN_LISTEN"] = f"127.0.0.1:{(admin := free_port())}"
            if redis:
                self.assertEqual(given["TWINTIER_REDIS_URL"], "redis://cache-redis:6379")
                given["TWINTIER_REDIS_URL"] = f"redis://127.0.0.1:{redis}"
            call = {"TWINTIER_SERVER": f"http://127.0.0.1:{port}"}
            socket = pathlib.Path(filesystem.map("/run/twintier/grpc.sock"))
            if has_socket := "/run/twintier" in filesystem.mounts:
                given["TWINTIER_SERVER_LISTEN_UNIX"] = str(socket)
            self.assertEqual(has_socket, case == "full")
            with started([PROGRAM, *map(filesystem.map, container["args"])], env=given):
                for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
                    wait_until([PROGRAM, "health", container[probe]["grpc"]["service"]], env=call)
                if redis:
                    wait_until([PROGRAM, "health", "redis"], env=call)
                steps = test["spec"]["initContainers"] + test["spec"]["containers"]
                self.assertGreaterEqual(len(steps), 4)
                for step in steps:
                    given = {variable["name"]: variable["value"] for variable in step["env"]}
                    self.assertRegex(given["TWINTIER_SERVER"], r"^http://cache(-twintier)?:\d+$")
                    run(PROGRAM, *step["args"], env=given | call)
                self.run_the_commands_of_the_notes(case, port)
                self.probe_by_http(admin)
                if has_socket:
                    run(PROGRAM, "health", "readiness", env={"TWINTIER_SERVER": f"unix://{socket}"})
                    self.assertEqual(socket.stat().st_mode & 0o7777, 0o660)

    def run_the_commands_of_the_notes(self, case, port):
        output = run("check", "notes", CHART, values(case))
        lines = [line.strip() for line in output.splitlines() if line.strip().startswith("grpcurl ")]
        self.assertEqual(len(lines), 2)
        for line in lines:
            words = shlex.split(line.replace("localhost:50051", f"127.0.0.1:{port}"))
            output = run(os.environ["TEST_GRPCURL"], *words[1:], cwd=ROOT)
        self.assertIn('"value": "aGVsbG8="', output)

    def probe_by_http(self, port):
        """Runs the HTTP probes that the chart uses with TLS, and a scrape."""
        container = replica(objects("tls"))
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{container[probe]['httpGet']['path']}", timeout=20) as answer:
                self.assertEqual(answer.status, 200)
        [monitor] = [each for each in objects("full") if each["kind"] == "ServiceMonitor"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{monitor['spec']['endpoints'][0]['path']}", timeout=20) as answer:
            self.assertIn("\ntwintier_ready", answer.read().decode())

    def test_the_grace_period_covers_the_drain(self):
        for case in CASES:
            with self.subTest(case), tempfile.TemporaryDirectory() as folder:
                found = objects(case)
                filesystem, container = Filesystem(folder, found), replica(found)
                arguments = [filesystem.map(argument) for argument in container["args"][1:]]
                shown = json.loads(run(PROGRAM, "config", "show", "-o", "json", *arguments, env=environment(container, filesystem)))
                pod = one(found, "Deployment")["spec"]["template"]["spec"]
                draining = sum(seconds(shown[path]["value"]) for path in ["drain.delay", "drain.timeout"])
                self.assertEqual(pod["terminationGracePeriodSeconds"], draining + 5)

    def test_notes_name_the_installed_service(self):
        output = run("check", "notes", CHART)
        self.assertIn(f"cache-twintier-headless.{NAMESPACE}.svc:50051", output)


def seconds(text):
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|s|m|h|d)", text))


if __name__ == "__main__":
    unittest.main()
