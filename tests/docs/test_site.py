"""The documentation site: it builds without warnings, is complete, and fetches nothing.

Built once for the file: that takes some ten seconds.
"""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from marketdata.archiving import ARCHIVED
from marketdata.columns import column
from monitoring.metrics import METRICS, OF_THE_EXPORTER
from pipelines import schedules
from pipelines.cli.main import app
from resources.settings import known_variables

pytestmark = pytest.mark.servers

PROJECT = Path(__file__).parents[2]
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b(?![^>]*rel=["']?(?:canonical|next|prev))[^>]*\bhref=["']?(?:https?:)?//[^"'\s>]+"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, built in strict mode."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=PROJECT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def words(page: Path) -> str:
    """Return what a page says, without markup."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text("utf-8")))


def command_names(group: TyperGroup, before: str = "wrdata") -> list[str]:
    """Return all commands by their words, such as ``wrdata archive run``."""
    names: list[str] = []
    for name, command in group.commands.items():
        called = f"{before} {name}"
        names += command_names(command, called) if isinstance(command, TyperGroup) else [called]
    return names


def test_every_dataset_and_column_is_there(site: Path) -> None:
    """A dataset of the catalogue has its section, with every column's type, meaning and unit."""
    page = (site / "reference" / "datasets.html").read_text("utf-8")
    text = words(site / "reference" / "datasets.html")

    for dataset in ARCHIVED.values():
        assert f'id="{dataset.name}"' in page
        for field in dataset.schema:
            meaning = column(field.name, dataset.name).meaning
            assert field.name in text
            assert field.name in {"ticker", "ingest_id", "known_from", "provider"} or (
                meaning.replace("`", "") in text
            )


def test_every_command_is_there(site: Path) -> None:
    """Every command can be looked up."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    page = (site / "reference" / "commands.html").read_text("utf-8")

    absent = [name for name in command_names(group) if f'id="{name.replace(" ", "-")}"' not in page]

    assert absent == []


def test_every_setting_is_there(site: Path) -> None:
    """Each variable that is read has a row, and a meaning in it."""
    page = (site / "reference" / "settings.html").read_text("utf-8")
    rows = re.findall(r"<tr>\s*<td><code>(\w+)</code></td>\s*<td>(.*?)</td>", page, re.DOTALL)

    assert {name for name, _ in rows} >= known_variables()
    assert [name for name, meaning in rows if not meaning.strip()] == []


def test_every_schedule_and_function_is_there(site: Path) -> None:
    """Schedules, and the reader's functions."""
    text = words(site / "reference" / "schedules.html")
    functions = words(site / "reference" / "read_bars.html")

    assert [schedule.name for schedule in schedules.ALL if schedule.name not in text] == []
    assert "read_bars" in functions
    assert "as_of" in functions


def test_every_metric_is_there(site: Path) -> None:
    """With its meaning, under its part."""
    text = words(site / "reference" / "metrics.html")
    named = [name for metrics in (*METRICS.values(), OF_THE_EXPORTER) for name in metrics]

    assert [name for name in named if name not in text] == []


def test_nothing_is_fetched_from_the_net(site: Path) -> None:
    """The site works offline: no page fetches anything from other servers."""
    fetched = {
        (page.name, match[0])
        for page in site.rglob("*.html")
        for match in FETCHED.finditer(page.read_text("utf-8"))
    }
    styles = {
        sheet.name
        for sheet in site.rglob("*.css")
        if re.search(r"url\(\s*[\"']?https?:|@import", sheet.read_text("utf-8"))
    }

    assert fetched == set()
    assert styles == set()
    assert (site / "assets" / "mermaid.tiny.js").exists()
    assert "mermaid.tiny.js" in (site / "architecture.html").read_text("utf-8")
