"""The README's picture of real data: python docs/pictures/draw_real_data.py.

Here: two drawings from recorded answers of providers (tests/recordings), as one SVG file without a
library for plots. Not here: what the pipeline stores; pictures of that are in docs/notebooks.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
RECORDINGS = PROJECT / "tests" / "recordings"
WIDTH, HEIGHT = 1120, 330
LEFT_PANEL, RIGHT_PANEL = (16, 660), (720, 1104)
TOP, BOTTOM = 56, 290
INK, PALE, FALLING, RISING = "#1f2a44", "#dfe4ee", "#c2410c", "#0f766e"


def _recorded(name: str) -> Any:
    return json.loads((RECORDINGS / name).read_text("utf-8"))


def _text(x: float, y: float, words: str, *, bold: bool = False, anchor: str = "start") -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{words}</text>'


def _grid(panel: tuple[int, int], y: float, words: str) -> str:
    start, end = panel
    line = f'<path d="M{start} {y:.1f}H{end - 58}" stroke="{PALE}"/>'
    return line + _text(end - 52, y + 4, words)


def candlesticks(panel: tuple[int, int]) -> str:
    """Draw Coinbase's hourly bars of BTC-USD from 9 to 16 March 2020."""
    # Newest first on the wire: time, low, high, open, close, volume.
    bars = _recorded("coinbase_candles_1h_btcusd.json")[::-1]
    low, high = min(bar[1] for bar in bars), max(bar[2] for bar in bars)
    start, end = panel
    step = (end - 64 - start) / len(bars)

    def height(price: float) -> float:
        return TOP + (high - price) / (high - low) * (BOTTOM - TOP)

    shapes = [_grid(panel, height(price), f"{price:,}") for price in range(4000, 10000, 1000)]
    for place, (opened_at, lowest, highest, opened, closed, _) in enumerate(bars):
        middle = start + (place + 0.5) * step
        colour = FALLING if closed < opened else RISING
        body = max(abs(height(opened) - height(closed)), 0.8)
        shapes.append(
            f'<path d="M{middle:.1f} {height(highest):.1f}V{height(lowest):.1f}" '
            f'stroke="{colour}" stroke-width="0.8"/>'
            f'<rect x="{middle - step * 0.36:.1f}" y="{min(height(opened), height(closed)):.1f}" '
            f'width="{step * 0.72:.1f}" height="{body:.1f}" fill="{colour}"/>'
        )
        moment = datetime.fromtimestamp(opened_at, UTC)
        if moment.hour == 0 and place + 12 < len(bars):
            shapes.append(_text(middle, BOTTOM + 22, f"{moment:%d %b}"))
    title = _text(start, 28, "Bitcoin in US dollars by the hour, March 2020 (Coinbase)", bold=True)
    return title + "".join(shapes)


def revisions(panel: tuple[int, int]) -> str:
    """Draw by how much US GDP of each quarter was revised since it was first published."""
    first = _recorded("fred_series_observations_gdp_initial_release.json")["observations"]
    latest = {
        row["date"]: float(row["value"])
        for row in _recorded("fred_series_observations_gdp.json")["observations"]
        if row["value"] != "."
    }
    revised = [
        (row["date"], 100 * (latest[row["date"]] / float(row["value"]) - 1)) for row in first
    ]
    start, end = panel
    step = (end - 64 - start) / len(revised)
    most = max(percent for _, percent in revised)

    def height(percent: float) -> float:
        return BOTTOM - 18 - percent / most * (BOTTOM - 18 - TOP)

    shapes = [_grid(panel, height(percent), f"{percent} %") for percent in range(0, 12, 2)]
    for place, (quarter, percent) in enumerate(revised):
        x = start + place * step
        top = min(height(percent), height(0))
        colour = FALLING if percent < 0 else RISING
        shapes.append(
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{step * 0.75:.1f}" '
            f'height="{max(abs(height(percent) - height(0)), 0.6):.1f}" fill="{colour}"/>'
        )
        if quarter.endswith("01-01") and int(quarter[:4]) % 10 == 0:
            shapes.append(_text(x, BOTTOM + 22, quarter[:4], anchor="middle"))
    title = _text(start, 28, "US GDP: the figure of 2024 against the first (FRED)", bold=True)
    return title + "".join(shapes)


def picture() -> str:
    """Return both drawings as one SVG document."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fff"/>'
        f"{candlesticks(LEFT_PANEL)}{revisions(RIGHT_PANEL)}</svg>\n"
    )


if __name__ == "__main__":
    Path(__file__).with_name("real_data.svg").write_text(picture(), "utf-8")
