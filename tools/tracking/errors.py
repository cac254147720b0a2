"""What can go wrong at the tracker, for the sender only; the trainer never sees these.

TrackingError
  TrackerAwayError      nothing was taken, try again later: no connection, a locked file, a full disk, no permission
  RecordRefusedError    this record will never be taken, the next one may be
  RunGoneError          the run was deleted, or was never there
"""


class TrackingError(Exception):
    """The tracker did not take what was sent."""


class TrackerAwayError(TrackingError):
    """The tracker can't be reached, or can't work now."""


class RecordRefusedError(TrackingError):
    """The tracker will never take this record."""


class RunGoneError(TrackingError):
    """The run was deleted from the tracker, or was never there."""
