"""No key and no password is written anywhere, whatever form it has: a whole pipeline is searched.

Providers' keys here hold characters that are escaped in addresses and in JSON. One provider's
answers are good; the others refuse the key or fail, and their answers repeat the key.
"""

import base64
import gzip
import io
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import dagster as dg
import httpx
import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from assets import datasets
from assets.archive import closed_periods
from assets.datasets import REFRESHES
from machine import private_files
from machine.processes import NO_AUTHORITIES, wait_until
from pipelines.definitions import definitions
from pipelines.users import PROXY_VARIABLE
from resources import opening
from resources.database_url import in_schema
from resources.settings import read_settings
from resources.storage.object_store import ObjectStore
from sandbox.simulated_providers import SimulatedProviders
from tests.fixtures.forked_commands import run_command
from tests.fixtures.pipeline import Pipeline
from tests.fixtures.state_folder import PATIENCE_S
from tests.fixtures.world import BucketSettings, RunningSimulators, running_simulators

pytestmark = [pytest.mark.servers, pytest.mark.long]

PROJECT = Path(__file__).parents[2]
CORE_LENGTH = 24
AWKWARD = '"/+%'
"""What addresses and JSON escape; it stands before and after a key's core."""
PLACES = {
    "logs": "HTTP 500",
    "dagster": "a bug while",
    "tables": "HTTP 500",
    "objects": "AAPL",
    "commands": "HTTP 500",
    "crash": "Fatal Python error: Aborted",
    "exporter": "wrdata_provider_requests_total",
    "files": "retry_num=1",
}
"""Where is searched, and a text that has to be there: a search of nothing finds nothing."""


def marked() -> str:
    """Return a key with a core that is unlike anything else."""
    return f"{AWKWARD}{secrets.token_hex(CORE_LENGTH // 2)}{AWKWARD}"


def forms(secret: str) -> set[str]:
    """Return the texts by which a secret is found in whatever it is written: plain, hex, base64."""
    core = secret.strip(AWKWARD)
    found = {core, core.encode().hex()}
    for offset, of_others in enumerate((0, 2, 3)):
        encoded = base64.b64encode(bytes(offset) + core.encode()).decode()
        found.add(encoded[of_others : (offset + len(core)) * 8 // 6])
    return found


def echoes(target: str, headers: Mapping[str, str]) -> list[str]:
    """Return what an answer says of a request, in all forms that occur."""
    asked = dict(parse_qsl(urlsplit(target).query))
    login = headers.get("Authorization", "")
    shown = [value for name, value in asked.items() if "key" in name.lower()]
    shown += [login.partition(" ")[2]] if login else []
    return [
        target,
        *shown,
        *(quote(value, safe="").lower() for value in shown),
        *(json.dumps(value) for value in shown),
        *(
            base64.b64encode(f"{start}{value}".encode()).decode()
            for value in shown
            for start in ("", "a", "ab")
        ),
    ]


@dataclass
class Echo:
    """A provider that fails, and whose answers repeat what it was sent."""

    address: str = ""
    targets: list[str] = field(default_factory=list)


@contextmanager
def echo() -> Generator[Echo]:
    """Serve below /broken, /refused and /silent, in threads of this process."""
    served = Echo()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.targets.append(self.path)
            if self.path.startswith("/silent"):
                time.sleep(PATIENCE_S)
                return
            said = echoes(self.path, dict(self.headers.items()))
            text = f"no luck with {said[len(served.targets) % len(said)]}"
            status = 401 if self.path.startswith("/refused") else 500
            names = ("error", "message", "detail", "error_message", "Error Message")
            body = json.dumps({"error_code": status, **dict.fromkeys(names, text)}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the library's name
            """Say nothing: pytest captures what this process says, and it is searched."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def simulators(tmp_path: Path) -> Iterator[RunningSimulators]:
    """The simulators, with marked keys."""
    names = SimulatedProviders(home=tmp_path / "names", log=tmp_path / "names.log").keys()
    private_files.write_json(
        tmp_path / "providers" / "keys.json", {name: marked() for name in names}
    )
    with running_simulators(tmp_path) as running:
        yield running


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a whole pipeline has left behind.

    Attributes:
        secrets: Keys and passwords by their variable.
        places: All texts, by where they were found.
        echo: The provider that repeated keys.
    """

    secrets: Mapping[str, str]
    places: Mapping[str, str]
    echo: Echo


@pytest.fixture
def evidence(
    pipeline: Pipeline,
    bucket: BucketSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Evidence]:
    """Run good loads, refused and failing ones, a bug, an archive, commands and a crash."""
    caplog.set_level("DEBUG")
    url = os.environ["WRDATA_DATABASE_URL"]
    refused = marked()
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").symlink_to(PROJECT / "dagster.yaml")
    with echo() as failing:
        variables = {
            "DAGSTER_HOME": str(home),
            "WRDATA_DAGSTER_DATABASE_URL": in_schema(url, "dagster"),
            "POLYGON_BASE_URL": f"{failing.address}/broken",
            "TIINGO_BASE_URL": f"{failing.address}/broken",
            "FRED_BASE_URL": f"{failing.address}/refused",
            PROXY_VARIABLE: secrets.token_hex(20),
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with dg.DagsterInstance.get() as instance:
            work_through(instance, pipeline, monkeypatch)
        said = commands(refused)
        crashed = crash(failing)
        out, err = capfd.readouterr()
        yield Evidence(
            secrets=secrets_of(url, bucket) | {"a password that is refused": refused},
            places={
                "logs": f"{caplog.text}\n{out}\n{err}",
                "dagster": rows_of(url, "dagster"),
                "tables": rows_of(url, "public") + rows_of(url, "iceberg_catalog"),
                "objects": objects_of(),
                "commands": said,
                "crash": crashed,
                "exporter": exported(),
                "files": "\n".join(
                    file.read_text("utf-8", "replace") for file in home.rglob("*") if file.is_file()
                ),
            },
            echo=failing,
        )


def secrets_of(url: str, bucket: BucketSettings) -> dict[str, str]:
    """Return every secret that the pipeline was given."""
    keys = {name: os.environ[name] for name in os.environ if name.endswith("_API_KEY")}
    return keys | {
        "password of the database": urlsplit(url).password or "",
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        PROXY_VARIABLE: os.environ[PROXY_VARIABLE],
    }


def work_through(
    instance: dg.DagsterInstance, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run jobs: one that succeeds, three that their providers fail, one with a bug, the archive."""

    def run(job: str, op: str, **config: Any) -> bool:
        return (
            definitions.resolve_job_def(job)
            .execute_in_process(
                run_config={"ops": {op: {"config": config}}},
                instance=instance,
                raise_on_error=False,
            )
            .success
        )

    def load(dataset: str, names: list[str], provider: str) -> bool:
        op = REFRESHES[dataset].node_def.name
        return run(dataset, op, symbols=names, provider=provider)

    instance.add_dynamic_partitions("tickers", pipeline.stores.instruments.tickers())
    assert load("daily_bars", ["AAPL", "MSFT"], "fmp")
    assert not load("minute_bars", ["AAPL"], "polygon")
    assert not load("minute_bars", ["AAPL"], "tiingo")
    assert not load("macro_observations", ["GDP"], "fred")
    with monkeypatch.context() as patched:
        patched.setattr(datasets, "plan_load", bug)
        assert not load("daily_bars", ["BRK.B"], "fmp")
    assert run("archive", closed_periods.node_def.name, datasets=["daily_bars"])


def bug(*_: object, **__: object) -> None:
    """Fail as nobody has foreseen, with all settings in hand."""
    settings = read_settings()
    message = f"a bug while {settings!r} and {settings.model_dump()} were in use"
    raise RuntimeError(message)


def commands(refused: str) -> str:
    """Return what commands say of all this, and of a database that refuses a password."""
    environment = dict(os.environ)
    asked = [
        ("status",), ("status", "--json"), ("doctor",), ("doctor", "--json"), ("dlq", "list"),
        ("dlq", "list", "--json"), ("dlq", "show", "1"), ("dlq", "retry", "1"),
        ("backfill", "minute_bars", "--provider", "polygon", "--tickers", "MSFT"),
    ]  # fmt: skip
    said = [run_command(words, environment, within_s=PATIENCE_S) for words in asked]
    address = urlsplit(environment["WRDATA_DATABASE_URL"])
    environment["WRDATA_DATABASE_URL"] = (
        f"postgresql://nobody:{quote(refused, safe='')}@{address.netloc.rpartition('@')[2]}/wrdata"
    )
    said += [
        run_command((word,), environment, within_s=PATIENCE_S) for word in ("status", "doctor")
    ]
    return "\n".join(f"{done.stdout}\n{done.stderr}" for done in said)


def crash(failing: Echo) -> str:
    """Return what a command leaves that is aborted while it waits for a provider."""
    # FMP has answered well so far: of the others nothing would be asked, their breakers are open.
    words = ("backfill", "daily_bars", "--provider", "fmp", "--tickers", "BRK.B")
    command = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", "pipelines.cli", *words],
        env={**os.environ, "FMP_BASE_URL": f"{failing.address}/silent"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert wait_until(
            lambda: (
                any(target.startswith("/silent") for target in failing.targets)
                or command.poll() is not None
            ),
            within_s=PATIENCE_S,
        )
        command.send_signal(signal.SIGABRT)
        return "\n".join(command.communicate(timeout=PATIENCE_S))
    finally:
        command.kill()


def exported() -> str:
    """Return what the exporter shows of all this, and what it says meanwhile."""
    words = ("exporter", "--port", "0", "--webserver", "http://127.0.0.1:9")
    command = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *words],
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert command.stderr is not None
        served = command.stderr.readline()
        address = served.partition("/metrics")[0].rpartition(" ")[2]
        pages = [
            httpx.get(
                f"{address}/{page}", timeout=PATIENCE_S, trust_env=False, verify=NO_AUTHORITIES
            ).text
            for page in ("metrics", "health/ready", "health/startup", "health/live")
        ]
        command.terminate()
        return "\n".join([served, *pages, *command.communicate(timeout=PATIENCE_S)])
    finally:
        command.kill()


def rows_of(url: str, schema: str) -> str:
    """Return all rows of all tables of a schema as text."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "select tablename from pg_tables where schemaname = %s", [schema]
        ).fetchall()
        return "\n".join(
            text
            for (table,) in tables
            for (text,) in connection.execute(
                sql.SQL("select to_jsonb(kept)::text from {} kept").format(
                    sql.Identifier(schema, table)
                )
            ).fetchall()
        )


def objects_of() -> str:
    """Return all objects of the bucket as text: names, metadata, and what is in them."""
    settings = read_settings()
    store = ObjectStore(opening.s3_settings(settings))
    contents = [(stored.key, store.get(stored.key)) for stored in store.list()]
    return "\n".join(
        f"{key} {content.metadata} {readable(key, content.content)}" for key, content in contents
    )


def readable(key: str, body: bytes) -> str:
    """Return the content of an object, uncompressed."""
    if key.endswith(".gz"):
        return gzip.decompress(body).decode("utf-8", "replace")
    text = body.decode("utf-8", "replace")
    if key.endswith(".parquet"):
        file = pq.ParquetFile(io.BytesIO(body))
        text += f"{file.metadata.metadata}{file.read().to_pylist()}"
    return text


def test_no_key_and_no_password_is_written_anywhere(evidence: Evidence) -> None:
    """Neither as it is nor in hex, in base64, percent-encoded or escaped."""
    leaks = [
        f"{name} stands in {place}"
        for place, text in evidence.places.items()
        for name, secret in evidence.secrets.items()
        if any(form in text for form in forms(secret))
    ]
    assert leaks == []
    # What was searched was there, and the keys had been sent and repeated.
    for place, witness in PLACES.items():
        assert witness in evidence.places[place], (place, evidence.places[place][-2000:])
    assert "no luck with" in evidence.places["tables"]
    assert "***" in evidence.places["tables"]
    sent = " ".join(evidence.echo.targets)
    assert evidence.secrets["FRED_API_KEY"].strip(AWKWARD) in sent


@pytest.mark.parametrize(
    "written",
    [
        lambda key: key,
        lambda key: quote(key, safe=""),
        lambda key: json.dumps(json.dumps(key)),
        lambda key: key.encode().hex(),
        lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
        lambda key: base64.b64encode(f"u:{key}:more".encode()).decode(),
        lambda key: repr(key.encode()),
    ],
)
def test_the_search_finds_a_key_in_any_form(written: Any) -> None:
    """Or the fact above would say nothing."""
    key = marked()
    assert any(form in written(key) for form in forms(key))
