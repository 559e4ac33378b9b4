"""Controls over all worlds, below ``/_sandbox/``: truths, splits, restatements, vintages.

Here: HTTP around the worlds. Not here: what is true (truths.py), or the controls that a simulator
has on its own (controls.py).
"""

import itertools
from collections.abc import Callable, Sequence
from datetime import date, datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.simulators import truths
from sandbox.simulators.controls import explained, fields_of, listed_as, table_response
from sandbox.simulators.truths import Question
from sandbox.simulators.worlds.all_worlds import Worlds
from sandbox.simulators.worlds.shares import market


def routes(worlds: Worlds, *, prefixes: Sequence[str], now: Callable[[], datetime]) -> list[Route]:
    """Return the controls; ``prefixes`` are those of the providers that are served."""

    async def providers(_: Request) -> Response:
        return JSONResponse(sorted(prefixes))

    async def truth(request: Request) -> Response:
        question = _question(request, now())
        dataset = request.path_params["dataset"]
        parts = truths.truth(worlds, dataset, question)
        # A bad question is refused at the first part, before any is sent.
        first = await run_in_threadpool(next, parts)
        return table_response(request, itertools.chain([first], parts))

    return [
        Route("/_sandbox/providers", providers),
        Route("/_sandbox/truth/{dataset}", explained(truth)),
        *_changes(worlds, now),
    ]


def _question(request: Request, now: datetime) -> Question:
    query = request.query_params
    symbols = query.get("subjects")
    return Question(
        symbols=tuple(symbols.split(",")) if symbols else None,
        start=date.fromisoformat(query.get("start") or market.FIRST_DAY.isoformat()),
        end=date.fromisoformat(query.get("end") or now.date().isoformat()),
        provider=query.get("provider") or None,
        now=now,
    )


def _changes(worlds: Worlds, now: Callable[[], datetime]) -> list[Route]:
    async def split(request: Request) -> Response:
        fields = await fields_of(request)
        ticker = listed_as(worlds.shares, str(fields["symbol"])).ticker
        worlds.shares.split(
            ticker,
            date.fromisoformat(str(fields["ex_date"])),
            int(str(fields["new_shares"])),
            int(str(fields["old_shares"])),
        )
        return JSONResponse({"split": ticker})

    async def former_ticker(request: Request) -> Response:
        fields = await fields_of(request)
        ticker = listed_as(worlds.shares, str(fields["symbol"])).ticker
        first, last = (date.fromisoformat(str(fields[name])) for name in ("first", "last"))
        worlds.shares.was_called(ticker, str(fields["former"]), first, last)
        return JSONResponse({"was_called": ticker})

    async def restate(request: Request) -> Response:
        fields = await fields_of(request)
        ticker = listed_as(worlds.shares, str(fields["symbol"])).ticker
        worlds.fundamentals.restate(
            ticker,
            int(str(fields["fiscal_year"])),
            str(fields["period"]),
            float(str(fields["factor"])),
            at=now(),
        )
        return JSONResponse({"restated": ticker})

    async def revise(request: Request) -> Response:
        series = truths.known_series(str((await fields_of(request))["series"]))
        worlds.macro.publish_revision(series, now())
        return JSONResponse({"revised": series})

    return [
        Route("/_sandbox/splits", explained(split), methods=["POST"]),
        Route("/_sandbox/former_tickers", explained(former_ticker), methods=["POST"]),
        Route("/_sandbox/restatements", explained(restate), methods=["POST"]),
        Route("/_sandbox/vintages", explained(revise), methods=["POST"]),
    ]
