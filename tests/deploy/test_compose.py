"""Compose for one host, held against the project: paths, commands, variables, ports, bounds."""

import os
import re
import shlex
import stat
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring import prometheus
from monitoring.files import as_yaml
from resources.settings.reading import known_variables
from sandbox import debian_packages, nginx
from tests.deploy.dockerfile import PROJECT, stages
from tests.docs.test_pages import misfit

FOLDER = PROJECT / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"
ONCE = {"migrate", "proxy-files"}
"""Services that end by themselves."""
PUBLISHED = {"proxy", "dashboards-proxy"}
PROFILES = {"production", "development", "setup"}
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
PORTS = {
    "timescaledb": 5432, "redis": 6379, "object_store": 8333, "postgres-exporter": 9187,
    "node-exporter": 9100, "prometheus": 9090, "alertmanager": 9093, "grafana": 3000,
    "proxy": 8443, "dashboards-proxy": 8444,
}  # fmt: skip
"""Where programs of others listen by their own default, or as their files here say."""
COMPOSE = debian_packages.Prefix(
    package="docker-compose",
    revision=1,
    programs="usr/libexec/docker/cli-plugins",
    tried=("docker-compose",),
    size="about 15 MB",
    instead="do without a check of compose.yaml by Compose itself",
)


@cache
def composition() -> dict[str, Any]:
    """Return compose.yaml, variables as they stand in it."""
    return yaml.safe_load(FILE.read_text("utf-8"))


def services() -> dict[str, dict[str, Any]]:
    """Return every service."""
    return composition()["services"]


def target(service: dict[str, Any]) -> str | None:
    """Return the target of the Dockerfile that a service runs, if it is one of ours."""
    name = service["image"].partition(":")[0]
    return name.removeprefix("wrdata-") if name.startswith("wrdata-") else None


OURS = sorted(name for name, service in services().items() if target(service))


def words(service: dict[str, Any]) -> list[str]:
    """Return the words that a container is started with, entry point first."""
    command = service.get("command", [])
    return [*service.get("entrypoint", []), *command]


def example() -> dict[str, str]:
    """Return the variables of example.env."""
    lines = (FOLDER / "example.env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled_in(profile: str) -> dict[str, str]:
    """Return example.env with something in place of each secret, for one profile."""
    given = {name: value or "filled1in" for name, value in example().items()}
    return given | {"COMPOSE_PROFILES": profile, "S3_ENDPOINT": ""}


@pytest.mark.servers
@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_compose_accepts_it(profile: str, tmp_path: Path) -> None:
    """Compose's own check, with all variables filled in."""
    program = debian_packages.install(COMPOSE, lambda _: None) / "docker-compose"
    variables = tmp_path / "variables.env"
    variables.write_text("".join(f"{name}={value}\n" for name, value in filled_in(profile).items()))
    done = subprocess.run(
        [program, "--file", FILE, "--env-file", variables, "config", "--quiet"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.servers
def test_compose_refuses_it_without_passwords(tmp_path: Path) -> None:
    """The example as it comes starts nothing."""
    program = debian_packages.install(COMPOSE, lambda _: None) / "docker-compose"
    done = subprocess.run(
        [program, "--file", FILE, "--env-file", FOLDER / "example.env", "config", "--quiet"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode != 0
    assert re.search(r"required variable \w+ is missing a value", done.stderr)


@pytest.mark.parametrize("name", sorted(services()))
def test_every_file_that_is_mounted_is_there(name: str) -> None:
    """Files of the project; those of the host are below CONFIG_FOLDER."""
    for volume in services()[name].get("volumes", []):
        source = volume.removeprefix("${CONFIG_FOLDER:-/etc/wrdata}/").partition(":")[0]
        if source.startswith("."):
            assert (FOLDER / source).exists(), volume
        elif not volume.startswith(("${CONFIG_FOLDER:-/etc/wrdata}/", "/:/host:ro")):
            assert source in composition()["volumes"], volume


def test_scripts_that_are_mounted_can_be_run() -> None:
    """The database's image runs what is executable."""
    for script in FOLDER.glob("*.sh"):
        assert script.stat().st_mode & stat.S_IXUSR, script


@pytest.mark.parametrize("name", OURS)
def test_every_image_of_ours_is_a_target(name: str) -> None:
    """And its tag is the version that was built."""
    service = services()[name]

    assert target(service) in stages()
    assert service["image"].endswith(":${WRDATA_VERSION:?version of the images}")


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_of_ours(name: str) -> None:
    """With options that it takes; without a command the image's counts."""
    started = words(services()[name])
    if not started:
        return
    text = VARIABLE.sub("x.example", shlex.join(started))
    if started[0] == "/bin/sh":
        text = started[-1]
    lines = re.findall(r"\bwrdata ([^;]+)", text)
    if name == "proxy-files":
        lines = [f"{line} --operator alice" for line in lines]

    assert lines
    assert {line: why for line in lines if (why := misfit(line))} == {}


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    """A misspelt one would stop every process in production."""
    names = {
        variable for variable in services()[name].get("environment", {}) if "WRDATA" in variable
    }

    assert names <= known_variables()


def test_every_variable_stands_in_the_example_and_is_used() -> None:
    """Nobody has to read the file to know what to fill in."""
    used = {found[0] for found in VARIABLE.findall(FILE.read_text("utf-8"))}

    assert used == example().keys() - {"COMPOSE_PROFILES"}


def test_no_secret_has_a_default() -> None:
    """Where it is missing, Compose says so and starts nothing."""
    found = VARIABLE.findall(FILE.read_text("utf-8"))
    secrets = {name for name, _, _ in found if re.search(r"PASSWORD|KEY", name)}

    assert len(secrets) == 7
    assert {(name, kind) for name, kind, _ in found if name in secrets} == {
        (name, "?") for name in secrets
    }
    assert {name for name in secrets if example()[name]} == set()


def test_nothing_is_published_but_the_proxies_on_this_machine() -> None:
    """Each port once."""
    published = {
        name: service["ports"] for name, service in services().items() if "ports" in service
    }
    ports = [port for each in published.values() for port in each]
    at_the_host = [port.split(":")[-2] for port in ports]

    assert published.keys() == PUBLISHED
    assert all(port.startswith("${PUBLISHED_AT:-127.0.0.1}:") for port in ports)
    assert example()["PUBLISHED_AT"] == "127.0.0.1"
    assert len(set(at_the_host)) == len(at_the_host)
    assert not [
        name for name, service in services().items() if service.get("network_mode") == "host"
    ]


@pytest.mark.parametrize("name", sorted(services()))
def test_a_container_can_do_little_and_take_little(name: str) -> None:
    """Read-only root, no capability, no new privilege, a bound on memory, processes and logs."""
    service = services()[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")


@pytest.mark.parametrize("name", sorted(services().keys() - ONCE))
def test_a_container_that_lasts_has_time_to_end(name: str) -> None:
    """Compose's ten seconds are too few for a run; whoever needs less says so."""
    assert services()[name]["stop_grace_period"]


@pytest.mark.parametrize("name", sorted(services().keys() - ONCE - {"backups"}))
def test_a_container_that_serves_has_a_health_check(name: str) -> None:
    """Its own, or its image's. The one for backups serves nothing: an alert watches it."""
    service = services()[name]
    ours = target(service)

    assert "test" in service.get("healthcheck", {}) or (ours and stages()[ours].health_check)


@pytest.mark.parametrize("name", sorted(services()))
def test_a_container_waits_for_what_it_needs(name: str) -> None:
    """For others that there are in its profile, until they are healthy or done."""
    service = services()[name]
    for needed, how in service.get("depends_on", {}).items():
        other = services()[needed]
        wanted = "service_completed_successfully" if needed in ONCE else "service_healthy"

        assert how["condition"] == wanted
        assert set(service.get("profiles", PROFILES)) <= set(other.get("profiles", PROFILES))


@pytest.mark.parametrize("name", sorted(services().keys() - set(OURS)))
def test_an_image_of_others_is_pinned(name: str) -> None:
    """By registry and tag: `latest` is another one tomorrow."""
    image = services()[name]["image"]

    assert image.startswith("docker.io/")
    assert re.fullmatch(r"[\w./-]+:v?(pg)?\d+\.\d+[\w.-]*", image)


def test_profiles_are_those_of_the_page() -> None:
    """And the two that run for good differ in what they add."""
    assert {
        profile for service in services().values() for profile in service.get("profiles", [])
    } == (PROFILES)


def addresses() -> Iterator[tuple[str, int]]:
    """Yield every host and port that a file or a command names."""
    texts = [
        FILE.read_text("utf-8"),
        *((FOLDER / name).read_text("utf-8") for name in ("prometheus.yml", "dashboards.conf")),
        *(file.read_text("utf-8") for file in (FOLDER / "grafana").iterdir()),
    ]
    for host, port in re.findall(r"\b([a-z][a-z_-]+):(\d{4})\b", "\n".join(texts)):
        yield host, int(port)
    (server,) = yaml.safe_load((FOLDER / "workspace.yaml").read_text("utf-8"))["load_from"]
    yield server["grpc_server"]["host"], server["grpc_server"]["port"]


def test_every_address_is_a_service_that_listens_there() -> None:
    """A wrong port shows only in production otherwise."""
    ours = {
        name: int(stages()[where].last("EXPOSE"))
        for name in OURS
        if (where := target(services()[name])) in {"code", "webserver", "exporter"}
    }
    listening = PORTS | ours
    found = set(addresses())

    assert {(host, port) for host, port in found if listening.get(host) != port} == set()
    assert {host for host, _ in found} >= {
        "timescaledb", "redis", "code", "viewers", "operators", "exporter", "grafana", "prometheus",
        "alertmanager", "node-exporter", "postgres-exporter",
    }  # fmt: skip


def test_prometheus_asks_the_jobs_that_the_rules_name() -> None:
    """Its file is what our own function makes of the addresses."""
    text = (FOLDER / "prometheus.yml").read_text("utf-8")
    scraped = {
        "wrdata": "exporter:9464",
        "node": "node-exporter:9100",
        "postgres": "postgres-exporter:9187",
    }
    made = prometheus.configuration(scraped=scraped, alertmanager="alertmanager:9093")

    assert scraped.keys() == prometheus.SCRAPED.keys()
    assert yaml.safe_load(text) == made
    assert yaml.safe_load(as_yaml(made)) == made


def test_the_server_archives_as_the_project_says() -> None:
    """deploy/backup/postgresql.conf, in the form of arguments."""
    arguments = dict(
        word.split("=", 1) for word in services()["timescaledb"]["command"] if "=" in word
    )
    text = (PROJECT / "deploy" / "backup" / "postgresql.conf").read_text("utf-8")
    wanted = dict(re.findall(r"^(\w+) = '?([^'\n]*)'?$", text, re.MULTILINE))

    assert wanted.keys() == {"archive_mode", "archive_command", "archive_timeout"}
    assert arguments["archive_command"] == wanted["archive_command"]
    assert arguments["archive_timeout"] == wanted["archive_timeout"]
    assert arguments["archive_mode"].startswith("${ARCHIVE_MODE:?")


def test_every_user_of_the_database_is_made() -> None:
    """With the password that its URL has."""
    script = (FOLDER / "create_roles.sh").read_text("utf-8")
    text = FILE.read_text("utf-8")
    users = set(re.findall(r"postgresql://(\w+):", text))
    users |= set(re.findall(r"DATA_SOURCE_USER: (\w+)", text))
    made = dict(re.findall(r"create role (\w+) login password :'(\w+)'", script))

    assert users - {"postgres"} == made.keys()
    for user, password in re.findall(r"postgresql://(wrdata_\w+):\$\{(\w+)_PASSWORD", text):
        assert made[user] == password.lower()


def test_the_alertmanager_finds_its_secrets() -> None:
    """Beside its configuration, as that says."""
    alertmanager = (PROJECT / "deploy" / "monitoring" / "alertmanager.yml").read_text("utf-8")
    wanted = set(re.findall(r"(?:api_url_file|routing_key_file): (\S+)", alertmanager))
    given = {secret["target"] for secret in services()["alertmanager"]["secrets"]}

    assert given == {f"/etc/alertmanager/{path}" for path in wanted}


@pytest.mark.skipif(os.geteuid() != 0, reason="the key is given to the database's user: by root")
def test_a_certificate_is_made_that_proves_the_database(tmp_path: Path) -> None:
    """For the name that all URLs have; a second time is refused."""
    folder = tmp_path / "tls"
    script = FOLDER / "create_certificates.sh"
    subprocess.run([script, folder], check=True, timeout=60)
    again = subprocess.run([script, folder], capture_output=True, text=True, check=False)
    verified = subprocess.run(
        [
            "openssl", "verify", "-CAfile", folder / "authority.crt",
            "-verify_hostname", "timescaledb", folder / "server.crt",
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    key = (folder / "server.key").stat()

    assert verified.returncode == 0, verified.stderr
    assert (key.st_uid, stat.S_IMODE(key.st_mode)) == (1000, 0o600)
    assert {path.name for path in folder.iterdir()} == {
        "authority.crt", "server.crt", "server.key",
    }  # fmt: skip
    assert again.returncode == 1
    assert "holds a certificate already" in again.stderr


@pytest.mark.servers
@pytest.mark.skipif(os.geteuid() != 0, reason="the script that makes a certificate is for root")
def test_nginx_accepts_the_file_of_the_dashboards(tmp_path: Path) -> None:
    """With a certificate, and an address that can be resolved here."""
    subprocess.run([FOLDER / "create_certificates.sh", tmp_path / "tls"], check=True, timeout=60)
    text = (FOLDER / "dashboards.conf").read_text("utf-8")
    for theirs, ours in (
        ("/tmp/", f"{tmp_path}/"),
        ("/etc/wrdata/proxy/certificate.pem", f"{tmp_path}/tls/server.crt"),
        ("/etc/wrdata/proxy/certificate.key", f"{tmp_path}/tls/server.key"),
        ("http://grafana:3000", "http://127.0.0.1:3000"),
    ):
        assert theirs in text
        text = text.replace(theirs, ours)
    file = tmp_path / "dashboards.conf"
    file.write_text(text)
    program = nginx.find_or_install(lambda _: None)
    done = subprocess.run(
        [program, "-t", "-e", "stderr", "-p", tmp_path, "-c", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
