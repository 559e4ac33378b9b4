"""Polygon's answers, as its API forms them.

Here: envelopes, bars, reference rows and error bodies from the world's figures. Not here: which
request gets which answer (simulator.py), or its quirks on demand (quirks.py). Facts: the vendor's
reference and client library of 2026, tests/recordings/polygon_*.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from urllib.parse import parse_qsl, urlencode

import numpy as np
import numpy.typing as npt

from sandbox.simulators.faults import JSON, Reply
from sandbox.simulators.front import Request
from sandbox.simulators.worlds.shares.actions import Dividend, Split
from sandbox.simulators.worlds.shares.market import Floats
from sandbox.simulators.worlds.shares.world import Bars

NEXT_HOST = "https://api.massive.com"
"""What the simulator names in ``next_url``, as the vendor does, whatever its own address is: a
client takes path and parameters from there and stays with its own base address."""
_EXPONENT_FROM = 1e6
_ADJUSTMENTS = {True: "forward_split", False: "reverse_split"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BarRows:
    """Bars as they go over the wire, oldest first; ``times`` are milliseconds."""

    times: npt.NDArray[np.int64]
    opens: Floats
    highs: Floats
    lows: Floats
    closes: Floats
    volumes: Floats
    vwaps: Floats
    trades: npt.NDArray[np.int64]
    tickers: Sequence[str] = ()

    def __len__(self) -> int:
        """Return how many bars there are."""
        return len(self.times)


def days(bars: Bars, times: npt.NDArray[np.int64], tickers: Sequence[str] = ()) -> BarRows:
    """Return days, with invented fields that a daily bar of the world lacks."""
    mean = (bars.highs + bars.lows + bars.closes) / 3.0
    return BarRows(
        times=times,
        opens=bars.opens,
        highs=bars.highs,
        lows=bars.lows,
        closes=bars.closes,
        volumes=bars.volumes.astype(np.float64),
        vwaps=np.round(mean, 4),
        trades=bars.volumes // 110 + 1,
        tickers=tickers,
    )


def request_id(request: Request) -> str:
    """Return 32 hexadecimal digits that depend on the request and its time."""
    asked = f"{request.path} {sorted(request.query.items())} {request.at.isoformat()}"
    return hashlib.sha256(asked.encode()).hexdigest()[:32]


def aggregates(
    rows: BarRows,
    request: Request,
    *,
    ticker: str | None,
    base_bars: int,
    adjusted: bool,
    status: str,
    next_url: str | None = None,
) -> Reply:
    """Return bars; without any, ``results`` is left out."""
    head = {} if ticker is None else {"ticker": ticker}
    head |= {"queryCount": base_bars, "resultsCount": len(rows), "adjusted": adjusted}
    tail: dict[str, object] = {"status": status, "request_id": request_id(request)}
    tail["count"] = len(rows)
    if next_url is not None:
        tail["next_url"] = next_url
    results = f',"results":[{",".join(_bar_texts(rows))}]' if len(rows) else ""
    body = f"{_compact(head)[:-1]}{results},{_compact(tail)[1:]}"
    return Reply(status=200, body=body.encode())


def _bar_texts(rows: BarRows) -> Iterable[str]:
    names = rows.tickers or [None] * len(rows)
    columns = (
        rows.volumes, rows.vwaps, rows.opens, rows.closes, rows.highs, rows.lows,
    )  # fmt: skip
    figures = zip(*(map(_figure, column.tolist()) for column in columns), strict=True)
    for name, (v, vw, o, c, h, low), t, n in zip(
        names, figures, rows.times.tolist(), rows.trades.tolist(), strict=True
    ):
        owner = "" if name is None else f'"T":"{name}",'
        yield (f'{{{owner}"v":{v},"vw":{vw},"o":{o},"c":{c},"h":{h},"l":{low},"t":{t},"n":{n}}}')


def _figure(value: float) -> str:
    """Write a number as the recordings show it: with an exponent from a million on."""
    if value >= _EXPONENT_FROM:
        mantissa, _, exponent = f"{value:.16e}".partition("e")
        shortest = f"{float(mantissa):.15g}"
        if float(f"{shortest}e{exponent}") != value:
            shortest = mantissa
        return f"{shortest}e{exponent}"
    return str(int(value)) if value.is_integer() else repr(value)


def listed(
    rows: Sequence[Mapping[str, object]], request: Request, *, next_url: str | None, counted: bool
) -> Reply:
    """Return a page of reference rows; some endpoints count them."""
    envelope: dict[str, object] = {
        "results": rows,
        "status": "OK",
        "request_id": request_id(request),
    }
    if counted:
        envelope["count"] = len(rows)
    if next_url is not None:
        envelope["next_url"] = next_url
    return _json_reply(envelope)


def single_result(result: Mapping[str, object], request: Request) -> Reply:
    """Return the envelope around one object."""
    return _json_reply({"request_id": request_id(request), "results": result, "status": "OK"})


def next_url(path: str, query: Mapping[str, str]) -> str:
    """Return the URL of the next page: without the key, all else in an opaque cursor."""
    text = urlencode(sorted(query.items()))
    cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    return f"{NEXT_HOST}{path}?cursor={cursor}"


def asked(query: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return the parameters, with those in the cursor; None if the cursor is invalid."""
    return of_cursor(query["cursor"]) if "cursor" in query else query


def of_cursor(cursor: str) -> dict[str, str] | None:
    """Return the parameters in a cursor, or None if it is invalid."""
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        text = base64.b64decode(padded.encode(), altchars=b"-_", validate=True).decode()
        return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=True)) or None
    except ValueError:
        return None


def error(status: int, text: str, *, identity: str = "0" * 32) -> Reply:
    """Return an error; 403 and 404 have it under ``message``, all others under ``error``."""
    words = {403: "NOT_AUTHORIZED", 404: "NOT_FOUND"}
    place = "message" if status in words else "error"
    content = {"status": words.get(status, "ERROR"), "request_id": identity, place: text}
    return _json_reply(content, status)


def ticker_row(symbol: str, known: Mapping[str, object], now: datetime) -> dict[str, object]:
    """Return a share's row in the list of tickers; ``known`` is its profile."""
    return {
        "ticker": symbol,
        "name": known["companyName"],
        "market": "stocks",
        "locale": "us",
        "primary_exchange": "XNAS" if known["exchange"] == "NASDAQ" else "XNYS",
        "type": "CS",
        "active": True,
        "currency_name": str(known["currency"]).lower(),
        "cik": known["cik"],
        "composite_figi": f"BBG{_code(str(known['cusip']), 'composite')}",
        "share_class_figi": f"BBG{_code(str(known['cusip']), 'class')}",
        "last_updated_utc": f"{now:%Y-%m-%dT00:00:00Z}",
    }


def ticker_detail(symbol: str, known: Mapping[str, object], now: datetime) -> dict[str, object]:
    """Return a share's details; unknown fields are absent."""
    row = ticker_row(symbol, known, now)
    del row["last_updated_utc"]
    root, _, suffix = symbol.partition(".")
    optional = {
        "ticker_suffix": suffix,
        "homepage_url": known["website"],
        "total_employees": int(str(known["fullTimeEmployees"] or 0)),
    }
    return {
        **row,
        "market_cap": known["marketCap"],
        "address": {
            "address1": str(known["address"]).upper(),
            "city": str(known["city"]).upper(),
            "postal_code": known["zip"],
            "state": known["state"],
        },
        "description": known["description"],
        "sic_code": str(1000 + int(str(known["cik"])) % 8000),
        "sic_description": str(known["industry"]).upper(),
        "ticker_root": root,
        "list_date": known["ipoDate"],
        "round_lot": 100,
        **{name: value for name, value in optional.items() if value},
    }


def split_row(symbol: str, split: Split, factor: float) -> Mapping[str, object]:
    """Return a split as ``/stocks/v1/splits`` has it; ``factor`` is for prices before it."""
    forward = _ADJUSTMENTS[split.new_shares > split.old_shares]
    return {
        "id": f"E{_code(symbol, str(split.ex_date))}".lower(),
        "ticker": symbol,
        "execution_date": split.ex_date.isoformat(),
        "split_from": split.old_shares,
        "split_to": split.new_shares,
        "adjustment_type": "stock_dividend" if split.kind == "stock-dividend" else forward,
        "historical_adjustment_factor": factor,
    }


def dividend_row(symbol: str, dividend: Dividend, factor: float) -> dict[str, object]:
    """Return a dividend as ``/stocks/v1/dividends`` has it; ``factor`` is that of later splits."""
    is_regular = dividend.kind == "regular"
    days = {
        "declaration_date": dividend.declaration_date,
        "record_date": dividend.record_date,
        "pay_date": dividend.payment_date,
    }
    return {
        "id": f"E{_code(symbol, f'{dividend.ex_date} {dividend.kind}')}".lower(),
        "ticker": symbol,
        "cash_amount": float(dividend.amount),
        "currency": "USD",
        "ex_dividend_date": dividend.ex_date.isoformat(),
        "frequency": 4 if is_regular else 0,
        "distribution_type": "recurring" if is_regular else "special",
        "split_adjusted_cash_amount": round(float(dividend.amount) * factor, 6),
        **{name: day.isoformat() for name, day in days.items() if day is not None},
    }


def old_action_row(row: Mapping[str, object]) -> Mapping[str, object]:
    """Return a split or dividend as the deprecated endpoints have it."""
    newer = {
        "adjustment_type",
        "historical_adjustment_factor",
        "distribution_type",
        "split_adjusted_cash_amount",
    }
    old = {name: value for name, value in row.items() if name not in newer}
    if "distribution_type" in row:
        old["dividend_type"] = "CD" if row["distribution_type"] == "recurring" else "SC"
    return old


def _code(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:9].upper()


def _compact(content: Mapping[str, object]) -> str:
    return json.dumps(content, separators=(",", ":"))


def _json_reply(content: Mapping[str, object], status: int = 200) -> Reply:
    return Reply(status=status, body=_compact(content).encode(), content_type=JSON)


def content_of(reply: Reply) -> dict[str, object]:
    """Return the JSON of one of our own replies."""
    return cast("dict[str, object]", json.loads(reply.body))
