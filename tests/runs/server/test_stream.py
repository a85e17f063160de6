"""A film as it grows: in frames, read once for all, and given up when nobody looks."""

import json
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest

from steepest.errors import StoreError
from steepest.runs.server.stream import FilmStream
from steepest.runs.store import Store
from steepest.view.film import document, film
from steepest.view.film.frames import Frame
from steepest.view.film.schema import Film
from tests.runs.server.conftest import begun, ended, grow, serving
from tests.view.film.fold import fold


def parsed(text):
    """The frames of a stream, whose numbers must follow one another."""
    found = []
    for number, block in enumerate(text.strip().split("\n\n")):
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        assert lines["id"] == str(number)
        data = json.loads(lines["data"])
        found.append(Frame(lines["event"], tuple(data["path"]), data["value"]))
    return found


def folded(found):
    state = None
    for frame in found:
        state = fold(state, frame)
    return state


def short(steps, live, surfaces=None):
    return document.encode(Film("run", "", "", steps, {}, {}, live=live)) | {"surfaces": surfaces or {}}


class Reader:
    """Gives one film after another, and counts."""

    def __init__(self, *films):
        self.films, self.count = films, 0

    def __call__(self):
        self.count += 1
        found = self.films[min(self.count, len(self.films)) - 1]
        if isinstance(found, Exception):
            raise found
        return found


def ran(function, *arguments):
    """What a coroutine gives, in a thread of its own: a browser's test may have a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, function, *arguments).result()


async def everything(channel):
    return "".join([text async for text in channel.text()])


def test_those_who_watch_share_the_reading():
    reader = Reader(short(1, True), short(2, True), short(3, True), short(3, False, {"plane": {}}))
    channel = FilmStream(reader, lambda: False)
    texts = []

    async def watch():
        texts.append(await everything(channel))

    async def all_of_them():
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(watch)

    ran(all_of_them)
    assert reader.count == 4
    for text in texts:
        assert folded(parsed(text)) == short(3, False, {"plane": {}})


def test_nothing_is_read_when_everybody_has_gone():
    reader = Reader(short(1, True), short(2, True))
    channel = FilmStream(reader, lambda: False)

    async def one_goes_and_another_comes():
        with anyio.move_on_after(0.35):
            await everything(channel)
        before = reader.count
        await anyio.sleep(0.25)
        assert reader.count == before
        with anyio.move_on_after(0.35):
            await everything(channel)
        assert reader.count > before

    ran(one_goes_and_another_comes)


def test_a_run_that_has_just_ended_waits_for_its_surfaces():
    over = short(2, False)
    waiting = ran(everything, FilmStream(Reader(short(1, True), over, over, over | {"surfaces": {"a": 1}}), bool))
    assert folded(parsed(waiting)) == over | {"surfaces": {"a": 1}}
    assert parsed(waiting)[-1] == Frame("set", ("live",), False)
    assert folded(parsed(ran(everything, FilmStream(Reader(over), bool)))) == over


@pytest.mark.parametrize("then", [StoreError("deleted"), short(1, True)])
def test_a_stream_ends_with_what_it_shows_or_with_the_server(then):
    reader = Reader(short(1, True), short(2, True), then)
    text = ran(everything, FilmStream(reader, lambda: reader.count > 1))
    assert folded(parsed(text))["steps"] in (1, 2)


def test_a_run_is_streamed_while_it_goes_on(tmp_path):
    store = Store(tmp_path)
    writer = begun(store, steps=20)
    text = ""
    with serving(store) as served, served.client.stream("GET", f"/runs/{writer.id}/events") as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        for part in answer.iter_text():
            text += part
            shown = folded(parsed(text))
            if shown["live"] and shown["steps"] == 60 and "step 20 " in shown["headline"].lower():
                grow(writer, 60, 20)
            elif shown["live"] and "step 60 " in shown["headline"].lower():
                writer.close("done", 1.0)
                break
        assert [frame.path for frame in parsed(text)].count(()) == 1
        assert folded(parsed(text)) == document.encode(film.of_run(store.history(writer.id), live=True))
    assert served.store.history(writer.id).record.status == "done"


def test_several_runs_are_streamed(tmp_path):
    store = Store(tmp_path)
    one, other = begun(store, "one", 20), ended(store, "other", 30)
    target = f"/compare/events?run={one.id}&run={other}"
    text = ""
    with serving(store) as served, served.client.stream("GET", target) as answer:
        for part in answer.iter_text():
            text += part
            if folded(parsed(text))["live"]:
                one.close("done", 1.0)
    assert folded(parsed(text))["headline"] == "Validation accuracy: one 95.0 %, other 96.7 %."


def test_a_stream_is_not_sent_to_who_asks_for_its_head(served):
    run = next(iter(served.store.names()))
    answer = served.ask(f"/runs/{run}/events", "HEAD")
    assert (answer.status_code, answer.text) == (200, "")


def test_those_who_have_gone_do_not_keep_the_server(tmp_path):
    store = Store(tmp_path)
    writer = begun(store)
    with serving(store) as served:
        for _ in range(10):
            with (
                httpx.Client() as client,
                client.stream("GET", f"http://127.0.0.1:{served.port}/runs/{writer.id}/events"),
            ):
                pass
        with served.client.stream("GET", f"/runs/{writer.id}/events") as answer:
            next(answer.iter_text())
    writer.close("done", 1.0)
