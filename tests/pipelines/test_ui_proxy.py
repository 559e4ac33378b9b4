"""Dagster's UI behind a real nginx: who gets in, who may act, and what is known of it later."""

import base64
import json
import os
import re
import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import psycopg
import pytest
from websockets.exceptions import InvalidStatus, InvalidStatusCode
from websockets.sync.client import connect

from machine.processes import LOOPBACK, NO_AUTHORITIES, wait_until
from marketdata.recovery import errors
from monitoring.health import probe_code_location
from operate.shared_ui import LAUNCH, LOCATION, REPOSITORY, SharedUi, ask, launch, shared_ui
from pipelines.dagster_internals import WorkspaceFileTarget, WorkspaceProcessContext
from pipelines.users import PROXY_HEADER, PROXY_VARIABLE, USER_TAG, of_the_proxy
from resources.database_url import in_schema
from sandbox.local_world import LocalWorld
from sandbox.scratch_databases import scratch_database
from tests.fixtures.dagster_internals import QueuedRunCoordinatorDaemon
from tests.fixtures.state_folder import PATIENCE_S
from tests.fixtures.world import BucketSettings, scratch_bucket
from usecases.operations import Operation

pytestmark = [pytest.mark.servers, pytest.mark.long]

PROJECT = Path(__file__).parents[2]
REPOSITORY_SELECTOR = {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY}
TAGS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { tags { key value } } } }"
VERSION = "{ version }"
SENSOR = {**REPOSITORY_SELECTOR, "sensorName": "lost_runs"}
FORGED = {"X-Forwarded-User": "mallory", "X-Real-IP": "192.0.2.1", PROXY_HEADER: "guessed"}
QUEUED = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])


@pytest.fixture(scope="module")
def ui(world: LocalWorld, migrated_template: str) -> Iterator[SharedUi]:
    """The UI for several people, on a migrated database without rows."""
    with (
        # Not below pytest's folder, which is its user's alone: nginx's workers are another user.
        tempfile.TemporaryDirectory(prefix="shared-ui-") as name,
        scratch_database(world, "test", copy_of=migrated_template) as url,
        scratch_bucket(world) as bucket,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        with shared_ui(folder, environment(folder, url, bucket)) as running:
            yield running


def environment(folder: Path, url: str, bucket: BucketSettings) -> dict[str, str]:
    """Return the variables of web servers and code server; no provider is asked."""
    ours = ("WRDATA_", "FMP_", "AWS_", "DAGSTER_")
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").symlink_to(PROJECT / "dagster.yaml")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
        "DAGSTER_HOME": str(home),
        "WRDATA_DATABASE_URL": url,
        "WRDATA_DAGSTER_DATABASE_URL": in_schema(url, "dagster"),
        "WRDATA_S3_ENDPOINT": bucket.endpoint,
        "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        "FMP_API_KEY": "0" * 32,
        "FMP_BASE_URL": f"http://{LOOPBACK}:9/stable",
    }


@pytest.fixture
def operator(ui: SharedUi) -> Iterator[httpx.Client]:
    """A client of a user who may act."""
    with ui.client("alice", source="127.0.0.2", seen_before=True) as client:
        yield client


@pytest.fixture
def viewer(ui: SharedUi) -> Iterator[httpx.Client]:
    """A client of a user who may look."""
    with ui.client("bob", source="127.0.0.3", seen_before=True) as client:
        yield client


def tags_of(client: httpx.Client, run_id: str) -> dict[str, str]:
    """Return the tags of a run, as the UI shows them."""
    tags = ask(client, TAGS, id=run_id)["runOrError"]["tags"]
    return {tag["key"]: tag["value"] for tag in tags}


def operations_in(ui: SharedUi) -> list[Operation]:
    """Return the operations in the log, in their order."""
    lines = [json.loads(line) for line in ui.operations.read_text().splitlines()]
    return [Operation(**line | {"at": datetime.fromisoformat(line["at"])}) for line in lines]


def operations_in_audit_log(ui: SharedUi) -> list[tuple[str, ...]]:
    """Return who did what from where, to what, with what result, by the audit log."""
    with psycopg.connect(ui.environment["WRDATA_DATABASE_URL"]) as connection:
        return connection.execute(
            "select who, origin, details ->> 'operation', subject, details ->> 'outcome'"
            " from audit_log where action = 'ui_operation' order by id"
        ).fetchall()


def noted(ui: SharedUi, what: str) -> Operation:
    """Return the last operation of a kind in the log."""
    return [operation for operation in operations_in(ui) if operation.what == what][-1]


# --- who gets in


def test_nobody_gets_in_without_a_user(ui: SharedUi) -> None:
    """Neither to a page nor to GraphQL; a wrong password is no password."""
    with ui.client(None, source="127.0.0.4") as nobody:
        assert nobody.get("/").status_code == 401
        assert nobody.post("/graphql", json={"query": VERSION}).status_code == 401
        assert nobody.get("/", auth=("alice", "guessed")).status_code == 401
        assert nobody.get("/", auth=("nobody", ui.passwords["alice"])).status_code == 401


def test_a_viewer_sees_what_an_operator_sees(operator: httpx.Client, viewer: httpx.Client) -> None:
    """Pages, and the jobs of the code location."""
    question = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
    assert viewer.get("/runs").status_code == 200
    assert "text/html" in viewer.get("/runs").headers["content-type"]
    assert ask(viewer, question) == ask(operator, question)
    assert ask(viewer, question)["repositoriesOrError"]["nodes"] == [{"name": REPOSITORY}]


def test_old_tls_is_refused(ui: SharedUi) -> None:
    """TLS 1.2 is; 1.3 is spoken."""
    old = ui.tls()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    place = (LOOPBACK, ui.ports["tls"])
    with (
        socket.create_connection(place) as connection,
        pytest.raises(ssl.SSLError, match=r"(?i)version"),
    ):
        old.wrap_socket(connection, server_hostname=LOOPBACK)
    with (
        socket.create_connection(place) as connection,
        ui.tls().wrap_socket(connection, server_hostname=LOOPBACK) as secured,
    ):
        assert secured.version() == "TLSv1.3"


def test_plain_http_leads_to_tls_and_serves_nothing(ui: SharedUi) -> None:
    """With the path that was asked for; plain HTTP at the port of TLS is refused."""
    answer = httpx.get(f"http://{LOOPBACK}:{ui.ports['plain']}/runs?x=1", verify=NO_AUTHORITIES)
    assert (answer.status_code, answer.headers["location"]) == (308, f"{ui.address}/runs?x=1")
    assert (
        httpx.get(f"http://{LOOPBACK}:{ui.ports['tls']}/", verify=NO_AUTHORITIES).status_code == 400
    )


def test_every_answer_has_the_headers_that_browsers_obey(
    ui: SharedUi, viewer: httpx.Client
) -> None:
    """A refusal too. The policy of content is the web server's own, once."""
    page = viewer.get("/runs")
    with ui.client(None, source="127.0.0.4") as nobody:
        refused = nobody.get("/runs")
    for answer in (page, refused):
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers.get_list("referrer-policy") == ["same-origin"]
        assert answer.headers["server"] == "nginx"
    assert len(page.headers.get_list("content-security-policy")) == 1


def test_a_websocket_of_graphql_is_acknowledged(ui: SharedUi, viewer: httpx.Client) -> None:
    """Live pages need it; a page of another site gets none."""
    login = base64.b64encode(f"bob:{ui.passwords['bob']}".encode()).decode()
    headers = {
        "Authorization": f"Basic {login}",
        "Cookie": f"wrdata_login={viewer.cookies['wrdata_login']}",
    }
    address = ui.address.replace("https", "wss") + "/graphql"

    def open_from(origin: str) -> Any:
        return connect(
            address,
            ssl=ui.tls(),
            additional_headers=headers,
            subprotocols=["graphql-ws"],  # pyright: ignore[reportArgumentType] a plain text is one
            origin=origin,  # pyright: ignore[reportArgumentType]
        )

    with open_from(ui.address) as live:
        live.send(json.dumps({"type": "connection_init", "payload": {}}))
        assert json.loads(live.recv(timeout=30)) == {"type": "connection_ack"}
    with pytest.raises((InvalidStatus, InvalidStatusCode), match="403"):
        open_from("https://evil.example")


def test_nothing_listens_on_a_public_address(ui: SharedUi) -> None:
    """The proxy and the web servers are on loopback unless somebody says otherwise."""
    listening = "0A"
    places = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == listening
    ]
    for name in ("tls", "plain", "viewers", "operators"):
        port = f"{ui.ports[name]:04X}"
        assert {place.split(":")[0] for place in places if place.endswith(f":{port}")} == {
            "0100007F"
        }


def test_requests_without_a_password_are_no_attempts_to_log_in(ui: SharedUi) -> None:
    """A browser asks for each file of a page without one first: it had a blank page before."""

    def file(number: int) -> int:
        with ui.client(None, source="127.0.0.10") as browser:
            return browser.get(f"/_next/static/{number}.js").status_code

    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(file, range(32))) == {401}


def test_guessing_passwords_is_slowed_down_and_stops_nobody_who_is_in(ui: SharedUi) -> None:
    """Ten logins at once, then one in six seconds; who has logged in before goes on."""
    source = "127.0.0.9"

    def guess(number: int) -> int:
        with ui.client(None, source=source) as guessing:
            return guessing.get("/", auth=("alice", f"guess {number}")).status_code

    with ui.client("bob", source=source) as inside:
        assert inside.get("/runs").status_code == 200
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(guess, range(16)))
        assert set(answers) == {401, 429}
        assert answers.count(401) <= 11
        # The right password is refused as well: it might have been guessed.
        with ui.client("alice", source=source) as late:
            assert late.get("/runs").status_code == 429
        # And the cookie of one user lets nobody guess the password of another.
        assert inside.get("/runs", auth=("alice", "guess")).status_code == 429
        assert inside.get("/runs").status_code == 200


# --- who may act


def test_a_viewer_may_not_launch(viewer: httpx.Client) -> None:
    """Dagster's own refusal."""
    assert launch(viewer, "universe")["__typename"] == "UnauthorizedError"


def test_a_viewer_does_not_become_an_operator_by_headers(
    ui: SharedUi, viewer: httpx.Client
) -> None:
    """The proxy writes its own over them."""
    viewer.headers.update({**FORGED, "X-Forwarded-User": "alice"})
    assert launch(viewer, "universe")["__typename"] == "UnauthorizedError"
    assert (noted(ui, "launchRun").who, noted(ui, "launchRun").outcome) == (
        "bob",
        "UnauthorizedError",
    )


MUTATIONS = """
{ __schema {
  mutationType { fields { name type { ...kind } args { name type { ...kind } } } }
  types { name kind enumValues { name } inputFields { name type { ...kind } } }
} }
fragment kind on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }
"""
HARMLESS = {"logTelemetry", "setNuxSeen"}
"""What a read-only web server lets everybody do: a counter of Dagster's, and a greeting."""
ABOUT_SOMETHING = {
    "launchMultipleRuns", "launchPipelineReexecution", "launchRunReexecution", "terminateRuns",
    "stopRunningSchedule", "stopSensor", "sensorDryRun", "scheduleDryRun",
    "resumePartitionBackfill", "reexecutePartitionBackfill", "cancelPartitionBackfill",
}  # fmt: skip
"""Operations that look for what they are about before they ask who may do it."""


def test_a_viewer_may_not_do_anything(viewer: httpx.Client) -> None:
    """Every operation of Dagster's schema is refused, also those that a release adds."""
    schema = ask(viewer, MUTATIONS)["__schema"]
    types = {kind["name"]: kind for kind in schema["types"]}
    not_refused: set[str] = set()
    for field in schema["mutationType"]["fields"]:
        given = ", ".join(
            f"{argument['name']}: {literal(argument['type'], types)}"
            for argument in field["args"]
            if argument["type"]["kind"] == "NON_NULL"
        )
        call = f"{field['name']}({given})" if given else field["name"]
        shown = "" if unwrapped(field["type"])["kind"] == "SCALAR" else " { __typename }"
        answer = viewer.post("/graphql", json={"query": f"mutation {{ {call}{shown} }}"})
        if "UnauthorizedError" not in answer.text:
            not_refused.add(field["name"])
    assert not_refused == HARMLESS | ABOUT_SOMETHING


def test_a_viewer_may_not_touch_what_there_is(operator: httpx.Client, viewer: httpx.Client) -> None:
    """A run, a sensor, or several runs at once: what is there is refused as well."""
    run_id = launch(operator, "universe")["run"]["runId"]
    refused = {"__typename": "UnauthorizedError"}
    again = "launchRunReexecution(reexecutionParams: {parentRunId: $id, strategy: ALL_STEPS})"
    assert ask(viewer, f"mutation ($id: String!) {{ {again} {{ __typename }} }}", id=run_id) == {
        "launchRunReexecution": refused
    }
    stop = "mutation ($id: String!) { stopSensor(id: $id) { __typename } }"
    assert ask(viewer, stop, id=sensor_id(viewer)) == {"stopSensor": refused}
    end = """
    mutation ($ids: [String!]!) {
      terminateRuns(runIds: $ids) {
        ... on TerminateRunsResult {
          terminateRunResults { ... on TerminateRunFailure { message } }
        }
      }
    }
    """
    (ended,) = ask(viewer, end, ids=[run_id])["terminateRuns"]["terminateRunResults"]
    assert ended == {"message": "You do not have permission to terminate this run"}
    many = """
    mutation ($runs: [ExecutionParams!]!) {
      launchMultipleRuns(executionParamsList: $runs) {
        __typename ... on LaunchMultipleRunsResult { launchMultipleRunsResult { __typename } }
      }
    }
    """
    run = {"selector": {**REPOSITORY_SELECTOR, "jobName": "universe"}, "mode": "default"}
    launched = ask(viewer, many, runs=[run])["launchMultipleRuns"]
    assert launched.get("launchMultipleRunsResult", [launched]) == [refused]


def sensor_id(client: httpx.Client) -> str:
    """Return the id by which the UI switches a sensor off."""
    question = (
        "query ($sensor: SensorSelector!) {"
        " sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState { id } } } }"
    )
    return str(ask(client, question, sensor=SENSOR)["sensorOrError"]["sensorState"]["id"])


def unwrapped(kind: dict[str, Any]) -> dict[str, Any]:
    """Return a type without "not null"."""
    return dict(kind["ofType"]) if kind["kind"] == "NON_NULL" else kind


def literal(kind: dict[str, Any], types: dict[str, Any]) -> str:
    """Return the smallest value of a type, as GraphQL writes it."""
    bare = unwrapped(kind)
    if bare["kind"] == "LIST":
        return f"[{literal(bare['ofType'], types)}]"
    if bare["kind"] == "ENUM":
        return str(types[bare["name"]]["enumValues"][0]["name"])
    if bare["kind"] == "INPUT_OBJECT":
        required = [
            f"{part['name']}: {literal(part['type'], types)}"
            for part in types[bare["name"]]["inputFields"]
            if part["type"]["kind"] == "NON_NULL" or part["name"] in {"selector", "jobName"}
        ]
        return "{" + ", ".join(required) + "}"
    return {"Int": "1", "Boolean": "true"}.get(bare["name"], '"x"')


def test_events_cannot_be_reported_past_graphql(operator: httpx.Client) -> None:
    """Not even by an operator: nothing would note it."""
    for kind in ("materialization", "check", "observation"):
        assert operator.post(f"/report_asset_{kind}/curated/x", json={}).status_code == 403


def test_the_web_servers_answer_nobody_but_the_proxy(ui: SharedUi) -> None:
    """Who reaches their ports past nginx is no operator; versions are shown for health checks."""
    address = f"http://{LOOPBACK}:{ui.ports['operators']}"
    question = {"query": VERSION}
    for headers in ({}, FORGED, {"X-Forwarded-User": "alice"}):
        assert (
            httpx.post(
                f"{address}/graphql", json=question, headers=headers, verify=NO_AUTHORITIES
            ).status_code
            == 403
        )
        assert httpx.get(f"{address}/", headers=headers, verify=NO_AUTHORITIES).status_code == 403
    assert httpx.get(f"{address}/server_info", verify=NO_AUTHORITIES).status_code == 200
    proven = {PROXY_HEADER: ui.secret}
    assert (
        httpx.post(
            f"{address}/graphql", json=question, headers=proven, verify=NO_AUTHORITIES
        ).status_code
        == 200
    )
    with pytest.raises((InvalidStatus, InvalidStatusCode), match="403"):
        connect(f"ws://{LOOPBACK}:{ui.ports['operators']}/graphql", subprotocols=["graphql-ws"])  # pyright: ignore[reportArgumentType]


def test_a_page_of_another_site_cannot_act_with_a_browser_s_login(
    ui: SharedUi, operator: httpx.Client
) -> None:
    """Dagster takes an operation from an address, which any page can send a browser to."""
    plain = {"Content-Type": "text/plain"}
    address = f"http://{LOOPBACK}:{ui.ports['operators']}/graphql"
    proven = {PROXY_HEADER: ui.secret, **plain}
    taken = httpx.post(address, params={"query": VERSION}, headers=proven, verify=NO_AUTHORITIES)
    assert taken.json()["data"]["version"] == dg.__version__

    assert operator.post("/graphql", params={"query": VERSION}, headers=plain).status_code == 403
    assert operator.get("/graphql", params={"query": VERSION}).status_code == 403
    assert operator.get("/graphql?%71uery=%7Bversion%7D").status_code == 403
    for header in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        foreign = operator.post("/graphql", json={"query": VERSION}, headers=header)
        assert foreign.status_code == 403
    own = {"Origin": ui.address, "Sec-Fetch-Site": "same-origin"}
    assert operator.post("/graphql?op=Own", json={"query": VERSION}, headers=own).is_success


# --- who did what


def test_a_run_carries_the_user_who_launched_it(ui: SharedUi, operator: httpx.Client) -> None:
    """Neither headers nor tags of the client count."""
    operator.headers.update(FORGED)
    launched = launch(operator, "universe", **{USER_TAG: "mallory"})
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]
    assert tags_of(operator, run_id)[USER_TAG] == "alice"
    note = noted(ui, "launchRun")
    assert (note.who, note.address, note.outcome) == ("alice", "127.0.0.2", "LaunchRunSuccess")
    assert note.subject == f"job universe, location wrdata, run {run_id}"


def test_who_repeats_a_run_is_its_user(ui: SharedUi, operator: httpx.Client) -> None:
    """Not the one whose run it was, though its tags are copied."""
    run_id = launch(operator, "universe")["run"]["runId"]
    again = """
    mutation ($parent: String!) {
      launchRunReexecution(reexecutionParams: {parentRunId: $parent, strategy: ALL_STEPS}) {
        __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
      }
    }
    """
    with ui.client("carol", source="127.0.0.5") as carol:
        repeated = ask(carol, again, parent=run_id)["launchRunReexecution"]
        assert repeated["__typename"] == "LaunchRunSuccess", repeated
        assert tags_of(carol, repeated["run"]["runId"])[USER_TAG] == "carol"


def test_a_backfill_carries_the_user_who_launched_it(
    operator: httpx.Client, instance: dg.DagsterInstance
) -> None:
    """Its runs, which the daemon starts later, take their tags from it."""
    instance.add_dynamic_partitions("tickers", ["AAPL", "MSFT"])
    question = """
    mutation ($backfill: LaunchBackfillParams!) {
      launchPartitionBackfill(backfillParams: $backfill) {
        __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
      }
    }
    """
    backfill = {
        "assetSelection": [{"path": ["curated", "equity_prices", "daily_bars"]}],
        "partitionNames": ["AAPL", "MSFT"],
        "tags": [{"key": USER_TAG, "value": "mallory"}],
    }
    launched = ask(operator, question, backfill=backfill)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    kept = instance.get_backfill(launched["backfillId"])
    assert kept is not None
    assert kept.tags[USER_TAG] == "alice"


@pytest.fixture
def instance(ui: SharedUi, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance of the web servers, in this process."""
    for name, value in ui.environment.items():
        if name.startswith(("WRDATA_", "DAGSTER_", "AWS_", "FMP_")):
            monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as opened:
        yield opened


def test_what_passes_no_queue_is_in_the_log_of_operations(
    ui: SharedUi, operator: httpx.Client
) -> None:
    """Switched off, ended, deleted, wiped: who, what, to what, from where, and with what result."""
    before = len(operations_in(ui))
    run_id = launch(operator, "universe")["run"]["runId"]
    start = (
        "mutation ($sensor: SensorSelector!) {"
        " startSensor(sensorSelector: $sensor) { __typename } }"
    )
    ask(operator, start, sensor=SENSOR)
    ask(
        operator,
        "mutation ($id: String!) { stopSensor(id: $id) { __typename } }",
        id=sensor_id(operator),
    )
    ask(operator, "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }", id=run_id)
    ask(operator, "mutation ($id: String!) { deleteRun(runId: $id) { __typename } }", id=run_id)
    path = ["curated", "equity_prices", "daily_bars"]
    wipe = (
        "mutation ($ranges: [PartitionsByAssetSelector!]!) {"
        " wipeAssets(assetPartitionRanges: $ranges) { __typename } }"
    )
    ask(operator, wipe, ranges=[{"assetKey": {"path": path}}])
    # The name that a client gives its request does not count, only what the request does.
    ask(operator, "mutation Innocent { pause: setAutoMaterializePaused(paused: true) }")

    operations = [done for done in operations_in(ui)[before:] if not done.is_launch]
    assert {(operation.who, operation.address) for operation in operations} == {
        ("alice", "127.0.0.2")
    }
    assert operations_in_audit_log(ui)[-len(operations) :] == [
        (done.who, done.address, done.what, done.subject, done.outcome) for done in operations
    ]
    assert [(done.what, done.subject, done.outcome) for done in operations] == [
        ("startSensor", "location wrdata, sensor lost_runs", "Sensor"),
        ("stopSensor", "sensor lost_runs", "StopSensorMutationResult"),
        ("terminateRun", f"run {run_id}", "TerminateRunSuccess"),
        ("deleteRun", f"run {run_id}", "DeletePipelineRunSuccess"),
        ("wipeAssets", "asset curated/equity_prices/daily_bars", "AssetWipeSuccess"),
        ("setAutoMaterializePaused", "paused True", "done"),
    ]


def test_no_configuration_of_a_run_is_in_the_log_of_operations(
    ui: SharedUi, operator: httpx.Client
) -> None:
    """It may hold anything, also under names that are noted elsewhere."""
    run = {
        "selector": {**REPOSITORY_SELECTOR, "jobName": "universe"},
        "mode": "default",
        "runConfigData": {"ops": {"runId": "hidden value", "path": ["hidden value"]}},
        "executionMetadata": {"tags": [{"key": "path", "value": "hidden value"}]},
    }
    ask(operator, LAUNCH, run=run)
    assert noted(ui, "launchRun").who == "alice"
    assert "hidden value" not in ui.operations.read_text()


def test_the_proxy_s_log_names_who_was_let_in_and_no_password(
    ui: SharedUi, viewer: httpx.Client
) -> None:
    """Nor what was typed where a name belongs, nor the query of an address."""
    viewer.get("/runs?secret=typed-in-a-query")
    with ui.client(None, source="127.0.0.6") as nobody:
        nobody.get("/runs", auth=("typed-as-a-name", "typed-as-a-password"))
    log = ui.folder / "logs" / "requests.jsonl"
    # The proxy writes a line once it has sent the answer.
    assert wait_until(lambda: '"127.0.0.6"' in log.read_text(), within_s=PATIENCE_S)
    text = log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    refused = [line for line in lines if line["address"] == "127.0.0.6"]
    assert [(line["user"], line["status"], line["path"]) for line in refused] == [
        ("", 401, "/runs")
    ]
    assert {"bob", "alice"} <= {line["user"] for line in lines}
    for secret in ("typed-", *ui.passwords.values(), ui.secret):
        assert secret not in text
        assert secret not in (ui.folder / "logs" / "error.log").read_text()


def test_only_its_owner_may_read_what_opens_the_ui(ui: SharedUi) -> None:
    """The secret, the hashes, the cookies and the key of the certificate."""
    modes = {
        file.name: file.stat().st_mode & 0o777 for file in ui.folder.glob("*") if file.is_file()
    }
    private = {name for name, mode in modes.items() if mode == 0o600}
    assert {
        "nginx.conf", "users", "cookies", "accounts.json", "secret.json", "webserver.env",
        "certificate.key",
    } <= private  # fmt: skip
    for password in ui.passwords.values():
        assert re.fullmatch(r"[A-Za-z0-9]{24}", password)
        assert password not in (ui.folder / "users").read_text()


def test_the_limits_of_the_queue_hold(
    ui: SharedUi, operator: httpx.Client, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Two runs at once, of which backfills take one: with our coordinator as with Dagster's."""
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.max_concurrent_runs == 2
    for run in instance.get_runs(filters=QUEUED):
        instance.report_run_canceled(run)
    backfills = [
        launch(operator, "universe", **{"wrdata/lane": "backfill"})["run"]["runId"]
        for _ in range(3)
    ]
    others = [launch(operator, "universe")["run"]["runId"] for _ in range(3)]
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        (Path(ui.environment["DAGSTER_HOME"]) / "dagster.yaml").read_text()
        + "\nrun_launcher:\n  module: dagster._core.test_utils\n  class: MockedRunLauncher\n"
    )
    with dg.DagsterInstance.from_config(str(home)) as launching:
        tick(launching, ui)
        waiting = {run.run_id for run in launching.get_runs(filters=QUEUED)}
    started = {*backfills, *others} - waiting
    assert len(started) == 2
    assert len(started & set(backfills)) == 1


def tick(instance: dg.DagsterInstance, ui: SharedUi) -> None:
    """Let the daemon's part that empties the queue do its work once."""
    workspace = str(ui.folder.parent / "workspace.yaml")
    with WorkspaceProcessContext(instance, WorkspaceFileTarget([workspace])) as context:
        list(QueuedRunCoordinatorDaemon(interval_seconds=1).run_iteration(context))


def test_the_exporter_gets_in_with_the_proxys_secret_alone(
    ui: SharedUi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks a web server whether the code location works, past the proxy."""
    viewers = f"http://{LOOPBACK}:{ui.ports['viewers']}"
    monkeypatch.delenv(PROXY_VARIABLE, raising=False)
    with pytest.raises(errors.ConfigurationError, match="does not answer"):
        probe_code_location(viewers, of_the_proxy())

    monkeypatch.setenv(PROXY_VARIABLE, ui.secret)
    probe_code_location(viewers, of_the_proxy())


# --- in a browser


def test_in_a_browser_a_viewer_cannot_materialize_and_an_operator_can(ui: SharedUi) -> None:
    """Chromium shows the same page to both; the button works for one."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    sync_api: Any = pytest.importorskip("playwright.sync_api", reason="group `pictures`")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        enabled: dict[str, bool] = {}
        for user in ("bob", "alice"):
            context = browser.new_context(
                ignore_https_errors=True,
                http_credentials={"username": user, "password": ui.passwords[user]},
            )
            page = context.new_page()
            page.goto(f"{ui.address}/locations/{LOCATION}/jobs/universe")
            button = page.get_by_role("button", name="Materialize")
            button.first.wait_for(timeout=120_000)
            enabled[user] = button.first.is_enabled()
            if enabled[user]:
                button.first.click()
                page.get_by_text("Launched run").first.wait_for(timeout=60_000)
            context.close()
        browser.close()
    assert enabled == {"bob": False, "alice": True}
    assert (noted(ui, "launchRun").who, noted(ui, "launchRun").outcome) == (
        "alice", "LaunchRunSuccess",
    )  # fmt: skip
