"""Servers that answer at real ports, and runs written by hand for them to show."""

import threading
from contextlib import contextmanager
from typing import NamedTuple

import httpx
import pytest

from steepest.records.run import Measurement, Step
from steepest.runs.server import server
from steepest.runs.store import Store


class Served(NamedTuple):
    """A server that answers.

    Attributes:
        store: whose runs it shows.
        port: where.
        client: of somebody who may come in.
    """

    store: Store
    port: int
    client: httpx.Client

    def ask(self, target="/", method="GET", **headers):
        """What is answered to a request exactly as given."""
        url = f"http://127.0.0.1:{self.port}"
        request = self.client.build_request(method, url, headers=headers, extensions={"target": target.encode()})
        return self.client.send(request)


@contextmanager
def serving(store, host="127.0.0.1", token=None):
    """A server for as long as a block lasts; it must end when it is told to."""
    listener, over = server.open_socket(host, 0), threading.Event()
    port = listener.getsockname()[1]
    thread = threading.Thread(target=server.attend, args=(store, listener, host, token, over.wait), daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield Served(store, port, client)
    finally:
        over.set()
        thread.join(20)
    assert not thread.is_alive()


def grow(writer, to, since=0):
    """Steps after one, up to another, with a measurement every ten."""
    for t in range(since + 1, to + 1):
        writer.step(Step(t, t / 10, 0.1, 2 / t, 1.0, 0.1))
        if t % 10 == 0:
            writer.measure(Measurement(t, t / 10, "validation", "accuracy", 1 - 1 / t))
    writer.flush()


def begun(store, name="digits", steps=40, **config):
    """A run that goes on."""
    known = {"rule": "adam", "stages": [], "lr": 0.1, "schedule": "cosine", "steps": 60, "metric": "accuracy"}
    writer = store.begin(name, {**known, "better": "higher", "weights": 2, **config}, {}, 0)
    grow(writer, steps)
    return writer


def ended(store, name="digits", steps=40, **config):
    """The id of a run that is over."""
    writer = begun(store, name, steps, **config)
    writer.close("done", 1.5)
    return writer.id


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server of two runs that are over."""
    store = Store(tmp_path_factory.mktemp("served") / "runs")
    ended(store)
    ended(store, "ball", 30)
    (store.folder.parent / "secret").write_text("classified")
    with serving(store) as found:
        yield found
