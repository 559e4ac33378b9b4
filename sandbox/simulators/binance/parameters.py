"""The parameters of a request to Binance, and the errors for bad ones.

Here: reading them, with the codes and texts of Binance's errors.md. Not here: the answers
(simulator.py).
"""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import cast

from marketdata.crypto_pairs import CryptoPair, pairs_at
from sandbox.simulators.binance import wire
from sandbox.simulators.binance.klines import VENUE
from sandbox.simulators.front import Request

MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DEFAULT_LIMIT = 500
_MOST_ROWS = 1000
_MICROSECONDS_FROM = 10**14
_SYMBOL = re.compile(r"[A-Z0-9\-_.]{1,20}")


class RefusedError(Exception):
    """The request is wrong; ``reply`` says how."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.reply = wire.error_reply(code, message)


def pair_of(request: Request) -> CryptoPair:
    """Return the pair of ``symbol``; code -1102, -1100 or -1121 otherwise."""
    symbol = given(request, "symbol")
    if _SYMBOL.fullmatch(symbol) is None:
        raise _illegal("symbol", "^[A-Z0-9-_.]{1,20}$")
    pair = pairs_at(VENUE).get(symbol)
    if pair is None:
        raise RefusedError(-1121, "Invalid symbol.")
    return pair


def given(request: Request, name: str) -> str:
    """Return a required parameter; code -1102 without it."""
    text = request.query.get(name)
    if not text:
        message = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        raise RefusedError(-1102, message)
    return text


def number(request: Request, name: str) -> int | None:
    """Return a whole number or None; code -1100 for other text."""
    text = request.query.get(name)
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,20}", text) is None:
        raise _illegal(name, "^[0-9]{1,20}$")
    return int(text)


def limit_of(request: Request) -> int:
    """Return the requested number of rows: 500 by default, 1,000 at most."""
    limit = number(request, "limit")
    if limit == 0:
        raise RefusedError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit or _DEFAULT_LIMIT, _MOST_ROWS)


def time_of(request: Request, name: str) -> datetime | None:
    """Return a time given in milliseconds or microseconds, or None."""
    value = number(request, name)
    if value is None:
        return None
    unit = timedelta(microseconds=1) if value > _MICROSECONDS_FROM else MILLISECOND
    try:
        return EPOCH + value * unit
    except OverflowError:
        message = f"Data sent for parameter '{name}' is not valid."
        raise RefusedError(-1130, message) from None


def listed(text: str) -> list[str]:
    """Return a JSON list of symbols; code -1100 for other text."""
    try:
        names: object = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list):
        raise _illegal("symbols", '^\\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\\]$')
    return [str(name) for name in cast("list[object]", names)]


def _illegal(name: str, legal: str) -> RefusedError:
    message = f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
    return RefusedError(-1100, message)


def unread(sent: int, strange: int) -> RefusedError:
    """Return code -1104: some parameters are unknown."""
    read = sent - strange
    message = (
        f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'."
    )
    return RefusedError(-1104, message)


def in_microseconds(request: Request) -> bool:
    """Return whether the header asks for times in microseconds."""
    return request.headers.get("x-mbx-time-unit", "").upper() == "MICROSECOND"
