"""Which tracker a run goes to, and how a person looks at it there. Text only; nothing here opens a connection."""

import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

DEFAULT_URI = "sqlite:///mlflow.db"
JOURNAL_ONLY = "journal"
"""The tracking URI of a run that only keeps its journal, for machines that see no tracker."""

_SQLITE = "sqlite:///"


def choose_uri(recipe: str | None, *, environment: str | None, previous: str | None, folder: Path) -> str:
    """The first one given of: recipe, MLFLOW_TRACKING_URI, the resumed run's, sqlite in `folder`; made absolute.

    >>> choose_uri(None, environment=None, previous=None, folder=Path("/work"))
    'sqlite:////work/mlflow.db'
    >>> choose_uri("http://tracker:5000", environment="sqlite:///x.db", previous=None, folder=Path("/work"))
    'http://tracker:5000'
    """
    return absolute_uri(recipe or environment or previous or DEFAULT_URI, folder)


def absolute_uri(uri: str, folder: Path) -> str:
    """The URI with a relative file path seen from `folder`, so that it means the same in every process."""
    if uri.startswith(_SQLITE):
        return _SQLITE + str(folder / uri.removeprefix(_SQLITE))
    if uri == JOURNAL_ONLY or re.match(r"^[\w+.-]+:", uri):
        return uri
    return str(folder / uri)


def artifact_location(uri: str) -> str | None:
    """Where the artifacts of a new experiment go: `mlartifacts` beside an sqlite file; else the server decides."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE)).with_name("mlartifacts").as_uri()


def without_password(uri: str) -> str:
    """The URI as it may be printed.

    >>> without_password("https://me:secret@tracker:5000/base")
    'https://tracker:5000/base'
    """
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host)) if host != parts.netloc else uri


def how_to_view(uri: str, *, experiment_id: str, run_id: str) -> str:
    """The run's address on a server, or the command that shows a local tracker.

    >>> how_to_view("http://tracker:5000/", experiment_id="1", run_id="ab")
    'http://tracker:5000/#/experiments/1/runs/ab'
    """
    shown = without_password(uri)
    if uri.startswith(("http://", "https://")):
        return f"{shown.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"
    return f"mlflow ui --backend-store-uri {shown}"
