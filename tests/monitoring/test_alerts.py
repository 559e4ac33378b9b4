"""Each alert fires when it should, says what a person can act on, and is silent otherwise."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify

from monitoring import prometheus
from monitoring.alerts import GROUPS, AlertRule, Cause, Severity, rehearsed
from monitoring.files import as_yaml
from sandbox.monitoring_programs import Programs
from tests.monitoring.alert_cases import CASES, FMP, REFUSED, always, requests
from tests.monitoring.checking import RULES, fired, judged, looked_at, run

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def named(rule: AlertRule) -> str:
    """Return a rule's name, as a test's name."""
    return rule.name


every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=named)


@every_rule
def test_an_alert_fires_beyond_its_threshold_and_not_at_it(
    rule: AlertRule, programs: Programs, tmp_path: Path
) -> None:
    """With its labels and texts; promtool judges both looks by the rule's own expression."""
    case = CASES[rule.name]
    looks = [
        looked_at(case.fires, rule.name, [fired(rule, case.labels, case.summary)]),
        looked_at(case.silent, rule.name, []),
    ]

    done = judged(programs.promtool, tmp_path, [rule], looks)

    assert done.returncode == 0, done.stdout


def test_a_changed_threshold_is_noticed(programs: Programs, tmp_path: Path) -> None:
    """The judge can say no: neither look may be passed by a rule that differs."""
    rule, case = RULES["QueueLong"], CASES["QueueLong"]
    fires = looked_at(case.fires, rule.name, [fired(rule, case.labels, case.summary)])
    silent = looked_at(case.silent, rule.name, [])

    for threshold, look in (("1001", fires), ("999", silent)):
        changed = replace(rule, expression=rule.expression.replace("1000", threshold))
        done = judged(programs.promtool, tmp_path, [changed], [look])
        assert done.returncode != 0, "a changed rule passed"
        assert "FAILED" in done.stdout


def test_an_alert_waits_before_it_fires(programs: Programs, tmp_path: Path) -> None:
    """A database that is away for less than a minute tells nobody."""
    rule = RULES["DatabaseDown"]
    restarted = {"wrdata_database_up": "1x59 0x5"}
    summary = CASES["DatabaseDown"].summary

    done = judged(
        programs.promtool,
        tmp_path,
        [rule],
        [
            looked_at(restarted, rule.name, [], minute=60),
            looked_at(restarted, rule.name, [fired(rule, {}, summary)], minute=61),
        ],
    )

    assert done.returncode == 0, done.stdout


def test_an_exporter_that_was_never_scraped_is_away_too(programs: Programs, tmp_path: Path) -> None:
    """A job that is missing in Prometheus' configuration makes no series at all."""
    rule = RULES["ExporterAway"]
    look = looked_at(
        {'up{job="node"}': always(1)},
        rule.name,
        [fired(rule, {"job": "wrdata"}, CASES[rule.name].summary)],
    )

    done = judged(programs.promtool, tmp_path, [rule], [look])

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("failed", [4, 5])
def test_fewer_than_five_failures_are_no_rate(
    failed: int, programs: Programs, tmp_path: Path
) -> None:
    """A key for five requests a minute would page for a single failure."""
    rule = RULES["ProviderErrorRateHigh"]
    few = f'wrdata_provider_requests_total{{{FMP},outcome="error",error_class="X"}}'
    series = requests(failed=0, answered=5) | {few: f"0x50 {failed}x30"}
    share = {4: "", 5: "9.091%"}[failed]
    expected = [fired(rule, {"provider": "fmp"}, f"{share} of requests to fmp fail.")]

    done = judged(
        programs.promtool,
        tmp_path,
        [rule],
        [looked_at(series, rule.name, expected if share else [], minute=60)],
    )

    assert done.returncode == 0, done.stdout


def test_what_prometheus_finds_at_its_start_is_not_new(programs: Programs, tmp_path: Path) -> None:
    """A key that was refused last year pages nobody because Prometheus was set up today."""
    rule = RULES["ProviderKeyRefused"]
    found = {REFUSED: "_x57 3x30", 'wrdata_build_info{version="1"}': "_x57 1x30"}

    done = judged(programs.promtool, tmp_path, [rule], [looked_at(found, rule.name, [])])

    assert done.returncode == 0, done.stdout


def test_prometheus_accepts_every_rule(programs: Programs, tmp_path: Path) -> None:
    """As one file, whatever its groups."""
    groups = {name: list(rules) for name, rules in GROUPS.items()}
    (tmp_path / "rules.yml").write_text(as_yaml(prometheus.rules_file(groups)))

    done = run(programs.promtool, "check", "rules", "rules.yml", cwd=tmp_path)

    assert done.returncode == 0, done.stdout
    assert f"SUCCESS: {len(RULES)} rules found" in done.stdout


def test_a_rehearsal_fires_sooner_at_the_same_threshold(programs: Programs, tmp_path: Path) -> None:
    """Waiting time, ranges and offsets shrink; nothing else does."""
    quick = {
        name: rehearsed(rule, faster=60, shortest=timedelta(seconds=5))
        for name, rule in RULES.items()
    }
    content = as_yaml(prometheus.rules_file({"rehearsed": list(quick.values())}))
    (tmp_path / "rules.yml").write_text(content)

    assert quick["ProviderDown"].lasts == timedelta(seconds=15)
    assert "[5s]" in quick["ProviderDown"].expression
    assert "offset 10s" in quick["ProviderKeyRefused"].expression
    assert "[60s]" in quick["RowsRejected"].expression
    assert quick["LetterTooOld"].expression == RULES["LetterTooOld"].expression
    assert max(rule.lasts for rule in quick.values()) <= timedelta(minutes=1)
    done = run(programs.promtool, "check", "rules", "rules.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_every_alert_has_a_case() -> None:
    """A rule without one could not fail."""
    assert list(RULES) == list(CASES)
    assert sum(len(rules) for rules in GROUPS.values()) == len(RULES), "a name is there twice"


@every_rule
def test_a_runbook_says_what_to_do(rule: AlertRule) -> None:
    """The link leads to a page and to a heading of it."""
    page, _, anchor = rule.runbook.partition("#")
    headings = HEADING.findall((RUNBOOKS / page).read_text("utf-8"))

    assert anchor in {slugify(heading, "-") for heading in headings}


@every_rule
def test_an_alert_is_said_in_a_sentence(rule: AlertRule) -> None:
    """It names the figure's source as well."""
    assert re.fullmatch(r"[A-Z{].*\.", rule.summary)
    assert rule.first_step
    assert rule.threshold


def test_what_explains_an_alert_is_an_alert_as_urgent() -> None:
    """A page must not be held back by a message that nobody reads at night."""
    for rule in RULES.values():
        for cause in rule.symptom_of:
            explains = RULES[cause.alert]
            assert rule.name not in {further.alert for further in explains.symptom_of}
            assert rule.severity is Severity.WARNING or explains.severity is Severity.CRITICAL, (
                f"{cause.alert} hides {rule.name}"
            )


def test_an_alert_that_several_causes_explain_names_each_once() -> None:
    """Inhibition follows from these names."""
    for rule in RULES.values():
        assert len(set(rule.symptom_of)) == len(rule.symptom_of)
        assert all(isinstance(cause, Cause) for cause in rule.symptom_of)
