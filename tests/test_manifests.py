"""The manifests of deploy/kubernetes against the schemas, each other and the code, without a cluster."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from feature_repo.stores.endpoints import (
    LAKE_VARIABLE,
    POSTGRES_VARIABLE,
    REDIS_VARIABLE,
    SERVED_VARIABLE,
    SHARE_VARIABLE,
)
from ingest import alive, settings
from ingest.cli import add_command
from ingest.run.processes import STOP_S, WITH_LAKE
from ingest.streams import outage

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "kubernetes"
VERSION = "1.33"
"""Of Kubernetes, whose schemas the manifests are held against where a package carries them."""
API = {  # of each kind in use: its version, and what its `spec` must hold (of the others, the field that they are for)
    "ServiceAccount": ("v1", {}),
    "ConfigMap": ("v1", {}),
    "Secret": ("v1", {}),
    "PersistentVolumeClaim": ("v1", {"accessModes", "resources"}),
    "Deployment": ("apps/v1", {"replicas", "strategy", "selector", "template"}),
    "Job": ("batch/v1", {"backoffLimit", "template"}),
    "PodDisruptionBudget": ("policy/v1", {"selector"}),
    "Service": ("v1", {"selector", "ports"}),
    "NetworkPolicy": ("networking.k8s.io/v1", {"podSelector", "policyTypes"}),
    "RayJob": ("ray.io/v1", {"entrypoint", "submissionMode", "shutdownAfterJobFinishes", "rayClusterSpec"}),
}
NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")
DATABASE_ROLE = {
    "apply": "owner",
    "lake": "owner",
    "writer": "writer",
    "scorer": "writer",
    "ray-head": "writer",
    "metrics": "reader",
}
QUANTITY = re.compile(r"\d+(m|Mi|Gi)?\Z")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


FILES = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
EVERY = [(name, document) for name in FILES for document in documents(name)]
DEPLOYMENTS = [(name, document) for name, document in EVERY if document["kind"] == "Deployment"]
SERVERS = {"metrics.yaml": "9464", "feature-server.yaml": "6566"}
"""The parts that others connect to, and their ports."""
OF_THE_PIPELINE = [(name, document) for name, document in DEPLOYMENTS if name not in SERVERS]
SHARED = {document["kind"]: document for document in documents("base.yaml") + documents("secret.example.yaml")}


def of_file(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def pods(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pods' specs of a manifest, wherever they stand."""
    for key, value in document.items():
        if key == "template" and isinstance(value, dict):
            yield value["spec"]
        elif isinstance(value, dict):
            yield from pods(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    yield from pods(item)


PODS = [(f"{name}-{i}", pod) for name, document in EVERY for i, pod in enumerate(pods(document))]


@pytest.mark.parametrize(("file", "document"), EVERY, ids=of_file)
def test_a_manifest_is_of_its_kind(file: str, document: dict[str, Any]) -> None:
    version, required = API[document["kind"]]
    assert document["apiVersion"] == version
    assert NAME.match(document["metadata"]["name"])
    assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "trading-feature-store"
    assert set(required) <= set(document.get("spec", {}))


@pytest.mark.parametrize(("file", "document"), EVERY, ids=of_file)
def test_a_manifest_is_one_of_the_schemas_of_kubernetes(file: str, document: dict[str, Any]) -> None:
    """Against the strict schemas that the package kubernetes-validate carries."""
    package = importlib.util.find_spec("kubernetes_validate")
    if package is None:
        pytest.skip("kubernetes-validate, which carries the schemas, is not installed")
    if document["kind"] == "RayJob":
        document = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": {}}
        found = list(pods(documents(file)[0]))
        assert len(found) == 3  # the schemas know nothing of KubeRay; its pods they know
        for pod in found:
            validated({**document, "template": {"spec": pod}})
        return
    validated(document)
    with pytest.raises(Exception, match="imagine"):
        validated({**document, "imagine": 1})


def validated(document: dict[str, Any]) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(document, VERSION, strict=True)


def test_no_two_manifests_that_are_applied_together_have_a_name_in_common() -> None:
    (kustomization,) = documents("kustomization.yaml")
    applied = kustomization["resources"]
    assert set(applied) == {
        name for name in FILES if name not in ("lake.yaml", "ray-job.yaml", "scorer-gpu.yaml", "secret.example.yaml")
    }
    names = [(d["kind"], d["metadata"]["name"]) for file in applied for d in documents(file)]
    assert len(set(names)) == len(names)
    (cpu,), (gpu,) = documents("scorer.yaml"), documents("scorer-gpu.yaml")
    assert cpu["metadata"]["name"] == gpu["metadata"]["name"]  # so that they cannot run at once
    assert gpu["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize(("where", "pod"), PODS, ids=of_file)
def test_a_pod_holds_no_privilege_and_writes_only_to_its_volumes(where: str, pod: dict[str, Any]) -> None:
    assert pod["serviceAccountName"] == SHARED["ServiceAccount"]["metadata"]["name"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False  # the variables of a service tfs-... would begin as the settings do
    context = pod["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"]) == (True, int(user_of_the_image()))
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in pod["containers"]:
        own = container["securityContext"]
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounts) == volumes
        assert {mounts["tmp"], mounts["cache"]} == {"/tmp", "/var/cache/tfs"}  # noqa: S108  # in the container
        resources = container["resources"]
        assert {"cpu", "memory"} <= set(resources["requests"])
        assert resources["limits"]["memory"] == resources["requests"]["memory"]
        for amounts in resources.values():
            assert all(QUANTITY.match(amount) for amount in amounts.values())


def user_of_the_image() -> str:
    found = re.search(r"useradd --uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert found
    return found[1]


def settings_of_the_code() -> set[str]:
    """Every variable that the settings name, and the few that are read elsewhere."""
    source = Path(settings.__file__).read_text()
    found = set(re.findall(r'"((?:TFS|SENTIMENT)_[A-Z_]+)"', source))
    assert "TFS_PARTITIONS" in found
    return found | {REDIS_VARIABLE, POSTGRES_VARIABLE}


def test_the_settings_are_ones_that_the_code_takes() -> None:
    data = SHARED["ConfigMap"]["data"]
    assert set(data) == settings_of_the_code() - {REDIS_VARIABLE, POSTGRES_VARIABLE, "TFS_WEBHOOK_TOKEN"}
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert set(data) == set(compose["x-settings"])
    tape = {"TFS_TAPE": "/var/lib/tfs/tape", "TFS_IDLE_TO_TAPE": "0"}
    assert settings.load(data) == settings.load({"SENTIMENT_MODEL": "embedded", "TFS_PARTITIONS": "16", **tape})


@pytest.mark.parametrize(("where", "pod"), PODS, ids=of_file)
def test_a_pod_gets_what_it_needs_and_no_secret_is_written_down(where: str, pod: dict[str, Any]) -> None:
    keys = set(SHARED["Secret"]["stringData"])
    for container in pod["containers"]:
        shared = {"configMapRef": {"name": SHARED["ConfigMap"]["metadata"]["name"]}}
        of_s3 = {"secretRef": {"name": "tfs-s3", "optional": True}}
        expected = {"ray-worker": [], **{key: [shared, of_s3] for key in ("worker", "tape", "lake")}}
        assert container.get("envFrom", []) == expected.get(container["name"], [shared])
        given = {entry["name"]: entry for entry in container.get("env", [])}
        assert set(given) <= settings_of_the_code() | {
            "RAY_USAGE_STATS_ENABLED",
            LAKE_VARIABLE,
            SERVED_VARIABLE,
            SHARE_VARIABLE,
        }
        if container["name"] == "feature-server":
            assert {SERVED_VARIABLE, SHARE_VARIABLE} <= set(given)
        if container["name"] == "lake":
            assert given[LAKE_VARIABLE]["value"] in [mount["mountPath"] for mount in container["volumeMounts"]]
        for name in {REDIS_VARIABLE, POSTGRES_VARIABLE} & set(given):
            reference = given[name]["valueFrom"]["secretKeyRef"]
            assert reference["name"] == SHARED["Secret"]["metadata"]["name"]
            assert reference["key"] in keys
        stores = {REDIS_VARIABLE, POSTGRES_VARIABLE} & set(given)
        if role := DATABASE_ROLE.get(container["name"]):
            assert given[POSTGRES_VARIABLE]["valueFrom"]["secretKeyRef"]["key"] == f"postgres-{role}-url"
        needs_no_database = container["name"] in ("worker", "router", "tape", "feature-server")
        if container["name"] != "ray-worker":  # those are told by the head
            assert stores == ({REDIS_VARIABLE} if needs_no_database else {REDIS_VARIABLE, POSTGRES_VARIABLE})


def test_the_secret_is_a_template_without_values() -> None:
    assert set(SHARED["Secret"]["stringData"].values()) == {""}
    for path in FOLDER.glob("*.yaml"):
        text = "\n".join(line.partition("#")[0] for line in path.read_text().splitlines())
        assert not re.search(r"\w+://", text), path.name


def test_every_role_has_a_deployment_whose_command_parses() -> None:
    roles = set()
    for _, document in OF_THE_PIPELINE:
        (container,) = document["spec"]["template"]["spec"]["containers"]
        assert "command" not in container  # the image's: python -m ingest
        args = parsed(container["args"])
        assert (args.roles, args.engine) == (container["name"], "embedded")
        roles.add(args.roles)
    assert roles == set(WITH_LAKE)


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_command(words[0], parser.add_subparsers())
    return parser.parse_args(words)


def test_the_command_of_the_job_parses_and_its_registry_is_kept() -> None:
    from feast.cli.cli import cli

    (job,) = documents("apply.yaml")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["feast", "-c", "feature_repo"]
    assert container["args"] == ["apply"]
    assert CliRunner().invoke(cli, ["apply", "--no-such-option"]).exit_code == 2
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "registry"]
    assert volume["persistentVolumeClaim"]["claimName"] == SHARED["PersistentVolumeClaim"]["metadata"]["name"]


@pytest.mark.parametrize(("file", "document"), DEPLOYMENTS, ids=of_file)
def test_a_deployment_selects_its_own_pods_and_lets_them_stop_in_order(file: str, document: dict[str, Any]) -> None:
    spec = document["spec"]
    own = {"app.kubernetes.io/name": document["metadata"]["name"]}
    assert spec["selector"]["matchLabels"] == own
    assert own.items() <= spec["template"]["metadata"]["labels"].items()
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > STOP_S
    budgets = [d for d in documents(file) if d["kind"] == "PodDisruptionBudget"]
    assert len(budgets) == (spec["replicas"] > 1)
    for budget in budgets:
        assert budget["spec"]["selector"]["matchLabels"] == own
        assert len({"maxUnavailable", "minAvailable"} & set(budget["spec"])) == 1


@pytest.mark.parametrize(("file", "port"), SERVERS.items())
def test_a_server_listens_as_compose_has_it_and_is_reached_by_those_that_the_policy_names(file: str, port: str) -> None:
    deployment, service, policy = documents(file)
    name = deployment["metadata"]["name"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][name.removeprefix("tfs-")]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container.get("command") == compose.get("entrypoint")
    assert container["args"] == compose["command"]
    assert container["args"][container["args"].index("--port") + 1] == port
    assert container["ports"] == [{"name": "http", "containerPort": int(port)}]
    assert service["metadata"]["name"] == policy["metadata"]["name"] == name
    assert service["spec"]["selector"] == {"app.kubernetes.io/name": name}
    assert service["spec"]["ports"] == [{"name": "http", "port": int(port), "targetPort": "http"}]
    assert policy["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": name}}
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]
    (source,) = rule["from"]
    assert source["podSelector"]["matchLabels"]


def test_every_pod_is_under_a_policy_and_only_servers_are_connected_to() -> None:
    parts, ray = documents("network.yaml")
    assert "ingress" not in parts["spec"]
    assert parts["spec"]["policyTypes"] == ray["spec"]["policyTypes"] == ["Ingress", "Egress"]
    chosen = parts["spec"]["podSelector"]["matchLabels"].items()
    labels = [labels for _, document in EVERY for labels in labels_of_pods(document)]
    assert len(labels) == len(PODS)
    assert all(chosen <= own.items() for own in labels)
    (peer,) = ray["spec"]["ingress"][0]["from"]
    assert peer["podSelector"] == ray["spec"]["podSelector"]
    (job,) = documents("ray-job.yaml")
    assert all(peer["podSelector"]["matchLabels"].items() <= own.items() for own in labels_of_pods(job))
    opened = {name for name, document in EVERY if document["kind"] == "NetworkPolicy" and "ingress" in document["spec"]}
    assert opened == {*SERVERS, "network.yaml"}


def labels_of_pods(document: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The labels of the pods of a manifest."""
    for key, value in document.items():
        if key == "template":
            yield value["metadata"]["labels"]
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict) and key != "template":
                yield from labels_of_pods(item)


@pytest.mark.parametrize(("file", "document"), OF_THE_PIPELINE, ids=of_file)
def test_a_probe_asks_for_signs_of_life_of_its_role(file: str, document: dict[str, Any]) -> None:
    (container,) = document["spec"]["template"]["spec"]["containers"]
    ask = ["env", "TFS_NUMBA=0", "python", "-m", alive.__name__, container["name"]]  # it needs no kernels
    # an old worker may go when this pod has taken over what is its share
    ready = [*ask, "--here", "--serves"] if container["name"] == "worker" else ask
    assert container["readinessProbe"]["exec"]["command"] == ready
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"] == [*ask, "--here"]
        assert container[probe]["timeoutSeconds"] > outage.ANSWER_S


def test_the_job_of_ray_asks_for_what_its_cluster_has() -> None:
    from ingest.run.ray_engine import parts

    (job,) = documents("ray-job.yaml")
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "ingest"]
    args = parsed(words[3:])
    assert args.engine == "ray"
    wanted = parts(args.roles.split(","), args.workers, args.gpu_workers)
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1", "it runs what it is told"
    assert job["spec"]["submissionMode"] == "SidecarMode", "the one that reaches a dashboard on loopback"
    assert cluster["headGroupSpec"]["template"]["spec"]["restartPolicy"] == "Never"
    room = {"cpu": 0, "nvidia.com/gpu": 0}
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        (container,) = group["template"]["spec"]["containers"]
        for what in room:
            room[what] += group["replicas"] * int(container["resources"]["limits"].get(what, 0))
    assert len(wanted) <= room["cpu"]  # a processor each
    assert sum(part.gpus for part in wanted) == room["nvidia.com/gpu"]


def test_the_version_of_ray_is_the_one_that_is_tested() -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed; it comes with the extra ray")
    (job,) = documents("ray-job.yaml")
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
    assert json.dumps(job).count(":0.1.0-ray") == 3
