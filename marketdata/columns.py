"""Meaning and unit of every column of every dataset.

Here: one entry for each name, and more where two datasets use one name differently. Not here:
types and keys, which the schemas hold (the module of each domain).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from marketdata.statements import LINES, StatementKind


@dataclass(frozen=True, slots=True)
class Column:
    """Meaning of a column.

    Attributes:
        meaning: A sentence without a full stop.
        unit: Unit of a number; empty where there is none.
    """

    meaning: str
    unit: str = ""


_PRICE = "currency of the price"
_SHARES = "shares"
_REPORTED = "reported currency"
_PER_SHARE = "reported currency per share"

_SHARED: Mapping[str, Column] = {
    "instrument_id": Column("The instrument, whatever ticker it carries (table `instrument`)"),
    "ticker": Column("Our ticker as of the row's day"),
    "provider": Column("Provider that served the row"),
    "ingest_id": Column("The load that brought the row (table `ingest_log`)"),
    "known_from": Column("Since when this database holds these values", "moment, UTC"),
    # Bars.
    "session_date": Column("Trading day of the exchange, by its own calendar"),
    "opened_at": Column("First moment of the minute", "moment, UTC"),
    "bucket_start": Column("First moment (UTC) or first day of the bucket"),
    "phase": Column(
        "`regular` within the exchange's session, `extended` around it; pairs are always regular"
    ),
    "open": Column("First price", _PRICE),
    "high": Column("Highest price", _PRICE),
    "low": Column("Lowest price", _PRICE),
    "close": Column("Last price", _PRICE),
    "volume": Column("How much was traded; may be fractional", _SHARES),
    "vwap": Column("Average price weighted by volume, null where the provider has none", _PRICE),
    "trades": Column("Number of trades, null where the provider has none", "trades"),
    "source_bars": Column("Minute bars or daily bars that the bucket is made of", "bars"),
    "adjustment": Column("What the provider adjusted its prices for"),
    # Statements.
    "period_type": Column("`annual`, `half_yearly` or `quarterly`"),
    "fiscal_date": Column("Last day of the fiscal period"),
    "fiscal_period": Column("`FY`, `H1`, `H2`, or `Q1` to `Q4`, which ends with the year"),
    "fiscal_year": Column("The company's own year", "year"),
    "reported_currency": Column("Currency of the amounts (ISO 4217)"),
    "filing_date": Column("Day of the filing"),
    "accepted_at": Column("When the filing became public, as the provider says", "moment, UTC"),
    "answer": Column("The provider's row as it came, as JSON"),
    # Companies.
    "name": Column("The company's name"),
    "cik": Column("The registrant's number at the SEC, ten digits"),
    "isin": Column("International securities identification number"),
    "cusip": Column("North American securities identifier"),
    "exchange": Column("Where the share is listed"),
    "currency": Column("Currency of the price (ISO 4217)"),
    "sector": Column("Sector, in the provider's words"),
    "industry": Column("Industry, in the provider's words"),
    "country": Column("Country of the company, as the provider writes it"),
    "listed_on": Column("First day of listing"),
    "employees": Column("Full-time employees", "persons"),
    "website": Column("The company's address on the web"),
    "description": Column("What the company does, in the provider's words"),
    "is_etf": Column("Whether the security is an exchange-traded fund"),
    "is_trading": Column("Whether it is traded now"),
    # Changes of an index.
    "effective_on": Column("First day with (`added`) or without (`removed`) the ticker"),
    "action": Column("`added` or `removed`"),
    "security": Column("The company's name"),
    "reason": Column("Why, in the provider's words"),
    "announced_on": Column("Day of the announcement"),
    # Corporate actions.
    "ex_date": Column("First session without the entitlement"),
    "new_shares": Column("Number of new shares: 4 of a 4-for-1 split", _SHARES),
    "old_shares": Column("Number of old shares that became them: 1 of a 4-for-1 split", _SHARES),
    "amount": Column(
        "As paid on a share of that day, not adjusted for later splits", "`currency` per share"
    ),
    "declaration_date": Column("Day of the declaration"),
    "record_date": Column("Whoever owns the share on this day is paid"),
    "payment_date": Column("Day of the payment"),
    "frequency": Column("How often the company pays, in the provider's words"),
    "ordinal": Column("Counts the dividends of one share, ex-date and kind from 1"),
    # Macro series.
    "observed_on": Column("The period's day, as the provider dates it"),
    "realtime_start": Column("First day on which the value was the latest one"),
    "realtime_end": Column("Last such day; 9999-12-31 while it still is"),
    "value": Column("Null where the provider says that it is missing", "units of the series"),
    # Trades.
    "trade_id": Column("The venue's own number"),
    "traded_at": Column("Time of the trade", "moment, UTC"),
    "price": Column("Price of the trade", "quote currency of the pair"),
    "size": Column("How much was traded", "base currency of the pair"),
    "taker_side": Column("`buy` or `sell`: side of the taker"),
}

_OWN: Mapping[str, Mapping[str, Column]] = {
    "crypto_bars": {
        "volume": Column("How much was traded", "base currency of the pair"),
    },
    "index_changes": {"ticker": Column("Ticker of the company, in our spelling")},
    "splits": {"kind": Column("The provider's word, such as `stock-split`, or null")},
    "dividends": {
        "kind": Column("`regular` or `special`"),
        "currency": Column("Currency of the amount; null means that of the price (ISO 4217)"),
    },
}
"""Columns that mean something else in a dataset."""

_LINES = {kind.value: lines for kind, lines in LINES.items()}
_UNITS_OF_LINES: Mapping[str, str] = {
    "eps": _PER_SHARE,
    "eps_diluted": _PER_SHARE,
    "weighted_average_shares": _SHARES,
    "weighted_average_shares_diluted": _SHARES,
}


def column(name: str, dataset: str) -> Column:
    """Return the meaning of a dataset's column.

    Raises:
        KeyError: The column has no entry here.
    """
    if name in _LINES.get(dataset, ()):
        return _line(name, dataset)
    return _OWN.get(dataset, {}).get(name) or _SHARED[name]


def meaning(name: str) -> str | None:
    """Return a column's meaning in most tables; None where it has no entry."""
    return _SHARED[name].meaning if name in _SHARED else None


def _line(name: str, dataset: str) -> Column:
    """Return the column of a statement's line: its name is its meaning."""
    label = name.replace("_", " ").capitalize()
    if dataset == StatementKind.RATIOS.value:
        return Column(label, _PER_SHARE if name.endswith("per_share") else "ratio")
    return Column(label, _UNITS_OF_LINES.get(name, _REPORTED))
