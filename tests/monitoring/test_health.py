"""Health: each part is broken, one at a time, and named."""

import json
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import pytest
from dagster_graphql.schema import create_schema
from graphql import parse, validate

from monitoring import health
from monitoring.collector import DatabaseCollector
from monitoring.health import Health, Probe
from monitoring.server import serving
from resources.storage.object_store import ObjectStore, S3Settings
from tests.fixtures.world import BucketSettings
from tests.monitoring.scraping import get, relayed
from tests.storage.conftest import UNIVERSE

PARTS = ["database", "schema", "bucket", "daemon", "code_location"]
LOADED = [
    {
        "name": "wrdata",
        "loadStatus": "LOADED",
        "locationOrLoadError": {"__typename": "RepositoryLocation"},
    }
]
BROKEN = [
    {
        "name": "wrdata",
        "loadStatus": "LOADED",
        "locationOrLoadError": {"__typename": "PythonError"},
    }
]
LOADING = [{"name": "wrdata", "loadStatus": "LOADING", "locationOrLoadError": None}]


@contextmanager
def webserver(entries: object) -> Generator[str]:
    """Serve what Dagster's web server says of its code locations; yield its address."""
    body = json.dumps({"data": {"workspaceOrError": {"locationEntries": entries}}}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200 if self.path == "/graphql" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def beat(dagster_url: str, ago: str) -> None:
    """Write a heartbeat of Dagster's daemon."""
    with psycopg.connect(dagster_url, autocommit=True) as connection:
        connection.execute("delete from daemon_heartbeats")
        connection.execute(
            "insert into daemon_heartbeats (daemon_type, timestamp)"
            " values ('SENSOR', now() at time zone 'UTC' - %s::interval)",
            [ago],
        )


def store_of(bucket: BucketSettings, name: str = "") -> ObjectStore:
    """Return a client of the bucket, or of another name."""
    return ObjectStore(
        S3Settings(
            endpoint=bucket.endpoint,
            bucket=name or bucket.bucket,
            region=bucket.region,
            access_key=bucket.access_key,
            secret_key=bucket.secret_key,
        )
    )


@contextmanager
def watched(probes: dict[str, Probe]) -> Generator[str]:
    """Serve health of these parts, each with a generous time; yield the address."""
    nowhere = "postgresql://user:pass@127.0.0.1:1/wrdata"
    collector = DatabaseCollector(nowhere, nowhere, UNIVERSE)
    with serving("127.0.0.1", 0, collector, Health(probes, within_s=30)) as address:
        yield address


def ready(address: str) -> tuple[int, dict[str, Any]]:
    """Ask whether all is ready."""
    answer = get(f"{address}/health/ready")
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()


@pytest.fixture
def probes(
    migrated_url: str, dagster_url: str, bucket: BucketSettings
) -> Iterator[Callable[..., dict[str, Probe]]]:
    """Makes the probes of an installation that works, with changes."""
    beat(dagster_url, "10 seconds")
    with webserver(LOADED) as address:

        def make(**changes: Any) -> dict[str, Probe]:
            parts: dict[str, Any] = {
                "database_url": migrated_url,
                "dagster_url": dagster_url,
                "store": store_of(bucket),
                "webserver": address,
                "webserver_headers": {},
            }
            return dict(health.probes(**(parts | changes)))

        yield make


def broken(body: dict[str, Any]) -> dict[str, str]:
    """Return the parts that do not work, with the reasons."""
    return {name: part["reason"] for name, part in body["parts"].items() if not part["ok"]}


def test_all_parts_work(probes: Callable[..., dict[str, Probe]]) -> None:
    """Ready, and the answer names every part."""
    with watched(probes()) as address:
        status, body = ready(address)

    assert (status, body["status"]) == (200, "ready")
    assert list(body["parts"]) == PARTS
    assert broken(body) == {}


def test_a_database_that_is_away_is_named(
    probes: Callable[..., dict[str, Probe]], migrated_url: str
) -> None:
    """Its schema cannot be compared either; Dagster's lies elsewhere here. It comes back."""
    with relayed(migrated_url) as (url, relay), watched(probes(database_url=url)) as address:
        before = ready(address)
        relay.cut()
        away = ready(address)
        relay.mend()
        again = ready(address)

    assert before[0] == again[0] == 200
    assert away[0] == 503
    assert set(broken(away[1])) == {"database", "schema"}
    assert "is the server up?" in broken(away[1])["database"]


def test_a_schema_that_waits_for_migrations_is_named(
    probes: Callable[..., dict[str, Probe]], migrated_url: str
) -> None:
    """With the command that mends it."""
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute(
            "delete from schema_migration"
            " where name = (select max(newest.name) from schema_migration as newest)"
        )
    with watched(probes()) as address:
        status, body = ready(address)

    assert status == 503
    assert list(broken(body)) == ["schema"]
    assert "run wrdata migrate" in broken(body)["schema"]


def test_a_bucket_that_is_not_there_is_named(
    probes: Callable[..., dict[str, Probe]], bucket: BucketSettings
) -> None:
    """By its name, without keys."""
    with watched(probes(store=store_of(bucket, "no-such-bucket"))) as address:
        status, body = ready(address)

    assert status == 503
    assert list(broken(body)) == ["bucket"]
    assert "no-such-bucket" in broken(body)["bucket"]
    assert bucket.secret_key not in json.dumps(body)


@pytest.mark.parametrize(
    ("ago", "reason"), [("10 minutes", "was last heard of at"), (None, "was never started")]
)
def test_a_daemon_that_is_silent_is_named(
    probes: Callable[..., dict[str, Probe]], dagster_url: str, ago: str | None, reason: str
) -> None:
    """Silent for longer than two minutes, or for ever."""
    with watched(probes()) as address:
        if ago:
            beat(dagster_url, ago)
        else:
            with psycopg.connect(dagster_url, autocommit=True) as connection:
                connection.execute("delete from daemon_heartbeats")
        status, body = ready(address)

    assert status == 503
    assert list(broken(body)) == ["daemon"]
    assert reason in broken(body)["daemon"]


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        (BROKEN, "not loaded: wrdata"),
        (LOADING, "not loaded: wrdata"),
        ([], "there is none"),
        (None, "something else"),
    ],
)
def test_a_code_location_that_is_not_loaded_is_named(
    probes: Callable[..., dict[str, Probe]], entries: object, reason: str
) -> None:
    """It failed to import, is still loading, or is not in the workspace."""
    with webserver(entries) as dagster, watched(probes(webserver=dagster)) as address:
        status, body = ready(address)

    assert status == 503
    assert list(broken(body)) == ["code_location"]
    assert reason in broken(body)["code_location"]


@pytest.mark.parametrize(
    ("address", "reason"), [("", "--webserver"), ("http://127.0.0.1:1", "is it up?")]
)
def test_a_web_server_that_cannot_be_asked_is_named(
    probes: Callable[..., dict[str, Probe]], address: str, reason: str
) -> None:
    """Nobody said where it is, or nobody listens there."""
    with watched(probes(webserver=address)) as exporter:
        status, body = ready(exporter)

    assert status == 503
    assert list(broken(body)) == ["code_location"]
    assert reason in broken(body)["code_location"]


def test_the_question_is_one_that_dagster_understands() -> None:
    """By the schema of the installed version."""
    schema = create_schema().graphql_schema  # pyright: ignore[reportUnknownMemberType]

    assert validate(schema, parse(health.CODE_LOCATIONS)) == []


def test_a_part_that_never_answers_holds_nobody_up_and_is_asked_once() -> None:
    """Its own time ends; the others are told. When it answers at last, it is asked anew."""
    released, asked = threading.Event(), list[int]()

    def silent() -> None:
        asked.append(1)
        released.wait(60)

    watching = Health({"silent": silent, "fine": lambda: None}, within_s=0.2)
    first, second = watching.ready(), watching.ready()
    count = len(asked)
    released.set()
    while not watching.ready()["silent"].ok:
        pass
    watching.ready()

    assert [state.ok for state in first.values()] == [False, True]
    assert first["silent"].reason == second["silent"].reason == "no answer within 0.2 s"
    assert count == 1
    assert len(asked) >= 2


def test_a_probe_that_breaks_is_no_part_that_works() -> None:
    """A mistake of ours is shown as one."""

    def mistaken() -> None:
        message = "x"
        raise KeyError(message)

    (state,) = Health({"database": mistaken}).ready().values()
    assert not state.ok
    assert "KeyError" in state.reason


def test_live_asks_nobody(probes: Callable[..., dict[str, Probe]]) -> None:
    """A database that is away is no reason to kill the exporter."""
    del probes

    def refused() -> None:
        pytest.fail("a part was asked")

    with watched({"database": refused}) as address:
        answer = get(f"{address}/health/live")

    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


def test_startup_has_been_ready_once() -> None:
    """Then it stays so: what breaks later is for /health/ready."""
    works = [False]

    def probe() -> None:
        if not works[0]:
            message = "x"
            raise KeyError(message)

    with watched({"part": probe}) as address:
        before = get(f"{address}/health/startup")
        works[0] = True
        during = get(f"{address}/health/startup")
        works[0] = False
        after = get(f"{address}/health/startup")
        is_ready = get(f"{address}/health/ready")

    assert [answer.status_code for answer in (before, during, after)] == [503, 200, 200]
    assert is_ready.status_code == 503


def test_any_other_page_is_none(probes: Callable[..., dict[str, Probe]]) -> None:
    """It says which there are."""
    with watched(probes()) as address:
        answer = get(f"{address}/health")

    assert answer.status_code == 404
    assert "/health/ready" in answer.text
