"""Shared helpers of the packaging tests: the rendered chart, and calls of the program."""

import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/twintier"
PROGRAM = os.environ["TEST_PROGRAM"]
NAMESPACE = "shop"

CASES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))


class Loader(yaml.SafeLoader):
    """Refuses a duplicate key, of which other loaders silently take the last. A key may override one that `<<` merges in."""

    def compose_mapping_node(self, anchor):
        node, seen = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and str(key.value) in seen:
                raise yaml.composer.ComposerError("in a mapping", node.start_mark, f"{key.value} is a duplicate key", key.start_mark)
            seen.add(str(key.value))
        return node


def image_file(folder):
    """Writes the configuration file of the image into a folder. Returns the variables of the image, which name that file."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    [(printed, path)] = re.findall(r"(printf [^;>]+) > /out(/\S+);", text)
    file = pathlib.Path(folder) / "image.yaml"
    file.write_text(run("bash", "-euc", printed))
    given = dict(value.split("=", 1) for line in re.findall(r"(?m)^ENV (TWINTIER_.*)$", text) for value in line.split())
    return {name: str(file) if value == path else value for name, value in given.items()}


def load(file):
    """Loads a YAML file."""
    return yaml.load(file.read_text(), Loader)


def run(*command, ok=True, **more):
    """Runs a command and returns its output. Asserts that it succeeds, or fails if `ok` is False; `None` allows both."""
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, timeout=120, **more)
    if ok is not None and (done.returncode == 0) != ok:
        raise AssertionError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout if ok else done.stdout + done.stderr


def values(case):
    return CHART / f"ci/{case}-values.yaml"


@functools.cache
def manifest(case, kube_version="1.37.0", *arguments):
    """Renders the chart with a values file of ci/."""
    return run("helm", "template", "cache", CHART, "--namespace", NAMESPACE, "--kube-version", kube_version,
               "--values", values(case), *arguments)


def objects(case, kube_version="1.37.0", *arguments):
    return [found for found in yaml.load_all(manifest(case, kube_version, *arguments), yaml.CSafeLoader) if found]


def one(found, kind, suffix=""):
    """Returns the object of this kind whose name is that of the release plus `suffix`."""
    [release] = {each["metadata"]["name"] for each in found if each["kind"] == "PodDisruptionBudget"}
    [only] = [each for each in found if each["kind"] == kind and each["metadata"]["name"] == release + suffix]
    return only


def replica(found):
    """Returns the container of the service."""
    return one(found, "Deployment")["spec"]["template"]["spec"]["containers"][0]


# Files of a Secret that is mounted whole: the public key of RFC 7517, A.1.
# Files of Secrets that are mounted whole, beside certificates.
WHOLE_SECRET = {"mac-1": "01" * 32, "mac-2": "02" * 32, "cipher": "03" * 32, "jwks.json": json.dumps({"keys": [{
    "kty": "EC", "crv": "P-256", "kid": "1", "use": "sig",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]})}


@functools.cache
def certificates():
    """Returns the files of a certificate of its own authority, by their names in Secrets."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{folder}/tls.crt", f"{folder}/tls.key"]
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
            "-subj", "/CN=cache", "-out", names[0], "-keyout", names[1])
        certificate, key = [pathlib.Path(name).read_text() for name in names]
    return {"tls.crt": certificate, "tls.key": key, "ca.crt": certificate}


class Filesystem:
    """A folder that holds the mounted files of a container."""

    def __init__(self, folder, found):
        self.folder = pathlib.Path(folder)
        pod = one(found, "Deployment")["spec"]["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        self.mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in replica(found)["volumeMounts"]}
        for path, volume in self.mounts.items():
            (self.folder / path.lstrip("/")).mkdir(parents=True)
            if "configMap" in volume:
                for name, text in one(found, "ConfigMap")["data"].items():
                    (self.folder / path.lstrip("/") / name).write_text(self.map(text, "/etc/"))
            if "items" not in volume.get("secret", {"items": []}):
                for name, text in (WHOLE_SECRET | certificates()).items():
                    (self.folder / path.lstrip("/") / name).write_text(text)
            for item in volume.get("secret", {}).get("items", []):
                (self.folder / path.lstrip("/") / item["path"]).write_text(certificates().get(item["key"], "secret\n"))

    def map(self, text, below="/"):
        """Replaces mounted paths below another in the text by paths in the folder. Other paths stay, and do not exist."""
        for path in filter(lambda path: path.startswith(below), self.mounts):
            text = text.replace(path + "/", f"{self.folder}{path}/")
        return text


SECRETS = {"TWINTIER_REDIS_URL": "redis-cluster://user:secret@n1:6379,n2:6379"}


def environment(container, filesystem):
    """Returns the variables of the container only."""
    given = {}
    for variable in container.get("env", []):
        name = variable["name"]
        secret = "secretKeyRef" in variable.get("valueFrom", {})
        given[name] = SECRETS.get(name, "secret") if secret else filesystem.map(variable.get("value", "field"))
    return given


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def started(command, **more):
    """Starts a server and stops it at the end of the block."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, **more)
        try:
            yield process
        except AssertionError as error:
            log.seek(0)
            last = "".join(log.readlines()[-20:])
            raise AssertionError(f"{error}\n--- last output of {command[0]}\n{last}") from error
        finally:
            process.send_signal(2)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def wait_until(command, seconds=20, **more):
    """Repeats a command until it succeeds."""
    end = time.monotonic() + seconds
    command = [str(part) for part in command]
    while (done := subprocess.run(command, capture_output=True, text=True, timeout=seconds, **more)).returncode != 0:
        if time.monotonic() > end:
            raise AssertionError(f"{' '.join(command)} did not succeed within {seconds} s: {done.stdout}{done.stderr}")
        time.sleep(0.1)


def assert_accepted(*arguments):
    """Asserts that the program accepts a command line. Without a server it fails with exit code 3 (unavailable)."""
    arguments = [str(argument) for argument in arguments]
    if arguments[0] == "serve":
        return run(PROGRAM, "config", "check", *arguments[1:], env={})
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=20,
                          env={"TWINTIER_SERVER": "http://127.0.0.1:1"})
    if done.returncode != 3:
        raise AssertionError(f"twintier {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def blocks(page, language):
    """Returns the fenced blocks of a page in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.M | re.S)


def commands(page, program, language="bash"):
    """Returns the command lines of a page that call this program, with continued lines joined."""
    text = "\n".join(blocks(page, language)).replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip().split(" ")[0] == program]


def which(program):
    found = shutil.which(program)
    assert found, f"{program} is missing"
    return found
