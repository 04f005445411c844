"""The manifests in deploy/ are valid, match the program, and stay within upstream's limit."""

import copy
import re
from collections.abc import Callable

import kubernetes_validate
import pytest
import requests
from manifests import (
    OVERLAYS,
    Document,
    Gateway,
    documents,
    gateways,
    length,
    of_kind,
    per_minute,
    rendered,
    service_variables,
    size,
)
from programs import run

# The part of upstream's 500 a minute that is left to other users of the account.
LIMIT = 450
# The time for the last lines of responses that the drain cuts off, and slack for the kubelet.
END_GRACE, MARGIN = 3, 2
# The memory that the process needs in addition to its cache and a large response, by docs/operations.md.
HEADROOM = 256 << 20
# Kinds that Kubernetes does not define. All others must have a schema.
CUSTOM = {"ServiceMonitor", "PrometheusRule", "HTTPRoute", "BackendTrafficPolicy"}

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@every_overlay
def test_rendered_manifests_are_strictly_valid(overlay):
    for document in documents(overlay):
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, "1.37", strict=True)
    assert kubernetes_validate.latest_version().startswith("1.37")


# Each rule takes the manifests of an overlay and returns its violations.


def budget(documents: list[Document]) -> list[str]:
    """All replicas together stay within upstream's limit."""
    total = 0.0
    for gateway in gateways(documents):
        name = gateway.workload["metadata"]["name"]
        most = gateway.most
        for scaler in of_kind(documents, "HorizontalPodAutoscaler"):
            if scaler["spec"]["scaleTargetRef"]["name"] == name:
                most += scaler["spec"]["maxReplicas"] - gateway.workload["spec"].get("replicas", 1)
        rate, sharing = per_minute(gateway.setting("upstream-rate")), int(gateway.setting("replicas"))
        if sharing > 1 and most > sharing:
            return [f"{most} pods are more than the {sharing} that share the rate"]
        total += rate if sharing > 1 else most * rate
        if gateway.setting("rate-scope") != "shared":
            return ["a budget for each credential has no sum"]
    return [] if total <= LIMIT else [f"{total:.0f} requests a minute are more than {LIMIT}"]


def stopping(documents: list[Document]) -> list[str]:
    """Kubernetes waits until the gateway has stopped gracefully."""
    faults = []
    for gateway in gateways(documents):
        hook = gateway.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        drain = length(gateway.setting("drain-delay")) + length(gateway.setting("drain-timeout"))
        needed = hook + drain + END_GRACE + MARGIN
        given = gateway.pod["terminationGracePeriodSeconds"]
        if given < needed:
            faults.append(f"a grace period of {given} s is less than {needed:.0f} s")
    return faults


def memory(documents: list[Document]) -> list[str]:
    """Memory suffices for the cache, the largest response and the rest, and the request equals the limit."""
    faults = []
    for gateway in gateways(documents):
        resources = gateway.container["resources"]
        limit = size(resources["limits"]["memory"])
        needed = size(gateway.setting("cache-bytes")) + size(gateway.setting("max-json-bytes")) + HEADROOM
        if limit < needed:
            faults.append(f"a limit of {limit >> 20} MiB is less than {needed >> 20} MiB")
        if size(resources["requests"]["memory"]) != limit:
            faults.append("the requested memory is not the limit")
    return faults


def restricted(documents: list[Document]) -> list[str]:
    """The pod security standard `restricted`, a read-only root, and no access to the cluster."""
    faults = []
    for gateway in gateways(documents):
        pod, container = gateway.pod, gateway.container
        around, inside = pod.get("securityContext", {}), container.get("securityContext", {})
        expected = {
            "runAsNonRoot": around.get("runAsNonRoot") is True and around.get("runAsUser", 0) > 0,
            "seccompProfile": around.get("seccompProfile") == {"type": "RuntimeDefault"},
            "allowPrivilegeEscalation": inside.get("allowPrivilegeEscalation") is False,
            "readOnlyRootFilesystem": inside.get("readOnlyRootFilesystem") is True,
            "capabilities": inside.get("capabilities") == {"drop": ["ALL"]},
            "automountServiceAccountToken": pod.get("automountServiceAccountToken") is False,
            "enableServiceLinks": pod.get("enableServiceLinks") is False,
            "no host": not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")),
        }
        faults += [name for name, holds in expected.items() if not holds]
        if any("subPath" in mount for mount in container.get("volumeMounts", [])):
            faults.append("what is mounted by subPath never changes")
    return faults


def references(documents: list[Document]) -> list[str]:
    """References between manifests resolve."""
    faults = []
    (gateway,) = gateways(documents)
    services = {service["metadata"]["name"]: service for service in of_kind(documents, "Service")}

    def expect(holds: object, fault: str) -> None:
        if not holds:
            faults.append(fault)

    def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
        return bool(selector) and selector.items() <= labels.items()

    def ports_of(service: str, key: str) -> list:
        return [port[key] for port in services[service]["spec"]["ports"]] if service in services else []

    accounts = [account["metadata"]["name"] for account in of_kind(documents, "ServiceAccount")]
    expect(gateway.pod["serviceAccountName"] in accounts, "no such service account")
    for port, flag in (("http", "listen"), ("admin", "admin-listen")):
        expect(gateway.setting(flag).endswith(f":{gateway.ports.get(port)}"), f"port {port} is not --{flag}'s")
    for name, service in services.items():
        expect(selects(service["spec"]["selector"], gateway.labels), f"Service {name} selects nothing")
        for port in service["spec"]["ports"]:
            expect(port["targetPort"] in gateway.ports, f"Service {name} has no port {port['targetPort']} to go to")
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        found = of_kind(documents, kind)
        expect(found, f"no {kind}")
        for document in found:
            selector = document["spec"].get("selector") or document["spec"].get("podSelector") or {}
            expect(selects(selector.get("matchLabels", {}), gateway.labels), f"{kind} selects nothing")
    for ingress in of_kind(documents, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                named = backend["port"]["name"] in ports_of(backend["name"], "name")
                expect(named, "the Ingress names no port of the Service")
                expect(backend["name"] == "fanfold", "the Ingress leads to the admin listener")
    routes = {route["metadata"]["name"]: route for route in of_kind(documents, "HTTPRoute")}
    for route in routes.values():
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                expect(backend["port"] in ports_of(backend["name"], "port"), "the route names no port of the Service")
                expect(backend["name"] == "fanfold", "the route leads to the admin listener")
    for policy in of_kind(documents, "BackendTrafficPolicy"):
        for target in policy["spec"]["targetRefs"]:
            expect(target["kind"] == "HTTPRoute" and target["name"] in routes, "the policy is for no route")
    for monitor in of_kind(documents, "ServiceMonitor"):
        selector = monitor["spec"]["selector"].get("matchLabels", {})
        chosen = [service for service in services.values() if selects(selector, service["metadata"]["labels"])]
        expect(len(chosen) == 1, f"the ServiceMonitor selects {len(chosen)} Services")
        for service in chosen:
            ports = ports_of(service["metadata"]["name"], "name")
            expect(monitor["spec"]["endpoints"][0]["port"] in ports, "the ServiceMonitor names no port")
    return faults


def waiting(documents: list[Document]) -> list[str]:
    """Timeouts in front of the gateway are at least as long as its own."""
    faults = []
    (gateway,) = gateways(documents)
    deadline = length(gateway.setting("request-deadline"))
    for ingress in of_kind(documents, "Ingress"):
        for name, value in ingress["metadata"]["annotations"].items():
            if name.endswith(("proxy-read-timeout", "timeout-server")) and int(value.removesuffix("s")) <= deadline:
                faults.append(f"{name} is not longer than --request-deadline")
            if name.endswith("/proxy-buffering") and value.lower() not in ("off", "false"):
                faults.append(f"{name} holds rows back")
    for route in of_kind(documents, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            timeouts = rule.get("timeouts", {})
            if [timeouts.get("request"), timeouts.get("backendRequest")] != ["0s", "0s"]:
                faults.append("the route ends answers that take long")
    return faults


def keeping(documents: list[Document]) -> list[str]:
    """A tier has a large enough volume, and no two pods need a volume that only one node can mount."""
    faults = []
    claims = {claim["metadata"]["name"]: claim["spec"] for claim in of_kind(documents, "PersistentVolumeClaim")}
    for gateway in gateways(documents):
        url = gateway.environment.get("FANFOLD_TIER_URL")
        mounts = [mount for mount in gateway.container.get("volumeMounts", []) if mount["name"] == "tier"]
        volumes = [volume for volume in gateway.pod.get("volumes", []) if volume["name"] == "tier"]
        if url is None:
            continue
        if url.startswith("redis"):
            if not url.startswith("rediss:"):
                faults.append("the password of the tier is readable on the way")
            continue
        if not any(url.startswith(f"file://{mount['mountPath']}/") for mount in mounts) or len(volumes) != 1:
            faults.append("the tier is on no volume")
            continue
        claim = claims.get(volumes[0].get("persistentVolumeClaim", {}).get("claimName"))
        room = volumes[0]["emptyDir"]["sizeLimit"] if claim is None else claim["resources"]["requests"]["storage"]
        if size(room) <= size(gateway.setting("tier-bytes")):
            faults.append("the volume is full before --tier-bytes")
        spec = gateway.workload["spec"]
        if claim and "ReadWriteOnce" in claim["accessModes"] and spec["strategy"] != {"type": "Recreate"}:
            faults.append("a new pod would wait for the volume of the old one")
        if claim and spec["replicas"] != 1:
            faults.append("several replicas would share a directory")
    return faults


RULES = [budget, stopping, memory, restricted, references, waiting, keeping]


@every_overlay
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rendered_manifests_follow_the_rules(overlay, rule):
    assert rule(documents(overlay)) == []


def one(documents: list[Document], kind: str) -> Document:
    return of_kind(documents, kind)[0]


def setting(name: str, value: str) -> Callable[[list[Document]], None]:
    def change(documents: list[Document]) -> None:
        environment = Gateway(one(documents, "Deployment")).container["env"]
        environment[:] = [entry for entry in environment if entry["name"] != name]
        environment.append({"name": name, "value": value})

    return change


def replicas(count: int) -> Callable[[list[Document]], None]:
    return lambda documents: one(documents, "Deployment")["spec"].update(replicas=count)


def surge(value: int | str) -> Callable[[list[Document]], None]:
    return lambda documents: one(documents, "Deployment")["spec"]["strategy"]["rollingUpdate"].update(maxSurge=value)


def strategy(**fields) -> Callable[[list[Document]], None]:
    return lambda documents: one(documents, "Deployment")["spec"].update(strategy=fields)


def pod(**fields) -> Callable[[list[Document]], None]:
    return lambda documents: Gateway(one(documents, "Deployment")).pod.update(fields)


def container(**fields) -> Callable[[list[Document]], None]:
    return lambda documents: Gateway(one(documents, "Deployment")).container.update(fields)


def scaler(documents: list[Document]) -> None:
    spec = {"scaleTargetRef": {"name": "fanfold"}, "maxReplicas": 4}
    documents.append({"kind": "HorizontalPodAutoscaler", "spec": spec})


def renamed(kind: str) -> Callable[[list[Document]], None]:
    return lambda documents: one(documents, kind)["metadata"].update(name="else")


def annotated(name: str, value: str) -> Callable[[list[Document]], None]:
    return lambda documents: one(documents, "Ingress")["metadata"]["annotations"].update({name: value})


@pytest.mark.parametrize(
    ("overlay", "rule", "change"),
    [
        ("pass-through", budget, replicas(2)),
        ("pass-through", budget, surge(1)),
        ("pass-through", budget, surge("25%")),
        ("pass-through", budget, setting("FANFOLD_UPSTREAM_RATE", "8/s")),
        ("pass-through", budget, setting("FANFOLD_UPSTREAM_RATE", "0")),
        ("pass-through", budget, setting("FANFOLD_RATE_SCOPE", "credential")),
        ("pass-through", budget, container(args=["serve", "--upstream-rate=500/min"])),
        ("replicas", budget, replicas(4)),
        ("replicas", budget, surge(1)),
        ("replicas", budget, scaler),
        ("pass-through", stopping, pod(terminationGracePeriodSeconds=30)),
        ("pass-through", stopping, setting("FANFOLD_DRAIN_TIMEOUT", "5m")),
        ("pass-through", stopping, container(lifecycle={"preStop": {"sleep": {"seconds": 15}}})),
        ("pass-through", memory, setting("FANFOLD_CACHE_BYTES", "600MiB")),
        ("pass-through", memory, setting("FANFOLD_MAX_JSON_BYTES", "512MiB")),
        ("pass-through", memory, container(resources={"limits": {"memory": "1Gi"}, "requests": {"memory": "512Mi"}})),
        ("pass-through", restricted, pod(securityContext={})),
        ("pass-through", restricted, container(securityContext={})),
        ("pass-through", restricted, pod(enableServiceLinks=True)),
        ("pass-through", references, setting("FANFOLD_LISTEN", "0.0.0.0:8000")),
        ("pass-through", references, lambda documents: one(documents, "PodDisruptionBudget")["spec"].pop("selector")),
        ("ingress", references, renamed("Service")),
        ("held-key", references, lambda documents: one(documents, "ServiceMonitor")["spec"]["selector"].clear()),
        ("gateway-api", references, renamed("Service")),
        ("replicas-gateway-api", references, renamed("HTTPRoute")),
        ("ingress", waiting, annotated("nginx.ingress.kubernetes.io/proxy-read-timeout", "30")),
        ("ingress", waiting, annotated("nginx.ingress.kubernetes.io/proxy-buffering", "on")),
        ("ingress", waiting, setting("FANFOLD_REQUEST_DEADLINE", "2m")),
        ("gateway-api", waiting, lambda documents: one(documents, "HTTPRoute")["spec"]["rules"][0].pop("timeouts")),
        ("tier-volume", keeping, setting("FANFOLD_TIER_BYTES", "5GiB")),
        ("tier-volume", keeping, setting("FANFOLD_TIER_URL", "file:///tmp/tier")),
        ("tier-volume", keeping, strategy(type="RollingUpdate")),
        ("tier-volume", keeping, replicas(2)),
        ("tier-empty-dir", keeping, setting("FANFOLD_TIER_BYTES", "6GiB")),
        ("tier-redis", keeping, setting("FANFOLD_TIER_URL", "redis://redis")),
        ("tier-redis", budget, surge(2)),
        ("tier-redis", budget, setting("FANFOLD_REPLICAS", "1")),
    ],
)
def test_finds_manifests_that_break_a_rule(overlay, rule, change):
    changed = copy.deepcopy(documents(overlay))
    change(changed)
    assert rule(changed) != []


def settings_of(gateway: Gateway, tmp_path) -> dict[str, str]:
    """The environment of a container, with files in place of mounts."""
    environment = dict(gateway.environment)
    for name, folder in gateway.mounted_files():
        here = environment[name].replace(folder, str(tmp_path / name))
        (tmp_path / name).mkdir(exist_ok=True)
        environment[name] = here
        with open(here, "w") as file:
            if "TOKENS" in name:
                file.write(run("token", "new", "--name", "check", "--agents", "*").stdout)
            else:
                # Serves as an upstream key and is long enough for a tier's secret.
                file.write("bn-check-" + "0" * 32)
    return environment


@every_overlay
def test_the_binary_takes_the_settings(overlay, tmp_path):
    for gateway in gateways(documents(overlay)):
        environment = settings_of(gateway, tmp_path)
        checked = run(*gateway.container["args"], "--check", **environment)
        assert checked.returncode == 0, checked.stderr
        assert "warning" not in checked.stderr
        # Service links are off, but the gateway must also start with them.
        links = service_variables(documents(overlay))
        assert links
        assert run(*gateway.container["args"], "--check", **environment, **links).returncode == 0
        for typo in ({"FANFOLD_CACHE_SIZE": "1GiB"}, {"FANFOLD_DRAIN_DELAY": "5"}):
            assert run(*gateway.container["args"], "--check", **(environment | typo)).returncode == 64


@pytest.mark.parametrize("overlay", ["pass-through", "replicas"])
def test_responds_to_the_probes_and_the_scrape(overlay, tmp_path, gateway, upstream):
    (described,) = gateways(documents(overlay))
    environment = settings_of(described, tmp_path)
    program = gateway(upstream.url, **environment)
    bases = {"http": program.url, "admin": program.admin}
    for probe in ("livenessProbe", "readinessProbe"):
        asked = described.container[probe]["httpGet"]
        assert requests.get(bases[asked["port"]] + asked["path"], timeout=5).status_code == 200, probe
    for monitor in of_kind(documents(overlay), "ServiceMonitor"):
        (endpoint,) = monitor["spec"]["endpoints"]
        assert requests.get(bases[endpoint["port"]] + endpoint["path"], timeout=5).status_code == 200
    # Proves that unknown paths are not answered.
    assert requests.get(f"{program.admin}/healthz", timeout=5).status_code == 404


def test_no_two_overlays_are_the_same():
    assert len({rendered(overlay) for overlay in OVERLAYS}) == len(OVERLAYS) >= 5


@every_overlay
def test_no_secret_is_in_a_manifest(overlay):
    assert not of_kind(documents(overlay), "Secret")
    assert not re.search(r"\b(bn|sa)-\w", rendered(overlay))
