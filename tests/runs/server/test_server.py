"""Servers as people begin them: from the command line, from Python, beside a training process."""

import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress

import httpx
import pytest
from typer.testing import CliRunner

import steepest as sd
from steepest.cli import app
from steepest.errors import InputError, StoreError
from steepest.runs.film import stored_surfaces
from steepest.runs.live import LiveServer
from steepest.runs.server import serve
from steepest.runs.server.address import address, is_loopback, open_socket
from steepest.runs.store import Store
from steepest.tasks import load
from steepest.view.film import document, film
from tests.runs.server.conftest import ended
from tests.runs.server.test_stream import folded, parsed

COMMAND = [sys.executable, "-c", "from steepest.cli import app; app()"]


@pytest.mark.slow
def test_ctrl_c_ends_it_cleanly(tmp_path):
    runs = Store(tmp_path / "runs")
    run = ended(runs)
    arguments = ["serve", "--port", "0", "--no-open", "--runs", str(runs.folder)]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    url = re.search(r"http://\S+", line)[0]
    assert line.startswith(f"1 run of {runs.folder} at http://127.0.0.1:")
    assert run in httpx.get(url).text
    with httpx.stream("GET", f"{url}runs/{run}/events") as answer:
        assert folded(parsed(answer.read().decode())) == document.encode(film.of_run(runs.history(run)))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.slow
def test_a_burst_of_half_open_requests_does_not_use_up_the_descriptors(tmp_path):
    run = ended(Store(tmp_path / "runs"))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)); "
    command = [sys.executable, "-c", limit + COMMAND[2], "serve", "--port", "0", "--no-open"]
    with ExitStack() as held:
        process = subprocess.Popen([*command, "--runs", str(tmp_path / "runs")], stderr=subprocess.PIPE, text=True)
        held.callback(process.kill)
        assert process.stderr is not None
        url = re.search(r"http://\S+", process.stderr.readline())[0]
        port = httpx.URL(url).port
        for _ in range(300):
            client = held.enter_context(socket.create_connection(("127.0.0.1", port), 20))
            with suppress(ConnectionError):  # a newer one has its place already
                client.sendall(b"GET / HTTP/1.1\r\n")
        assert run in httpx.get(url, timeout=20).text
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert err == ""


@pytest.mark.slow
def test_training_is_served_beside_it(tmp_path):
    result = CliRunner().invoke(
        app, ["train", "digits", "--epochs", "2", "--live", "--no-open", "--no-locate", "--runs", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    store = Store(tmp_path)
    (run,) = store.names()
    url = re.search(r"live at (http://127.0.0.1:\d+/runs/\S+)", result.stderr)[1]
    assert url.endswith(f"/runs/{run}")
    with httpx.stream("GET", f"{url}/events", timeout=60) as answer:  # it goes on for those who come late
        shown = folded(parsed(answer.read().decode()))
    assert shown == document.encode(film.of_run(store.history(run), stored_surfaces(store, run)))
    assert set(shown["surfaces"]) == {"curvature", "principal", "random"}


@pytest.mark.slow
def test_a_run_that_goes_on_is_shown(tmp_path):
    run = sd.fit(load("digits"), steps=2, runs=tmp_path, locate=False)
    shown = []

    class Server(LiveServer):
        def __init__(self):
            pass

        def show(self, run):
            shown.append((run, sd.open(run, tmp_path).status))

    sd.resume(run, steps=4, runs=tmp_path, live=Server())
    assert shown == [(run.id, "running")]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"host": "192.0.2.1"}, "Cannot listen on 192.0.2.1:"),
        ({"host": "no such name"}, "--host must be an address of this machine"),
        ({"port": 99999}, "Cannot listen on 127.0.0.1:99999"),
        ({"port": -1}, "Use another --port (0 picks a free one)"),
        ({"token": ""}, "token must not be empty"),
    ],
)
def test_bad_input_is_answered_in_words(tmp_path, given, words):
    with pytest.raises(InputError, match=re.escape(words)):
        serve(tmp_path, **given)


def test_a_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"Cannot listen on 127.0.0.1:{port} \(.* in use\). Use another --port"):
            serve(tmp_path, port=port)


def test_a_damaged_database(tmp_path):
    (tmp_path / "runs.db").write_bytes(b"nonsense" * 600)
    with pytest.raises(StoreError, match=r"not a database\. Move this file away"):
        serve(tmp_path, port=0)


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False),
     ("192.168.0.4", False), ("example.org", False), ("", False)],
)  # fmt: skip
def test_who_can_reach_an_address(host, own):
    assert is_loopback(host) is own


def test_the_address_that_is_printed():
    with open_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address(listener, "::1") == f"http://[::1]:{port}/"
        assert address(listener, "192.0.2.1", "a&b") == f"http://192.0.2.1:{port}/?token=a%26b"
        assert address(listener, "0.0.0.0") == f"http://{socket.gethostname()}:{port}/"
