"""Errors that a user of the mixer can cause, each one line: where, got, expected, what to do."""


class DataError(ValueError):
    """A source, a weight or a position that can't be used as given."""
