"""Checks the Dockerfile and the compose file against their linters, the repository, and the program."""

import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import tomllib
import unittest

import yaml

from parts import PROGRAM, ROOT, assert_accepted, blocks, commands, free_port, image_file, load, run, started, wait_until

DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = ROOT / "compose.yaml"
PAGE = ROOT / "docs/install.md"


def instructions():
    """Returns the instructions of the Dockerfile with their arguments, by stage."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE.read_text()).replace("\\\n", " ")
    found = [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]
    starts = [index for index, (name, _) in enumerate(found) if name == "FROM"] + [len(found)]
    return [found[start:end] for start, end in zip(starts, starts[1:])]


def argument(stage, name):
    [only] = [value for each, value in stage if each == name]
    return only


class Image(unittest.TestCase):
    """The Dockerfile."""

    def setUp(self):
        self.build, self.final = instructions()

    def copied(self):
        return [source for name, value in self.build if name == "COPY" for source in value.split()[:-1]]

    def test_lint(self):
        run("hadolint", "--failure-threshold", "style", DOCKERFILE)

    def test_an_invalid_dockerfile_is_detected(self):
        run("hadolint", "-", input="FROM debian\nRUN cd /tmp\n", ok=False)

    def test_each_step_ends_at_its_first_error_in_either_image_format(self):
        """The OCI format ignores SHELL, so that each step must set it."""
        self.assertNotIn("SHELL", [name for name, _ in self.build + self.final])
        steps = [value for name, value in self.build + self.final if name == "RUN"]
        self.assertGreaterEqual(len(steps), 3)
        for step in steps:
            command = re.sub(r"--mount=\S+\s+", "", step).strip()
            with self.subTest(command[:40]):
                self.assertTrue(command.startswith("set -eu;"))
                self.assertNotRegex(command, r"\btouch (?!--no-create)")
                script = command.removeprefix("set -eu;")
                done = subprocess.run(["sh", "-c", f"set -eu; false; {script}"], capture_output=True, text=True)
                self.assertNotEqual(done.returncode, 0)

    def test_a_failed_build_leaves_no_program(self):
        [step] = [value for name, value in self.build if name == "RUN" and "cargo build" in value]
        command = re.sub(r"--mount=\S+\s+", "", step).replace("/out/", "out/").replace("/triple", "triple").strip()
        with tempfile.TemporaryDirectory() as folder:
            cargo = pathlib.Path(folder) / "bin/cargo"
            cargo.parent.mkdir()
            cargo.write_text("#!/bin/sh\nexit 101\n")
            cargo.chmod(0o755)
            (pathlib.Path(folder) / "triple").write_text("x")
            given = {"PATH": f"{cargo.parent}:{os.environ['PATH']}", "SOURCE_DATE_EPOCH": "0", "IMAGE_REVISION": ""}
            done = subprocess.run(["sh", "-c", command], cwd=folder, env=given, capture_output=True, text=True)
            self.assertEqual(done.returncode, 101)
            self.assertFalse((pathlib.Path(folder) / "out").exists())

    def test_labels_name_version_and_source(self):
        labels = argument(self.final, "LABEL")
        for name in ["version", "revision", "created", "title", "source", "licenses"]:
            self.assertIn(f"org.opencontainers.image.{name}=", labels)
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        self.assertIn(f'IMAGE_VERSION="{version}"', [value for name, value in self.final if name == "ARG"])

    def test_the_health_check_has_no_option_that_builders_lack(self):
        self.assertNotIn("--start-interval", argument(self.final, "HEALTHCHECK"))

    def test_the_context_has_exactly_the_copied_files(self):
        lines = (ROOT / ".dockerignore").read_text().splitlines()
        rules = [line for line in lines if line and not line.startswith("#")]
        self.assertEqual(rules[0], "*")
        self.assertEqual(sorted(rule.removeprefix("!") for rule in rules[1:]), sorted(self.copied()))

    def test_the_copied_files_can_be_built(self):
        with tempfile.TemporaryDirectory() as folder:
            for source in self.copied():
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                copy(ROOT / source, pathlib.Path(folder) / source)
            packages = json.loads(run("cargo", "metadata", "--locked", "--no-deps", "--format-version", "1", cwd=folder))["packages"]
            [package] = [package for package in packages if package["name"] == "twintier"]
            targets = {(target["kind"][0], target["name"]) for target in package["targets"]}
            self.assertLessEqual({("bin", "twintier"), ("custom-build", "build-script-build")}, targets)
            for target in [target for package in packages for target in package["targets"]]:
                self.assertTrue(pathlib.Path(target["src_path"]).is_file(), target)
            # Files that the build script reads.
            for proto in re.findall(r'"(twintier/v1/\w+\.proto)"', (ROOT / "build.rs").read_text()):
                self.assertTrue((pathlib.Path(folder) / "proto" / proto).is_file(), proto)
            # Files that the sources include. Unit tests are not part of the image.
            for file in (pathlib.Path(folder) / "src").rglob("*.rs"):
                if file.name.endswith("_tests.rs"):
                    continue
                for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', file.read_text()):
                    self.assertTrue((file.parent / name).is_file(), f"{file.name} includes {name}")

    def test_rust_is_new_enough_and_bases_are_pinned(self):
        needed = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["rust-version"]
        [version] = re.findall(r"rust:(\d+\.\d+)", argument(self.build, "FROM"))
        self.assertGreaterEqual(tuple(map(int, version.split("."))), tuple(map(int, needed.split("."))))
        for stage in self.build, self.final:
            image = [word for word in argument(stage, "FROM").split() if not word.startswith("--")][0]
            self.assertRegex(image, r":(?!latest)[\w.-]+$|@sha256:")

    def test_command_lines_exist(self):
        entrypoint, command = json.loads(argument(self.final, "ENTRYPOINT")), json.loads(argument(self.final, "CMD"))
        assert_accepted(*entrypoint[1:], *command)
        check = json.loads(argument(self.final, "HEALTHCHECK").partition(" CMD ")[2])
        self.assertEqual(check[:1], entrypoint)
        assert_accepted(*check[1:])
        installed = argument(self.final, "COPY").split()
        self.assertEqual(installed[1:], ["/out/", "/"])
        self.assertIn(f" /out{entrypoint[0]}", [value for name, value in self.build if name == "RUN"][-1])

    def test_it_listens_on_the_exposed_ports(self):
        addresses = self.addresses()
        self.assertEqual([address.rpartition(":")[2] for address in addresses], argument(self.final, "EXPOSE").split())
        for address in addresses:
            self.assertTrue(address.startswith("0.0.0.0:"), address)

    def addresses(self, *arguments, **variables):
        """Returns the addresses of the image with these arguments instead of its own, and with these additional variables."""
        words = list(map(str, arguments)) or json.loads(argument(self.final, "CMD"))
        self.assertEqual(words[0], "serve")
        with tempfile.TemporaryDirectory() as folder:
            shown = json.loads(run(PROGRAM, "config", "show", "-o", "json", *words[1:], env=image_file(folder) | variables))
        return [shown[path]["value"] for path in ["server.listen", "admin.listen"]]

    def test_flags_win_over_variables_and_variables_over_the_file(self):
        variables = {"TWINTIER_SERVER_LISTEN": "127.0.0.2:1", "TWINTIER_ADMIN_LISTEN": "127.0.0.2:2"}
        self.assertEqual(self.addresses(**variables), ["127.0.0.2:1", "127.0.0.2:2"])
        self.assertEqual(self.addresses("serve", "--set", "l1.size=1GiB"), self.addresses())
        self.assertEqual(self.addresses("serve", "--listen", "127.0.0.3:1", **variables), ["127.0.0.3:1", "127.0.0.2:2"])
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "own.yaml"
            file.write_text("server: {listen: '127.0.0.4:1'}\n")
            own = ["127.0.0.4:1", "127.0.0.1:9090"]
            self.assertEqual(self.addresses("serve", "--config", file), own)
            self.assertEqual(self.addresses(TWINTIER_CONFIG=str(file)), own)
            self.assertEqual(self.addresses("serve", "--config", file, **variables), ["127.0.0.2:1", "127.0.0.2:2"])

    def test_it_runs_without_root_and_sets_no_settings_by_variables(self):
        self.assertRegex(argument(self.final, "USER"), r"^[1-9]\d+:[1-9]\d+$")
        # A variable would override every file that a user mounts.
        [path] = re.findall(r" /out(/etc/\S+\.yaml);", " ".join(value for _, value in self.build))
        self.assertEqual(argument(self.final, "ENV"), f"TWINTIER_CONFIG={path}")

    def test_the_base_has_the_libraries_of_the_program(self):
        linked = {line.split()[0].split("/")[-1] for line in run("ldd", PROGRAM).splitlines()}
        self.assertLessEqual(linked, {"linux-vdso.so.1", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "libpthread.so.0", "libdl.so.2",
                                      "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"})


class Compose(unittest.TestCase):
    """The compose file, parsed by the library of Docker Compose, and its mounted files."""

    @classmethod
    def setUpClass(cls):
        cls.project = json.loads(run("check", "compose", COMPOSE, env=clean_environment()))
        cls.services = cls.project["services"]
        cls.replicas = {name: service for name, service in cls.services.items() if name.startswith("replica-")}

    def test_an_unknown_key_is_detected(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "compose.yaml"
            file.write_text("services: {a: {image: b:1, healthchek: {}}}\n")
            run("check", "compose", file, env=clean_environment(), ok=False)

    def test_no_key_is_duplicated(self):
        for file in [COMPOSE, *(ROOT / "compose").rglob("*.yaml")]:
            with self.subTest(file.name):
                load(file)
        with self.assertRaises(yaml.YAMLError), tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "twice.yaml"
            file.write_text("x: &x {a: 1}\ny: {<<: *x, a: 2}\nz: {a: 1, a: 2}\n")
            load(file)

    def test_images_are_pinned_and_ports_are_local(self):
        for name, service in self.services.items():
            with self.subTest(name):
                self.assertRegex(service["image"], r":(?!latest)[\w.-]+$")
                for port in service.get("ports", []):
                    self.assertEqual(port["host_ip"], "127.0.0.1")
        published = [port["published"] for service in self.services.values() for port in service.get("ports", [])]
        self.assertEqual(len(published), len(set(published)))

    def test_mounted_files_exist(self):
        for name, service in self.services.items():
            for volume in service.get("volumes", []):
                with self.subTest(name, source=volume["source"]):
                    self.assertTrue(pathlib.Path(volume["source"]).exists())
                    self.assertTrue(volume["read_only"])

    def test_replicas_are_alike_and_publish_the_port_of_the_image(self):
        self.assertEqual(len(self.replicas), 3)
        alike = [{key: value for key, value in service.items() if key != "ports"} for service in self.replicas.values()]
        self.assertEqual(alike.count(alike[0]), 3)
        exposed = [int(port) for port in argument(instructions()[-1], "EXPOSE").split()]
        for service in self.replicas.values():
            self.assertIn(service["ports"][0]["target"], exposed)
            self.assertTrue(service["read_only"])

    def test_replicas_have_the_version_of_the_crate(self):
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        for service in self.replicas.values():
            self.assertEqual(service["image"], f"twintier:{version}")

    def test_replicas_have_time_to_drain(self):
        shown = json.loads(run(PROGRAM, "config", "show", "-o", "json", env=self.environment("replica-1")))
        draining = sum(int(shown[path]["value"].removesuffix("s")) for path in ["drain.delay", "drain.timeout"])
        self.assertGreaterEqual(int(self.replicas["replica-1"]["stop_grace_period"].removesuffix("s")), draining + 5)

    def environment(self, name):
        """Returns the variables of a replica and of its image."""
        folder = self.enterContext(tempfile.TemporaryDirectory())
        return image_file(folder) | {key: value for key, value in self.services[name]["environment"].items() if value}

    def test_settings_exist(self):
        for name in self.replicas:
            shown = json.loads(run(PROGRAM, "config", "show", "-o", "json", env=self.environment(name)))
            listening = [int(shown[path]["value"].rpartition(":")[2]) for path in ["server.listen", "admin.listen"]]
            self.assertEqual(listening, [port["target"] for port in self.replicas[name]["ports"]])
            self.assertFalse([key for key in self.environment(name) if not key.startswith(("TWINTIER_", "OTEL_"))])

    def target(self, name, path):
        """Returns the file of the repository that is mounted at a path of the container."""
        for volume in self.services[name]["volumes"]:
            if path == volume["target"] or path.startswith(volume["target"] + "/"):
                return pathlib.Path(volume["source"] + path.removeprefix(volume["target"]))
        self.fail(f"{name} mounts nothing at {path}")

    def test_prometheus_scrapes_replicas_under_the_name_in_the_rules(self):
        [path] = [word.partition("=")[2] for word in self.services["prometheus"]["command"] if word.startswith("--config.file=")]
        config = load(self.target("prometheus", path))
        [job] = config["scrape_configs"]
        hosts = [target.split(":")[0] for static in job["static_configs"] for target in static["targets"]]
        self.assertEqual((job["job_name"], hosts), ("twintier", list(self.replicas)))
        [rules] = config["rule_files"]
        files = list(self.target("prometheus", str(pathlib.Path(rules).parent)).glob(pathlib.Path(rules).name))
        self.assertTrue(files)
        for file in files:
            run("check", "rules", file)

    def test_grafana_has_a_source_and_dashboards(self):
        [source] = load(self.target("grafana", "/etc/grafana/provisioning/datasources/twintier.yaml"))["datasources"]
        self.assertIn(re.match(r"http://(\w+):9090$", source["url"])[1], self.services)
        [provider] = load(self.target("grafana", "/etc/grafana/provisioning/dashboards/twintier.yaml"))["providers"]
        self.assertTrue(list(self.target("grafana", provider["options"]["path"]).glob("*.json")))
        home = self.services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
        self.assertTrue(self.target("grafana", home).is_file())

    def test_the_collector_defines_every_used_component(self):
        [path] = [word.partition("=")[2] for word in self.services["collector"]["command"]]
        config = load(self.target("collector", path))
        for name, pipeline in config["service"]["pipelines"].items():
            for kind, parts in pipeline.items():
                self.assertLessEqual(set(parts), set(config[kind]), name)

    def test_documented_commands_exist(self):
        lines = commands(PAGE, "docker")
        composed = [shlex.split(line)[2:] for line in lines if line.startswith("docker compose ")]
        composed += [shlex.split(line)[2:] for line in re.findall(r"`(docker compose [^`]+)`", PAGE.read_text())]
        self.assertGreaterEqual(len(composed), 6)
        profiles = {profile for service in self.services.values() for profile in service.get("profiles") or []}
        for words in composed:
            with self.subTest(" ".join(words)):
                if words[0] == "--profile":
                    self.assertIn(words[1], profiles)
                    words = words[2:]
                self.assertIn(words[0], ["up", "exec", "stop", "start", "down", "logs"])
                if words[0] in ("exec", "stop", "start"):
                    self.assertIn(words[1], self.services)
                if words[0] == "exec":
                    self.assertEqual(words[2], "twintier")
                    assert_accepted(*words[3:])

    def test_the_documented_commands_work_with_three_replicas(self):
        """Starts the services of the compose file without containers, and runs the documented commands."""
        command, ports = self.services["redis"]["command"], {}
        with contextlib.ExitStack() as stack:
            folder, port = stack.enter_context(tempfile.TemporaryDirectory()), free_port()
            stack.enter_context(started([*command, "--port", port, "--bind", "127.0.0.1"], cwd=folder))
            wait_until(["redis-cli", "-p", port, "ping"])
            for name in self.replicas:
                ports[name] = free_port()
                environment = self.environment(name)
                self.assertEqual(environment["TWINTIER_REDIS_URL"], "redis://redis:6379")
                environment |= {"TWINTIER_REDIS_URL": f"redis://127.0.0.1:{port}"}
                environment["TWINTIER_ADMIN_LISTEN"] = f"127.0.0.1:{free_port()}"
                arguments = ["serve", "--listen", f"127.0.0.1:{ports[name]}"]
                stack.enter_context(started([PROGRAM, *arguments], env=environment))
            for at in ports.values():
                wait_until([PROGRAM, "health", "redis"], env={"TWINTIER_SERVER": f"http://127.0.0.1:{at}"})
            output = []
            for line in commands(PAGE, "docker"):
                if line.startswith("docker compose exec "):
                    name, program, *words = shlex.split(line)[3:]
                    output.append(run(PROGRAM, *words, env={"TWINTIER_SERVER": f"http://127.0.0.1:{ports[name]}"}))
            self.assertGreaterEqual(len(output), 3)
            self.assertIn("hello", output[1])


class Release(unittest.TestCase):
    """The workflow that publishes the image and the chart."""

    FILE = ROOT / ".github/workflows/release.yaml"

    def test_lint(self):
        run("actionlint", "-shellcheck=", "-pyflakes=", self.FILE)

    def test_an_invalid_workflow_is_detected(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "release.yaml"
            file.write_text(self.FILE.read_text().replace("steps.build.outputs.digest", "steps.built.outputs.digest"))
            self.assertIn("built", run("actionlint", "-shellcheck=", "-pyflakes=", file, ok=False))

    def test_it_sets_the_arguments_of_the_image(self):
        given = set(re.findall(r"(?m)^ +([A-Z_]+)=", self.FILE.read_text()))
        taken = {value.split("=")[0] for stage in instructions() for name, value in stage if name == "ARG"}
        self.assertLessEqual(given, taken)
        self.assertLessEqual({"SOURCE_DATE_EPOCH", "IMAGE_VERSION", "IMAGE_REVISION", "IMAGE_CREATED"}, given)

    def test_scripts_end_at_their_first_error(self):
        for job in load(self.FILE)["jobs"].values():
            for step in job["steps"]:
                if "\n" in step.get("run", ""):
                    self.assertTrue(step["run"].startswith("set -euo pipefail\n"), step["run"])


class Page(unittest.TestCase):
    """The examples and links of docs/install.md."""

    def test_the_example_file_is_valid(self):
        [block] = [block for block in blocks(PAGE, "bash") if "cat > twintier.yaml" in block]
        with tempfile.TemporaryDirectory() as folder:
            secret = pathlib.Path(folder) / "secret"
            secret.write_text("secret\n")
            script = block.replace("/run/secrets/redis", str(secret)).partition("twintier serve")[0]
            path = {"PATH": f"{pathlib.Path(PROGRAM).parent}:{os.environ['PATH']}"}
            done = subprocess.run(["bash", "-euc", script], cwd=folder, env=path, capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_links_have_targets(self):
        for page in [PAGE, ROOT / "helm/twintier/README.md"]:
            for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
                if "://" not in link:
                    self.assertTrue((page.parent / link).exists(), link)


def clean_environment():
    """Returns the environment without variables that would change the compose file."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("IMAGE_", "OTEL_", "COMPOSE_"))}


if __name__ == "__main__":
    unittest.main()
