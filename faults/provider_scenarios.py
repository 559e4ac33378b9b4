"""Scenarios of the providers: a slice of each dataset while its provider misbehaves.

Here: which slices are loaded, and what is wrong with a provider meanwhile: a share of its answers
corrupted as any provider's may be, and each of its own quirks at least once. Not here: FMP's
daily bars and faults of servers (scenarios.py), or the verdict (dataset_oracle.py).

Some quirks show in no single answer: a figure that is wrong but possible, a missing row. The
scenario loads these slices again after the provider is healed, as a person or the next refresh
would, and counts the rows that were wrong until then.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, timedelta

from faults.dataset_oracle import Slice
from faults.world import Scene
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.instruments import provider_spellings
from sandbox.simulators.faults import FaultKind, FaultRule, mixed

SHARE = 0.3
"""Share of corrupted answers among requests that meet no quirk."""
SETTLED = timedelta(hours=12)
"""Days that ended this long ago are served whole, and their files are published."""
ANY_PROVIDER = (
    FaultRule(kind=FaultKind.STATUS, status=503),
    FaultRule(kind=FaultKind.STATUS, status=429),
    FaultRule(kind=FaultKind.STATUS, status=429, seconds=1.0),
    FaultRule(kind=FaultKind.STATUS, status=429, seconds=1.0, as_date=True),
    FaultRule(kind=FaultKind.HTML),
    FaultRule(kind=FaultKind.HALF_BODY),
    FaultRule(kind=FaultKind.MALFORMED),
    FaultRule(kind=FaultKind.ERROR_IN_200),
    FaultRule(kind=FaultKind.TIMEOUT, seconds=2.0),
    FaultRule(kind=FaultKind.DUPLICATE_ROWS),
)
STATEMENTS = ("income_statements", "balance_sheets", "cash_flows", "ratios")
SERIES = ("GDP", "UNRATE", "CPIAUCSL", "PAYEMS", "FEDFUNDS", "ICSA", "M2SL", "HOUST")


def polygon(scene: Scene) -> Sequence[Slice]:
    """Minutes, days, companies, splits and dividends while Polygon misbehaves."""
    tickers = _draw(scene, "polygon", 6)
    slices = [
        Slice(dataset=name, provider="polygon", symbols=tickers)
        for name in ("companies", "splits", "dividends")
    ]
    slices += [_minutes("polygon", tickers), _days(scene, "polygon", tickers)]
    names = _provider_symbols("polygon", tickers)
    bars = "/polygon/v2/aggs/ticker/{}/range/1/"
    minutes, days = f"{bars}minute", f"{bars}day"
    quirks = [
        _quirk("empty_429", "/polygon/v3/reference/tickers", names[0]),
        _quirk("delayed", minutes.format(names[0]), names[0]),
        _quirk("lost_results", minutes.format(names[1]), names[1]),
        _quirk("reversed", minutes.format(names[2]), names[2]),
        _quirk("delayed", days.format(names[3]), names[3]),
        _quirk("lost_results", days.format(names[4]), names[4]),
        _quirk("empty_429", "/polygon/stocks/v1/splits", names[5]),
    ]
    _corrupt(scene, quirks, "/polygon/")
    scene.load(*slices)
    _heal(scene, quirks)
    return slices


def tiingo(scene: Scene) -> Sequence[Slice]:
    """Minutes of IEX and days while Tiingo misbehaves."""
    tickers = tuple(scene.draw_tickers(24))[:8]
    slices = [_minutes("tiingo", tickers), _days(scene, "tiingo", tickers)]
    names = _provider_symbols("tiingo", tickers)
    quirks = [
        _quirk("newest_first", "/tiingo/iex/", names[1]),
        _quirk("newest_first", "/tiingo/tiingo/daily/", names[2]),
        _quirk("symbol_cap", "/tiingo/iex/", names[5]),
        _quirk("symbol_cap_json", "/tiingo/tiingo/daily/", names[6]),
    ]
    _corrupt(scene, quirks, "/tiingo/")
    scene.load(*slices)
    _heal(scene, quirks)
    return slices


def fred(scene: Scene) -> Sequence[Slice]:
    """Series with all their vintages while FRED misbehaves."""
    series = tuple(sorted(scene.random.sample(SERIES, 5)))
    slices = [Slice(dataset="macro_observations", provider="fred", symbols=series)]
    vintages, observations = "/fred/series/vintagedates", "/fred/series/observations"
    quirks = [
        _quirk("key_not_registered", vintages, series[0]),
        _quirk("truncated", vintages, series[1]),
        _quirk("truncated", observations, series[2]),
        _quirk("xml", observations, series[3]),
    ]
    _corrupt(scene, quirks, "/fred/")
    scene.load(*slices)
    _heal(scene, quirks)
    return slices


def binance(scene: Scene) -> Sequence[Slice]:
    """Minutes and trades of pairs, from files and by REST, while Binance misbehaves."""
    last = _last_utc_day()
    pairs = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
    bars = Slice(
        dataset="crypto_bars", provider="binance", symbols=pairs,
        start=last - timedelta(days=1), end=last,
    )  # fmt: skip
    trades = Slice(
        dataset="crypto_trades", provider="binance", symbols=pairs[:2], start=last, end=last
    )
    files = "/binance-files/data/spot/daily"
    quirks = [
        _quirk("wrong_checksum", f"{files}/klines/SOLUSDT", "SOLUSDT", count=2),
        _quirk("lost_rows", f"{files}/aggTrades/BTCUSDT", "BTCUSDT", count=2),
        # The klines of these two days have neither file nor checksum, so that REST is asked.
        FaultRule(
            kind=FaultKind.STATUS, status=404, path=f"{files}/klines/ETHUSDT", symbol="ETHUSDT",
            count=4,
        ),
        FaultRule(
            kind=FaultKind.STATUS, status=418, path="/binance/api/v3/klines", count=1, seconds=2.0
        ),
        _quirk("reversed", "/binance/api/v3/klines", "ETHUSDT"),
    ]  # fmt: skip
    replaced = _quirk("replaced", f"{files}/klines/BTCUSDT", "BTCUSDT", count=4)
    _corrupt(scene, [replaced, *quirks], "/binance/", "/binance-files/")
    scene.load(bars, trades)
    _heal(scene, [replaced, *quirks])
    return [_load_again(scene, replace(bars, symbols=pairs[:1]), bars, most=2), trades]


def coinbase(scene: Scene) -> Sequence[Slice]:
    """Minutes and trades of pairs while Coinbase misbehaves; the short form has minutes only."""
    last = _last_utc_day()
    pairs = ("BTC-USD", "ETH-USD", "SOL-USD")
    bars = Slice(dataset="crypto_bars", provider="coinbase", symbols=pairs, start=last, end=last)
    candles = "/coinbase/products/{}/candles"
    quirks = [
        _quirk("stale_copy", candles.format("BTC-USD"), "BTC-USD"),
        _quirk("reversed", candles.format("ETH-USD"), "ETH-USD"),
        _quirk("rows_before_start", candles.format("ETH-USD"), "ETH-USD"),
    ]
    if scene.short:
        _corrupt(scene, quirks, "/coinbase/")
        scene.load(bars)
        _heal(scene, quirks)
        return [bars]
    trades = replace(bars, dataset="crypto_trades", symbols=pairs[:1])
    quirks += [
        _quirk("missing_row", "/coinbase/products/BTC-USD/trades", "BTC-USD"),
        _quirk("missing_row", candles.format("SOL-USD"), "SOL-USD"),
    ]
    _corrupt(scene, quirks, "/coinbase/")
    scene.load(bars, trades)
    _heal(scene, quirks)
    return [_load_again(scene, replace(bars, symbols=pairs[2:]), bars, most=1), trades]


def fmp_records(scene: Scene) -> Sequence[Slice]:
    """Statements, ratios, companies, index changes and actions while FMP misbehaves."""
    tickers = _draw(scene, "fmp", 6)
    slices = [
        Slice(dataset=name, provider="fmp", symbols=tickers)
        for name in (*STATEMENTS, "companies", "dividends")
    ]
    slices.append(Slice(dataset="index_changes", provider="fmp", symbols=("SP500",)))
    splits = Slice(dataset="splits", provider="fmp", symbols=tickers)
    names = _provider_symbols("fmp", tickers)
    quirks = [
        replace(_DUPLICATE, path="/stable/income-statement", symbol=names[0]),
        replace(_DUPLICATE, path="/stable/dividends", symbol=names[1]),
        replace(_BAD_ROWS, path="/stable/dividends", symbol=names[2]),
        _quirk("split_twice", "/stable/splits", names[3]),
    ]
    inverse = _quirk("split_inverse", "/stable/splits", names[4])
    _corrupt(scene, [inverse, *quirks], "/stable/")
    scene.load(*slices, splits)
    _heal(scene, [inverse, *quirks])
    return [*slices, _load_again(scene, replace(splits, symbols=tickers[4:5]), splits, most=1)]


_DUPLICATE = FaultRule(kind=FaultKind.DUPLICATE_ROWS, count=1)
_BAD_ROWS = FaultRule(kind=FaultKind.MALFORMED_ROWS, count=1)


def _quirk(name: str, path: str, symbol: str, count: int = 1) -> FaultRule:
    return FaultRule(kind=FaultKind.QUIRK, quirk=name, path=path, symbol=symbol, count=count)


def _corrupt(scene: Scene, quirks: Sequence[FaultRule], *paths: str) -> None:
    """Activate the quirks, and the faults of any provider for other requests."""
    shares = [
        rule
        for path in paths
        for rule in mixed([replace(template, path=path) for template in ANY_PROVIDER], SHARE)
    ]
    for rule in (*quirks, *shares):
        scene.control.add_rule(rule)


def _heal(scene: Scene, quirks: Sequence[FaultRule]) -> None:
    """End the faults, and check that each quirk met a request."""
    left = [rule for rule in scene.control.faults() if rule["count"] is not None]
    for rule in left:
        fault = rule["quirk"] or rule["kind"]
        scene.wrong.append(f"{fault} at {rule['path']} met too few requests: it showed nothing")
    scene.heal_provider()
    if scene.injected.pop(FaultKind.QUIRK, None):
        for rule in quirks:
            if rule.quirk:
                scene.inject(rule.quirk, rule.count or 0)


def _load_again(scene: Scene, part: Slice, whole: Slice, *, most: int) -> Slice:
    """Load ``part`` again, of which at most ``most`` rows may be wrong without a letter.

    Returns ``whole`` with the number of rows that this load restated.
    """
    lost, different = scene.dataset_oracle.unseen(part)
    scene.notes.append(
        f"until {', '.join(part.symbols)} was asked for again, {lost} rows of {part.name} were "
        f"missing and {different} differed, without a letter"
    )
    if lost + different > most:
        scene.wrong.append(f"{lost + different} rows of {part.name} were wrong, not {most}")
    scene.load(part, refetch=True)
    return replace(whole, restated=different)


def _minutes(provider: str, tickers: tuple[str, ...]) -> Slice:
    last = calendar().last_closed(utc_now() - SETTLED)
    days = calendar().sessions(last - timedelta(days=14), last)[-2:]
    return Slice(dataset="minute_bars", provider=provider, symbols=tickers, start=days[0], end=last)


def _days(scene: Scene, provider: str, tickers: tuple[str, ...]) -> Slice:
    """Return the whole history of daily bars; all workers take them from ``provider``."""
    scene.environment = {**scene.environment, "WRDATA_DAILY_BARS_PROVIDER": provider}
    return Slice(
        dataset=DAILY_BARS_DATASET,
        provider=provider,
        symbols=tickers,
        start=HISTORY_START,
        end=calendar().last_closed(utc_now()),
    )


def _draw(scene: Scene, provider: str, count: int) -> tuple[str, ...]:
    """Draw tickers that were split and paid dividends, so that there are rows to corrupt."""
    members = scene.members()
    has = [
        set(scene.control.dataset_truth(name, members, provider=provider)["symbol"].to_pylist())
        for name in ("splits", "dividends")
    ]
    return tuple(sorted(scene.random.sample(sorted(has[0] & has[1]), count)))


def _provider_symbols(provider: str, tickers: Sequence[str]) -> list[str]:
    return [provider_spellings(provider).get(ticker, ticker) for ticker in tickers]


def _last_utc_day() -> date:
    return (utc_now() - SETTLED).astimezone(UTC).date() - timedelta(days=1)
