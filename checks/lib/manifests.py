"""Renders deploy/ and resolves references between its manifests."""

import functools
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from programs import ROOT, run
from tools import tool

OVERLAYS = sorted(path.parent.name for path in (ROOT / "deploy/overlays").glob("*/kustomization.yaml"))
PREFIX = "FANFOLD_"
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
# The units of settings and of Kubernetes.
BYTES = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}

Document = dict[str, Any]


@functools.cache
def rendered(overlay: str) -> str:
    command = [tool("kubectl"), "kustomize", str(ROOT / "deploy/overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(overlay: str) -> list[Document]:
    """A copy of the manifests of an overlay."""
    return [document for document in yaml.safe_load_all(rendered(overlay)) if document]


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [document for document in documents if document["kind"] in kinds]


def length(text: str) -> float:
    """A length of time in seconds."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text).groups()
    return int(number) * SECONDS[unit]


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([KMG]iB?)?", str(text)).groups()
    return int(number) * BYTES[unit or ""]


def per_minute(text: str) -> float:
    if text == "0":
        return float("inf")
    number, unit = text.split("/")
    return int(number) * {"s": 60, "min": 1}[unit]


@functools.cache
def defaults() -> dict[str, str]:
    """The defaults of `serve`, by variable, as its help shows them."""
    text = " ".join(run("serve", "--help").stdout.split())
    return dict(re.findall(rf"\[env: ({PREFIX}\w+)\] \[default: ([^\]]+)\]", text))


@dataclass(frozen=True)
class Gateway:
    """A workload that runs the gateway."""

    workload: Document

    @property
    def pod(self) -> Document:
        return self.workload["spec"]["template"]["spec"]

    @property
    def labels(self) -> dict[str, str]:
        return self.workload["spec"]["template"]["metadata"]["labels"]

    @property
    def container(self) -> Document:
        (container,) = self.pod["containers"]
        return container

    @property
    def environment(self) -> dict[str, str]:
        return {entry["name"]: entry["value"] for entry in self.container["env"]}

    def setting(self, flag: str) -> str:
        """The value of a setting: from a flag, a variable or the default."""
        arguments = " ".join(self.container["args"])
        if given := re.search(rf"--{flag}[= ](\S+)", arguments):
            return given[1]
        variable = PREFIX + flag.upper().replace("-", "_")
        return self.environment.get(variable, defaults().get(variable))

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def most(self) -> int:
        """The most replicas that may run at once by the workload's own settings."""
        spec = self.workload["spec"]
        replicas = spec.get("replicas", 1)
        if self.workload["kind"] == "StatefulSet" or spec["strategy"]["type"] == "Recreate":
            return replicas
        surge = spec["strategy"].get("rollingUpdate", {}).get("maxSurge", "25%")
        if isinstance(surge, str):
            # Rounded up, as Kubernetes does.
            surge = -(-replicas * int(surge.removesuffix("%")) // 100)
        return replicas + surge

    def mounted_files(self) -> Iterator[tuple[str, str]]:
        """The variables with files in mounted folders, and the folder of each."""
        folders = [mount["mountPath"] for mount in self.container.get("volumeMounts", [])]
        for name, value in self.environment.items():
            for folder in folders:
                if name.endswith("_FILE") and value.startswith(f"{folder}/"):
                    yield name, folder


def gateways(documents: list[Document]) -> list[Gateway]:
    found = [Gateway(workload) for workload in of_kind(documents, "Deployment", "StatefulSet", "DaemonSet")]
    assert found, "nothing runs the gateway"
    return found


def service_variables(documents: list[Document]) -> dict[str, str]:
    """The variables that Kubernetes sets for the Services of these manifests if service links are on."""
    variables = {}
    for service in of_kind(documents, "Service"):
        if service["spec"].get("clusterIP") == "None":
            continue
        name = service["metadata"]["name"].upper().replace("-", "_")
        variables[f"{name}_SERVICE_HOST"] = "10.0.0.1"
        for port in service["spec"]["ports"]:
            number, base = port["port"], f"{name}_PORT_{port['port']}_TCP"
            variables |= {
                f"{name}_SERVICE_PORT": f"{number}",
                f"{name}_SERVICE_PORT_{port['name'].upper()}": f"{number}",
                f"{name}_PORT": f"tcp://10.0.0.1:{number}",
                base: f"tcp://10.0.0.1:{number}",
                f"{base}_PROTO": "tcp",
                f"{base}_PORT": f"{number}",
                f"{base}_ADDR": "10.0.0.1",
            }
    return variables
