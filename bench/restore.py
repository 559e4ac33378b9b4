"""Restoring a month of minute bars beside a fresh load of the same rows.

Here: rows per second from the bucket into the hot table (downloaded, compared with the proof, put
in place) and of the loader's fresh merge of the same rows out of memory. Not here: archiving
(archive.py), or the loader's alternatives (loader.py).

    python -m bench.restore [--rows 1000000]
"""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, date, datetime

import psycopg
import pyarrow as pa

from bench.archive import DATASET, MONTH, fill, world
from marketdata.content_hash import content_hash
from marketdata.datasets import DATASETS
from marketdata.ports import Asked, Batch
from resources.storage.archive import Archive
from resources.storage.archive.restore.restore import Restore
from resources.storage.archive.write.rows import stream
from resources.storage.batches import BatchStore
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale


def emptied(url: str) -> None:
    """Remove all minute bars, as a drop does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("truncate minute_bar, minute_bar_invalidation")


def batch(rows: pa.Table) -> Batch:
    """Wrap rows as an answer of a provider."""
    return Batch(
        dataset=DATASET.name,
        provider="polygon",
        adjustment=None,
        request="bench",
        content_sha256="0" * 64,
        fetched_at=datetime.now(UTC),
        run_id="bench",
        raw_answers=(),
        asked=Asked(
            instrument_ids=(), start=MONTH.start, end=date(2024, 3, 31), whole_sessions=False
        ),
        rows=rows,
        letters=(),
        coverage=(),
    )


def timed(work: Callable[[], object]) -> float:
    """Return the duration in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Restore beside the loader.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    wanted = parser.parse_args().rows
    with world() as (url, settings), Timescale(url) as timescale:
        rows = fill(url, wanted)
        store = ObjectStore(settings)
        archive = Archive(timescale, store)
        with stream(timescale, DATASET, MONTH) as batches:
            table = pa.Table.from_batches(batches, DATASET.schema)
        own = table.select(DATASETS[DATASET.name].table_schema.names)
        took: dict[str, list[float]] = {"the loader, fresh": [], "restore": []}
        restoring = Restore(timescale, store, archive)
        for _ in range(2):
            emptied(url)
            took["the loader, fresh"].append(timed(lambda: BatchStore(timescale).load(batch(own))))
            archive.archive(DATASET, [MONTH])
            with stream(timescale, DATASET, MONTH) as batches:
                before = content_hash(DATASET.schema, batches)
            emptied(url)
            took["restore"].append(
                timed(lambda: restoring.into_hot(DATASET, MONTH.start, MONTH.start, by="bench"))
            )
            with stream(timescale, DATASET, MONTH) as batches:
                if content_hash(DATASET.schema, batches) != before:
                    raise SystemExit("the restored rows differ from the archived rows")
    rates = {name: rows / min(seconds) for name, seconds in took.items()}
    print(f"{rows:,} minute bars, the better of two")
    print(f"{'way':22}{'rows/s':>10}{'x the loader':>14}")
    for name, rate in rates.items():
        print(f"{name:22}{rate:10,.0f}{rate / rates['the loader, fresh']:14.2f}")


if __name__ == "__main__":
    main()
