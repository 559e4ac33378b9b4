"""Controls that every simulator has, below ``/_sandbox/``: health, requests, faults, daily bars.

Here: HTTP around journal, faults and listings. Not here: the controls of what else is simulated
(world_controls.py), or a client for either (sandbox/control.py). No key is asked for: simulators
listen on loopback only.
"""

import io
import itertools
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import asdict, replace
from datetime import date, datetime
from typing import Any, cast

import pyarrow as pa
import pyarrow.csv as pa_csv
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.simulators import faults
from sandbox.simulators.faults import FaultBook
from sandbox.simulators.journal import Journal
from sandbox.simulators.worlds.shares import market
from sandbox.simulators.worlds.shares.world import Listing, World

ARROW_STREAM = "application/vnd.apache.arrow.stream"
_ROWS_A_PART = 65_536
Handler = Callable[[Request], Awaitable[Response]]


def application(
    *, world: World, journal: Journal, book: FaultBook, now: Callable[[], datetime]
) -> Starlette:
    """Return the controls as an application."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "constituents": len(world.constituents())})

    async def requests(request: Request) -> Response:
        since = request.query_params.get("since")
        entries = journal.since(datetime.fromisoformat(since) if since else None)
        return JSONResponse([asdict(entry) for entry in entries])

    async def truth(request: Request) -> Response:
        query = request.query_params
        asked = query.get("symbols")
        tickers = (
            asked.split(",")
            if asked
            else [constituent.ticker for constituent in world.constituents()]
        )
        table = await run_in_threadpool(
            world.truth,
            [listed_as(world, ticker).ticker for ticker in tickers],
            date.fromisoformat(query.get("start") or market.FIRST_DAY.isoformat()),
            date.fromisoformat(query.get("end") or now().date().isoformat()),
            now(),
        )
        return table_response(request, [table])

    async def corrections(request: Request) -> Response:
        fields = await fields_of(request)
        ticker = listed_as(world, str(fields["symbol"])).ticker
        day = date.fromisoformat(str(fields["date"]))
        if not len(world.bars(ticker, day, day, now()).dates):
            message = f"{ticker} has no bar of {day}: name a trading day that has closed"
            raise ValueError(message)
        world.correct(ticker, day, float(str(fields["factor"])))
        return JSONResponse({"corrected": ticker})

    return Starlette(
        routes=[
            Route("/_sandbox/health", health),
            Route("/_sandbox/requests", requests),
            Route("/_sandbox/truth", explained(truth)),
            Route("/_sandbox/corrections", explained(corrections), methods=["POST"]),
            *_fault_routes(book),
            *_constituent_routes(world),
        ]
    )


def _fault_routes(book: FaultBook) -> list[Route]:
    async def listed(_: Request) -> Response:
        return JSONResponse([asdict(rule) for rule in book.rules()])

    async def add(request: Request) -> Response:
        book.add(faults.rule_of(await fields_of(request)))
        return await listed(request)

    async def clear(request: Request) -> Response:
        book.clear()
        return await listed(request)

    path = "/_sandbox/faults"
    return [
        Route(path, listed, methods=["GET"]),
        Route(path, explained(add), methods=["POST"]),
        Route(path, clear, methods=["DELETE"]),
    ]


def _constituent_routes(world: World) -> list[Route]:
    async def add(request: Request) -> Response:
        listing = _listing(world, await fields_of(request))
        world.put(listing)
        return JSONResponse(asdict(listing))

    async def remove(request: Request) -> Response:
        ticker = listed_as(world, request.query_params["symbol"]).ticker
        world.leave_index(ticker)
        return JSONResponse({"left": ticker})

    path = "/_sandbox/constituents"
    return [
        Route(path, explained(add), methods=["POST"]),
        Route(path, explained(remove), methods=["DELETE"]),
    ]


def explained(handler: Handler) -> Handler:
    """Answer 400 with the reason where a control gets invalid input."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except KeyError as error:
            return JSONResponse({"error": f"there is no {error}"}, status_code=400)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    return answered


async def fields_of(request: Request) -> dict[str, object]:
    """Return the JSON object that ``request`` carries.

    Raises:
        ValueError: There is none.
    """
    content: object = json.loads(await request.body())
    if not isinstance(content, dict):
        message = "the body is no JSON object"
        raise ValueError(message)  # noqa: TRY004 - a wrong value from outside, answered with 400
    return cast("dict[str, object]", content)


def listed_as(world: World, ticker: str) -> Listing:
    """Return the listing that trades as ``ticker``.

    Raises:
        ValueError: There is none.
    """
    listing = world.listing(ticker)
    if listing is None:
        message = f"nothing trades as {ticker}; tickers are spelt our way, such as BRK.B"
        raise ValueError(message)
    return listing


def _listing(world: World, fields: dict[str, object]) -> Listing:
    """Return a member of the index: known before, renamed (``former_symbol``), or new."""
    ticker = str(fields["symbol"])
    former = world.listing(str(fields.get("former_symbol", ticker)))
    if former is not None:
        cik = str(fields.get("cik", former.cik)).zfill(10)
        return replace(former, ticker=ticker, cik=cik, in_index=True)
    if "former_symbol" in fields:
        listed_as(world, str(fields["former_symbol"]))
    return Listing(
        ticker=ticker,
        name=str(fields.get("name", f"{ticker} Corporation")),
        sector=str(fields.get("sector", "Industrials")),
        sub_sector=str(fields.get("sub_sector", "Industrial Conglomerates")),
        headquarter="New York City, New York",
        added_on=str(fields.get("added_on", "2026-01-02")),
        cik=str(fields.get("cik", "9999999999")).zfill(10),
        founded="2000",
        series=ticker,
    )


def table_response(request: Request, parts: Iterable[pa.Table]) -> Response:
    """Return tables of one schema, one after the other, in one answer.

    An Arrow stream where ``request`` accepts one, else CSV. Each part is sent before the next is
    built, since all at once would double the process's memory.
    """
    as_arrow = ARROW_STREAM in request.headers.get("accept", "")
    return StreamingResponse(
        _written(iter(parts), pa.ipc.new_stream if as_arrow else pa_csv.CSVWriter),
        media_type=ARROW_STREAM if as_arrow else "text/csv",
    )


def _written(
    parts: Iterator[pa.Table], format_of: Callable[[io.BytesIO, pa.Schema], Any]
) -> Iterator[bytes]:
    sink, first = io.BytesIO(), next(parts)
    with format_of(sink, first.schema) as writer:
        for part in itertools.chain([first], parts):
            for batch in part.to_batches(max_chunksize=_ROWS_A_PART):
                writer.write_batch(batch)
                yield sink.getvalue()
                sink.seek(0)
                sink.truncate()
    yield sink.getvalue()
