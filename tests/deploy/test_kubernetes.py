"""The chart for Kubernetes, and the values for Dagster's, held against the project.

What is looked at are the kept files that Helm has rendered (kept_chart.py); the first test says
whether they are those of the present chart.
"""

import importlib
import importlib.util
import inspect
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
import yaml
from celery.bin.control import inspect as celery_inspect
from click import Command

from marketdata.recovery.limits import Lane
from monitoring import server as exporter_server
from monitoring.metrics import METRICS
from monitoring.samples import IN_FLIGHT
from resources.settings.reading import known_variables
from sandbox import nginx
from tests.deploy.kept_chart import (
    CHART,
    EXAMPLE,
    FOLDER,
    PROJECT,
    VARIANTS,
    Object,
    kept,
    kept_text,
    mark,
    merged,
    pods,
)
from tests.docs.test_pages import misfit
from tests.fixtures.dagster_internals import create_dagster_daemon_cli
from usecases import ui_proxy

IMAGES = {"code", "webserver", "daemon", "worker", "exporter", "reader", "backup"}
"""Targets of the images' Dockerfile."""
BY_HAND = {"wrdata-proxy"}
"""Secrets that `wrdata ui proxy` has written; External Secrets brings the others."""
PROXY_FILES = ("nginx.conf", "users", "cookies", "certificate.pem", "certificate.key")
RESTRICTED_VOLUMES = {"configMap", "emptyDir", "secret"}
PORTS = {"viewers": 3000, "operators": 3000, "exporter": 9464}
EXPENDABLE_BELOW = -10
"""The cluster autoscaler's default: it does nothing for pods of a lower priority."""

PODS = [
    pytest.param(template, id=f"{variant}: {name}")
    for variant in VARIANTS
    for name, template in pods(kept(variant))
]
CONTAINERS = [
    pytest.param(template["spec"], container, id=f"{variant}: {name} {container['name']}")
    for variant in VARIANTS
    for name, template in pods(kept(variant))
    for part in ("initContainers", "containers")
    for container in template["spec"].get(part, [])
]


def named(kind: str, variant: str) -> dict[str, Object]:
    """Return the objects of a kind by name."""
    return {found["metadata"]["name"]: found for found in kept(variant) if found["kind"] == kind}


def values() -> dict[str, Any]:
    """Return the chart's defaults."""
    return yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))


def example() -> dict[str, Any]:
    """Return the values that an installation has to name."""
    return yaml.safe_load(EXAMPLE.read_text("utf-8"))


def faults(instance: Any, schema: Path) -> list[str]:
    """Return what a schema refuses."""
    checker = jsonschema.Draft7Validator(json.loads(schema.read_text("utf-8")))
    return [f"{fault.json_path}: {fault.message}" for fault in checker.iter_errors(instance)]


def code_values() -> dict[str, Any]:
    """Return the values for Dagster's chart."""
    return yaml.safe_load((FOLDER / "dagster-values.yaml").read_text("utf-8"))


def launcher() -> dict[str, Any]:
    """Return the settings by which a run becomes a job."""
    text = (PROJECT / "deploy" / "launchers" / "kubernetes.yaml").read_text("utf-8")
    return yaml.safe_load(text)["run_launcher"]["config"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_kept_files_are_of_the_present_chart(variant: str) -> None:
    """Otherwise nothing below says anything: `make kubernetes` renders them anew."""
    assert kept_text(variant).splitlines()[1] == f"# {mark()}"


def test_the_chart_has_the_version_of_the_project() -> None:
    """It is the version of the images."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    (code,) = code_values()["deployments"]

    assert chart["appVersion"] == chart["version"] == project["version"] == code["image"]["tag"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_object_is_there_twice(variant: str) -> None:
    """Kubernetes would take the second one silently."""
    found = [
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
        for each in kept(variant)
    ]

    assert len(set(found)) == len(found) > 30


@pytest.mark.parametrize(("_pod", "container"), CONTAINERS)
def test_every_command_is_one_that_there_is(_pod: Object, container: Object) -> None:
    """With options that it takes, in an image that has it."""
    image = container["image"].rpartition("/")[2].rpartition(":")[0]
    command: list[str] = container["command"]
    ours = image.startswith("wrdata-")

    assert not ours or image.removeprefix("wrdata-") in IMAGES
    match command:
        case ["wrdata", *words]:
            assert misfit(shlex.join(words)) is None
        case ["nginx", *_] | ["/bin/sh", "-ec", _]:
            assert not ours
        case ["python", "-c", program]:
            compile(program, "command", "exec")
        case _:
            pytest.fail(f"nobody knows {command}")


@pytest.mark.parametrize(("_pod", "container"), CONTAINERS)
def test_every_probe_asks_for_something_that_there_is(_pod: Object, container: Object) -> None:
    """A path that the server answers, a port that it listens on, a command that it has."""
    open_ports = {port["name"] for port in container.get("ports", [])}
    dagster_webserver = importlib.import_module("dagster_webserver.webserver")
    answered = {
        "exporter": inspect.getsource(exporter_server),
        "webserver": inspect.getsource(dagster_webserver),
    }
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        match container.get(kind):
            case None:
                pass
            case {"httpGet": {"path": path, "port": port}}:
                assert port in open_ports
                assert f'"{path}"' in answered[container["name"]]
            case {"tcpSocket": {"port": port}}:
                assert port in open_ports
            case {"exec": {"command": ["dagster-daemon", name]}}:
                assert name in create_dagster_daemon_cli().commands
            case {"exec": {"command": ["/bin/sh", "-c", line]}}:
                assert line.startswith("CELERY_BROKER_URL=$WRDATA_REDIS_URL celery inspect ping ")
                taken = {
                    option
                    for parameter in cast("Command", celery_inspect).params
                    for option in parameter.opts
                }
                assert set(re.findall(r"--\w+", line)) <= taken
            case other:
                pytest.fail(f"nobody knows {other}")


def test_every_lane_has_workers_and_what_is_due_has_one_of_its_own() -> None:
    """By the names that the lanes have."""
    deployments = named("Deployment", "workers")
    served = {
        name: re.findall(r"--queue=(\w+)", json.dumps(deployments[name]))
        for name in ("worker", "worker-scheduled")
    }

    assert set(served["worker"]) == {lane.value for lane in Lane}
    assert served["worker-scheduled"] == [Lane.SCHEDULED.value]


def test_a_worker_that_is_at_work_is_not_ended_for_redis() -> None:
    """Its run goes on while Redis is away: no probe of it ends the container."""
    for name in ("worker", "worker-scheduled"):
        (container,) = named("Deployment", "workers")[name]["spec"]["template"]["spec"][
            "containers"
        ]
        assert "livenessProbe" not in container
        assert "readinessProbe" in container


def test_the_exporter_lives_whatever_else_is_down() -> None:
    """Readiness of the pipelines is asked by the test of the release, not by a probe."""
    (container,) = named("Deployment", "workers")["exporter"]["spec"]["template"]["spec"][
        "containers"
    ]
    probes = {container[kind]["httpGet"]["path"] for kind in container if kind.endswith("Probe")}
    (test,) = named("Pod", "workers")["ready"]["spec"]["containers"]

    assert probes == {"/health/live"}
    assert "http://exporter:9464/health/ready" in test["command"][-1]


@pytest.mark.parametrize(("pod", "container"), CONTAINERS)
def test_a_container_can_do_little_and_has_bounds(pod: Object, container: Object) -> None:
    """What Kubernetes calls restricted, a read-only root, and resources."""
    security = container["securityContext"]

    assert security["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"]["runAsUser"] == 10001
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()


@pytest.mark.parametrize("template", PODS)
def test_a_pod_has_only_volumes_that_restricted_pods_may_have(template: Object) -> None:
    """And mounts those that it has."""
    volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
    mounted = {
        mount["name"]
        for part in ("initContainers", "containers")
        for container in template["spec"].get(part, [])
        for mount in container.get("volumeMounts", [])
    }

    assert mounted == volumes.keys()
    for volume in volumes.values():
        (kind,) = volume.keys() - {"name"}
        assert kind in RESTRICTED_VOLUMES
        assert kind != "emptyDir" or volume[kind]["sizeLimit"]


@pytest.mark.parametrize("template", PODS)
def test_a_pod_is_not_told_of_services(template: Object) -> None:
    """Their variables would be settings that nobody knows, and refused."""
    assert template["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_service_looks_like_a_setting(variant: str) -> None:
    """Pods of Dagster's chart are told of all services: WRDATA_… would end the code server."""
    services = {
        *named("Service", variant),
        *(each["name"] for each in code_values()["deployments"]),
    }
    prefixes = {name.upper().replace("-", "_") for name in services}

    assert len(prefixes) == 5
    assert {name for name in prefixes if name.startswith("WRDATA")} == set()
    assert {
        variable for variable in known_variables() for name in prefixes if variable.startswith(name)
    } == set()


@pytest.mark.parametrize(("_pod", "container"), CONTAINERS)
def test_every_variable_is_a_setting(_pod: Object, container: Object) -> None:
    """A misspelt one would stop the process in production."""
    for entry in container.get("env", []):
        assert entry["name"] in known_variables()
        assert entry["valueFrom"]["secretKeyRef"]["key"] == entry["name"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_setting_is_known(variant: str) -> None:
    """Also those that an installation has to name."""
    settings = named("ConfigMap", variant)["wrdata-settings"]["data"]

    assert settings.keys() <= known_variables()
    assert settings["WRDATA_PROFILE"] == "production"


@pytest.mark.parametrize("variant", VARIANTS)
def test_everything_that_is_referred_to_is_there(variant: str) -> None:
    """Settings, secrets, accounts, priorities: a pod without them would wait for ever."""
    secrets = {*named("ExternalSecret", "workers"), *BY_HAND}
    accounts, maps = named("ServiceAccount", variant), named("ConfigMap", variant)
    for _, template in pods(kept(variant)):
        text = json.dumps(template)
        spec = template["spec"]

        assert spec["serviceAccountName"] in accounts
        assert spec["priorityClassName"] in named("PriorityClass", variant)
        assert set(re.findall(r'"configMapRef": \{"name": "([^"]+)"', text)) <= maps.keys()
        assert set(re.findall(r'"configMap": \{"name": "([^"]+)"', text)) <= maps.keys()
        assert set(re.findall(r'"secretRef": \{"name": "([^"]+)"', text)) <= secrets
        assert set(re.findall(r'"secretName": "([^"]+)"', text)) <= secrets
        assert set(re.findall(r'"secretKeyRef": \{"name": "([^"]+)"', text)) <= secrets


def test_only_what_starts_runs_may_ask_the_api_of_kubernetes() -> None:
    """And may do there what the launcher needs, with jobs and pods of its own namespace."""
    asking = {
        name
        for name, template in pods(kept("jobs"))
        if template["spec"]["automountServiceAccountToken"]
    }
    (role,) = named("Role", "jobs").values()
    things = {thing for rule in role["rules"] for thing in rule["resources"]}

    assert asking == {"daemon", "viewers", "operators"}
    assert things == {"jobs", "jobs/status", "pods", "pods/log", "events"}
    assert "*" not in {verb for rule in role["rules"] for verb in rule["verbs"]}
    assert not any(
        template["spec"]["automountServiceAccountToken"] for _, template in pods(kept("workers"))
    )
    assert named("Role", "workers") == {}


def test_a_run_that_is_a_job_finds_what_it_names() -> None:
    """deploy/launchers/kubernetes.yaml, against the objects of the chart."""
    config, text = launcher(), json.dumps(launcher())
    pod = config["run_k8s_config"]["pod_spec_config"]
    maps = set(named("ConfigMap", "jobs"))

    assert config["service_account_name"] in named("ServiceAccount", "jobs")
    assert pod["priority_class_name"] in named("PriorityClass", "jobs")
    assert config["job_namespace"] == namespace()["metadata"]["name"]
    assert {config["instance_config_map"], *config["env_config_maps"]} <= maps
    assert set(config["env_secrets"]) <= named("ExternalSecret", "workers").keys()
    assert set(re.findall(r'"configMap": \{"name": "([^"]+)"', text)) <= maps
    assert config["labels"] == {
        "app.kubernetes.io/part-of": "wrdata",
        "app.kubernetes.io/component": "run",
    }


def test_runs_give_way_to_what_keeps_everything_going() -> None:
    """A daemon that waits for a place behind its own runs starts nothing any more."""
    classes = named("PriorityClass", "workers")
    priorities = {
        name: template["spec"]["priorityClassName"] for name, template in pods(kept("workers"))
    }

    run, service = (classes[f"wrdata-{name}"]["value"] for name in ("run", "service"))
    assert EXPENDABLE_BELOW <= run < service
    assert classes["wrdata-run"]["preemptionPolicy"] == "Never"
    assert {name for name, found in priorities.items() if found == "wrdata-run"} == {
        "worker", "worker-scheduled",
    }  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_selector_chooses_pods_that_there_are(variant: str) -> None:
    """Of deployments, services and disruption budgets."""
    deployments = named("Deployment", variant)
    templates = [found["spec"]["template"] for found in deployments.values()]

    def chosen(wanted: dict[str, str]) -> list[Object]:
        return [each for each in templates if wanted.items() <= each["metadata"]["labels"].items()]

    for found in deployments.values():
        assert chosen(found["spec"]["selector"]["matchLabels"]) == [found["spec"]["template"]]
    for found in named("Service", variant).values():
        (template,) = chosen(found["spec"]["selector"])
        open_ports = {
            port["name"]
            for container in template["spec"]["containers"]
            for port in container.get("ports", [])
        }
        assert {port["targetPort"] for port in found["spec"]["ports"]} <= open_ports
    for found in named("PodDisruptionBudget", variant).values():
        assert len(chosen(found["spec"]["selector"]["matchLabels"])) == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_machine_can_be_drained(variant: str) -> None:
    """Whatever stands on several machines has a budget, and no budget holds a drain up."""
    budgets = named("PodDisruptionBudget", variant)

    assert budgets.keys() == named("Deployment", variant).keys() - {"exporter"}
    assert {found["spec"]["maxUnavailable"] for found in budgets.values()} == {1}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_address_in_a_command_is_a_service(variant: str) -> None:
    """With the port that it has."""
    services = {
        (name, port["port"])
        for name, found in named("Service", variant).items()
        for port in found["spec"]["ports"]
    }
    asked = {
        (host, int(port)) for host, port in re.findall(r"http://([a-z]+):(\d+)", kept_text(variant))
    }

    assert asked == {("viewers", 3000), ("exporter", 9464)}
    assert asked <= services
    assert {name: dict(services)[name] for name in PORTS} == PORTS


def test_a_deployment_that_is_scaled_names_no_number() -> None:
    """Each upgrade would set it back."""
    deployments = named("Deployment", "workers")
    (keda,) = named("ScaledObject", "workers").values()
    (cpu,) = named("HorizontalPodAutoscaler", "workers").values()
    scaled = {found["spec"]["scaleTargetRef"]["name"] for found in (keda, cpu)}

    assert scaled == {"worker", "viewers"}
    assert {
        name for name, found in deployments.items() if "replicas" not in found["spec"]
    } == scaled


def test_workers_are_scaled_up_at_once_and_down_slowly() -> None:
    """By a figure that counts runs at work too, and never beyond what Dagster lets through."""
    (found,) = named("ScaledObject", "workers").values()
    spec = found["spec"]
    (trigger,) = spec["triggers"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    celery = yaml.safe_load((PROJECT / "deploy/launchers/celery.yaml").read_text("utf-8"))
    at_once = celery["concurrency"]["runs"]["max_concurrent_runs"]
    known = {name for part in METRICS.values() for name in part}

    assert found["apiVersion"] == "keda.sh/v1alpha1"
    assert trigger["type"] == "prometheus"
    assert {"serverAddress", "query", "threshold"} <= trigger["metadata"].keys()
    assert set(re.findall(r"\b(?:wrdata|dagster)_\w+", trigger["metadata"]["query"])) <= known
    assert set(re.findall(r"[A-Z_]{6,}", trigger["metadata"]["query"])) == {*IN_FLIGHT}
    assert "fallback" not in spec
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 600
    assert spec["minReplicaCount"] <= spec["maxReplicaCount"]
    assert spec["maxReplicaCount"] + values()["workers"]["scheduled"]["replicas"] <= at_once


def test_external_secrets_have_what_their_definition_requires() -> None:
    """https://external-secrets.io/latest/api/spec/ of external-secrets.io/v1."""
    found = named("ExternalSecret", "workers")

    assert found.keys() == {"wrdata-secrets", "wrdata-owner", "wrdata-exporter", "wrdata-webserver"}
    for name, each in found.items():
        assert each["apiVersion"] == "external-secrets.io/v1"
        assert each["spec"]["secretStoreRef"].keys() == {"kind", "name"}
        assert each["spec"]["target"]["name"] == name
        assert each["spec"]["dataFrom"] == [{"extract": {"key": f"prod/wrdata/{name}"}}]


def test_prometheus_operator_finds_the_exporter() -> None:
    """https://prometheus-operator.dev/docs/api-reference/api/: selector and endpoints."""
    (monitor,) = named("ServiceMonitor", "workers").values()
    (rules,) = named("PrometheusRule", "workers").values()
    service = named("Service", "workers")["exporter"]
    (endpoint,) = monitor["spec"]["endpoints"]

    assert monitor["apiVersion"] == rules["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    )
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert f'"{endpoint["path"]}"' in inspect.getsource(exporter_server)
    # The rules ask for up{job="wrdata"}.
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "wrdata"


def test_the_database_is_migrated_before_an_upgrade() -> None:
    """As the owner, whose URL stands over the loader's; nobody else has it but the backup."""
    job = named("Job", "workers")["migrate"]
    owners = {
        name for name, template in pods(kept("workers")) if "wrdata-owner" in json.dumps(template)
    }
    (container,) = job["spec"]["template"]["spec"]["containers"]
    secrets = [entry["secretRef"]["name"] for entry in container["envFrom"] if "secretRef" in entry]

    assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,pre-upgrade"
    assert owners == {"migrate", "backup"}
    assert secrets == ["wrdata-secrets", "wrdata-owner"]


def test_the_exporter_has_a_role_of_its_own_and_no_providers_keys() -> None:
    """Of the common secrets it gets those of the bucket."""
    (container,) = named("Deployment", "workers")["exporter"]["spec"]["template"]["spec"][
        "containers"
    ]
    whole = {entry["secretRef"]["name"] for entry in container["envFrom"] if "secretRef" in entry}

    assert whole == {"wrdata-exporter", "wrdata-webserver"}
    assert {entry["name"] for entry in container["env"]} == {
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    }  # fmt: skip


def namespace() -> Object:
    """Return the namespace."""
    return yaml.safe_load((FOLDER / "namespace.yaml").read_text("utf-8"))


def test_the_namespace_refuses_pods_that_may_do_more() -> None:
    """Kubernetes' own standard, enforced."""
    labels = namespace()["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_example_is_all_that_is_missing(variant: str) -> None:
    """The defaults alone are refused, for nothing but what they leave empty."""
    schema = CHART / "values.schema.json"
    refused = faults(values(), schema)

    assert faults(merged(merged(values(), example()), VARIANTS[variant]), schema) == []
    assert {fault.partition(":")[0] for fault in refused} == {
        "$.image.registry",
        "$.settings.WRDATA_ARCHIVE_BUCKET",
        "$.network.database.peers",
        "$.network.redis.peers",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"worker": {}},
        {"runs": "threads"},
        {"image": {"tag": "latest"}},
        {"settings": {"FMP_API_KEY": "x"}},
        {"settings": {"WRDATA_DATABASE_URL": "postgresql://u:p@h/d"}},
        {"settings": {"WRDATA_PROFILE": "development"}},
        {"network": {"database": {"peers": []}}},
        {"network": {"database": {"peers": [{}]}}},
        {"runs": "jobs", "network": {"kubernetes": {"peers": []}}},
        {"externalSecrets": {"enabled": True}},
        {"workers": {"autoscaling": {"enabled": True}}},
        {"workers": {"resources": {"limits": {"memory": "2G"}}}},
        {"backup": {"enabled": True}},
        {"proxy": {"image": "nginx"}},
        {"database": {"authority": "/etc/authority.pem"}},
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """A key too much, a secret among the settings, something left out that belongs to it."""
    right = merged(values(), example())

    assert faults(merged(right, wrong), CHART / "values.schema.json") != []


def test_dagsters_chart_takes_its_values() -> None:
    """Every key is one of that chart's, of the type that it has."""
    schema = Path(__file__).parent / "dagster_user_deployments.schema.json"

    assert faults(code_values(), schema) == []
    assert faults({**code_values(), "rbac": True}, schema) != []


def test_the_code_location_is_as_the_other_pods_are() -> None:
    """Same user, same bounds, same labels; and it is where the others look for it."""
    given = code_values()
    (code,) = given["deployments"]
    workspace = yaml.safe_load(
        named("ConfigMap", "workers")["wrdata-instance"]["data"]["workspace.yaml"]
    )
    (server,) = workspace["load_from"]
    daemon = named("Deployment", "workers")["daemon"]["spec"]["template"]["spec"]
    arguments = dict(
        zip(code["dagsterApiGrpcArgs"][::2], code["dagsterApiGrpcArgs"][1::2], strict=True)
    )

    assert server["grpc_server"] == {
        "host": code["name"],
        "port": code["port"],
        "location_name": arguments["--location-name"],
    }
    assert importlib.util.find_spec(arguments["--module-name"])
    assert code["securityContext"] == daemon["containers"][0]["securityContext"]
    assert code["podSecurityContext"] == daemon["securityContext"]
    assert code["labels"] == {
        "app.kubernetes.io/part-of": "wrdata",
        "app.kubernetes.io/component": "code",
    }
    assert {each["name"] for each in code["envConfigMaps"]} <= named("ConfigMap", "workers").keys()
    assert {each["name"] for each in code["envSecrets"]} <= named(
        "ExternalSecret", "workers"
    ).keys()
    assert {"cpu", "memory"} <= code["resources"]["requests"].keys()


def test_the_code_location_may_do_nothing_in_the_cluster() -> None:
    """Nor does it say how runs are started: the launcher does."""
    given = code_values()
    (code,) = given["deployments"]

    assert given["rbacEnabled"] is False
    assert given["global"]["serviceAccountName"] == "wrdata-run"
    assert given["serviceAccount"]["create"] is False
    assert code["includeConfigInLaunchedRuns"] == {"enabled": False}
    assert given["global"]["postgresqlSecretName"] in named("Secret", "workers")


@pytest.mark.servers
@pytest.mark.skipif(not shutil.which("sh"), reason="the script of the pod is for sh")
def test_nginx_accepts_the_files_as_the_pod_lays_them_out(tmp_path: Path) -> None:
    """Those that `wrdata ui proxy` writes and the page names, by the script of the pod."""
    folder, secret = tmp_path / "proxy", tmp_path / "secret"
    wanted = ui_proxy.Proxy(
        folder=folder,
        server_name="ui.example.com",
        listen="0.0.0.0:8443",
        plain="127.0.0.1:8080",
        viewers="127.0.0.1:3001",
        operators="127.0.0.1:3002",
        certificate=None,
        certificate_key=None,
        roles={"alice": True, "bob": False},
    )
    ui_proxy.write(wanted, (PROJECT / "deploy/proxy/nginx.conf.template").read_text("utf-8"))
    secret.mkdir()
    for name in PROXY_FILES:
        shutil.copy(folder / name, secret / name)
    shutil.rmtree(folder)
    folder.mkdir()
    (files,) = named("Deployment", "workers")["proxy"]["spec"]["template"]["spec"]["initContainers"]
    script = files["command"][-1]
    for theirs, ours in (("/run/secrets/proxy", secret), ("/etc/wrdata/proxy", folder)):
        script = script.replace(theirs, str(ours))
    subprocess.run(["sh", "-ec", script], check=True, timeout=30)
    # A test of the configuration opens the logs: not the ones of the process that runs it.
    for log in ("requests.jsonl", "error.log"):
        assert (folder / "logs" / log).readlink() in {Path("/dev/stdout"), Path("/dev/stderr")}
        (folder / "logs" / log).unlink()
    program = nginx.find_or_install(lambda _: None)
    done = subprocess.run(
        [program, "-t", "-e", "stderr", "-c", folder / "nginx.conf"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr


def test_the_page_writes_the_files_of_the_proxy_and_names_them_all() -> None:
    """Whoever forgets one gets pods that do not start."""
    page = (PROJECT / "docs" / "deploy" / "kubernetes.md").read_text("utf-8").replace("\\\n", "")
    (command,) = re.findall(r"^\.venv/bin/wrdata (ui proxy .*)$", page, re.MULTILINE)

    assert misfit(command) is None
    assert "--viewers-at viewers:3000" in command
    assert "--operators-at operators:3000" in command
    assert set(re.findall(r"--from-file=\S*/([\w.]+)", page)) == set(PROXY_FILES)
