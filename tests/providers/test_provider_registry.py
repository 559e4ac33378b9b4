"""Facts about the list of providers: it is complete, and its clients serve what datasets ask."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, date, datetime

import pytest

from marketdata.datasets import DATASETS
from marketdata.instruments import ListedInstrument
from marketdata.ports import (
    AsTradedProvider,
    ConstituentProvider,
    Days,
    FetchRequest,
    Provider,
    serving,
)
from marketdata.questions import ask_trades
from marketdata.recovery import errors
from resources.clients import api_over
from resources.provider_registry import PROVIDERS
from resources.providers.http import HttpAnswer
from resources.settings import Settings

DAY = date(2024, 3, 5)
INSTRUMENT = ListedInstrument(instrument_id=1, ticker="AAPL", symbol="AAPL")
REQUEST = FetchRequest(instrument=INSTRUMENT, start=DAY, end=DAY)
Question = Callable[[Provider], Awaitable[object]]


class Unreachable:
    """A getter that has no answer to anything."""

    async def get(
        self, path: str, parameters: Mapping[str, str], *, operation: str, weight: int = 1
    ) -> HttpAnswer:
        del path, parameters, weight
        raise errors.ProviderUnavailableError("nobody", provider="x", operation=operation)


def questions() -> Iterator[tuple[str, str, str, Question]]:
    """Return each question of the catalogue, with its name, dataset and provider."""
    for name, dataset in DATASETS.items():
        for provider, source in dataset.sources.items():
            yield name, provider, "ask", lambda api, ask=dataset.ask: ask(api, REQUEST)
            if session := source.session:
                yield name, provider, "session", lambda api, ask=session: ask(api, DAY)
            if bulk_rows := dataset.bulk_rows:
                days = Days(start=DAY, end=DAY)
                yield (
                    name,
                    provider,
                    "bulk_rows",
                    lambda api, ask=bulk_rows, days=days: ask(api, days),
                )
            if bulk_changes := dataset.bulk_changes:
                since = datetime(2024, 3, 5, tzinfo=UTC)
                yield (
                    name,
                    provider,
                    "bulk_changes",
                    lambda api, ask=bulk_changes, since=since: ask(api, since),
                )


@pytest.mark.parametrize(
    ("dataset", "provider", "question"),
    [
        pytest.param(dataset, provider, question, id=f"{dataset}-{provider}-{kind}")
        for dataset, provider, kind, question in questions()
    ],
)
def test_every_source_s_client_serves_what_its_dataset_asks(
    dataset: str, provider: str, question: Question
) -> None:
    """The client takes the question: it refuses the symbol or the day, or asks in vain."""

    async def ask() -> None:
        await question(api_over(provider, dataset, Unreachable()))

    with pytest.raises(errors.ProviderError):
        asyncio.run(ask())


def test_a_client_that_lacks_what_is_asked_is_an_error_of_ours() -> None:
    """The text names the client, what it lacks, and the cure."""
    with pytest.raises(
        errors.ConfigurationError, match=r"fred does not serve .*TradeProvider.*_PROVIDER"
    ):
        asyncio.run(_asked(api_over("fred", "macro_observations", Unreachable())))


async def _asked(api: Provider) -> None:
    await ask_trades(api, REQUEST)


def test_fmp_serves_what_the_universe_and_the_factors_ask() -> None:
    """Neither is a dataset: the assets ask its clients by name."""
    assert serving(api_over("fmp", "daily_bars", Unreachable()), ConstituentProvider)
    assert serving(api_over("fmp", "splits", Unreachable()), AsTradedProvider)


def test_the_list_holds_every_provider_of_the_catalogue() -> None:
    """A provider that serves no dataset, or is not in the list, is a mistake of ours."""
    named = {provider for dataset in DATASETS.values() for provider in dataset.sources}

    assert set(PROVIDERS) == named


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_has_a_main_line_that_the_doctor_can_try(
    provider: str, settings: Settings
) -> None:
    """Its client knows its name; the key in use is tried over the main line."""
    main, *others = (line(settings) for line in PROVIDERS[provider].lines)
    tried = [line for line in (main, *others) if line.probe]

    assert main.probe is not None
    assert {(line.base_url, line.key) for line in others} <= {
        (line.base_url, line.key) for line in tried
    }
    served = next(name for name, dataset in DATASETS.items() if provider in dataset.sources)
    assert api_over(provider, served, Unreachable()).name == provider


@pytest.fixture
def settings() -> Settings:
    """Settings with every key."""
    keys = ("FMP_API_KEY", "POLYGON_API_KEY", "TIINGO_API_KEY", "FRED_API_KEY")
    return Settings.model_validate(
        {
            "WRDATA_DATABASE_URL": "postgresql://unused",
            "WRDATA_ARCHIVE_BUCKET": "unused",
            "AWS_ACCESS_KEY_ID": "unused",
            "AWS_SECRET_ACCESS_KEY": "unused",
            **dict.fromkeys(keys, "a key"),
        }
    )
