"""Who is told: Alertmanager's own tools judge its configuration."""

from pathlib import Path

import pytest

from monitoring import alertmanager
from monitoring.alerts import GROUPS
from monitoring.files import as_yaml
from sandbox.monitoring_programs import Programs
from tests.monitoring.checking import RULES, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with Alertmanager's configuration."""
    text = as_yaml(alertmanager.configuration(GROUPS))
    (tmp_path / "alertmanager.yml").write_text(text)
    return tmp_path


def test_alertmanager_accepts_its_configuration(programs: Programs, folder: Path) -> None:
    """Every inhibition and both receivers included."""
    done = run(programs.amtool, "check-config", "alertmanager.yml", cwd=folder)

    assert done.returncode == 0, done.stdout
    assert "2 receivers" in done.stdout
    assert (
        f"{len(alertmanager.configuration(GROUPS)['inhibit_rules'])} inhibit rules" in done.stdout
    )


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("severity=critical", "pagerduty_and_slack"),
        ("severity=warning", "slack"),
        ("severity=unheard_of", "slack"),
        ("alertname=SomebodyElses", "slack"),
    ],
)
def test_an_alert_goes_where_its_severity_says(
    labels: str, receiver: str, programs: Programs, folder: Path
) -> None:
    """What is critical pages; all else is read in working hours."""
    done = run(
        programs.amtool,
        "config",
        "routes",
        "test",
        "--config.file=alertmanager.yml",
        f"--verify.receivers={receiver}",
        labels,
        cwd=folder,
    )

    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].strip() == receiver


def test_secrets_are_in_files_of_their_own() -> None:
    """The configuration itself may be read by anybody."""
    receivers = {
        receiver["name"]: receiver for receiver in alertmanager.configuration(GROUPS)["receivers"]
    }
    page = receivers["pagerduty_and_slack"]

    for slack in (*receivers["slack"]["slack_configs"], *page["slack_configs"]):
        assert slack["api_url_file"] == "secrets/slack_url"
        assert "api_url" not in slack
        assert slack["send_resolved"]
    (pagerduty,) = page["pagerduty_configs"]
    assert pagerduty["routing_key_file"] == "secrets/pagerduty_key"
    assert not {"routing_key", "service_key"} & pagerduty.keys()
    assert pagerduty["send_resolved"]


def test_a_lost_database_explains_what_cannot_be_read_without_it() -> None:
    """One page instead of ten."""
    targets = {
        matcher
        for inhibition in alertmanager.configuration(GROUPS)["inhibit_rules"]
        if inhibition["source_matchers"] == ["alertname = DatabaseDown"]
        for matcher in inhibition["target_matchers"]
    }

    (matcher,) = targets
    named = set(matcher.removeprefix('alertname =~ "').removesuffix('"').split("|"))
    assert named >= {"ExporterPartFailing", "DaemonDead", "DaemonNeverSeen"}
    assert named <= set(RULES)


def test_a_failed_run_is_told_whatever_else_fires() -> None:
    """Its alert lasts for an hour: one that is held back may be over before it is told."""
    inhibitions = alertmanager.configuration(GROUPS)["inhibit_rules"]

    assert not any("RunsFailed" in str(rule["target_matchers"]) for rule in inhibitions)


@pytest.mark.parametrize(("alert", "repeat"), [("DatasetLate", "1h"), ("RunsFailed", None)])
def test_a_warning_that_may_be_held_back_is_repeated_sooner(alert: str, repeat: str | None) -> None:
    """Alertmanager takes it for told where it ended while its cause fired."""
    routes = alertmanager.configuration(GROUPS)["route"]["routes"]
    first = next(
        route
        for route in routes[1:]
        if all("alertname" not in matcher or alert in matcher for matcher in route["matchers"])
    )

    assert first.get("repeat_interval") == repeat
