"""What a run has around it, made once at the start and handed to whoever needs a part of it."""

from dataclasses import dataclass

from ..runtime.processes import Layout
from ..tracking.journal import Tracker
from .checkpoint_store import CheckpointStore
from .progress import Display
from .watch import LeaveRequest


@dataclass(frozen=True)
class Surroundings:
    """This process's place in the layout, requests to leave, the checkpoints, the screen and the tracker."""

    layout: Layout
    leave: LeaveRequest
    store: CheckpointStore
    display: Display
    tracker: Tracker
