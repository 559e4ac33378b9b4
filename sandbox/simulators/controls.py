"""Controls of a simulator, below ``/_sandbox/``: health, requests, faults, the world, its truth.

Here: HTTP around journal, faults and world. Not here: a client for it (sandbox/control.py).
No key is asked for: simulators listen on loopback only.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from datetime import date, datetime
from typing import cast

import pyarrow as pa
import pyarrow.csv as pa_csv
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.simulators import faults, market
from sandbox.simulators.faults import FaultBook
from sandbox.simulators.journal import Journal
from sandbox.simulators.world import TRUTH, Listing, World

ARROW_STREAM = "application/vnd.apache.arrow.stream"
_Handler = Callable[[Request], Awaitable[Response]]


def application(
    *, world: World, journal: Journal, book: FaultBook, now: Callable[[], datetime]
) -> Starlette:
    """Return the controls as an application."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "constituents": len(world.constituents())})

    async def requests(request: Request) -> Response:
        since = request.query_params.get("since")
        entries = journal.since(datetime.fromisoformat(since) if since else None)
        return JSONResponse([asdict(one) for one in entries])

    async def truth(request: Request) -> Response:
        query = request.query_params
        asked = query.get("symbols")
        tickers = asked.split(",") if asked else [one.ticker for one in world.constituents()]
        table = await run_in_threadpool(
            world.truth,
            [_listed(world, ticker).ticker for ticker in tickers],
            date.fromisoformat(query.get("start") or market.FIRST_DAY.isoformat()),
            date.fromisoformat(query.get("end") or now().date().isoformat()),
            now(),
        )
        return _as_arrow(table) if ARROW_STREAM in _accepted(request) else _as_csv(table)

    async def corrections(request: Request) -> Response:
        fields = await _fields(request)
        ticker = _listed(world, str(fields["symbol"])).ticker
        world.correct(ticker, date.fromisoformat(str(fields["date"])), float(str(fields["factor"])))
        return JSONResponse({"corrected": ticker})

    return Starlette(
        routes=[
            Route("/_sandbox/health", health),
            Route("/_sandbox/requests", requests),
            Route("/_sandbox/truth", _explained(truth)),
            Route("/_sandbox/corrections", _explained(corrections), methods=["POST"]),
            *_fault_routes(book),
            *_constituent_routes(world),
        ]
    )


def _fault_routes(book: FaultBook) -> list[Route]:
    async def listed(_: Request) -> Response:
        return JSONResponse([asdict(rule) for rule in book.rules()])

    async def add(request: Request) -> Response:
        book.add(faults.rule_of(await _fields(request)))
        return await listed(request)

    async def clear(request: Request) -> Response:
        book.clear()
        return await listed(request)

    path = "/_sandbox/faults"
    return [
        Route(path, listed, methods=["GET"]),
        Route(path, _explained(add), methods=["POST"]),
        Route(path, clear, methods=["DELETE"]),
    ]


def _constituent_routes(world: World) -> list[Route]:
    async def add(request: Request) -> Response:
        listing = _listing(world, await _fields(request))
        world.put(listing)
        return JSONResponse(asdict(listing))

    async def remove(request: Request) -> Response:
        ticker = _listed(world, request.query_params["symbol"]).ticker
        world.leave_index(ticker)
        return JSONResponse({"left": ticker})

    path = "/_sandbox/constituents"
    return [
        Route(path, _explained(add), methods=["POST"]),
        Route(path, _explained(remove), methods=["DELETE"]),
    ]


def _explained(handler: _Handler) -> _Handler:
    """Answer 400 with the reason where a control was given nonsense."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except (KeyError, ValueError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, status_code=400)

    return answered


async def _fields(request: Request) -> dict[str, object]:
    content: object = json.loads(await request.body())
    if not isinstance(content, dict):
        message = "the body is no JSON object"
        raise ValueError(message)  # noqa: TRY004 - a wrong value from outside, answered with 400
    return cast("dict[str, object]", content)


def _listed(world: World, ticker: str) -> Listing:
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
        return replace(former, ticker=ticker, series=former.series, in_index=True)
    if "former_symbol" in fields:
        _listed(world, str(fields["former_symbol"]))
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


def _accepted(request: Request) -> str:
    return request.headers.get("accept", "")


def _as_csv(table: pa.Table) -> Response:
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(table, sink)
    return Response(sink.getvalue().to_pybytes(), media_type="text/csv")


def _as_arrow(table: pa.Table) -> Response:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TRUTH) as writer:
        writer.write_table(table)
    return Response(sink.getvalue().to_pybytes(), media_type=ARROW_STREAM)
