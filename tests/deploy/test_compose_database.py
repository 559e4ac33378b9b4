"""The database as Compose sets it up: its certificate, its roles, and the URLs of all processes.

A real server is started with the settings and scripts of deploy/compose; only its port, its folders
and its name's address are others.
"""

import os
import pwd
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import yaml

from machine import processes
from resources.storage import migrations, roles
from sandbox import timescaledb_programs
from tests.deploy.dockerfile import PROJECT

FOLDER = PROJECT / "deploy" / "compose"
TEMPORARY = Path(tempfile.gettempdir())
PASSWORDS = {name: f"{name.lower()}1" for name in ("OWNER", "LOADER", "DAGSTER", "WATCH")}

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(os.geteuid() != 0, reason="the server is handed to another user: by root"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """The running server.

    Attributes:
        urls: The URL of each service that has one, of its variable.
    """

    urls: Mapping[tuple[str, str], str]


def urls(port: int, authority: Path) -> dict[tuple[str, str], str]:
    """Return the URLs in compose.yaml, passwords filled in, with the address of this server."""
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))["services"]
    return {
        (name, variable): re.sub(
            r"\$\{(\w+)_PASSWORD:[^}]*\}", lambda found: PASSWORDS[found[1]], url
        )
        .replace("timescaledb:5432", f"timescaledb:{port}")
        .replace("/etc/wrdata/tls/authority.crt", str(authority))
        + "&hostaddr=127.0.0.1"
        for name, service in services.items()
        for variable, url in service.get("environment", {}).items()
        if str(url).startswith("postgresql://")
    }


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """A server with the certificate and the roles of Compose."""
    folder = tmp_path_factory.mktemp("composed")
    # The server's user has to get there: pytest's folders are private, and xdist adds one.
    private = [parent for parent in folder.parents if TEMPORARY in parent.parents]
    for parent in (folder, *private):
        parent.chmod(0o755)
    programs = timescaledb_programs.find_or_install(lambda _: None).folder
    subprocess.run([FOLDER / "create_certificates.sh", folder / "tls"], check=True)
    nobody = pwd.getpwnam("nobody")
    home = folder / "home"
    home.mkdir()
    for path in (home, folder / "tls" / "server.key"):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    password = folder / "password"
    password.write_text(PASSWORDS["OWNER"])
    data, port = home / "data", processes.free_port(None)
    _as_nobody(
        [
            programs / "initdb", "--pgdata", data, "--username", "postgres", "--auth",
            "scram-sha-256", "--pwfile", password, "--encoding", "UTF8", "--locale", "C",
        ]
    )  # fmt: skip
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": home,
        "shared_preload_libraries": "timescaledb",
        "jit": "off",
        **_of_compose(folder / "tls"),
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    control = [programs / "pg_ctl", "--pgdata", data, "--wait"]
    _as_nobody([*control, "--log", home / "log", "--options", options, "start"])
    try:
        _create(programs, home, port)
        yield Composed(urls=urls(port, folder / "tls" / "authority.crt"))
    finally:
        _as_nobody([*control, "--mode", "fast", "stop"])


def _as_nobody(words: Sequence[str | Path]) -> None:
    """Run a program as the server's user here."""
    nobody = pwd.getpwnam("nobody")
    subprocess.run(
        words,
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _of_compose(certificates: Path) -> dict[str, str]:
    """Return the settings of TLS, locks and telemetry as Compose gives them."""
    service = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))["services"][
        "timescaledb"
    ]
    given = dict(word.split("=", 1) for word in service["command"] if "=" in word)
    return {
        name: value.replace("/etc/wrdata/tls", str(certificates))
        for name, value in given.items()
        if not name.startswith("archive_")
    }


def _create(programs: Path, sockets: Path, port: int) -> None:
    """Do what the image does at the first start: the database, then the mounted script."""
    variables = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PGHOST": str(sockets),
        "PGPORT": str(port),
        "PGPASSWORD": PASSWORDS["OWNER"],
        "POSTGRES_DB": "market",
        **{f"{name}_PASSWORD": password for name, password in PASSWORDS.items()},
    }
    make = ["psql", "--username", "postgres", "--command", "create database market"]
    for command in (make, [FOLDER / "create_roles.sh"]):
        subprocess.run(command, env=variables, check=True, stdout=subprocess.DEVNULL)


def test_every_process_gets_in_with_its_url_over_tls(composed: Composed) -> None:
    """Each URL of the composition, as it stands there; the server proves its name."""
    for (service, variable), url in composed.urls.items():
        with psycopg.connect(url) as connection:
            used = connection.execute(
                "select version from pg_stat_ssl where pid = pg_backend_pid()"
            ).fetchone()

        assert used == ("TLSv1.3",), (service, variable)
    assert len(composed.urls) > 15


def test_a_server_of_another_name_is_refused(composed: Composed) -> None:
    """The certificate is for this one."""
    url = composed.urls["code", "WRDATA_DATABASE_URL"].replace("@timescaledb:", "@other:")

    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        psycopg.connect(url)


def test_migrating_gives_every_role_what_its_purpose_needs(composed: Composed) -> None:
    """What `migrate` does at each start, as the owner."""
    url = composed.urls["migrate", "WRDATA_DATABASE_URL"]
    migrations.migrate(url)
    roles.put_in_force(url)
    states = {status.role: status for status in roles.status(url)}
    loader = composed.urls["worker", "WRDATA_DATABASE_URL"]

    assert all(status.differences == 0 for status in states.values())
    assert {role.value for role, status in states.items() if status.logs_in} == {
        "wrdata_loader", "wrdata_exporter", "wrdata_dagster",
    }  # fmt: skip
    with psycopg.connect(loader) as connection:
        assert connection.execute("select count(*) from daily_bars").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("drop table coverage")
