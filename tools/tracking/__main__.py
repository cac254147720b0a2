"""``python -m annealmix.tracking RUN_DIR``: send a run's journal to MLflow; the trainer starts it with ``--follow``."""

import argparse
import os
import sys

from ..errors import UserError
from .sender import SyncResult, sync
from .sent import WARNING_PREFIX


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 where all was sent, 1 where something was left, 2 for a mistake in the arguments."""
    options = _parser().parse_args(arguments)
    if options.follow:
        # The trainer's own threads go first.
        os.nice(10)
    try:
        result = sync(
            options.run_dir, follow=options.follow, parent_pid=options.parent_pid, tracking_uri=options.tracking_uri
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except Exception as error:
        print(f"{WARNING_PREFIX}the sender stopped, the journal goes on: {error!r}", file=sys.stderr)
        raise
    print(_summary(result))
    return 1 if result.left else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="annealmix.tracking", description="Send a run's tracking journal to MLflow.")
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the run's directory")
    parser.add_argument("--follow", action="store_true", help="stay until the journal is closed or the parent is gone")
    parser.add_argument("--parent-pid", type=int, help="the trainer that started this process")
    parser.add_argument("--tracking-uri", help="send the whole run to this tracker instead")
    return parser


def _summary(result: SyncResult) -> str:
    return f"{result.sent} records sent to run {result.run_id}, {result.left} left"


if __name__ == "__main__":
    sys.exit(main())
