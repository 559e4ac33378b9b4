"""Requests of each dataset for 500 tickers, and their hours at each limit.

Counted, not computed: each client asks the simulator for one symbol (or one day of the whole
market), and its getter counts what was sent, time of day and retries included. Hours follow from
the pace of the limits that the pipelines keep (marketdata/recovery/limits.py), for the key of this
project (FMP 120 a minute) and for the smallest plans of the others (Polygon 5 a minute, Tiingo
50 an hour).

    python -m bench.requests
"""

import argparse
import asyncio
import math
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.recovery.limits import PUBLISHED, QuotaPeriod, RequestLimits
from marketdata.statements import StatementKind
from resources import clients
from resources.providers.budget import PacedBudget
from resources.providers.http import HttpGetter
from resources.settings import Settings
from sandbox.simulated_providers import SimulatedProviders
from sandbox.simulators import serving
from sandbox.simulators.fmp import FmpLimits
from sandbox.simulators.fred import FredLimits
from sandbox.simulators.providers import create_application

TICKERS = 500
SECONDS = {QuotaPeriod.HOUR: 3600, QuotaPeriod.DAY: 86_400, QuotaPeriod.MONTH: 30 * 86_400}
Ask = Callable[[Any], Awaitable[Any]]

LAST = calendar().last_closed(utc_now())
MONTH_AGO = LAST - timedelta(days=30)
YESTERDAY = utc_now().date() - timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question to a provider, and the number of symbols that it is asked for."""

    title: str
    dataset: str
    provider: str
    symbols: int
    ask: Ask
    bulk: bool = False


def _statements(kind: StatementKind) -> Case:
    return Case(
        title=f"{kind.value}, annual and quarterly, all years",
        dataset=kind.value,
        provider="fmp",
        symbols=TICKERS,
        ask=lambda api: api.statements(kind, "AAPL"),
    )


def _history(provider: str) -> Case:
    return Case(
        title="daily bars, all history",
        dataset=DAILY_BARS_DATASET,
        provider=provider,
        symbols=TICKERS,
        ask=lambda api: api.daily_history("AAPL", HISTORY_START, LAST),
    )


def _session(provider: str) -> Case:
    return Case(
        title="daily bars, one session of all tickers",
        dataset=DAILY_BARS_DATASET,
        provider=provider,
        symbols=1,
        bulk=provider == "fmp",
        ask=lambda api: api.daily_market(LAST),
    )


def _minutes(dataset: str, provider: str, symbol: str, symbols: int) -> Case:
    return Case(
        title="minute bars, 30 days",
        dataset=dataset,
        provider=provider,
        symbols=symbols,
        ask=lambda api: api.minute_bars(symbol, MONTH_AGO, YESTERDAY),
    )


def _trades(provider: str, symbol: str) -> Case:
    return Case(
        title="trades, one day (8,000 of them)",
        dataset="crypto_trades",
        provider=provider,
        symbols=1,
        ask=lambda api: api.trades(symbol, YESTERDAY, YESTERDAY),
    )


def _by_name(dataset: str, provider: str) -> Case:
    asks: dict[str, Ask] = {
        "companies": lambda api: api.company("AAPL"),
        "splits": lambda api: api.splits("AAPL"),
        "dividends": lambda api: api.dividends("AAPL"),
    }
    return Case(
        title=f"{dataset}, all there are",
        dataset=dataset,
        provider=provider,
        symbols=TICKERS,
        ask=asks[dataset],
    )


def _calendar(dataset: str, provider: str) -> Case:
    start, end = date.today(), date.today() + timedelta(days=30)  # noqa: DTZ011
    asks: dict[str, Ask] = {
        "splits": lambda api: api.splits_between(start, end),
        "dividends": lambda api: api.dividends_between(start, end),
    }
    return Case(
        title=f"{dataset}, the next 30 days of all tickers",
        dataset=dataset,
        provider=provider,
        symbols=1,
        ask=asks[dataset],
    )


def _series(name: str) -> Case:
    return Case(
        title=f"{name} with all vintages",
        dataset="macro_observations",
        provider="fred",
        symbols=1,
        ask=lambda api: api.observations(name, date(1776, 7, 4), utc_now().date()),
    )


CASES = [
    *(_session(provider) for provider in ("fmp", "polygon", "tiingo")),
    *(_history(provider) for provider in ("fmp", "polygon", "tiingo")),
    *(_statements(kind) for kind in StatementKind),
    *(_by_name("companies", provider) for provider in ("fmp", "polygon")),
    *(
        _by_name(name, provider)
        for name in ("splits", "dividends")
        for provider in ("fmp", "polygon")
    ),
    *(
        _calendar(name, provider)
        for name in ("splits", "dividends")
        for provider in ("fmp", "polygon")
    ),
    _minutes("minute_bars", "polygon", "AAPL", TICKERS),
    _minutes("minute_bars", "tiingo", "AAPL", TICKERS),
    _series("GDP"),
    _series("DGS10"),
    _minutes("crypto_bars", "binance", "BTCUSDT", 1),
    _minutes("crypto_bars", "coinbase", "BTC-USD", 1),
    _trades("binance", "BTCUSDT"),
    _trades("coinbase", "BTC-USD"),
]


async def sent(settings: Settings, case: Case) -> list[int]:
    """Ask once and return the number of requests sent, by line."""
    async with AsyncExitStack() as stack:
        getters = [
            await stack.enter_async_context(
                HttpGetter(
                    provider=case.provider,
                    base_url=line.base_url,
                    key=line.key,
                    budget=PacedBudget(PUBLISHED["coinbase"]),
                    retry=clients.REQUEST_RETRY,
                    classify=line.classify,
                    in_flight=line.in_flight,
                )
            )
            for line in clients.lines(settings, case.provider)
        ]
        await case.ask(clients.api_over(case.provider, case.dataset, *getters))
        return [getter.requests_sent for getter in getters]


def hours(limits: Sequence[RequestLimits], requests: int) -> float:
    """Return the hours that ``requests`` take at all limits, paces and quotas."""
    paces = [requests * limit.interval_s for limit in limits]
    quotas = [
        (math.ceil(requests / quota.limit) - 1) * SECONDS[quota.period]
        for limit in limits
        for quota in limit.quotas
    ]
    return max(paces + quotas) / 3600


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "providers"
        simulated = SimulatedProviders(home=root, log=root / "log")
        application = create_application(
            root,
            keys=simulated.keys(),
            fmp_limits=FmpLimits(per_minute=1_000_000, bulk_interval_s=0.0),
            fred_limits=FredLimits(per_second=1_000_000, burst=1_000_000),
        )
        with serving.serve(application) as origin:
            environment = simulated.environment(int(origin.rpartition(":")[2]))
            # Published limits, not those of the local world.
            for name in environment.keys() & {
                "POLYGON_REQUESTS_PER_MINUTE",
                "TIINGO_REQUESTS_PER_HOUR",
                "TIINGO_REQUESTS_PER_DAY",
                "FMP_BULK_INTERVAL_S",
            }:
                del environment[name]
            settings = Settings.model_validate(
                {
                    **environment,
                    "WRDATA_DATABASE_URL": "postgresql://unused",
                    "WRDATA_ARCHIVE_BUCKET": "unused",
                    "AWS_ACCESS_KEY_ID": "unused",
                    "AWS_SECRET_ACCESS_KEY": "unused",
                }
            )
            print(f"{'what':52}{'provider':>10}{'each':>6}{'times':>7}{'requests':>10}{'hours':>9}")
            weekly = 0
            for case in CASES:
                by_line = asyncio.run(sent(settings, case))
                limits = clients.lines(settings, case.provider)[-1 if case.bulk else 0].limits
                requests = sum(by_line) * case.symbols
                weekly += requests if case.dataset in set(StatementKind) else 0
                print(
                    f"{case.title:52}{case.provider:>10}{sum(by_line):>6}{case.symbols:>7}"
                    f"{requests:>10,}{hours(limits, requests):>9.2f}"
                )
            print(f"weekly fundamentals of {TICKERS} tickers: {weekly:,} requests (bar: 4,000)")
            assert weekly <= 4_000


if __name__ == "__main__":
    main()
