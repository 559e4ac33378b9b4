"""Opens providers from settings, on their shared budgets, without Dagster.

Here: from an entry of the list of providers (provider_registry.py) to an opened client. Not here:
what a provider's answers mean (resources/providers), or which of them serves a dataset
(settings/).
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from marketdata.datasets import DATASETS
from marketdata.ports import Provider
from marketdata.recovery import errors
from marketdata.recovery.leases import Holder
from marketdata.recovery.limits import Lane
from marketdata.recovery.policy import REQUEST_RETRY
from resources.opening import Stores, raw_zone
from resources.provider_registry import PROVIDERS, KeyNotSetError, Line
from resources.providers.http import Getter, HttpGetter
from resources.providers.leased_budget import LeasedBudget
from resources.settings import ProviderSettings, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An opened provider.

    Attributes:
        api: The provider's client; marketdata.questions asks it by the dataset's protocol.
        getters: Its getters, which count their requests.
    """

    api: Provider
    getters: tuple[HttpGetter, ...]

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.api.name

    @property
    def requests_sent(self) -> int:
        """HTTP requests sent so far, retries and failures included."""
        return sum(getter.requests_sent for getter in self.getters)


def lines(settings: ProviderSettings, provider: str) -> tuple[Line, ...]:
    """Return the lines of a provider, the main one first.

    Raises:
        ConfigurationError: Its key is not set, or is a secret that cannot be had.
        StorageUnavailableError: Its key is a secret that cannot be had now.
    """
    return tuple(line(settings) for line in PROVIDERS[provider].lines)


def api_over(provider: str, dataset: str, *getters: Getter) -> Provider:
    """Return the provider's client for a dataset.

    Args:
        provider: Its short name.
        dataset: The requested dataset.
        getters: One for each of its lines, or a single one for all of them.
    """
    if len(getters) == 1:
        getters = getters * len(PROVIDERS[provider].lines)
    return PROVIDERS[provider].client(DATASETS[dataset].domain, getters)


def missing_key(settings: ProviderSettings, provider: str) -> str:
    """Return that a provider's key is not set and how to set it, or nothing if it is.

    A key by reference that cannot be had is not missing: whoever asks the provider is told why.
    """
    try:
        lines(settings, provider)
    except KeyNotSetError as error:
        return str(error)
    except errors.MarketDataError:
        return ""
    return ""


def note_key_plan(settings: Settings, stores: Stores, provider: str) -> None:
    """Note the key in use and what its plan allows, before the ledger is asked what is missing.

    A key of another plan may show other days: then absences that are known count no longer.

    Raises:
        ConfigurationError: The provider's key is not set.
    """
    limits = lines(settings, provider)[0].limits[0]
    stores.coverage.note_key_plan(
        provider, f"{limits.budget}, {60 / limits.interval_s:.1f} a minute"
    )


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
    note_key_plan(settings, stores, provider)
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
