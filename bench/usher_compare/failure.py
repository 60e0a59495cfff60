"""Failure: what ends a run with one clear line, and what spoils one turn."""


class Failure(Exception):
    """The run can't go on. The text says what, where, and what to do."""


class UsageError(Failure):
    """The command line asks for what isn't there."""


class Spoiled(Exception):
    """This turn gave no result: the contender, the backend or the load generator failed. It may be repeated."""
