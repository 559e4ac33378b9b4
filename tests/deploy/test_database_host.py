"""The script that makes a database server of a fresh machine, as far as it goes without one.

Its parts are called one by one: the certificate is verified, and a real PostgreSQL is started with
the settings and the access that it writes. What needs a disk, packages or systemd is not tried.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

from machine import processes
from sandbox import timescaledb_programs

SCRIPT = (
    Path(__file__).parents[2] / "deploy/terraform/modules/database_host" / "prepare_database.sh"
)


def shell(words: str, folder: Path, *, clients: str, names: str) -> str:
    """Call parts of the script with the settings that cloud-init would have written."""
    settings = folder / "database.env"
    settings.write_text(
        f"DATA_DEVICE='/dev/null'\nCLIENT_NETWORK='{clients}'\nPOSTGRESQL_VERSION='17'\n"
        f"TIMESCALEDB_VERSION='2.19.3'\nSERVER_NAMES='{names}'\nMEMORY_GB='1'\n",
        "utf-8",
    )
    done = subprocess.run(
        ["bash", "-c", f"source {SCRIPT}; {words}"],
        env={"PATH": os.environ["PATH"], "SETTINGS": str(settings)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_certificate_is_for_the_servers_names(tmp_path: Path) -> None:
    """`verify-full` accepts the name and the address, and nothing else."""

    def make() -> bytes:
        names = "DNS:database.internal,IP:10.22.128.10"
        shell(f"make_certificate {tmp_path}", tmp_path, clients="10.22.0.0/16", names=names)
        return (tmp_path / "server.crt").read_bytes()

    def verifies(*words: str) -> bool:
        files = ["-CAfile", tmp_path / "authority.crt", tmp_path / "server.crt"]
        done = subprocess.run(["openssl", "verify", *words, *files], check=False)
        return done.returncode == 0

    made = make()

    assert verifies("-verify_hostname", "database.internal", "-purpose", "sslserver")
    assert verifies("-verify_ip", "10.22.128.10")
    assert not verifies("-verify_hostname", "other.internal")
    assert (tmp_path / "server.key").stat().st_mode & 0o077 == 0
    assert make() == made, "a second run makes no other one"


def test_only_the_private_network_is_let_in(tmp_path: Path) -> None:
    """Nobody by plain TCP, and nobody from elsewhere."""
    lines = shell("access", tmp_path, clients="10.22.0.0/16", names="").splitlines()

    assert [line.split() for line in lines] == [
        ["local", "all", "all", "peer"],
        ["hostssl", "all", "all", "10.22.0.0/16", "scram-sha-256"],
    ]


@pytest.fixture
def server(tmp_path: Path) -> Generator[str]:
    """A PostgreSQL as the script sets it up, for clients of this machine: its address."""
    programs = timescaledb_programs.find_or_install(print).folder
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    port = processes.free_port(None)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        certificates = home / "certificates"
        settings = {"clients": "127.0.0.0/8", "names": "DNS:localhost,IP:127.0.0.1"}
        shell(f"make_certificate {certificates}", home, **settings)
        (home / "wrdata.conf").write_text(shell(f"settings {certificates}", home, **settings))
        (home / "pg_hba.conf").write_text(shell("access", home, **settings))
        (home / "password").write_text("opens-nothing")
        for path in (home, *home.iterdir(), *certificates.iterdir()):
            if user is not None:
                os.chown(path, user, user)
        initdb = [str(programs / "initdb"), "-D", str(home / "data"), "-U", "postgres"]
        subprocess.run(
            [
                *initdb,
                f"--pwfile={home / 'password'}",
                "--auth=scram-sha-256",
                "--locale=C",
                "--encoding=UTF8",
            ],
            cwd=home,
            env={"PATH": "/usr/bin:/bin"},
            user=user,
            capture_output=True,
            check=True,
        )
        with (home / "data" / "postgresql.conf").open("a") as file:
            file.write(f"include = '{home / 'wrdata.conf'}'\n")
        places = [f"hba_file={home / 'pg_hba.conf'}", "unix_socket_directories=", f"port={port}"]
        process = processes.spawn(
            [
                str(programs / "postgres"),
                *("-D", str(home / "data")),
                *(word for place in places for word in ("-c", place)),
            ],
            log=tmp_path / "log",
            cwd=home,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            user=user,
        )
        shutil.copy(certificates / "authority.crt", tmp_path)
        address = f"host=127.0.0.1 port={port} user=postgres password=opens-nothing"
        try:
            assert processes.wait_until(lambda: answers(address), within_s=30), processes.log_tail(
                tmp_path / "log"
            )
            yield address
        finally:
            processes.end(process, with_signal=signal.SIGINT, within_s=30)


def answers(address: str) -> bool:
    """Say whether a server lets us in over TLS."""
    with (
        contextlib.suppress(psycopg.OperationalError),
        psycopg.connect(f"{address} sslmode=require"),
    ):
        return True
    return False


@pytest.mark.servers
def test_postgresql_starts_as_the_script_sets_it_up(server: str, tmp_path: Path) -> None:
    """TLS 1.3 with a server that proves its name, TimescaleDB loaded, nobody without TLS."""
    verified = f"{server} sslmode=verify-full sslrootcert={tmp_path / 'authority.crt'}"

    with psycopg.connect(verified, autocommit=True) as connection:
        used = "select version from pg_stat_ssl where pid = pg_backend_pid()"
        assert connection.execute(used).fetchone() == ("TLSv1.3",)
        assert connection.execute("show shared_buffers").fetchone() == ("256MB",)
        assert connection.execute("show password_encryption").fetchone() == ("scram-sha-256",)
        connection.execute("create extension timescaledb")
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba.conf entry.*no encryption"):
        psycopg.connect(f"{server} sslmode=disable")
    stranger = verified.replace("host=127.0.0.1", "host=other.internal hostaddr=127.0.0.1")
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        psycopg.connect(stranger)
