"""What follows an error, and the tree of errors itself."""

import inspect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.ports import LoadResult
from marketdata.recovery import errors
from marketdata.recovery.policy import BREAKER, BUDGET, REQUEST_RETRY, RequestRetry


def _limited(retry_after_s: float | None) -> errors.RateLimitedError:
    return errors.RateLimitedError("x", provider="p", operation="o", retry_after_s=retry_after_s)


def _unavailable(retry_after_s: float | None) -> errors.ProviderUnavailableError:
    return errors.ProviderUnavailableError(
        "x", provider="p", operation="o", retry_after_s=retry_after_s
    )


def _held_back(kind: type[errors.NotSentError]) -> errors.NotSentError:
    return kind("x", provider="p", operation="o", retry_after_s=3.0)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ProviderUnavailableError("x", provider="p", operation="o"), True),
        (_limited(None), True),
        (_limited(3.0), 3.0),
        (_limited(0.0), True),
        (_limited(-5.0), True),
        (_limited(REQUEST_RETRY.first_wait_s), True),
        (_limited(60.0), 20.0),
        (_limited(120.0), 20.0),
        (_limited(120.5), False),
        (_limited(3600.0), False),
        (_unavailable(None), True),
        (_unavailable(7.0), 7.0),
        (_unavailable(3600.0), False),
        (_held_back(errors.CircuitOpenError), False),
        (_held_back(errors.ProviderPausedError), False),
        (_held_back(errors.BudgetSpentError), False),
        (errors.RequestRejectedError("x", provider="p", operation="o"), False),
        (errors.NotEntitledError("x", provider="p", operation="o"), False),
        (errors.KeyRefusedError("x", provider="p", operation="o"), False),
        (errors.UnknownSymbolError("x", provider="p", operation="o"), False),
        (errors.MalformedPayloadError("x", provider="p", operation="o"), False),
        (errors.StorageUnavailableError("x"), False),
        (errors.ConfigurationError("x"), False),
        (ValueError("x"), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, expected: bool | float) -> None:
    """A pause that the provider names is kept, within bounds."""
    decided = REQUEST_RETRY.back_off(error)
    assert decided == expected
    assert isinstance(decided, bool) is isinstance(expected, bool)


@given(st.floats(allow_nan=False), st.floats(0.0, 100.0))
def test_no_pause_is_longer_than_the_policy_allows(asked: float, longest: float) -> None:
    """A negligible one keeps the usual, growing pauses; a long one ends the attempts."""
    retry = RequestRetry(longest_wait_s=longest)
    decided = retry.back_off(_limited(asked))
    if asked <= retry.first_wait_s:
        assert decided is True
    elif asked > retry.waited_pause_s:
        assert decided is False
    else:
        assert decided == min(asked, longest)


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    """Every error is named there, in the place it has, and nothing else is."""
    tree, _, _ = (errors.__doc__ or "").partition("What follows")
    drawn = [line for line in tree.splitlines() if "Error " in f"{line} "]
    drawn = [line for line in drawn if line.split("─ ")[-1].strip().split()[0].endswith("Error")]
    at_depth: dict[int, str] = {}
    parents: dict[str, str] = {}
    for line in drawn:
        name = line.split("─ ")[-1].strip().split()[0]
        depth = line.index(name)
        at_depth[depth] = name
        above = [at_depth[level] for level in sorted(at_depth) if level < depth]
        parents[name] = above[-1] if above else "Exception"
        at_depth = {level: kept for level, kept in at_depth.items() if level <= depth}
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    assert parents == {name: (kind.__base__ or kind).__name__ for name, kind in classes.items()}


def test_an_error_says_who_and_what() -> None:
    """A handler reads the facts, a person the text."""
    error = _limited(3.0)
    assert (error.provider, error.operation, error.retry_after_s) == ("p", "o", 3.0)
    assert str(error) == "p o: x"


def test_what_was_held_back_says_so_and_when_it_may_go() -> None:
    """The text begins with what did not happen; the pause is for the code that defers the work."""
    error = _held_back(errors.CircuitOpenError)
    assert str(error) == "p o: not sent: x"
    assert error.retry_after_s == 3.0
    assert error.raw_answers == ()


@pytest.mark.parametrize(
    ("error", "held_s"),
    [
        (_limited(None), 2.0),
        (_limited(0.0), 2.0),
        (_limited(-5.0), 2.0),
        (_limited(7.0), 7.0),
        (_limited(3600.0), 3600.0),
        (_limited(2 * 86_400.0), 2 * 86_400.0),
        (_limited(10 * 365 * 86_400.0), 3 * 86_400.0),
        (_limited(math.inf), 3 * 86_400.0),
        (_unavailable(None), 0.0),
        (_unavailable(600.0), 600.0),
        (_held_back(errors.BudgetSpentError), 0.0),
        (None, 0.0),
    ],
)
def test_a_pause_that_is_named_is_kept_up_to_three_days_and_no_absurd_one(
    error: Exception | None, held_s: float
) -> None:
    """A ban of an hour lasts an hour; ten years are a mistake of the provider's."""
    assert BUDGET.hold_s(error) == held_s


def test_a_trial_is_over_before_it_is_given_to_someone_else() -> None:
    """Else two processes would try at once."""
    assert BREAKER.trial_answer_s + BUDGET.horizon_s < BREAKER.trial_expires_s


def test_results_of_several_loads_add_up() -> None:
    """Rows count all rows of the answer, whatever their result."""
    load = LoadResult(inserted=1, unchanged=2, restated=3)
    total = LoadResult.total(iter([load, load]))
    assert total == LoadResult(inserted=2, unchanged=4, restated=6)
    assert total.rows == 12
    assert LoadResult.total([]).rows == 0
