"""Grafana's dashboards, as JSON that it imports.

Here: the form of a board and its panels. Not here: what is drawn (queries.py).
https://grafana.github.io/grafana-foundation-sdk/
"""

import json

from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from monitoring.queries import Board, Figure

_DATASOURCE = "datasource"
"""Variable of each board: which Prometheus it asks."""
_ASKED = DataSourceRef(type_val="prometheus", uid=f"${{{_DATASOURCE}}}")
_WIDTH, _HEIGHT = 12, 8
"""Of a panel, in Grafana's grid of 24 columns."""


def board_json(board: Board) -> str:
    """Return a dashboard as Grafana imports it."""
    built = (
        dashboards.Dashboard(board.title)
        .uid(board.name)
        .description(board.about)
        .tags(["wrdata"])
        .timezone("utc")
        .time("now-6h", "now")
        .refresh("1m")
        .with_variable(
            dashboards.DatasourceVariable(_DATASOURCE).label("Prometheus").type("prometheus")
        )
    )
    for figure in board.figures:
        built = built.with_panel(_panel(figure))
    return json.dumps(built.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _panel(figure: Figure) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(figure.title)
        .description(figure.meaning)
        .unit(figure.unit.value)
        .datasource(_ASKED)
        .span(_WIDTH)
        .height(_HEIGHT)
    )
    for place, series in enumerate(figure.series):
        panel = panel.with_target(
            prometheus.Dataquery()
            .expr(series.expression)
            .legend_format(series.legend)
            .ref_id(chr(ord("A") + place))
        )
    return panel
