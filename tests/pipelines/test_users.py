"""Who acts: which names are believed, and what runs carry that no person launched."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from pipelines import users
from pipelines.dagster_internals import (
    SINGLETON_REPOSITORY_NAME,
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
    SubmitRunContext,
    WorkspaceFileTarget,
)
from pipelines.users import PROXY_HEADER, PROXY_VARIABLE, UNKNOWN, USER_HEADER, USER_TAG
from pipelines.webserver import ProcessContext

PROVEN = {PROXY_HEADER: "shared", USER_HEADER: "alice"}
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("wrdata"), SINGLETON_REPOSITORY_NAME),
    "universe",
)
COORDINATOR = """
run_coordinator:
  module: pipelines.run_coordinator
  class: AttributingRunCoordinator
"""


@pytest.fixture(autouse=True)
def _shared_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROXY_VARIABLE, "shared")


def test_a_name_is_believed_with_the_secret_of_the_proxy() -> None:
    """And then only."""
    assert users.of_request(PROVEN.get) == "alice"
    assert users.of_request({USER_HEADER: "alice"}.get) == UNKNOWN
    assert users.of_request({**PROVEN, PROXY_HEADER: "guessed"}.get) == UNKNOWN
    assert users.of_request({**PROVEN, PROXY_HEADER: "gé"}.get) == UNKNOWN
    assert users.of_request({PROXY_HEADER: "shared"}.get) == UNKNOWN
    assert users.of_request({}.get) == UNKNOWN


def test_without_a_secret_nobody_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does an empty secret equal an empty header."""
    monkeypatch.setenv(PROXY_VARIABLE, "")
    assert not users.came_through_proxy({PROXY_HEADER: ""}.get)
    monkeypatch.delenv(PROXY_VARIABLE)
    assert users.of_request(PROVEN.get) == UNKNOWN


class Request:
    """A request as the web server has it: headers, and nothing else that counts here."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessContext]:
    """An instance with our coordinator, and a workspace without code."""
    (tmp_path / "dagster.yaml").write_text(COORDINATOR)
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text("load_from: []\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with (
        dg.DagsterInstance.get() as instance,
        ProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as opened,
    ):
        yield opened


def submitted(
    context: ProcessContext, tags: dict[str, str], headers: dict[str, str] | None = None
) -> str | None:
    """Submit a run, from the daemon or with the headers of a request; return who started it."""
    run = context.instance.add_run(
        dg.DagsterRun(
            job_name="universe",
            status=dg.DagsterRunStatus.NOT_STARTED,
            tags=tags,
            remote_job_origin=ORIGIN,
        )
    )
    workspace = context.create_request_context(None if headers is None else Request(headers))
    queued = context.instance.run_coordinator.submit_run(SubmitRunContext(run, workspace))
    assert queued.status is dg.DagsterRunStatus.QUEUED
    return queued.tags.get(USER_TAG)


@pytest.mark.parametrize(
    ("tags", "who"),
    [
        ({"dagster/schedule_name": "universe_weekly"}, "schedule:universe_weekly"),
        ({"dagster/sensor_name": "dead_letter_retries"}, "sensor:dead_letter_retries"),
        ({"dagster/backfill": "abc", USER_TAG: "alice"}, "alice"),
        ({"dagster/schedule_name": "universe_weekly", USER_TAG: "carol"}, "carol"),
        ({}, None),
    ],
)
def test_a_run_of_the_daemon_carries_who_it_was_started_for(
    context: ProcessContext, tags: dict[str, str], who: str | None
) -> None:
    """A schedule, a sensor, or the user of what it continues."""
    assert submitted(context, tags) == who


@pytest.mark.parametrize(
    ("headers", "who"), [(PROVEN, "alice"), ({USER_HEADER: "alice"}, UNKNOWN), ({}, UNKNOWN)]
)
def test_a_run_of_the_ui_carries_its_user_over_all_tags(
    context: ProcessContext, headers: dict[str, str], who: str
) -> None:
    """Also over those of a schedule, which a client may write as well."""
    tags = {USER_TAG: "mallory", "dagster/schedule_name": "universe_weekly"}
    assert submitted(context, tags, headers) == who


def test_dagster_yaml_names_our_coordinator(tmp_path: Path) -> None:
    """And keeps the limits of the queue beside it, as Dagster reads them."""
    project = Path(__file__).parents[2]
    text = (project / "dagster.yaml").read_text()
    assert COORDINATOR.strip() in text
    (tmp_path / "dagster.yaml").write_text(text[text.index("concurrency:") :])
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert type(instance.run_coordinator).__name__ == "AttributingRunCoordinator"
    assert queue is not None
    assert queue.max_concurrent_runs == 2
    assert [dict(limit) for limit in queue.tag_concurrency_limits] == [
        {"key": "wrdata/lane", "value": "backfill", "limit": 1},
        {"key": "dagster/backfill", "limit": 1},
    ]
