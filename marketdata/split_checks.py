"""Whether prices bear a split out: the check before a split may adjust prices.

Here: the verdict on each split, from the jump of prices over its ex-date. Not here: the factors
made of splits (price_factors.py), rules about a single row (actions.py), or storing verdicts and
their confirmation by a person (resources/storage/adjusted_bars.py).

A wrong split falsifies a whole history. Providers send inverse ratios, one split under two dates,
or a split that never happened. Prices show that if they are as traded or came before the split.
Prices that the provider has adjusted for the split should not jump any more, and then they decide
nothing. If they do jump, they decide: they were not adjusted, or not for the split that took place.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum

from marketdata.bars import Adjustment

NEAR = timedelta(days=10)
"""Bars this near the ex-date show its jump, and a repeated split comes within this time."""
SMALLEST_BAND = 0.10
"""The jump may miss the expected one by this much at least, in logarithms: about 10 %."""
NOISE_SESSIONS = 20
"""Sessions on each side of the ex-date that the usual daily move is measured over."""
_SIGMAS = 6.0
_MAD_TO_SIGMA = 1.4826


class SplitVerdict(StrEnum):
    """Verdict of prices on a split."""

    CONFIRMED = "confirmed"
    """Prices jump by the ratio."""
    UNPROVEN = "unproven"
    """Prices cannot decide: none near it, adjusted ones, or a ratio too near to 1."""
    INVERSE = "inverse"
    """Prices jump the other way: old and new shares are exchanged."""
    NO_JUMP = "no_jump"
    """Prices do not jump."""
    MISMATCH = "mismatch"
    """Prices jump by another ratio."""
    DUPLICATE = "duplicate"
    """The same split stands under another date nearby."""


USABLE = frozenset({SplitVerdict.CONFIRMED, SplitVerdict.UNPROVEN})
"""Verdicts under which a split adjusts prices; with any other it waits for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTerms:
    """``old_shares`` became ``new_shares`` before the session ``ex_date``."""

    ex_date: date
    new_shares: Decimal
    old_shares: Decimal

    @property
    def log_ratio(self) -> float:
        """Natural logarithm of new shares for each old one."""
        return math.log(self.new_shares / self.old_shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePoint:
    """The values of a daily bar that the check and the factors need.

    Attributes:
        adjustment: What open and close are adjusted for; dividends are small beside splits.
        known_on: The day in New York on which the bar came; prices that the provider adjusted are
            in the shares of that day.
    """

    session_date: date
    open: float
    close: float
    adjustment: Adjustment
    known_on: date

    @property
    def shares_of(self) -> date:
        """The day whose shares the prices are for."""
        if self.adjustment is Adjustment.AS_TRADED:
            return self.session_date
        return max(self.session_date, self.known_on)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFinding:
    """The verdict on one split, with the reason in words."""

    split: SplitTerms
    verdict: SplitVerdict
    reason: str


def check_splits(
    splits: Sequence[SplitTerms],
    prices: Sequence[PricePoint],
    spun_off: Mapping[date, Decimal] | None = None,
) -> list[SplitFinding]:
    """Return the verdict of ``prices`` (one instrument, oldest first) on each split, in order.

    The jump goes from the last close before the ex-date to the next open. It must lie within a
    band around the ratio: six times the usual daily move, at least 10 %. Splits that share one
    jump, for example because the first of two days had no trading, are judged together if the
    jump fits the product of their ratios. A split without a jump of its own is a duplicate if
    another one with the same ratio stands within ten days: of the one that prices bear out, or of
    the earlier one if prices decide about neither.

    Args:
        splits: Splits of one instrument.
        prices: Its daily bars.
        spun_off: By ex-date: what a share of that day lost to spin-offs, in the prices' currency.
            A spin-off moves the price in addition to the split.
    """
    return without_duplicates(verdicts(splits, prices, spun_off or {}))


def combined(
    findings: Sequence[SplitFinding], *evidence: Sequence[SplitFinding]
) -> list[SplitFinding]:
    """Return ``findings``; an unproven one is replaced by ``evidence`` about the same terms.

    The first evidence that decides counts. So an earlier verdict stays when prices can decide no
    longer, since the provider has adjusted them. That a split is a duplicate depends on the other
    split, and is no evidence: see ``without_duplicates``.
    """
    merged: list[SplitFinding] = list(findings)
    for further in evidence:
        decided = {
            finding.split: finding for finding in further if finding.verdict not in _UNDECIDED
        }
        merged = [
            decided.get(finding.split, finding)
            if finding.verdict is SplitVerdict.UNPROVEN
            else finding
            for finding in merged
        ]
    return merged


_UNDECIDED = frozenset({SplitVerdict.UNPROVEN, SplitVerdict.DUPLICATE})
"""Verdicts that do not decide about a split by itself."""


def verdicts(
    splits: Sequence[SplitTerms], prices: Sequence[PricePoint], spun_off: Mapping[date, Decimal]
) -> list[SplitFinding]:
    """Judge each split by the jump over its ex-date, without regard to the others.

    Only splits that share a jump are judged together.
    """
    findings = [_verdict(split, prices, spun_off) for split in splits]
    sharing: dict[int, list[int]] = {}
    for at, split in enumerate(splits):
        place = _place(split, prices)
        if place is not None:
            sharing.setdefault(place, []).append(at)
    for group in sharing.values():
        if len(group) > 1:
            judged = _of_one_jump([findings[at] for at in group], prices, spun_off)
            for at, finding in zip(group, judged, strict=True):
                findings[at] = finding
    return findings


def _of_one_jump(
    findings: Sequence[SplitFinding], prices: Sequence[PricePoint], spun_off: Mapping[date, Decimal]
) -> list[SplitFinding]:
    """Judge splits between the same two bars: one jump proves all of them together, or one."""
    together = _verdict(_product([finding.split for finding in findings]), prices, spun_off)
    if together.verdict is SplitVerdict.CONFIRMED:
        reason = f"with others before the same session: {together.reason}"
        return [replace(finding, verdict=together.verdict, reason=reason) for finding in findings]
    # A provider may list a day without trading beside the session, which is the right day.
    return [
        replace(finding, verdict=SplitVerdict.DUPLICATE, reason=_same_as(other.split))
        if finding.verdict is SplitVerdict.CONFIRMED
        and (other := _later_same(finding, findings)) is not None
        else finding
        for finding in findings
    ]


def _later_same(finding: SplitFinding, findings: Sequence[SplitFinding]) -> SplitFinding | None:
    return next(
        (
            other
            for other in findings
            if _is_same(finding.split, other.split) and finding.split.ex_date < other.split.ex_date
        ),
        None,
    )


def _same_as(split: SplitTerms) -> str:
    return f"the same split stands under {split.ex_date}"


def _place(split: SplitTerms, prices: Sequence[PricePoint]) -> int | None:
    """Return the index of the first price on or after the ex-date; None if there is none."""
    return next(
        (at for at, price in enumerate(prices) if price.session_date >= split.ex_date), None
    )


def _product(splits: Sequence[SplitTerms]) -> SplitTerms:
    return SplitTerms(
        ex_date=max(split.ex_date for split in splits),
        new_shares=math.prod((split.new_shares for split in splits), start=Decimal(1)),
        old_shares=math.prod((split.old_shares for split in splits), start=Decimal(1)),
    )


def _verdict(
    split: SplitTerms, prices: Sequence[PricePoint], spun_off: Mapping[date, Decimal]
) -> SplitFinding:
    def finding(verdict: SplitVerdict, reason: str) -> SplitFinding:
        return SplitFinding(split=split, verdict=verdict, reason=reason)

    place = _place(split, prices)
    if not place or not _is_near(split, prices[place - 1]) or not _is_near(split, prices[place]):
        return finding(SplitVerdict.UNPROVEN, "no bars on both sides of the ex-date")
    before, after = prices[place - 1], prices[place]
    if before.adjustment is not after.adjustment:
        return finding(SplitVerdict.UNPROVEN, "the bars around it are adjusted differently")
    jump = math.log(after.open / before.close)
    band = max(SMALLEST_BAND, _SIGMAS * _usual_move(prices, place))
    is_adjusted = before.shares_of >= split.ex_date
    lost = _lost(split, before, spun_off, is_adjusted=is_adjusted)
    expected = _expected_jumps(split, is_adjusted=is_adjusted)
    fits = [verdict for verdict, size in expected.items() if abs(jump - size - lost) <= band]
    moved, promised = (f"{math.exp(size):.4g}" for size in (jump, lost - split.log_ratio))
    measured = f"prices moved by a factor of {moved}, the ratio promises {promised}"
    if lost:
        measured += " with what was spun off"
    if not fits:
        # A part of the price may have been spun off, which a split alone does not explain.
        return finding(SplitVerdict.MISMATCH, f"{measured}; was something spun off on that day?")
    if len(fits) > 1:
        return finding(SplitVerdict.UNPROVEN, f"{measured}: too little to tell from a usual move")
    if fits[0] is SplitVerdict.UNPROVEN:
        return finding(fits[0], "the provider has adjusted these prices itself")
    return finding(fits[0], measured)


def _lost(
    split: SplitTerms,
    before: PricePoint,
    spun_off: Mapping[date, Decimal],
    *,
    is_adjusted: bool,
) -> float:
    """Return the effect of the split day's spin-offs on the jump, in logarithms.

    Their value is for a share of that day, so the close before is converted to such shares.
    """
    value = spun_off.get(split.ex_date)
    close = before.close * (1.0 if is_adjusted else math.exp(-split.log_ratio))
    if value is None or float(value) >= close:
        return 0.0
    return math.log(1.0 - float(value) / close)


def _expected_jumps(split: SplitTerms, *, is_adjusted: bool) -> Mapping[SplitVerdict, float]:
    """Return the jump, in logarithms, that each verdict expects.

    If the provider has adjusted the prices for the split, its ratio is taken out of the jump: a
    right split leaves none. The whole jump is there if they were not adjusted after all, and the
    opposite one if nothing took place; of an inverse split twice the opposite one.
    """
    promised = -split.log_ratio
    if not is_adjusted:
        return {
            SplitVerdict.CONFIRMED: promised,
            SplitVerdict.NO_JUMP: 0.0,
            SplitVerdict.INVERSE: -promised,
        }
    return {
        SplitVerdict.UNPROVEN: 0.0,
        SplitVerdict.CONFIRMED: promised,
        SplitVerdict.NO_JUMP: -promised,
        SplitVerdict.INVERSE: -2.0 * promised,
    }


def _is_near(split: SplitTerms, price: PricePoint) -> bool:
    return abs(price.session_date - split.ex_date) <= NEAR


def _usual_move(prices: Sequence[PricePoint], place: int) -> float:
    """Return the usual daily move around ``place``, robust against the jump itself."""
    first, last = max(place - NOISE_SESSIONS, 1), min(place + NOISE_SESSIONS, len(prices))
    moves = [
        abs(math.log(prices[at].close / prices[at - 1].close))
        for at in range(first, last)
        if at != place
    ]
    return _MAD_TO_SIGMA * statistics.median(moves) if moves else 0.0


def without_duplicates(findings: Sequence[SplitFinding]) -> list[SplitFinding]:
    """Return ``findings``; those that repeat another one become duplicates of it."""
    return [_or_duplicate(finding, findings) for finding in findings]


def _or_duplicate(finding: SplitFinding, findings: Sequence[SplitFinding]) -> SplitFinding:
    """Return ``finding``, or a duplicate if it repeats a split that prices bear out better."""
    if finding.verdict not in {SplitVerdict.NO_JUMP, SplitVerdict.UNPROVEN}:
        return finding
    for other in findings:
        if other is finding or not _is_same(finding.split, other.split):
            continue
        earlier = other.split.ex_date < finding.split.ex_date
        undecided = finding.verdict is other.verdict is SplitVerdict.UNPROVEN
        if other.verdict is SplitVerdict.CONFIRMED or (undecided and earlier):
            return replace(finding, verdict=SplitVerdict.DUPLICATE, reason=_same_as(other.split))
    return finding


def _is_same(first: SplitTerms, second: SplitTerms) -> bool:
    same_ratio = first.new_shares * second.old_shares == second.new_shares * first.old_shares
    return same_ratio and abs(first.ex_date - second.ex_date) <= NEAR
