"""The command: where it binds, what it says, and how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.world import BucketSettings
from tests.monitoring.scraping import get, scrape
from tests.monitoring.test_figures import environment

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def installation(
    migrated_url: str, dagster_url: str, bucket: BucketSettings, tmp_path: Path
) -> dict[str, str]:
    """The environment of a configured installation, in which Dagster has run."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "DAGSTER_HOME": str(tmp_path / "dagster"),
        "WRDATA_STATE_DIR": str(tmp_path / "state"),
        "WRDATA_DAGSTER_DATABASE_URL": dagster_url,
        **environment(migrated_url, bucket),
    }


@contextmanager
def started(
    installation: dict[str, str], *words: str
) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Start `wrdata exporter`; yield the process and its first line."""
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "exporter", *words],
        cwd=PROJECT,
        env=installation,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            yield process, process.stderr.readline()
        finally:
            process.kill()


def test_it_says_where_it_serves_and_ends_at_sigterm(installation: dict[str, str]) -> None:
    """One line; nobody but this machine is let in; the status is 0."""
    with started(installation, "--port", "0") as (process, line):
        matched = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", line)
        assert matched, line
        address = f"http://127.0.0.1:{matched[1]}"
        answer = scrape(address)
        live = get(f"{address}/health/live")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", int(matched[1])))
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)

    assert answer.value("wrdata_database_up") == 1
    assert live.status_code == 200
    assert process.returncode == 0
    assert rest == ""


def test_it_ends_at_sigterm_while_it_asks_a_database_that_is_silent(
    installation: dict[str, str],
) -> None:
    """A server that accepts connections and says nothing does not keep the process."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql://user:pass@127.0.0.1:{port}/x"
        with started({**installation, "WRDATA_DATABASE_URL": url}, "--port", "0") as (
            process,
            line,
        ):
            address = line.partition("serves ")[2].partition("/metrics")[0]
            host, _, at = address.removeprefix("http://").partition(":")
            with socket.create_connection((host, int(at))) as asking:
                asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                asked, _ = silent.accept()
                with asked:
                    process.send_signal(signal.SIGTERM)
                    process.communicate(timeout=30)

    assert process.returncode == 0


def test_a_port_that_is_taken_is_one_line(installation: dict[str, str]) -> None:
    """What, where, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with started(installation, "--port", port) as (process, line):
            _, rest = process.communicate(timeout=30)

    assert process.returncode == 1
    assert f"127.0.0.1:{port} cannot be bound" in line
    assert "--port" in line
    assert "Traceback" not in rest
