"""Polygon's reference endpoints over the simulated world: tickers, splits and dividends.

Here: rows, filters, order and pages. Not here: bodies (wire.py), keys and plans (simulator.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from http import HTTPStatus

from marketdata.calendars import NEW_YORK_ZONE
from sandbox.simulators.faults import Reply
from sandbox.simulators.front import Request
from sandbox.simulators.polygon import wire
from sandbox.simulators.worlds.fundamentals.reference import profile
from sandbox.simulators.worlds.shares.actions import Actions, Split
from sandbox.simulators.worlds.shares.world import World

Row = Mapping[str, object]
_COMPARE: Mapping[str, Callable[[str, str], bool]] = {
    "": lambda value, asked: value == asked,
    "gt": lambda value, asked: value > asked,
    "gte": lambda value, asked: value >= asked,
    "lt": lambda value, asked: value < asked,
    "lte": lambda value, asked: value <= asked,
    "any_of": lambda value, asked: value in asked.split(","),
}
_OFFSET = "page_offset"
_CALLED = {"exchange": "primary_exchange"}
"""Filters whose name differs from their field's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Endpoint:
    """A list, with its defaults.

    Attributes:
        sort: In the newer spelling, such as ``execution_date.desc``.
        counted: Whether its envelope has a ``count``.
        completed: Adds to the rows of a page fields without filters.
    """

    rows: Callable[[datetime, str | None], Sequence[Row]]
    limit: int
    largest: int
    sort: str
    counted: bool = False
    completed: Callable[[Row, datetime], Row] | None = None


class References:
    """Answers reference requests.

    Args:
        world: Source of the listings.
        actions: Of the same world.
    """

    def __init__(self, world: World, actions: Actions) -> None:
        self._world = world
        self._actions = actions
        self._lefts: dict[str, tuple[date, tuple[Split, ...], Mapping[date, float]]] = {}
        self._lists = {
            "/v3/reference/tickers": _Endpoint(
                rows=self._tickers, limit=100, largest=1000, sort="ticker.asc", counted=True
            ),
            "/stocks/v1/splits": _Endpoint(
                rows=self._splits, limit=100, largest=5000, sort="execution_date.desc"
            ),
            "/stocks/v1/dividends": _Endpoint(
                rows=self._dividends,
                limit=100,
                largest=5000,
                sort="ticker.asc",
                completed=self._with_factor,
            ),
            "/v3/reference/splits": _Endpoint(
                rows=self._old(self._splits), limit=10, largest=1000, sort="execution_date.desc"
            ),
            "/v3/reference/dividends": _Endpoint(
                rows=self._old(self._dividends),
                limit=10,
                largest=1000,
                sort="ex_dividend_date.desc",
            ),
        }

    def ticker(self, request: Request, ticker: str, now: datetime) -> Reply:
        """Return the details of one ticker, or 404."""
        if self._world.listing(ticker) is None:
            identity = wire.request_id(request)
            return wire.error(HTTPStatus.NOT_FOUND, "Ticker not found.", identity=identity)
        known = profile(self._world, ticker, now)
        return wire.single_result(wire.ticker_detail(ticker, known, now), request)

    def listing(self, request: Request, now: datetime) -> Reply | None:
        """Return a page of the list at the request's path, or None if there is no such list."""
        endpoint = self._lists.get(request.path)
        if endpoint is None:
            return None
        query = wire.asked(request.query)
        limit = None if query is None else query.get("limit", str(endpoint.limit))
        if query is None or limit is None or not limit.isdecimal():
            return _unreadable(request)
        if not 1 <= int(limit) <= endpoint.largest:
            return _unreadable(request)
        rows = [row for row in endpoint.rows(now, query.get("ticker")) if _matches(row, query)]
        rows = _sorted(rows, query, endpoint.sort)
        begin = int(query.get(_OFFSET, "0"))
        end = begin + int(limit)
        following = None
        if end < len(rows):
            following = wire.next_url(request.path, {**query, _OFFSET: str(end)})
        page = rows[begin:end]
        if endpoint.completed is not None:
            page = [endpoint.completed(row, now) for row in page]
        return wire.listed(page, request, next_url=following, counted=endpoint.counted)

    def _known(self, ticker: str | None) -> list[str]:
        """Return the tickers to look at: one, or all."""
        if ticker is None:
            return sorted(listing.ticker for listing in self._world.listings())
        return [ticker] if self._world.listing(ticker) is not None else []

    def _holders(self, ticker: str | None) -> list[str]:
        """Return the securities whose actions a ticker covers: all that ever held it."""
        if ticker is None:
            return self._known(None)
        return [holder.listed for holder in self._world.holders(ticker, date.min, date.max)]

    def _tickers(self, now: datetime, ticker: str | None) -> Sequence[Row]:
        return [
            wire.ticker_row(name, profile(self._world, name, now), now)
            for name in self._known(ticker)
        ]

    def _splits(self, now: datetime, ticker: str | None) -> Sequence[Row]:
        rows: list[Row] = []
        for name in self._holders(ticker):
            splits = self._actions.splits(name, now)
            rows += [
                wire.split_row(
                    self._world.ticker_on(name, split.ex_date),
                    split,
                    _factor(splits, split.ex_date),
                )
                for split in splits
            ]
        return [row for row in rows if ticker in {None, row["ticker"]}]

    def _dividends(self, now: datetime, ticker: str | None) -> Sequence[Row]:
        rows: list[Row] = []
        for name in self._holders(ticker):
            splits = self._actions.splits(name, now)
            rows += [
                wire.dividend_row(
                    self._world.ticker_on(name, dividend.ex_date),
                    dividend,
                    _factor(splits, dividend.ex_date + timedelta(days=1)),
                )
                for dividend in self._actions.dividends(name, now)
            ]
        return [row for row in rows if ticker in {None, row["ticker"]}]

    def _with_factor(self, row: Row, now: datetime) -> Row:
        """Add the factor of a dividend and all later ones on earlier prices; none before its day.

        Only to the rows of a page, since it takes all prices of a ticker.
        """
        ex_date = date.fromisoformat(str(row["ex_dividend_date"]))
        for name in self._holders(str(row["ticker"])):
            left = self._left(name, now).get(ex_date)
            if left is not None:
                return {**row, "historical_adjustment_factor": round(left, 10)}
        return row

    def _left(self, name: str, now: datetime) -> Mapping[date, float]:
        """Return by ex-date the factor of its and all later dividends on earlier prices."""
        today, splits = now.astimezone(NEW_YORK_ZONE).date(), tuple(self._world.splits(name))
        kept = self._lefts.get(name)
        if kept is None or kept[:2] != (today, splits):
            left: dict[date, float] = {}
            product = 1.0
            for ex_date, share in reversed(self._actions.dividend_shares(name, now).items()):
                product *= share
                left[ex_date] = product
            kept = (today, splits, left)
            self._lefts[name] = kept
        return kept[2]

    def _old(
        self, rows: Callable[[datetime, str | None], Sequence[Row]]
    ) -> Callable[[datetime, str | None], Sequence[Row]]:
        return lambda now, ticker: [wire.old_action_row(row) for row in rows(now, ticker)]


def _factor(splits: Sequence[Split], since: date) -> float:
    """Return the factor of the splits from ``since`` on, for earlier prices."""
    factor = 1.0
    for split in splits:
        if split.ex_date >= since:
            factor *= split.old_shares / split.new_shares
    return round(factor, 10)


def _matches(row: Row, query: Mapping[str, str]) -> bool:
    """Apply the filters; parameters that name no field of the row are ignored."""
    if not _is_searched(row, query.get("search", "")):
        return False
    if "split_to" in row and query.get("reverse_split") in {"true", "false"}:
        is_reverse = float(str(row["split_from"])) > float(str(row["split_to"]))
        if is_reverse is not (query["reverse_split"] == "true"):
            return False
    for name, asked in query.items():
        field, _, comparison = name.partition(".")
        field = _CALLED.get(field, field)
        compare = _COMPARE.get(comparison)
        if field not in row or compare is None:
            continue
        value = row[field]
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if not compare(text, asked):
            return False
    return True


def _is_searched(row: Row, text: str) -> bool:
    """Return whether ticker or name contains ``text``, ignoring case."""
    searched = f"{row.get('ticker', '')} {row.get('name', '')}".lower()
    return "name" not in row or text.lower() in searched


def _sorted(rows: list[Row], query: Mapping[str, str], usual: str) -> list[Row]:
    """Order rows by both spellings: ``sort=a.desc,b.asc`` and ``sort=a&order=desc``."""
    direction = query.get("order", "")
    for part in reversed(query.get("sort", usual).split(",")):
        field, _, order = part.partition(".")
        rows = sorted(
            rows,
            key=lambda row: str(row.get(field, "")),
            reverse=(direction or order or "asc") == "desc",
        )
    return rows


def _unreadable(request: Request) -> Reply:
    return wire.error(
        HTTPStatus.BAD_REQUEST,
        "Could not parse a parameter",
        identity=wire.request_id(request),
    )
