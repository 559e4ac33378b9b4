"""What datasets are asked for by: shares, pairs, series and indices, and how providers spell them.

Here: the names that are fixed in data, and every spelling. Not here: which tickers there are
(instruments.py: they come and go), or ids (resources/storage/instruments.py).
"""

from collections.abc import Mapping

from marketdata import macro
from marketdata.crypto_pairs import crypto_pairs
from marketdata.datasets import Dataset, Subjects
from marketdata.instruments import provider_spellings

INDICES = {"SP500": "S&P 500"}


def fixed(kind: Subjects) -> Mapping[str, str]:
    """Return what there is of a kind, in words, by its name; nothing for tickers."""
    if kind is Subjects.PAIRS:
        return {one.pair: f"{one.base} in {one.quote}" for one in crypto_pairs()}
    if kind is Subjects.SERIES:
        return {one.series: one.title for one in macro.series().values()}
    return INDICES if kind is Subjects.INDICES else {}


def offered(dataset: Dataset, provider: str) -> Mapping[str, str]:
    """Return the provider's spelling of each fixed subject of ``dataset`` that it offers."""
    if dataset.subjects is Subjects.PAIRS:
        pairs = crypto_pairs()
        return {one.pair: one.spellings[provider] for one in pairs if provider in one.spellings}
    spellings = provider_spellings(provider)
    return {name: spellings.get(name, name) for name in fixed(dataset.subjects)}
