"""What `wrdata cost` says: exact sums of dated prices and measured bytes, for each platform."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from docs.pictures import draw_cost
from marketdata.datasets import DATASETS
from marketdata.recovery.limits import PUBLISHED
from pipelines import schedules
from pipelines.cli.cost import DAYS_COUNTED, LEFT_OUT, scheduled_runs
from pipelines.cli.main import app
from usecases import costs
from usecases.costs import Estimate, Platform, Wish, platforms, prices
from usecases.costs.measured import FIGURES, figures, value
from usecases.costs.platforms import needs
from usecases.costs.workload import NOT_COUNTED, Workload, minutes_of, workload

PROJECT = Path(__file__).parents[2]
TODAY = date(2026, 12, 1)
UNTIL = datetime(2026, 12, 1, tzinfo=UTC)
WISH = Wish(tickers=500, minute_bars=True, years=5)
MACHINES = {"CCX23": Decimal(1), "CPX22": Decimal(1), "public IPv4": Decimal(2)}


def reckoned(platform: Platform, wish: Wish = WISH, today: date = TODAY) -> Estimate:
    """Return an estimate at a fixed time."""
    return costs.estimate(platform, wish, scheduled_runs(wish.tickers, UNTIL), today=today)


def work(wish: Wish = WISH) -> Workload:
    """Return the quantities at a fixed time."""
    return workload(wish, scheduled_runs(wish.tickers, UNTIL))


def said(*words: str) -> Any:
    """Return what the command prints as JSON."""
    result = CliRunner().invoke(app, ["cost", *words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*words: str) -> str:
    """Run the command as a person does; return what it says on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "cost", *words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    return done.stderr


# Money


@pytest.mark.parametrize("platform", Platform)
def test_each_line_is_quantity_times_price_in_whole_cents_and_the_total_their_sum(
    platform: Platform,
) -> None:
    """A reader who adds up the column gets the total."""
    estimate = reckoned(platform)

    for line in estimate.lines:
        exact = line.need.quantity * line.price.price
        rate = Decimal("1.1637") if line.price.currency == "EUR" else Decimal(1)
        assert abs(line.cost - exact) <= Decimal("0.005")
        assert abs(line.dollars - exact * rate) <= Decimal("0.005")
        assert line.cost == round(line.cost, 2)
    assert estimate.dollars == sum(line.dollars for line in estimate.lines)


def test_hetzners_servers_are_paid_in_euros_and_shown_in_dollars_as_well() -> None:
    """85.99 + 19.99 + 2 x 0.50 euros, and the dearest at the named rate."""
    lines = {line.need.item: line for line in reckoned(Platform.HETZNER).lines}

    assert {lines[item].price.currency for item in MACHINES} == {"EUR"}
    assert sum(lines[item].cost for item in MACHINES) == Decimal("106.98")
    assert lines["CCX23"].dollars == Decimal("100.07")


def test_a_hybrid_is_paid_in_two_currencies() -> None:
    """Servers at Hetzner, the bucket at DigitalOcean."""
    assert set(reckoned(Platform.HYBRID).by_currency) == {"EUR", "USD"}


def test_no_money_is_a_binary_fraction() -> None:
    """All of it is decimal, from the table to the JSON."""
    money = said("--platform", "hetzner")

    assert isinstance(money["total_usd"], str)
    for item in money["items"]:
        assert all(re.fullmatch(r"\d+\.\d\d", item[name]) for name in ("cost", "cost_usd"))


# Prices


def test_every_price_has_a_source_and_a_day_and_is_used() -> None:
    """A price that nothing needs would grow old unseen; one that is missing would be a KeyError."""
    used = {
        (line.need.platform, line.need.item)
        for platform in Platform
        for wish in (WISH, replace(WISH, tickers=20_000, years=20))
        for line in reckoned(platform, wish).lines
    }
    bought = {key for key in prices.prices() if key[0] != prices.ANY}

    # 100 GB out a month are free, and requests are small.
    assert bought - used == {("aws", "transfer out")}
    assert all(price.source and price.price > 0 for price in prices.prices().values())
    assert all(price.as_of <= TODAY for price in prices.prices().values())


def test_a_price_nobody_confirms_is_marked() -> None:
    """And its share of the sum is said."""
    unconfirmed = [
        price for price in prices.prices().values() if "general knowledge" in price.source
    ]
    ocean = reckoned(Platform.DIGITALOCEAN)

    assert unconfirmed
    assert all(price.assumed for price in unconfirmed)
    assert ocean.assumed_dollars >= 240


def test_the_age_of_each_price_grows_with_the_day() -> None:
    """The command prints it beside the price."""
    (server,) = [
        line.price for line in reckoned(Platform.HETZNER).lines if line.need.item == "CCX23"
    ]

    assert server.age_days(date(2026, 7, 14)) == 10
    assert {"age_days", "as_of", "source"} <= set(said("--platform", "hetzner")["items"][0])


# Quantities


def test_every_counted_dataset_has_its_measured_bytes() -> None:
    """Hot, Parquet, raw zone and WAL; a new dataset has to be measured first."""
    missing = [
        (name, figure)
        for name in DATASETS.keys() - NOT_COUNTED
        for figure in ("hot_bytes", "parquet_bytes", "raw_bytes", "wal_bytes")
        if not any((each.subject, each.figure) == (name, figure) for each in figures())
    ]

    assert missing == []
    assert {each.figure for each in figures()} <= set(FIGURES)
    assert all(each.value > 0 for each in figures())


def test_a_figure_that_was_not_measured_is_no_zero() -> None:
    """Zero bytes would be free."""
    with pytest.raises(KeyError, match="daily_bars packed_share"):
        value("daily_bars", "packed_share")


def test_rows_are_those_of_the_catalogue() -> None:
    """252 sessions a year; 700 minutes a session; statements come whole."""
    rows = {part.dataset: part.rows for part in work().stored}

    assert rows["daily_bars"] == 500 * 252 * 5
    assert rows["minute_bars"] == 500 * 252 * 5 * 700
    assert rows["income_statements"] == 500 * 100
    assert "minute_bars" not in {
        part.dataset for part in work(replace(WISH, minute_bars=False)).stored
    }


def test_only_what_is_old_enough_is_compressed() -> None:
    """Minutes of the last 35 days stay as they are, and so do daily bars of two years."""
    of_a_year = {part.dataset: part for part in work(replace(WISH, years=1)).stored}
    minutes = of_a_year["minute_bars"]

    assert of_a_year["daily_bars"].compressible == 0
    hot = minutes.rows * value("minute_bars", "hot_bytes")
    assert minutes.compressible == pytest.approx(hot * (1 - Decimal(35) / 365))
    assert of_a_year["income_statements"].compressible == 0


def test_the_apache_edition_needs_more_disk_than_the_community_edition() -> None:
    """DigitalOcean's managed database has the former."""
    assert not platforms.compresses(Platform.DIGITALOCEAN)
    assert work().database_bytes(compresses=False) > 2 * work().database_bytes(compresses=True)


@pytest.mark.parametrize("platform", Platform)
def test_more_tickers_more_years_and_minutes_never_cost_less(platform: Platform) -> None:
    """And the machines alone cost something."""
    small = reckoned(platform, Wish(tickers=10, minute_bars=False, years=1)).dollars
    more = [
        reckoned(platform, Wish(tickers=2000, minute_bars=False, years=1)).dollars,
        reckoned(platform, Wish(tickers=10, minute_bars=True, years=1)).dollars,
        reckoned(platform, Wish(tickers=10, minute_bars=False, years=20)).dollars,
    ]

    assert small > 50
    assert all(small <= larger for larger in more)
    assert reckoned(platform, Wish(tickers=5000, minute_bars=True, years=20)).dollars > 2 * small


def test_what_is_included_is_not_paid_twice() -> None:
    """250 GiB in Spaces, 1 TB at Hetzner, 270 GiB of the managed database's disk."""
    little = work(Wish(tickers=10, minute_bars=False, years=1))

    assert [need.item for need in needs(Platform.DIGITALOCEAN, little)] == [
        "managed PostgreSQL 16 GB",
        "Droplet 4 GB",
        "Spaces",
    ]
    assert "object storage beyond" not in {need.item for need in needs(Platform.HETZNER, little)}


# Runs


def test_every_schedule_is_counted_once() -> None:
    """A new schedule is counted as soon as it is there."""
    counted = [run.schedule for run in scheduled_runs(500, UNTIL)]

    assert sorted(counted) == sorted(
        schedule.name for schedule in schedules.ALL if schedule not in LEFT_OUT
    )


def test_runs_are_counted_by_the_schedules_own_ticks() -> None:
    """Every hour of a year; each Saturday; each session."""
    runs = {run.schedule: run.a_month for run in scheduled_runs(500, UNTIL)}
    year = Decimal(365) / DAYS_COUNTED / 12

    assert runs["crypto_bars_refresh"] == 730
    assert round(runs["universe_weekly"] / year, 9) == 52
    assert 249 <= round(runs["daily_bars_after_close"] / year, 9) <= 252


def test_a_run_takes_as_long_as_its_key_allows() -> None:
    """500 requests at 120 a minute are four minutes and more; minutes wait for 5 a minute."""
    runs = {run.schedule: run for run in scheduled_runs(500, UNTIL)}
    daily = minutes_of(runs["daily_bars_after_close"])
    nightly = minutes_of(runs["minute_bars_refresh"])

    assert float(daily) == pytest.approx(
        (500 * PUBLISHED["fmp"].interval_s + float(value("dagster", "seconds_per_run"))) / 60
    )
    assert nightly > 100
    assert work().slowest in {"minute_bars_refresh", "minute_bars_refresh_again"}


def test_a_plan_that_is_too_slow_is_said() -> None:
    """Two requests a night for each ticker, at five a minute, fill a month with some 4,500."""
    fits = CliRunner().invoke(app, ["cost", "--platform", "aws", "--tickers", "3000"])
    slow = CliRunner().invoke(app, ["cost", "--platform", "aws", "--tickers", "6000"])

    assert work().busiest[0] == "polygon"
    assert "Busiest key: polygon, 6" in fits.stdout
    assert "too slow" not in fits.output
    assert "polygon's published smallest plan is too slow for 6,000 tickers" in slow.output


# The command


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--platform", "azure"), "azure"),
        (
            ("--platform", "aws", "--tickers", "0"),
            "'--tickers': it should be greater than or equal to 1",
        ),
        (("--platform", "aws", "--tickers", "many"), "'--tickers'"),
        (
            ("--platform", "aws", "--years", "-3"),
            "'--years': it should be greater than or equal to 1",
        ),
        (("--platform", "aws", "--tickers", "1000000"), "less than or equal to 100000"),
        ((), "say where it runs with --platform: aws, digitalocean, hetzner, hybrid"),
    ],
)
def test_nonsense_is_one_line(words: tuple[str, ...], sentence: str) -> None:
    """It says which option, and what it takes."""
    line = refused(*words)

    assert sentence in line
    assert line.count("\n") == 1, line


@pytest.mark.parametrize("platform", Platform)
def test_a_person_reads_items_a_total_and_what_tables_have_wrong(platform: Platform) -> None:
    """In words, with every source."""
    result = CliRunner().invoke(app, ["cost", "--platform", platform, "--tickers", "500"])

    assert result.exit_code == 0
    assert f"A month on {platform}: 500 tickers with minute bars, 5 years stored" in result.stdout
    assert re.search(r"^Total: [\d,]+\.\d\d USD a month", result.stdout, re.MULTILINE)
    for correction in costs.corrections(platform):
        assert f"- {correction.wrong}: {correction.right}" in result.stdout
    for line in reckoned(platform).lines:
        assert line.need.item in result.stdout


def test_minute_bars_can_be_left_out() -> None:
    """By an option of its own."""
    without = said("--platform", "hetzner", "--no-minute-bars", "--years", "2")

    assert without["minute_bars"] is False
    assert without["years"] == 2
    assert without["quantities"]["of these minute bars, millions"] == 0


@pytest.mark.parametrize(
    ("platform", "words"),
    [
        (Platform.AWS, ("100 GB", "RDS", "IPv4", "NAT")),
        (Platform.DIGITALOCEAN, ("250 GiB", "Apache")),
        (Platform.HETZNER, ("2026-06-15", "CX21", "IPv4")),
        (Platform.HYBRID, ("2026-06-15", "250 GiB")),
    ],
)
def test_each_wrong_figure_is_corrected_where_it_matters(
    platform: Platform, words: tuple[str, ...]
) -> None:
    """With the right figure and its source."""
    text = " ".join(f"{each.wrong} {each.right}" for each in costs.corrections(platform))

    assert [word for word in words if word not in text] == []
    assert all(each.source for each in costs.corrections(platform))


def test_the_picture_shows_todays_figures() -> None:
    """Whoever changes a price draws it anew: python docs/pictures/draw_cost.py."""
    assert draw_cost.PICTURE.read_text("utf-8") == draw_cost.picture()
