"""The files that are kept below deploy/ are those that the code writes."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from marketdata.recovery import errors
from monitoring import files
from pipelines.cli.main import app
from sandbox.monitoring_programs import Programs
from tests.monitoring.checking import run

KEPT = Path(__file__).parents[2] / "deploy" / "monitoring"


def test_kept_files_are_what_the_code_writes() -> None:
    """After a change: make monitoring."""
    kept = {
        str(path.relative_to(KEPT)): path.read_text("utf-8")
        for path in KEPT.rglob("*")
        if path.is_file()
    }

    assert kept == dict(files.files())


def test_prometheus_accepts_its_configuration_with_the_rules(
    programs: Programs, tmp_path: Path
) -> None:
    """As one folder, since one names the other."""
    files.write(tmp_path)

    done = run(programs.promtool, "check", "config", "prometheus.yml", cwd=tmp_path)

    assert done.returncode == 0, done.stdout
    assert "1 rule files found" in done.stdout


def test_the_command_writes_every_file(tmp_path: Path) -> None:
    """Also where older ones lie."""
    (tmp_path / "rules.yml").write_text("old")
    words = ["monitoring", "export", "--directory", str(tmp_path), "--json"]

    done = CliRunner().invoke(app, words)

    assert done.exit_code == 0, done.output
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert {str(path) for path in written} == set(files.files())
    assert all(str(tmp_path / path) in done.output for path in written)
    assert (tmp_path / "rules.yml").read_text() == files.files()["rules.yml"]


def test_a_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    """It says which, and what to do."""
    taken = tmp_path / "taken"
    taken.write_text("a file")

    with pytest.raises(errors.ConfigurationError) as refused:
        files.write(taken)

    assert str(refused.value) == (
        f"cannot write to {taken} (File exists): name a folder that is writable"
    )


def test_without_grafanas_library_the_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel does not bring it."""
    monkeypatch.delitem(sys.modules, "monitoring.dashboards", raising=False)
    monkeypatch.delattr("monitoring.dashboards", raising=False)
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk.builders", None)

    with pytest.raises(errors.ConfigurationError, match="install grafana-foundation-sdk"):
        files.files()
