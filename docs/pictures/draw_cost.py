"""The picture of cost by tickers: python docs/pictures/draw_cost.py.

Here: a drawing of the estimates of `wrdata cost`, as one SVG file without a library for plots. Not
here: the estimates (usecases/costs/).
"""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from pipelines.cli.cost import scheduled_runs
from usecases import costs
from usecases.costs import Estimate, Platform, Wish

PICTURE = Path(__file__).with_name("cost_by_tickers.svg")
TICKERS = (100, 250, 500, 1000, 1500, 2000, 2500, 3000)
YEARS = 5
UNTIL = datetime(2026, 12, 1, tzinfo=UTC)
"""End of the year whose ticks are counted, and the day that the picture names."""
WIDTH, HEIGHT = 1120, 420
LEFT, RIGHT, TOP, BOTTOM = 72, 940, 64, 368
INK, PALE = "#1f2a44", "#dfe4ee"
COLOURS = {
    Platform.AWS: "#c2410c",
    Platform.DIGITALOCEAN: "#1d4ed8",
    Platform.HETZNER: "#b91c5c",
    Platform.HYBRID: "#0f766e",
}
STEPS = 5
"""Lines of the grid."""
NARROWEST = 18.0
"""Pixels between the names of two lines."""


def estimates(minute_bars: bool) -> dict[Platform, list[Estimate]]:
    """Return the estimates of each platform by number of tickers."""
    return {
        platform: [
            costs.estimate(
                platform,
                Wish(tickers=tickers, minute_bars=minute_bars, years=YEARS),
                scheduled_runs(tickers, UNTIL),
                today=UNTIL.date(),
            )
            for tickers in TICKERS
        ]
        for platform in Platform
    }


def _text(x: float, y: float, words: str, *, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{words}</text>'


def _x(tickers: int) -> float:
    return LEFT + (RIGHT - LEFT) * tickers / TICKERS[-1]


def _y(dollars: Decimal, most: int) -> float:
    return BOTTOM - (BOTTOM - TOP) * float(dollars) / most


def _line(drawn: list[Estimate], most: int, *, dashed: bool) -> str:
    points = " ".join(
        f"{_x(tickers):.1f},{_y(each.dollars, most):.1f}"
        for tickers, each in zip(TICKERS, drawn, strict=True)
    )
    dashes = ' stroke-dasharray="5 5"' if dashed else ""
    colour = COLOURS[drawn[0].platform]
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'


def _names(with_minutes: dict[Platform, list[Estimate]], most: int) -> str:
    """Return the platforms' names at the ends of their lines, none over another."""
    names: list[str] = []
    lowest = float("inf")
    for drawn in sorted(with_minutes.values(), key=lambda drawn: drawn[-1].dollars):
        lowest = min(_y(drawn[-1].dollars, most) + 4, lowest - NARROWEST)
        colour = f' font-weight="600" fill="{COLOURS[drawn[0].platform]}"'
        words = f"{drawn[0].platform}, {drawn[-1].dollars:,.0f}"
        names.append(_text(RIGHT + 8, lowest, words, more=colour))
    return "".join(names)


def picture() -> str:
    """Return the drawing as one SVG document."""
    with_minutes, without = estimates(minute_bars=True), estimates(minute_bars=False)
    highest = max(drawn[-1].dollars for drawn in with_minutes.values())
    step = -(-int(highest) // STEPS // 100) * 100
    most = step * STEPS
    shapes = [
        f'<path d="M{LEFT} {_y(Decimal(dollars), most):.1f}H{RIGHT}" stroke="{PALE}"/>'
        + _text(LEFT - 8, _y(Decimal(dollars), most) + 4, f"{dollars:,}", anchor="end")
        for dollars in range(0, most + 1, step)
    ]
    shapes += [_text(_x(count), BOTTOM + 22, f"{count:,}", anchor="middle") for count in TICKERS]
    shapes += [_line(drawn, most, dashed=False) for drawn in with_minutes.values()]
    shapes += [_line(drawn, most, dashed=True) for drawn in without.values()]
    title = _text(
        LEFT,
        28,
        f"US dollars a month by number of tickers, {YEARS} years stored ({UNTIL:%Y-%m-%d})",
        more=' font-weight="600"',
    )
    legend = _text(LEFT, 46, "line: with minute bars; dashes: without; before tax")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fff"/>'
        f"{title}{legend}{''.join(shapes)}{_names(with_minutes, most)}</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), "utf-8")
