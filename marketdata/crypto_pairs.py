"""The crypto pairs that are followed, and each venue's symbol of them.

Here: reading data/crypto_pairs.csv, which lists pairs and spellings. Not here: instruments and
their ids in the database (instruments.py), or prices.
"""

import csv
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

VENUES = ("binance", "coinbase")


@dataclass(frozen=True, slots=True, kw_only=True)
class CryptoPair:
    """One pair.

    Attributes:
        pair: Our name, such as ``BTC-USDT``; the simulators and the tables use it.
        base: What is bought and sold; sizes and volumes are in it.
        quote: What is paid with; prices are in it.
        spellings: The venue's own symbol, by venue; venues that do not offer it are missing.
    """

    pair: str
    base: str
    quote: str
    spellings: Mapping[str, str]


@functools.cache
def crypto_pairs() -> Sequence[CryptoPair]:
    """Return all pairs that are followed."""
    text = resources.files("marketdata").joinpath("data/crypto_pairs.csv").read_text("utf-8")
    return tuple(
        CryptoPair(
            pair=row["pair"],
            base=row["base"],
            quote=row["quote"],
            spellings={venue: row[venue] for venue in VENUES if row[venue]},
        )
        for row in csv.DictReader(text.splitlines())
    )


@functools.cache
def pairs_at(venue: str) -> Mapping[str, CryptoPair]:
    """Return the pairs that ``venue`` offers, by its own spelling."""
    return {pair.spellings[venue]: pair for pair in crypto_pairs() if venue in pair.spellings}
