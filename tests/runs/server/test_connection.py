"""Nobody holds the server: what is not sent or not read ends the connection, and the server answers meanwhile."""

import select
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress

import pytest

from steepest.runs.server import address, connection, server
from steepest.runs.store import Store
from tests.runs.server.conftest import begun, ended, serving

WITHIN_S = 20.0


@contextmanager
def connected(port):
    with socket.create_connection(("127.0.0.1", port), WITHIN_S) as client:
        yield client


def head(port, path="/", *more):
    """A request's first lines, without the empty line that ends them."""
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *more, ""]).encode()


def is_closed(client):
    """Whether the server ends a connection; what comes before that is read."""
    with suppress(ConnectionError):
        while client.recv(65536):
            pass
    return True


@pytest.fixture
def impatient(monkeypatch):
    """A server that waits for a fraction of a second only."""
    monkeypatch.setattr(connection, "REQUEST_TIMEOUT_S", 0.3)
    monkeypatch.setattr(connection, "READER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(connection, "CHECK_INTERVAL_S", 0.05)


@pytest.mark.parametrize(
    "sent",
    [
        lambda port: b"",
        lambda port: b"G",
        lambda port: head(port),
        lambda port: head(port, "/", "Content-Length: 1000000") + b"\r\nbody",
        lambda port: head(port, "/", "Transfer-Encoding: chunked") + b"\r\n5\r\nbo",
        lambda port: head(port) + b"\r\n",
        lambda port: head(port) + b"\r\n" + head(port),
    ],
    ids=[
        "nothing",
        "a letter",
        "no end of headers",
        "no body",
        "half a chunk",
        "no second request",
        "half a second one",
    ],
)
def test_a_request_that_never_comes_ends(impatient, served, sent):
    with connected(served.port) as client:
        client.sendall(sent(served.port))
        assert is_closed(client)
    assert served.ask(connection="close").status_code == 200


@pytest.mark.parametrize("more", [[], ["Content-Length: 1000000"]], ids=["headers", "body"])
def test_a_request_that_drips_ends(impatient, served, more):
    """Each byte in time does not make a request in time."""
    request = head(served.port, "/", *more) + (b"\r\n" if more else b"")
    closed = threading.Event()

    def drip(client):
        with suppress(OSError):
            while not closed.wait(0.02):
                client.sendall(b"x")

    with connected(served.port) as client:
        client.sendall(request)
        thread = threading.Thread(target=drip, args=(client,))
        thread.start()
        try:
            assert is_closed(client)
        finally:
            closed.set()
            thread.join()


@pytest.mark.parametrize("target", ["/runs/{}/events", "/runs/{}"])
def test_what_nobody_reads_ends(impatient, monkeypatch, tmp_path, target):
    """A stream, and a page."""

    def narrow(*at):
        listener = address.open_socket(*at)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # its connections have the same
        return listener

    monkeypatch.setattr(server, "open_socket", narrow)
    store = Store(tmp_path)
    writer = begun(store, steps=4000)
    with serving(store) as served, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(WITHIN_S)
        client.connect(("127.0.0.1", served.port))
        client.sendall(head(served.port, target.format(writer.id)) + b"\r\n")
        ended = select.poll()
        ended.register(client, select.POLLHUP | select.POLLERR)
        assert ended.poll(1000 * WITHIN_S), "the server keeps a connection whose reader does not read"
        assert served.ask(connection="close").status_code == 200
    writer.close("interrupted", 1.0)


def test_a_stream_that_is_read_stays(impatient, tmp_path):
    store = Store(tmp_path)
    writer = begun(store)
    with serving(store) as served, served.client.stream("GET", f"/runs/{writer.id}/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "id: 0"
        time.sleep(1.0)  # longer than a request may take
        writer.close("done", 1.0)
        assert any('"live"' in line and "false" in line for line in lines)


def test_when_there_is_no_room_the_oldest_ends(monkeypatch, tmp_path):
    """More connections than the limit, held in each way: a new one is answered, and what it displaces is the oldest."""
    monkeypatch.setattr(connection, "connection_limit", lambda: 12)
    store = Store(tmp_path)
    ended(store)
    writer = begun(store)
    with serving(store) as served, ExitStack() as held:
        clients = [held.enter_context(connected(served.port)) for _ in range(10)]
        for client in clients:
            client.sendall(head(served.port, f"/runs/{writer.id}/events") + b"\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
        for _ in range(30):
            clients.append(held.enter_context(connected(served.port)))
            with suppress(ConnectionError):  # a newer one has its place already
                clients[-1].sendall(b"GET / H")
        assert served.ask(connection="close").status_code == 200
        assert all(is_closed(client) for client in clients[10:30])
        assert clients[0].recv(1)  # a stream goes on, as long as there are others to end
    writer.close("interrupted", 1.0)


def test_streams_make_room_for_one_another(monkeypatch, tmp_path):
    monkeypatch.setattr(connection, "connection_limit", lambda: 8)
    store = Store(tmp_path)
    writer = begun(store)
    with serving(store) as served, ExitStack() as held:
        streams = []
        for _ in range(20):
            streams.append(held.enter_context(connected(served.port)))
            streams[-1].sendall(head(served.port, f"/runs/{writer.id}/events") + b"\r\n")
            assert streams[-1].recv(12) == b"HTTP/1.1 200"
        assert served.ask(connection="close").status_code == 200
        assert all(is_closed(client) for client in streams[:12])
    writer.close("interrupted", 1.0)


@pytest.mark.parametrize(("descriptors", "limit"), [(64, 8), (256, 144), (10**6, 512), (-1, 512)])
def test_the_limit_lies_below_the_descriptors(monkeypatch, descriptors, limit):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert connection.connection_limit() == limit
