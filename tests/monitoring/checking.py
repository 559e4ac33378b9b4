"""Running promtool and amtool, and asking promtool whether a rule fires."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from monitoring import prometheus
from monitoring.alerts import GROUPS, AlertRule

RULES: Mapping[str, AlertRule] = {rule.name: rule for rules in GROUPS.values() for rule in rules}


def run(program: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder; what it says is all in ``stdout``."""
    return subprocess.run(
        [program, *words],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


def looked_at(
    series: Mapping[str, str],
    alert: str,
    expected: Sequence[Mapping[str, Any]],
    *,
    minute: int = 60,
) -> dict[str, Any]:
    """Return promtool's form of one look: these alerts of one rule, and no others."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": list(expected)}
        ],
    }


def fired(rule: AlertRule, labels: Mapping[str, str], summary: str) -> dict[str, Any]:
    """Return promtool's form of an alert that fires."""
    return {
        "exp_labels": {**labels, "severity": rule.severity.value},
        "exp_annotations": {
            "summary": summary,
            "first_step": filled(rule.first_step, labels),
            "runbook": f"docs/runbooks/{rule.runbook}",
            "threshold": rule.threshold,
        },
    }


def filled(text: str, labels: Mapping[str, str]) -> str:
    """Return a text of a rule with its labels filled in."""
    for name, value in labels.items():
        text = text.replace(f"{{{{ $labels.{name} }}}}", value)
    return text


def judged(
    promtool: Path, folder: Path, rules: Sequence[AlertRule], looks: Sequence[Mapping[str, Any]]
) -> subprocess.CompletedProcess[str]:
    """Let promtool judge rules by looks at them."""
    content = prometheus.rules_file({"tested": rules})
    (folder / "rules.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    tests = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": list(looks)}
    (folder / "tests.yml").write_text(yaml.safe_dump(tests, sort_keys=False))
    return run(promtool, "test", "rules", "tests.yml", cwd=folder)
