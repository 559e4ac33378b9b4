"""What a correct database equals: the truth of each dataset, in its wire schema.

Here: which world answers for which dataset, and as which provider. Not here: the worlds, HTTP
(world_controls.py), or the comparison with a database (demo/comparison.py).

``symbol`` is spelt our way: ticker, pair, series, or the index's name.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime

import pyarrow as pa

from marketdata import macro
from marketdata.bars import WIRE_BARS
from marketdata.crypto_pairs import crypto_pairs
from marketdata.instruments import our_tickers
from marketdata.statements import StatementKind
from sandbox.simulators import tiingo
from sandbox.simulators.polygon import truths
from sandbox.simulators.worlds.all_worlds import Worlds
from sandbox.simulators.worlds.shares import intraday
from sandbox.simulators.worlds.shares.world import Bars


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The requested part of a truth, and its moment.

    Attributes:
        symbols: In our spelling; None means all.
        start: First day of bars and trades; days are those of the exchange, of UTC for pairs.
        end: Last day of bars and trades, included.
        provider: Provider of the rows, where they differ; None means the dataset's first.
        now: The answer holds nothing later.
    """

    symbols: tuple[str, ...] | None
    start: date
    end: date
    provider: str | None
    now: datetime


Truth = Callable[[Worlds, Question], pa.Table]
_TICKERS_A_PART = 20


def truth(worlds: Worlds, dataset: str, question: Question) -> Iterator[pa.Table]:
    """Yield the truth of ``dataset`` now, in its wire schema and in parts, by symbol.

    A part is of a few tickers, since statements of the whole market would not fit beside the
    worlds; there is always one.

    Raises:
        ValueError: The dataset, provider or symbol is unknown; the text names the known ones.
    """
    if dataset not in DATASETS:
        message = f"there is no dataset {dataset!r}; there are {', '.join(DATASETS)}"
        raise ValueError(message)
    if dataset in _OF_OTHERS:
        yield _OF_OTHERS[dataset](worlds, question)
        return
    tickers = sorted(_tickers(worlds, question))
    for place in range(0, len(tickers), _TICKERS_A_PART):
        part = tuple(tickers[place : place + _TICKERS_A_PART])
        yield _OF_TICKERS[dataset](worlds, replace(question, symbols=part))


def _daily_bars(worlds: Worlds, question: Question) -> pa.Table:
    """FMP's bars are adjusted for splits, those of the others as they were paid."""
    provider = _provider(question, "fmp", "polygon", "tiingo")
    end = question.end
    if provider == "tiingo":
        end = min(end, tiingo.last_published(question.now))
    answer = worlds.shares.bars if provider == "fmp" else worlds.actions.as_traded
    parts = [
        _bar_table(ticker, answer(ticker, question.start, end, question.now))
        for ticker in sorted(_tickers(worlds, question))
    ]
    return pa.concat_tables([WIRE_BARS.empty_table(), *parts])


def _bar_table(ticker: str, bars: Bars) -> pa.Table:
    columns = [
        pa.array([ticker] * len(bars.dates), pa.string()),
        pa.array(bars.dates, pa.date32()),
        *(pa.array(prices) for prices in (bars.opens, bars.highs, bars.lows, bars.closes)),
        pa.array(bars.volumes.astype("float64")),
    ]
    return pa.table(columns, schema=WIRE_BARS)


def _minute_bars(worlds: Worlds, question: Question) -> pa.Table:
    of_provider = {"polygon": intraday.minute_truth, "tiingo": tiingo.iex_minute_truth}
    answer = of_provider[_provider(question, *of_provider)]
    tickers = _tickers(worlds, question)
    return answer(worlds.shares, tickers, question.start, question.end, question.now)


def _crypto_bars(worlds: Worlds, question: Question) -> pa.Table:
    venue = _provider(question, "binance", "coinbase")
    pairs = _pairs(question, venue)
    return worlds.crypto.bar_truth(venue, pairs, question.start, question.end, question.now)


def _crypto_trades(worlds: Worlds, question: Question) -> pa.Table:
    venue = _provider(question, "binance", "coinbase")
    pairs = _pairs(question, venue)
    return worlds.crypto.trade_truth(venue, pairs, question.start, question.end, question.now)


def _statements(kind: StatementKind) -> Truth:
    def answer(worlds: Worlds, question: Question) -> pa.Table:
        _provider(question, "fmp")
        tickers = _tickers(worlds, question)
        return worlds.fundamentals.statement_truth(kind, tickers, question.now)

    return answer


def _companies(worlds: Worlds, question: Question) -> pa.Table:
    tickers = _tickers(worlds, question)
    if _provider(question, "fmp", "polygon") == "polygon":
        return truths.company_truth(worlds.shares, tickers, question.now)
    return worlds.fundamentals.company_truth(tickers, question.now)


def _index_changes(worlds: Worlds, question: Question) -> pa.Table:
    _provider(question, "fmp")
    table = worlds.fundamentals.index_change_truth(question.now)
    ours = [our_tickers("fmp").get(ticker, ticker) for ticker in table["symbol"].to_pylist()]
    return table.set_column(0, table.schema.field(0), pa.array(ours, pa.string()))


def _splits(worlds: Worlds, question: Question) -> pa.Table:
    tickers = _tickers(worlds, question)
    if _provider(question, "fmp", "polygon") == "polygon":
        return truths.split_truth(worlds.actions, tickers, question.now)
    return worlds.actions.split_truth(tickers, question.now)


def _dividends(worlds: Worlds, question: Question) -> pa.Table:
    tickers = _tickers(worlds, question)
    if _provider(question, "fmp", "polygon") == "polygon":
        return truths.dividend_truth(worlds.actions, tickers, question.now)
    return worlds.actions.dividend_truth(tickers, question.now)


def _macro_observations(worlds: Worlds, question: Question) -> pa.Table:
    wanted = question.symbols or tuple(macro.series())
    _provider(question, "fred")
    return worlds.macro.truth([known_series(name) for name in wanted], question.now)


_OF_TICKERS: Mapping[str, Truth] = {
    "daily_bars": _daily_bars,
    "minute_bars": _minute_bars,
    **{kind.value: _statements(kind) for kind in StatementKind},
    "companies": _companies,
    "splits": _splits,
    "dividends": _dividends,
}
_OF_OTHERS: Mapping[str, Truth] = {
    "index_changes": _index_changes,
    "crypto_bars": _crypto_bars,
    "crypto_trades": _crypto_trades,
    "macro_observations": _macro_observations,
}
DATASETS = (*_OF_TICKERS, *_OF_OTHERS)
"""Names of the datasets that have a truth."""


def _provider(question: Question, *offered: str) -> str:
    """Return the requested provider: by default the first of ``offered``.

    Raises:
        ValueError: The provider does not serve the dataset.
    """
    chosen = question.provider or offered[0]
    if chosen not in offered:
        message = f"{chosen} does not serve this dataset; {', '.join(offered)} do"
        raise ValueError(message)
    return chosen


def _tickers(worlds: Worlds, question: Question) -> list[str]:
    """Return the requested tickers: by default the members of the index.

    Raises:
        ValueError: One of them does not trade.
    """
    if question.symbols is None:
        return [constituent.ticker for constituent in worlds.shares.constituents()]
    strange = [symbol for symbol in question.symbols if worlds.shares.listing(symbol) is None]
    if strange:
        message = f"nothing trades as {', '.join(strange)}; tickers are spelt our way, as BRK.B"
        raise ValueError(message)
    return list(question.symbols)


def known_series(name: str) -> str:
    """Return ``name`` if there is such a macroeconomic series.

    Raises:
        ValueError: There is none; the text names the known ones.
    """
    if name not in macro.series():
        message = f"there is no series {name}; there are {', '.join(macro.series())}"
        raise ValueError(message)
    return name


def _pairs(question: Question, venue: str) -> list[str]:
    if question.symbols is not None:
        return list(question.symbols)
    return [pair.pair for pair in crypto_pairs() if venue in pair.spellings]
