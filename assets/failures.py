"""Failures and partial successes as Dagster reports them.

Here: how an error of ours becomes a dg.Failure, and how a run over many partitions reports which
of them are good. Not here: what is retried and when (marketdata/recovery/policy.py).

Dagster has three independent retry mechanisms. We use none of them: a request is retried by its
client, and one that still fails makes its partition fail. So every Failure here has
allow_retries=False.
"""

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from marketdata.recovery import errors

SAMPLE = 20
"""Most failures that a message names; metadata tables hold them all."""

Metadata = Mapping[str, dg.MetadataValue | float | str]


@contextmanager
def as_dagster_failure() -> Generator[None]:
    """Turn an error of ours that leaves the block into a dg.Failure with the same text."""
    try:
        yield
    except errors.MarketDataError as error:
        provider = error.provider if isinstance(error, errors.ProviderError) else ""
        raise dg.Failure(
            description=str(error),
            metadata={
                "error_class": type(error).__name__,
                **({"provider": provider} if provider else {}),
            },
            allow_retries=False,
        ) from error


def failure_table(failed: Mapping[str, str]) -> dg.TableMetadataValue:
    """Return a table of what failed and why, for a run's metadata."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord({"key": key, "reason": reason}) for key, reason in failed.items()],
        schema=dg.TableSchema(
            columns=[dg.TableColumn("key", "string"), dg.TableColumn("reason", "string")]
        ),
    )


def partition_results(
    context: dg.AssetExecutionContext,
    succeeded: Mapping[str, Metadata],
    failed: Mapping[str, str],
    ended_by: errors.MarketDataError | None = None,
) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[Any]]:
    """Report a run over one or many partitions, each with its own metadata.

    If all are good, the asset has an output, and downstream assets go on in the same run. If some
    failed, there is no output, which would mark the whole range good: each good partition is
    materialized by itself and the run fails, which marks the others failed.

    Raises:
        dg.Failure: Some partitions failed.
    """
    if not failed:
        for key, metadata in succeeded.items():
            context.add_asset_metadata(metadata, partition_key=key)
        yield dg.MaterializeResult()
        return
    for key, metadata in succeeded.items():
        yield dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata)
    raise dg.Failure(
        description=f"{len(failed)} of {len(failed) + len(succeeded)} partitions failed: "
        + sample(failed),
        metadata={
            "failed": failure_table(failed),
            **({"error_class": type(ended_by).__name__} if ended_by else {}),
        },
        allow_retries=False,
    )


def not_reached(
    requested: Iterable[str], settled: Collection[str], error: errors.MarketDataError | None
) -> dict[str, str]:
    """Return the reason for each requested key that a run did not reach before it ended."""
    return {key: str(error) for key in requested if key not in settled}


def sample(failed: Mapping[str, str]) -> str:
    """Name up to ``SAMPLE`` failures with their reasons, in one line."""
    named = "; ".join(f"{key}: {reason}" for key, reason in list(failed.items())[:SAMPLE])
    left_out = len(failed) - SAMPLE
    return named if left_out <= 0 else f"{named}; and {left_out} more"
