"""Opens providers from settings, on their shared budgets, without Dagster.

Here: the key, address, limits and client of each provider; a new provider is one more function. Not
here: what a provider's answers mean (resources/providers), or which of them
serves a dataset (settings.py).
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import SecretStr

from marketdata.datasets import DATASETS, Domain
from marketdata.recovery import errors
from marketdata.recovery.leases import Holder
from marketdata.recovery.limits import (
    PUBLISHED,
    Lane,
    RequestLimits,
    fmp_bulk_limits,
    fmp_limits,
    polygon_limits,
    tiingo_limits,
)
from marketdata.recovery.policy import REQUEST_RETRY
from resources.opening import Stores, raw_zone
from resources.providers import binance, coinbase, fmp, fred, polygon, tiingo
from resources.providers.http import (
    Getter,
    HeaderKey,
    HttpGetter,
    Key,
    QueryKey,
    ResponseClassifier,
)
from resources.providers.leased_budget import LeasedBudget
from resources.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One way to reach a provider: an address with a key and the limits that apply."""

    base_url: str
    key: Key | None
    limits: tuple[RequestLimits, ...]
    classify: ResponseClassifier
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An opened provider.

    Attributes:
        api: Has the methods of the dataset's protocol in marketdata.ports.
        getters: Its getters, which count their requests.
    """

    api: Any
    getters: tuple[HttpGetter, ...]

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.api.name

    @property
    def requests_sent(self) -> int:
        """HTTP requests sent so far, retries and failures included."""
        return sum(getter.requests_sent for getter in self.getters)


def lines(settings: Settings, provider: str) -> tuple[Line, ...]:
    """Return the lines of a provider, the main one first.

    Raises:
        ConfigurationError: Its key is not set; the text names the variable.
    """
    return _LINES[provider](settings)


def api_over(provider: str, dataset: str, *getters: Getter) -> Any:
    """Return the provider's client for a dataset.

    Args:
        provider: Its short name.
        dataset: The requested dataset.
        getters: One for each of its lines, or a single one for all of them.
    """
    if len(getters) == 1:
        getters = getters * _LINES_OF.get(provider, 1)
    if provider == "fmp":
        return _FMP_APIS[DATASETS[dataset].domain](*getters)
    return _APIS[provider](*getters)


def missing_key(settings: Settings, provider: str) -> str:
    """Return why a provider cannot be asked, or nothing if it can."""
    try:
        lines(settings, provider)
    except errors.ConfigurationError as error:
        return str(error)
    return ""


def note_plan(settings: Settings, stores: Stores, provider: str) -> None:
    """Record the key in use and its limits, before the ledger is asked what is missing.

    Raises:
        ConfigurationError: The provider's key is not set.
    """
    limits = lines(settings, provider)[0].limits[0]
    stores.coverage.note_plan(provider, f"{limits.budget}, {60 / limits.interval_s:.1f} a minute")


@asynccontextmanager
async def opened(
    settings: Settings, stores: Stores, provider: str, dataset: str, *, lane: Lane, run_id: str
) -> AsyncGenerator[Client]:
    """Open a provider's client for a dataset; call it in the loop that uses it.

    Args:
        settings: Keys, addresses and limits.
        stores: Holds the budgets' leases.
        provider: Its short name.
        dataset: The requested dataset.
        lane: Priority among several runs.
        run_id: Shown beside the leases.

    Raises:
        ConfigurationError: The provider's key is not set.
    """
    note_plan(settings, stores, provider)
    async with AsyncExitStack() as stack:
        getters: list[HttpGetter] = []
        for line in lines(settings, provider):
            budget = await stack.enter_async_context(
                LeasedBudget(
                    leases=stores.leases,
                    limits=line.limits,
                    provider=provider,
                    lane=lane,
                    holder=Holder.this_process(run_id),
                )
            )
            getter = HttpGetter(
                provider=provider,
                base_url=line.base_url,
                key=line.key,
                budget=budget,
                retry=REQUEST_RETRY,
                classify=line.classify,
                in_flight=line.in_flight,
                keep=raw_zone(settings),
            )
            getters.append(await stack.enter_async_context(getter))
        yield Client(api=api_over(provider, dataset, *getters), getters=tuple(getters))


def _fmp(settings: Settings) -> tuple[Line, ...]:
    key = _required(settings.fmp_api_key, "FMP_API_KEY", "FMP")
    single = Line(
        base_url=settings.fmp_base_url,
        key=QueryKey(name="apikey", value=key),
        limits=(fmp_limits(key, settings.fmp_requests_per_minute),),
        classify=partial(fmp.classify_error, key=key),
        in_flight=fmp.IN_FLIGHT,
    )
    limits = single.limits
    if settings.fmp_bulk_interval_s:
        limits = (*limits, fmp_bulk_limits(key, settings.fmp_bulk_interval_s))
    bulk = Line(
        base_url=single.base_url,
        key=single.key,
        limits=limits,
        classify=single.classify,
        in_flight=1,
    )
    return single, bulk


def _polygon(settings: Settings) -> tuple[Line, ...]:
    key = _required(settings.polygon_api_key, "POLYGON_API_KEY", "Polygon")
    return (
        Line(
            base_url=settings.polygon_base_url,
            key=HeaderKey(scheme="Bearer", value=key),
            limits=(polygon_limits(key, settings.polygon_requests_per_minute),),
            classify=partial(polygon.classify_error, key=key),
            in_flight=polygon.IN_FLIGHT,
        ),
    )


def _tiingo(settings: Settings) -> tuple[Line, ...]:
    key = _required(settings.tiingo_api_key, "TIINGO_API_KEY", "Tiingo")
    an_hour, a_day = settings.tiingo_requests_per_hour, settings.tiingo_requests_per_day
    return (
        Line(
            base_url=settings.tiingo_base_url,
            key=HeaderKey(scheme=tiingo.KEY_SCHEME, value=key),
            limits=(tiingo_limits(key, an_hour, a_day),),
            classify=partial(tiingo.classify_error, key=key),
            in_flight=tiingo.IN_FLIGHT,
        ),
    )


def _fred(settings: Settings) -> tuple[Line, ...]:
    key = _required(settings.fred_api_key, "FRED_API_KEY", "FRED")
    return (
        Line(
            base_url=settings.fred_base_url,
            key=QueryKey(name="api_key", value=key),
            limits=(PUBLISHED["fred"].of_key(key),),
            classify=fred.classifier(key),
            in_flight=fred.IN_FLIGHT,
        ),
    )


def _binance(settings: Settings) -> tuple[Line, ...]:
    rest = Line(
        base_url=settings.binance_base_url,
        key=None,
        limits=(PUBLISHED["binance"],),
        classify=binance.classify_error,
        in_flight=binance.IN_FLIGHT,
    )
    files = Line(
        base_url=settings.binance_files_url,
        key=None,
        limits=(PUBLISHED["binance files"],),
        classify=binance.classify_file_error,
        in_flight=binance.FILES_IN_FLIGHT,
    )
    return rest, files


def _coinbase(settings: Settings) -> tuple[Line, ...]:
    return (
        Line(
            base_url=settings.coinbase_base_url,
            key=None,
            limits=(PUBLISHED["coinbase"],),
            classify=coinbase.classify_error,
            in_flight=coinbase.IN_FLIGHT,
        ),
    )


_LINES: Mapping[str, Callable[[Settings], tuple[Line, ...]]] = {
    "fmp": _fmp,
    "polygon": _polygon,
    "tiingo": _tiingo,
    "fred": _fred,
    "binance": _binance,
    "coinbase": _coinbase,
}
_LINES_OF = {"fmp": 2, "binance": 2}
"""Number of lines of providers with more than one."""

_FMP_APIS: Mapping[Domain, Callable[..., Any]] = {
    Domain.EQUITY_PRICES: fmp.FmpClient,
    Domain.CORPORATE_ACTIONS: lambda single, *_: fmp.FmpActions(single),
    Domain.FUNDAMENTALS: lambda single, *_: fmp.FmpRecords(single),
    Domain.REFERENCE: lambda single, *_: fmp.FmpRecords(single),
}

_APIS: Mapping[str, Callable[..., Any]] = {
    "polygon": polygon.PolygonClient,
    "tiingo": tiingo.TiingoClient,
    "fred": fred.FredClient,
    "binance": binance.BinanceClient,
    "coinbase": coinbase.CoinbaseClient,
}


def _required(key: SecretStr | None, variable: str, provider: str) -> str:
    if key is None or not key.get_secret_value():
        message = (
            f"{variable} is not set, so {provider} cannot be asked: export {variable}=<your key>"
        )
        raise errors.ConfigurationError(message)
    return key.get_secret_value()
