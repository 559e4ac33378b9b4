"""The questions of the catalogue: what each dataset asks of a provider's client.

Here: one function for each question, from a request to the method of the protocol (ports.py) that
answers it. Not here: which dataset asks which question (datasets.py), or what an answer means
(dataset_ingest.py).

Each raises ConfigurationError if the client does not serve its protocol. A test asks every question
of every source (tests/providers/test_provider_registry.py), so no configuration meets that error.
"""

from datetime import date, datetime

from marketdata.ports import (
    ActionProvider,
    Answer,
    Changes,
    ChangesProvider,
    DailyBarProvider,
    DailyMarketProvider,
    Days,
    FetchRequest,
    IndexProvider,
    MacroProvider,
    MinuteBarProvider,
    Provider,
    ReferenceProvider,
    StatementProvider,
    TradeProvider,
    serving,
)
from marketdata.statements import StatementKind


async def ask_daily_bars(provider: Provider, request: FetchRequest) -> Answer:
    """Ask for one symbol's daily bars."""
    bars = serving(provider, DailyBarProvider)
    return await bars.daily_history(request.instrument.symbol, request.start, request.end)


async def ask_daily_bars_of_session(provider: Provider, session: date) -> Answer:
    """Ask for every symbol's daily bar of one session."""
    return await serving(provider, DailyMarketProvider).daily_market(session)


async def ask_minute_bars(provider: Provider, request: FetchRequest) -> Answer:
    """Ask for one symbol's minute bars."""
    bars = serving(provider, MinuteBarProvider)
    return await bars.minute_bars(request.instrument.symbol, request.start, request.end)


async def ask_trades(provider: Provider, request: FetchRequest) -> Answer:
    """Ask for one pair's trades."""
    trades = serving(provider, TradeProvider)
    return await trades.trades(request.instrument.symbol, request.start, request.end)


async def ask_statements(kind: StatementKind, provider: Provider, request: FetchRequest) -> Answer:
    """Ask for one company's statements of a kind."""
    return await serving(provider, StatementProvider).statements(kind, request.instrument.symbol)


async def ask_company(provider: Provider, request: FetchRequest) -> Answer:
    """Ask for the company behind a ticker."""
    return await serving(provider, ReferenceProvider).company(request.instrument.symbol)


async def ask_index_changes(provider: Provider, request: FetchRequest) -> Answer:
    """Ask for the companies that joined and left an index."""
    return await serving(provider, IndexProvider).index_changes(request.instrument.symbol)


async def ask_splits(provider: Provider, request: FetchRequest) -> Answer:
    """Ask for one share's splits."""
    return await serving(provider, ActionProvider).splits(request.instrument.symbol)


async def ask_splits_of_all(provider: Provider, days: Days) -> Answer:
    """Ask for the whole market's splits of some days."""
    return await serving(provider, ActionProvider).splits_between(days.start, days.end)


async def ask_dividends(provider: Provider, request: FetchRequest) -> Answer:
    """Ask for one share's dividends."""
    return await serving(provider, ActionProvider).dividends(request.instrument.symbol)


async def ask_dividends_of_all(provider: Provider, days: Days) -> Answer:
    """Ask for the whole market's dividends of some days."""
    return await serving(provider, ActionProvider).dividends_between(days.start, days.end)


async def ask_observations(provider: Provider, request: FetchRequest) -> Answer:
    """Ask for one series' observations with their vintages."""
    series = serving(provider, MacroProvider)
    return await series.observations(request.instrument.symbol, request.start, request.end)


async def ask_changed_series(provider: Provider, since: datetime) -> Changes:
    """Ask which series have changed since a moment."""
    return await serving(provider, ChangesProvider).changed_since(since)
