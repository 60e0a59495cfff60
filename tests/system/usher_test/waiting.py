"""Bounded waiting: a condition is polled until it holds, or the test fails with what was seen last."""
import os
import time

POLL_SECONDS = 0.02
# Sanitizers slow usher down: every bound is stretched by this, and nothing else is.
SLOWNESS = float(os.environ.get("USHER_TEST_SLOWNESS", "1"))


class NotInTime(AssertionError):
    """A condition did not come true within its bound."""


def eventually(condition, seconds=5.0, what=None):
    """Returns the first true value of `condition()`; an AssertionError that it raises counts as "not yet"."""
    deadline = time.monotonic() + seconds * SLOWNESS
    seen = None
    while True:
        try:
            seen = condition()
            if seen:
                return seen
        except AssertionError as not_yet:
            seen = not_yet
        if time.monotonic() >= deadline:
            raise NotInTime(f"not within {seconds * SLOWNESS:g} s: {what or getattr(condition, '__name__', condition)}; last seen: {seen!r}")
        time.sleep(POLL_SECONDS)


def observe(seconds):
    """Lets `seconds` pass for a measurement over that window. Not for waiting for something: that is what eventually() is for."""
    time.sleep(seconds)
