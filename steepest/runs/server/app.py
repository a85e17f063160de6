"""Which address shows what.

/                 the runs as a list
/runs/ID          the page of a run; /runs/ID/events: its film in frames while it runs
/compare?run=ID…  several runs in one film; /compare/events likewise
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, urlencode
from weakref import WeakValueDictionary

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from steepest.analysis.conclusion import run_verdict
from steepest.errors import SteepestError
from steepest.runs.film import stored_surfaces
from steepest.runs.server.run_list import RunList
from steepest.runs.server.stream import FilmStream
from steepest.runs.server.style import policy, told
from steepest.runs.store import Store
from steepest.view.film import document, film, side_by_side

MOST = 6
"""Runs in one film: the page has so many colours that everybody tells apart."""
FRAMED = {"Content-Security-Policy": "frame-ancestors 'none'"}
"""The page has a policy of its own, which cannot say this."""


class Showing:
    """What the addresses of an application show.

    Args:
        store: whose runs.
        closing: whether the server ends.
    """

    def __init__(self, store: Store, closing: Callable[[], bool]) -> None:
        self._store, self._closing, self._listing = store, closing, RunList(store)
        self._channels: WeakValueDictionary[tuple[str, ...], FilmStream] = WeakValueDictionary()

    def runs(self, request: Request) -> Response:
        """The list."""
        number = request.query_params.get("page", "1")
        if not (number.isascii() and number.isdigit() and len(number) < 9):
            raise HTTPException(404, f"there is no page '{number}' of the list")
        return HTMLResponse(self._listing.page(int(number)), headers={"Content-Security-Policy": policy()})

    def run(self, request: Request) -> Response:
        """The page of a run."""
        ids = self._known([request.path_params["run"]])
        return self._page(ids, f"/runs/{quote(ids[0], safe='')}/events")

    def compare(self, request: Request) -> Response:
        """The page of several runs."""
        ids = self._known(request.query_params.getlist("run"))
        if len(ids) == 1:
            return RedirectResponse(f"/runs/{quote(ids[0], safe='')}", 303)
        return self._page(ids, f"/compare/events?{urlencode([('run', i) for i in ids])}")

    async def events(self, request: Request) -> Response:
        """The film of these runs in frames."""
        asked = request.path_params.get("run")
        asked = request.query_params.getlist("run") if asked is None else [asked]
        ids = await anyio.to_thread.run_sync(self._known, asked)
        channel = self._channels.get(ids) or FilmStream(partial(filmed, self._store, ids), self._closing)
        self._channels[ids] = channel
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return StreamingResponse(channel.text(), media_type="text/event-stream")

    def _page(self, ids: tuple[str, ...], events: str) -> Response:
        shown = filmed(self._store, ids)
        return HTMLResponse(document.page(shown, events if shown["live"] else None, runs="/"), headers=FRAMED)

    def _known(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Ids, each once, that the store has; a folder's name and nothing that leads elsewhere."""
        known = [run for run in self._store.names() if PurePath(run).name == run]
        ids = tuple(dict.fromkeys(asked))
        for run in ids:
            if run not in known:
                raise HTTPException(404, f"there is no run '{run}'")
        if not 0 < len(ids) <= MOST:
            raise HTTPException(400, f"{len(ids)} runs are given; choose two to {MOST}")
        return ids


def app(store: Store, closing: Callable[[], bool]) -> Starlette:
    """The application.

    Args:
        store: whose runs are shown.
        closing: whether the server ends, so that no stream keeps it.
    """
    shows = Showing(store, closing)
    routes = [
        Route("/", shows.runs),
        Route("/runs/{run}", shows.run),
        Route("/runs/{run}/events", shows.events),
        Route("/compare", shows.compare),
        Route("/compare/events", shows.events),
    ]
    found = Starlette(routes=routes, exception_handlers={SteepestError: _failed, HTTPException: _refused})
    found.router.redirect_slashes = False
    return found


def filmed(store: Store, ids: Sequence[str]) -> dict[str, Any]:
    """The film of a run as it is now, with its surfaces where it has ended and they were made; or of several runs.

    Args:
        store: where they are kept.
        ids: of the runs.

    Raises:
        StoreError: they cannot be read.
    """
    if len(ids) > 1:
        return document.encode(side_by_side.of_runs([store.history(run) for run in ids]))
    history = store.history(ids[0])
    if history.record.status == "running":  # what was found at an earlier end no longer holds
        return document.encode(film.of_run(history, live=True))
    return document.encode(film.of_run(history, stored_surfaces(store, ids[0]), run_verdict(history.record)))


def _failed(request: Request, error: Exception) -> Response:
    return _said(500, str(error))


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = "there is nothing at this address" if error.detail == "Not Found" else error.detail
    return _said(error.status_code, words)


def _said(status: int, words: str) -> Response:
    return HTMLResponse(told(words), status, headers={"Content-Security-Policy": policy()})
