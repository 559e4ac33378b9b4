"""All simulators live in one process: one world, one journal, one book of faults."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, TypedDict

import httpx
import pyarrow as pa
import pytest

from machine.processes import NO_AUTHORITIES
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.datasets import DATASETS, Dataset
from marketdata.macro import ST_LOUIS
from marketdata.recovery import errors
from sandbox.simulators import truths
from sandbox.simulators.faults import FaultKind
from tests.fixtures.world import RunningSimulators

LAST_WEEK = (datetime.now(UTC) - timedelta(days=7)).date()

ASKED: dict[str, tuple[str, dict[str, str]]] = {
    "FMP": ("{FMP_BASE_URL}/profile", {"symbol": "AAPL", "apikey": "{FMP_API_KEY}"}),
    "Polygon": (
        "{POLYGON_BASE_URL}/v3/reference/tickers/AAPL",
        {"apiKey": "{POLYGON_API_KEY}"},
    ),
    "Tiingo": ("{TIINGO_BASE_URL}/tiingo/daily/aapl", {"token": "{TIINGO_API_KEY}"}),
    "Binance": ("{BINANCE_BASE_URL}/api/v3/time", {}),
    "Binance's files": (
        "{BINANCE_FILES_URL}/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-03-01.zip",
        {},
    ),
    "FRED": (
        "{FRED_BASE_URL}/series",
        {"series_id": "GDP", "file_type": "json", "api_key": "{FRED_API_KEY}"},
    ),
    "Coinbase": ("{COINBASE_BASE_URL}/products/BTC-USD", {}),
}
"""A request of each provider that succeeds."""

SYMBOLS: dict[str, list[str]] = {
    "crypto_bars": ["BTC-USDT"],
    "crypto_trades": ["BTC-USDT"],
    "index_changes": ["SP500"],
    "macro_observations": ["GDP"],
}


class _Span(TypedDict):
    start: date
    end: date


def _ask(simulators: RunningSimulators, provider: str) -> httpx.Response:
    url, parameters = ASKED[provider]
    known = simulators.environment
    asked = {name: value.format(**known) for name, value in parameters.items()}
    return httpx.get(url.format(**known), params=asked, trust_env=False, verify=NO_AUTHORITIES)


@pytest.mark.parametrize("provider", ASKED)
def test_each_provider_answers_below_its_prefix(
    simulators: RunningSimulators, provider: str
) -> None:
    """With the keys and base URLs of the local world's environment."""
    answer = _ask(simulators, provider)
    assert answer.status_code == 200, answer.text
    assert answer.content


def test_the_journal_has_whole_paths_and_no_keys(simulators: RunningSimulators) -> None:
    """Each request is found by its provider's prefix, and the key by its last characters."""
    for provider in ASKED:
        _ask(simulators, provider)
    entries = simulators.control.requests()
    assert [entry.path for entry in entries] == [
        httpx.URL(url.format(**simulators.environment)).path for url, _ in ASKED.values()
    ]
    assert [entry.status for entry in entries] == [200] * len(ASKED)
    keys = {value for name, value in simulators.environment.items() if name.endswith("_API_KEY")}
    assert not any(key in str(entry) for key in keys for entry in entries)


@pytest.mark.parametrize(
    ("prefix", "hit"),
    [
        ("/stable", {"FMP"}),
        ("/polygon", {"Polygon"}),
        ("/tiingo", {"Tiingo"}),
        ("/binance/", {"Binance"}),
        ("/binance-files", {"Binance's files"}),
        ("/fred", {"FRED"}),
        ("/coinbase", {"Coinbase"}),
        ("/", set(ASKED)),
    ],
)
def test_a_fault_hits_only_its_provider(
    simulators: RunningSimulators, prefix: str, hit: set[str]
) -> None:
    """All the others answer as before."""
    simulators.control.add_fault(FaultKind.STATUS, path=prefix, status=503)
    assert {request for request in ASKED if _ask(simulators, request).status_code == 503} == hit


@pytest.mark.parametrize("kind", [FaultKind.HTML, FaultKind.ERROR_IN_200, FaultKind.MALFORMED])
@pytest.mark.parametrize("provider", ASKED)
def test_a_fault_spoils_one_answer_of_any_provider(
    simulators: RunningSimulators, provider: str, kind: FaultKind
) -> None:
    """The next one is the usual one again."""
    right = _ask(simulators, provider)
    simulators.control.add_fault(kind, count=1)
    assert _ask(simulators, provider).content != right.content
    assert _ask(simulators, provider).status_code == right.status_code


def test_a_path_of_nobody_is_a_gateways_404(simulators: RunningSimulators) -> None:
    """FMP has no prefix, so a path of no other provider is an unknown path of FMP."""
    answer = httpx.get(
        f"{simulators.origin}/nowhere/at/all", trust_env=False, verify=NO_AUTHORITIES
    )
    assert answer.status_code in {401, 404}


def test_every_dataset_has_a_truth() -> None:
    """Those of the catalogue, and the daily bars."""
    assert set(truths.DATASETS) == {DAILY_BARS_DATASET, *DATASETS}


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_each_provider_of_the_catalogue_has_a_truth(
    simulators: RunningSimulators, dataset: Dataset
) -> None:
    """So every configuration can be verified; the first provider's is the default."""
    symbols = SYMBOLS.get(dataset.name, ["AAPL"])
    span: _Span = {"start": LAST_WEEK, "end": LAST_WEEK + timedelta(days=4)}
    control = simulators.control
    of_each = {
        provider: control.dataset_truth(dataset.name, symbols, provider=provider, **span)
        for provider in dataset.sources
    }
    assert all(table.schema.equals(dataset.wire_schema) for table in of_each.values())
    assert all(table.num_rows for table in of_each.values())
    first = next(iter(of_each.values()))
    assert control.dataset_truth(dataset.name, symbols, **span).equals(first)


def test_the_truth_of_the_whole_market_comes_in_order(simulators: RunningSimulators) -> None:
    """It is made a few tickers at a time; every member is there, once."""
    span: _Span = {"start": LAST_WEEK, "end": LAST_WEEK + timedelta(days=4)}
    table = simulators.control.dataset_truth("daily_bars", **span)
    symbols = _column(table, "symbol")
    assert symbols == sorted(symbols)
    assert len(set(symbols)) == 503
    assert len(table.group_by(["symbol", "session_date"]).aggregate([])) == len(symbols)


def test_daily_bars_are_as_fmp_says_unless_asked_otherwise(simulators: RunningSimulators) -> None:
    """FMP adjusts for splits, the others serve paid prices; only these three have any."""
    span: _Span = {"start": date(2020, 8, 24), "end": date(2020, 9, 4)}
    control = simulators.control
    fmp, polygon, tiingo = (
        control.dataset_truth("daily_bars", ["AAPL"], provider=provider, **span)
        for provider in ("fmp", "polygon", "tiingo")
    )
    assert control.dataset_truth("daily_bars", ["AAPL"], **span).equals(fmp)
    assert polygon.equals(tiingo)
    ratios = [
        round(paid / adjusted, 1)
        for paid, adjusted in zip(_column(polygon, "close"), _column(fmp, "close"), strict=True)
    ]
    # Four for one before Monday, 31 August.
    assert ratios == [4.0] * 5 + [1.0] * 5
    with pytest.raises(errors.ConfigurationError, match="does not serve this dataset"):
        control.dataset_truth("daily_bars", ["AAPL"], provider="binance", **span)


def test_a_truth_comes_as_csv_too(simulators: RunningSimulators) -> None:
    """For people and other tools."""
    asked = {"subjects": "AAPL", "provider": "polygon", "start": "2026-08-04", "end": "2026-08-04"}
    url = f"{simulators.origin}/_sandbox/truth/daily_bars"
    header, row = httpx.get(
        url, params=asked, trust_env=False, verify=NO_AUTHORITIES
    ).text.splitlines()
    assert header == '"symbol","session_date","open","high","low","close","volume"'
    assert row.startswith('"AAPL",2026-08-04,')


@pytest.mark.parametrize(
    ("dataset", "symbols", "message"),
    [
        ("weather", None, "there is no dataset 'weather'; there are daily_bars"),
        ("splits", ["BRK-B"], "nothing trades as BRK-B"),
        ("crypto_bars", ["BTC-XXX"], "BTC-XXX"),
        ("macro_observations", ["NOSUCH"], "NOSUCH"),
    ],
)
def test_an_unknown_truth_says_what_there_is(
    simulators: RunningSimulators, dataset: str, symbols: list[str] | None, message: str
) -> None:
    """In one line, as every control."""
    with pytest.raises(errors.ConfigurationError, match=message):
        simulators.control.dataset_truth(dataset, symbols)


def _column(table: pa.Table, name: str) -> list[Any]:
    return table[name].to_pylist()


def test_a_split_re_bases_what_fmp_serves_and_not_what_was_paid(
    simulators: RunningSimulators,
) -> None:
    """The split is one more row; FMP's history shrinks by its ratio, as-traded prices stay."""
    control, day = simulators.control, LAST_WEEK
    span: _Span = {"start": day - timedelta(days=30), "end": day - timedelta(days=1)}

    def closes(provider: str) -> list[float]:
        table = control.dataset_truth("daily_bars", ["MMM"], provider=provider, **span)
        return _column(table, "close")

    before = {provider: closes(provider) for provider in ("fmp", "polygon")}
    control.split("MMM", day, new_shares=4, old_shares=1)
    after = {provider: closes(provider) for provider in ("fmp", "polygon")}

    assert after["polygon"] == before["polygon"]
    assert after["fmp"] == pytest.approx([close / 4 for close in before["fmp"]], abs=0.006)
    (newest,) = control.dataset_truth("splits", ["MMM"]).to_pylist()[-1:]
    assert (newest["ex_date"], newest["new_shares"], newest["old_shares"]) == (day, 4, 1)
    with pytest.raises(errors.ConfigurationError, match="already"):
        control.split("MMM", day, new_shares=2, old_shares=1)


def test_a_restatement_changes_one_period_of_one_company(simulators: RunningSimulators) -> None:
    """Truth and provider have the new figures from now on."""
    control, year = simulators.control, date.today().year - 2  # noqa: DTZ011
    before = control.dataset_truth("income_statements", ["AAPL", "MSFT"]).to_pylist()
    control.restate("AAPL", year, "Q2", 1.25)
    after = control.dataset_truth("income_statements", ["AAPL", "MSFT"]).to_pylist()

    changed = {
        (now["symbol"], now["fiscal_year"], now["fiscal_period"])
        for now, then in zip(after, before, strict=True)
        if now != then
    }
    assert ("AAPL", year, "Q2") in changed
    assert {symbol for symbol, _, _ in changed} == {"AAPL"}
    known = simulators.environment
    served = httpx.get(
        f"{known['FMP_BASE_URL']}/income-statement",
        params={"symbol": "AAPL", "period": "quarter", "limit": 1000,
                "apikey": known["FMP_API_KEY"]},
        trust_env=False, verify=NO_AUTHORITIES,
    ).json()  # fmt: skip
    of_period = {(row["fiscalYear"], row["period"]): row["revenue"] for row in served}
    truth = {
        (str(row["fiscal_year"]), row["fiscal_period"]): row["revenue"]
        for row in after
        if row["symbol"] == "AAPL" and row["period_type"] == "quarterly"
    }
    assert of_period == {key: int(value) for key, value in truth.items()}


def test_a_revision_is_a_vintage_of_today(simulators: RunningSimulators) -> None:
    """The newest values begin today, in St. Louis; older ones stay as they are."""
    control = simulators.control
    before = control.dataset_truth("macro_observations", ["GDP"]).to_pylist()
    control.revise("GDP")
    after = control.dataset_truth("macro_observations", ["GDP"]).to_pylist()
    added = [row for row in after if row not in before and row["realtime_end"] == date.max]
    assert added
    assert {row["realtime_start"] for row in added} == {datetime.now(ST_LOUIS).date()}
    assert after[: len(before) // 2] == before[: len(before) // 2]
