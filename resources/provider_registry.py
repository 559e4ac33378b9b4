"""The one list of providers: how each is reached, what its client is, and how its key is tried.

Here: the addresses, keys, limits and client class of each provider, from settings; a new provider
is one more entry of PROVIDERS. Not here: opening them (clients.py), what their answers mean
(resources/providers), or which of them serves a dataset (settings/).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from pydantic import SecretStr

from marketdata.datasets import Domain
from marketdata.ports import Provider
from marketdata.recovery import errors
from marketdata.recovery.limits import (
    PUBLISHED,
    RequestLimits,
    fmp_bulk_limits,
    fmp_limits,
    polygon_limits,
    tiingo_limits,
)
from resources.providers import binance, coinbase, fmp, fred, polygon, tiingo
from resources.providers.http import (
    Getter,
    HeaderKey,
    HttpAnswer,
    Key,
    QueryKey,
    ResponseClassifier,
)
from resources.settings import ProviderSettings


class KeyNotSetError(errors.ConfigurationError):
    """A provider's key is not set, so the provider is not used here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyProbe:
    """The cheapest request that tells whether a line's key is accepted (key_probes.py).

    Attributes:
        path: Below the line's address; ``{day}`` stands for a day that every plan includes.
        parameters: The query, without the key.
        plan: Describes the key's plan from a good answer; empty if unknown.
        classify: Used in place of the line's, which may doubt the first error about a key: a
            probe is never repeated.
    """

    path: str
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    plan: Callable[[HttpAnswer], str] = lambda _: ""
    classify: ResponseClassifier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One way to reach a provider: an address with a key, and the limits that apply there.

    A provider has several where some of its requests go to another address, or have limits of
    their own: FMP's bulk endpoints, Binance's files.

    Attributes:
        in_flight: Most requests under way at once.
        probe: What the doctor asks; None where another line of the provider has the same key.
    """

    base_url: str
    key: Key | None
    limits: tuple[RequestLimits, ...]
    classify: ResponseClassifier
    in_flight: int
    probe: KeyProbe | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEntry:
    """One provider.

    Attributes:
        lines: One function for each of its lines, the main one first. Each raises KeyNotSetError
            if the key is not set, and another error if it is a secret that cannot be had.
        client: Makes its client for the datasets of a domain, from a getter for each line.
    """

    lines: tuple[Callable[[ProviderSettings], Line], ...]
    client: Callable[[Domain, Sequence[Getter]], Provider]


def _fmp_key(settings: ProviderSettings) -> str:
    return _required(settings.fmp_api_key, "FMP_API_KEY", "FMP")


def _fmp_single(settings: ProviderSettings) -> Line:
    key = _fmp_key(settings)
    return Line(
        base_url=settings.fmp_base_url,
        key=QueryKey(name="apikey", value=key),
        limits=(fmp_limits(key, settings.fmp_requests_per_minute),),
        classify=partial(fmp.classify_error, key=key),
        in_flight=fmp.IN_FLIGHT,
        # Included from FMP's plan Premium on; the universe depends on it.
        probe=KeyProbe(path="sp500-constituent", plan=lambda _: "plan with index constituents"),
    )


def _fmp_bulk(settings: ProviderSettings) -> Line:
    single = _fmp_single(settings)
    limits, interval_s = single.limits, settings.fmp_bulk_interval_s
    if interval_s:
        limits = (*limits, fmp_bulk_limits(_fmp_key(settings), interval_s))
    return replace(single, limits=limits, in_flight=1, probe=None)


def _fmp_client(domain: Domain, getters: Sequence[Getter]) -> Provider:
    single, bulk = getters
    if domain is Domain.EQUITY_PRICES:
        return fmp.FmpClient(single, bulk)
    if domain is Domain.CORPORATE_ACTIONS:
        return fmp.FmpActions(single)
    return fmp.FmpRecords(single)


def _polygon(settings: ProviderSettings) -> Line:
    key = _required(settings.polygon_api_key, "POLYGON_API_KEY", "Polygon")
    return Line(
        base_url=settings.polygon_base_url,
        key=HeaderKey(scheme="Bearer", value=key),
        limits=(polygon_limits(key, settings.polygon_requests_per_minute),),
        classify=partial(polygon.classify_error, key=key),
        in_flight=polygon.IN_FLIGHT,
        probe=KeyProbe(path="v2/aggs/ticker/AAPL/range/1/day/{day}/{day}", plan=_polygon_plan),
    )


def _polygon_plan(answer: HttpAnswer) -> str:
    """Return a note if prices are delayed: the status is DELAYED below the plan Advanced."""
    try:
        status = json.loads(answer.body).get("status")
    except (ValueError, AttributeError):
        return ""
    return "plan with delayed prices" if status == "DELAYED" else ""


def _tiingo(settings: ProviderSettings) -> Line:
    key = _required(settings.tiingo_api_key, "TIINGO_API_KEY", "Tiingo")
    an_hour, a_day = settings.tiingo_requests_per_hour, settings.tiingo_requests_per_day
    return Line(
        base_url=settings.tiingo_base_url,
        key=HeaderKey(scheme=tiingo.KEY_SCHEME, value=key),
        limits=(tiingo_limits(key, an_hour, a_day),),
        classify=partial(tiingo.classify_error, key=key),
        in_flight=tiingo.IN_FLIGHT,
        probe=KeyProbe(path="tiingo/daily/aapl/prices"),
    )


def _fred(settings: ProviderSettings) -> Line:
    key = _required(settings.fred_api_key, "FRED_API_KEY", "FRED")
    return Line(
        base_url=settings.fred_base_url,
        key=QueryKey(name="api_key", value=key),
        limits=(PUBLISHED["fred"].of_key(key),),
        classify=fred.classifier(key),
        in_flight=fred.IN_FLIGHT,
        probe=KeyProbe(
            path="series",
            parameters={"series_id": "GDP", "file_type": "json"},
            classify=partial(fred.classify_error, key=key),
        ),
    )


def _binance_rest(settings: ProviderSettings) -> Line:
    return Line(
        base_url=settings.binance_base_url,
        key=None,
        limits=(PUBLISHED["binance"],),
        classify=binance.classify_error,
        in_flight=binance.IN_FLIGHT,
        probe=KeyProbe(path="api/v3/time"),
    )


def _binance_files(settings: ProviderSettings) -> Line:
    return Line(
        base_url=settings.binance_files_url,
        key=None,
        limits=(PUBLISHED["binance files"],),
        classify=binance.classify_file_error,
        in_flight=binance.FILES_IN_FLIGHT,
        probe=KeyProbe(path="data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-02.zip.CHECKSUM"),
    )


def _coinbase(settings: ProviderSettings) -> Line:
    return Line(
        base_url=settings.coinbase_base_url,
        key=None,
        limits=(PUBLISHED["coinbase"],),
        classify=coinbase.classify_error,
        in_flight=coinbase.IN_FLIGHT,
        probe=KeyProbe(path="time"),
    )


PROVIDERS: Mapping[str, ProviderEntry] = {
    "fmp": ProviderEntry(lines=(_fmp_single, _fmp_bulk), client=_fmp_client),
    "polygon": ProviderEntry(
        lines=(_polygon,), client=lambda _, getters: polygon.PolygonClient(*getters)
    ),
    "tiingo": ProviderEntry(
        lines=(_tiingo,), client=lambda _, getters: tiingo.TiingoClient(*getters)
    ),
    "fred": ProviderEntry(lines=(_fred,), client=lambda _, getters: fred.FredClient(*getters)),
    "binance": ProviderEntry(
        lines=(_binance_rest, _binance_files),
        client=lambda _, getters: binance.BinanceClient(*getters),
    ),
    "coinbase": ProviderEntry(
        lines=(_coinbase,), client=lambda _, getters: coinbase.CoinbaseClient(*getters)
    ),
}
"""Every provider, by its short name."""


def _required(key: SecretStr | None, variable: str, provider: str) -> str:
    if key is None or not key.get_secret_value():
        message = (
            f"{variable} is not set, so {provider} cannot be asked: export {variable}=<your key>"
        )
        raise KeyNotSetError(message)
    return key.get_secret_value()
