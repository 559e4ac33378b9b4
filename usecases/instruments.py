"""From symbols to instruments: the universe's members, and pairs, series and indices.

Here: from our symbols to instruments under a provider's spelling. Not here: how the universe
changes (assets/universe.py), or the requests for them (load_plan.py).
"""

from collections.abc import Mapping, Sequence
from datetime import date

from marketdata import symbols
from marketdata.calendars import utc_now
from marketdata.datasets import Dataset, InstrumentKind, past_symbols
from marketdata.instruments import ListedInstrument
from marketdata.recovery import errors
from resources.opening import Stores

UNIVERSE = "sp500"


def member_tickers(stores: Stores) -> list[str]:
    """Return the tickers of the present members.

    Raises:
        ConfigurationError: There are none, so a load would look complete.
    """
    members = [member.ticker for member in stores.instruments.members(UNIVERSE)]
    if not members:
        message = "the universe is empty: run wrdata universe, or materialize the asset universe"
        raise errors.ConfigurationError(message)
    return members


def every_symbol(stores: Stores, dataset: Dataset, provider: str) -> list[str]:
    """Return all symbols of a dataset: present members, or the symbols that the provider offers.

    Raises:
        ConfigurationError: The universe is empty.
    """
    if dataset.instrument_kind is InstrumentKind.EQUITY:
        return member_tickers(stores)
    return list(symbols.provider_symbols(dataset, provider))


def listed_symbols(
    stores: Stores,
    dataset: Dataset,
    provider: str,
    names: Sequence[str],
    *,
    register: bool = True,
) -> tuple[list[ListedInstrument], dict[str, str]]:
    """Look up symbols; return their instruments, and reasons by name for unknown ones.

    Args:
        stores: The database.
        dataset: The dataset to load.
        provider: The provider whose spellings are used.
        names: Our symbols.
        register: Register instruments of pairs, series and indices that are new here; otherwise
            these have the id 0.
    """
    today = utc_now().date()
    if dataset.instrument_kind is InstrumentKind.EQUITY:
        past = past_symbols(dataset.name, provider)
        listed, missing = stores.instruments.resolve(provider, names, today, past)
        return listed, why_unknown(stores, missing)
    static = symbols.static_symbols(dataset.instrument_kind)
    spellings = symbols.provider_symbols(dataset, provider)
    offered = {name: static[name] for name in names if name in spellings}
    kind = dataset.instrument_kind.value
    if register:
        ids: Mapping[str, int] = stores.instruments.register(kind, offered, today)
    else:
        ids = dict.fromkeys(offered, 0) | stores.instruments.ids(kind, list(offered), today)
    return (
        [
            ListedInstrument(instrument_id=ids[name], ticker=name, symbol=spellings[name])
            for name in offered
        ],
        {
            name: f"{provider} does not offer {name}; it offers {', '.join(spellings)}"
            for name in names
            if name not in spellings
        },
    )


def listed_by_id(
    stores: Stores, dataset: Dataset, provider: str, instrument_ids: Sequence[int]
) -> list[ListedInstrument]:
    """Return instruments under the provider's spelling; leave out those that have none."""
    past = past_symbols(dataset.name, provider)
    listed = stores.instruments.listed(provider, list(instrument_ids), utc_now().date(), past)
    if dataset.instrument_kind is InstrumentKind.EQUITY:
        return listed
    names = [instrument.ticker for instrument in listed]
    return listed_symbols(stores, dataset, provider, names)[0]


def members_on(
    stores: Stores, dataset: Dataset, provider: str, day: date, asked_on: date
) -> list[ListedInstrument]:
    """Return the instruments whose rows of one day are kept: present members, and members then.

    Args:
        stores: The database.
        dataset: The dataset to load.
        provider: The provider whose spellings are used.
        day: The day to load.
        asked_on: The day of the request; the instruments come under their symbols of that day.
    """
    past = past_symbols(dataset.name, provider)
    ids = {
        membership.instrument_id
        for membership in stores.instruments.memberships(UNIVERSE)
        if membership.counts_on(day)
    }
    return stores.instruments.listed(provider, sorted(ids), asked_on, past)


def why_unknown(stores: Stores, tickers: Sequence[str]) -> dict[str, str]:
    """Return why each of ``tickers``, which no instrument carries today, cannot be asked for."""
    renamed = stores.instruments.renamed_to(tickers) if tickers else {}
    return {
        ticker: f"{ticker} is called {renamed[ticker]} now: ask for that; it has the days under "
        "both tickers"
        if ticker in renamed
        else f"no instrument carries {ticker}: is it spelt as in the universe?"
        for ticker in tickers
    }
