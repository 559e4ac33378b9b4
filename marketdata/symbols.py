"""The symbols of pairs, series and indices, and how providers spell them.

Here: the static symbols, and every spelling. Not here: tickers, which come and go
(instruments.py), or ids (resources/storage/instruments.py).
"""

from collections.abc import Mapping

from marketdata import macro
from marketdata.crypto_pairs import crypto_pairs
from marketdata.datasets import Dataset, InstrumentKind
from marketdata.instruments import provider_spellings

INDICES = {"SP500": "S&P 500"}


def static_symbols(kind: InstrumentKind) -> Mapping[str, str]:
    """Return the static symbols of a kind with their descriptions; empty for tickers."""
    if kind is InstrumentKind.PAIR:
        return {pair.pair: f"{pair.base} in {pair.quote}" for pair in crypto_pairs()}
    if kind is InstrumentKind.SERIES:
        return {series.series: series.title for series in macro.series().values()}
    return INDICES if kind is InstrumentKind.INDEX else {}


def provider_symbols(dataset: Dataset, provider: str) -> Mapping[str, str]:
    """Return the provider's spelling of each static symbol of ``dataset`` that it offers."""
    if dataset.instrument_kind is InstrumentKind.PAIR:
        return {
            pair.pair: pair.spellings[provider]
            for pair in crypto_pairs()
            if provider in pair.spellings
        }
    spellings = provider_spellings(provider)
    return {name: spellings.get(name, name) for name in static_symbols(dataset.instrument_kind)}
