"""Routes and pages.

/                 the list of runs; /list is the same without the page around it
/runs/ID          the page of a run; /runs/ID/events streams its film while it runs
/compare?run=ID…  several runs in one film; /compare/events streams it
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, urlencode
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from steepest.analysis.conclusion import run_verdict
from steepest.errors import SteepestError
from steepest.runs.film import stored_surfaces
from steepest.runs.server.query import MAX_SELECTION, Query
from steepest.runs.server.run_list import RunList
from steepest.runs.server.stream import FilmStream
from steepest.runs.server.style import frame_page, message_page, policy
from steepest.runs.store import Store
from steepest.search.comparison import by_settings, compare_ends
from steepest.view.film import document, film, side_by_side

MAX_READERS = 4
"""Requests that read the store at once."""
PAGE_HEADERS = {"Content-Security-Policy": "frame-ancestors 'none'"}
"""The film page has its own policy in a meta element, which cannot contain frame-ancestors."""


class Pages:
    """The pages of the application.

    Args:
        store: of the runs.
        is_closing: whether the server is shutting down.
    """

    def __init__(self, store: Store, is_closing: Callable[[], bool]) -> None:
        self._store, self._is_closing, self._list = store, is_closing, RunList(store)
        self._readers = anyio.CapacityLimiter(MAX_READERS)
        self._streams: WeakValueDictionary[tuple[str, ...], FilmStream] = WeakValueDictionary()

    async def runs(self, request: Request) -> Response:
        """The list."""
        return await self._read(self._runs, request)

    async def run(self, request: Request) -> Response:
        """The page of a run."""
        return await self._read(self._run, request)

    async def compare(self, request: Request) -> Response:
        """The page of several runs."""
        return await self._read(self._compare, request)

    async def _read(self, answer: Callable[[Request], Response], request: Request) -> Response:
        """Answers in a thread, since the store blocks; a few at a time, since each opens files."""
        return await anyio.to_thread.run_sync(answer, request, limiter=self._readers)

    def _runs(self, request: Request) -> Response:
        content, folder = self._list.content(_query(request)), str(self._store.folder)
        page = content if request.url.path == "/list" else frame_page("Runs", content, folder, is_list=True)
        return HTMLResponse(page, headers={"Content-Security-Policy": policy()})

    def _run(self, request: Request) -> Response:
        ids = self._ids([request.path_params["run"]])
        return self._page(ids, f"/runs/{quote(ids[0], safe='')}/events")

    def _compare(self, request: Request) -> Response:
        ids = self._ids(request.query_params.getlist("run"))
        if len(ids) == 1:
            return RedirectResponse(f"/runs/{quote(ids[0], safe='')}", 303)
        return self._page(ids, f"/compare/events?{urlencode([('run', i) for i in ids])}")

    async def events(self, request: Request) -> Response:
        """Streams the film of these runs."""
        run = request.path_params.get("run")
        run_ids = request.query_params.getlist("run") if run is None else [run]
        ids = await anyio.to_thread.run_sync(self._ids, run_ids, limiter=self._readers)
        stream = self._streams.get(ids) or FilmStream(partial(make_film, self._store, ids), self._is_closing)
        self._streams[ids] = stream
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return StreamingResponse(stream.text(), media_type="text/event-stream")

    def _page(self, ids: tuple[str, ...], events: str) -> Response:
        content = make_film(self._store, ids)
        return HTMLResponse(document.page(content, events if content["live"] else None, runs="/"), headers=PAGE_HEADERS)

    def _ids(self, run_ids: Sequence[str]) -> tuple[str, ...]:
        """The run_ids ids without repetitions, which must be runs of the store and no paths."""
        names = [run for run in self._store.names() if PurePath(run).name == run]
        ids = tuple(dict.fromkeys(run_ids))
        for run in ids:
            if run not in names:
                raise HTTPException(404, f"there is no run {run!r}")
        if not 0 < len(ids) <= MAX_SELECTION:
            raise HTTPException(400, f"select 2 to {MAX_SELECTION} runs, got {len(ids)}")
        return ids


def app(store: Store, is_closing: Callable[[], bool]) -> Starlette:
    """The application.

    Args:
        store: of the runs.
        is_closing: whether the server is shutting down; streams end then.
    """
    pages = Pages(store, is_closing)
    routes = [
        Route("/", pages.runs),
        Route("/list", pages.runs),
        Route("/runs/{run}", pages.run),
        Route("/runs/{run}/events", pages.events),
        Route("/compare", pages.compare),
        Route("/compare/events", pages.events),
    ]
    handlers = dict.fromkeys((SteepestError, HTTPException), _error_response)
    application = Starlette(routes=routes, exception_handlers=handlers)
    application.router.redirect_slashes = False
    return application


def make_film(store: Store, ids: Sequence[str]) -> dict[str, Any]:
    """The film of a run as it is now, with its surfaces if it has ended and they exist; or of several runs.

    Args:
        store: of the runs.
        ids: of these runs.

    Raises:
        StoreError: they cannot be read.
    """
    if len(ids) > 1:
        histories = [store.history(run) for run in ids]
        groups = by_settings([history.record for history in histories])
        return document.encode(side_by_side.of_runs(histories, compare_ends(groups)))
    history = store.history(ids[0])
    if history.record.status == "running":  # an earlier verdict no longer holds
        return document.encode(film.of_run(history, live=True))
    return document.encode(film.of_run(history, stored_surfaces(store, ids[0]), run_verdict(history.record)))


def _query(request: Request) -> Query:
    number = request.query_params.get("page", "1")
    if not (number.isascii() and number.isdigit() and len(number) < 9):
        raise HTTPException(404, f"there is no page {number!r} of the list")
    return Query.of(request.query_params, request.query_params.getlist("run"))


def _error_response(request: Request, error: Exception) -> Response:
    status, words = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, str(error))
    if words == "Not Found":  # no route has this address
        words = "there is nothing at this address"
    return HTMLResponse(message_page(words), status, headers={"Content-Security-Policy": policy()})
