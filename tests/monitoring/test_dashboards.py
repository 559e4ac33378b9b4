"""Every figure has a meaning, and a real Prometheus has an answer to each of its questions."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from monitoring.dashboards import board_json
from monitoring.files import as_yaml
from monitoring.metrics import METRICS, OF_THE_EXPORTER
from monitoring.queries import BOARDS, Board
from sandbox.monitoring_programs import Programs
from sandbox.monitoring_servers import serve_prometheus
from tests.monitoring import metrics_page
from tests.monitoring.checking import RULES, run
from tests.monitoring.running_prometheus import (
    Pages,
    asked,
    served,
    wait_for_scrapes,
    write_configuration,
)

EXPRESSIONS = [
    series.expression for board in BOARDS for figure in board.figures for series in figure.series
]
METRIC = re.compile(r"\b(?:(?:wrdata|dagster|node|pg)_\w+|up)\b(?!=|\()")
QUOTED = re.compile(r'"[^"]*"')


@pytest.fixture
def pages(exporter_page: Callable[[int], str]) -> Pages:
    """What each job of Prometheus scrapes."""
    return {
        "wrdata": exporter_page,
        "node": metrics_page.of_the_host,
        "postgres": metrics_page.of_postgres,
    }


def metrics_of(expression: str) -> set[str]:
    """Return the metrics that an expression names."""
    return set(METRIC.findall(QUOTED.sub('""', expression)))


def test_every_question_has_an_answer(pages: Pages, programs: Programs, tmp_path: Path) -> None:
    """From a real Prometheus that scrapes every metric there is; so have all alerts' figures."""
    with served(pages) as addresses:
        write_configuration(tmp_path, addresses, rules={})
        with serve_prometheus(programs, tmp_path) as origin:
            wait_for_scrapes(origin, 3)
            up = asked(origin, "up == 1")
            unanswered = [expression for expression in EXPRESSIONS if not asked(origin, expression)]

    assert len(up) == len(pages), "a page cannot be read"
    assert unanswered == []


def test_every_metric_that_is_asked_for_is_exported(pages: Pages) -> None:
    """Neither dashboards nor alerts name a metric that no page has."""
    exported = metrics_page.names([page(1) for page in pages.values()]) | {"up"}
    asked_for = {
        metric
        for expression in (*EXPRESSIONS, *(rule.expression for rule in RULES.values()))
        for metric in metrics_of(expression)
    }

    assert asked_for - exported == set()
    assert len(asked_for) > 35, "the pattern finds too few"


def test_the_page_is_that_of_the_exporter() -> None:
    """Its metrics and their labels: what is proved here holds for the real one."""
    served = {name: metric for part in METRICS.values() for name, metric in part.items()}
    served |= OF_THE_EXPORTER
    suffix = re.compile(r"_(bucket|sum|count)$")
    shown: dict[str, set[str]] = {}
    for line in metrics_page.of_the_exporter(1).splitlines():
        name, _, rest = line.partition("{") if "{" in line else (*line.partition(" ")[:2], "")
        metric = name if name in served else suffix.sub("", name)
        labels = set(re.findall(r'(\w+)="', rest)) - {"le"}
        shown.setdefault(metric, set()).update(labels)

    assert shown == {name: set(metric.labels) for name, metric in served.items()}


def test_every_question_is_promql(programs: Programs, tmp_path: Path) -> None:
    """As recording rules, which promtool reads without a server."""
    rules = [
        {"record": f"question:{number}", "expr": expression}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    content = {"groups": [{"name": "questions", "rules": rules}]}
    (tmp_path / "questions.yml").write_text(as_yaml(content))

    done = run(programs.promtool, "check", "rules", "questions.yml", cwd=tmp_path)

    assert done.returncode == 0, done.stdout
    assert f"SUCCESS: {len(EXPRESSIONS)} rules found" in done.stdout


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_a_panel_says_what_it_shows_and_in_which_unit(board: Board) -> None:
    """And asks the Prometheus that the reader has chosen."""
    content = json.loads(board_json(board))

    assert content["uid"] == board.name
    assert content["title"] == board.title
    (variable,) = content["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    assert len(content["panels"]) == len(board.figures) > 4
    for panel in content["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == f"${{{variable['name']}}}"
        assert all(target["expr"] in EXPRESSIONS for target in panel["targets"])
        assert all(target["legendFormat"] for target in panel["targets"])


def test_panels_stand_beside_each_other() -> None:
    """Two in a row, none above another."""
    for board in BOARDS:
        places = [panel["gridPos"] for panel in json.loads(board_json(board))["panels"]]
        corners = [(place["x"], place["y"]) for place in places]
        assert len(set(corners)) == len(corners)
        assert {x for x, _ in corners} == {0, 12}


def test_names_of_boards_and_figures_are_told_apart() -> None:
    """A uid is an address; two figures of one title could not be linked to."""
    assert len({board.name for board in BOARDS}) == len(BOARDS)
    for board in BOARDS:
        titles = [figure.title for figure in board.figures]
        assert len(set(titles)) == len(titles)
