"""Who is refused: foreign names, foreign pages, paths that lead elsewhere, methods that change something, no token."""

import sqlite3

import httpx
import pytest

from steepest.runs.store import Store
from tests.runs.server.conftest import ended, serving

EVIL = "evil.example"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{}", 200), ("localhost:{}", 200), ("LOCALHOST:{}", 200), ("[::1]:{}", 200),
        (EVIL, 421), (EVIL + ":{}", 421), ("127.0.0.1", 421), ("127.0.0.1:1", 421), ("", 421), (":{}", 421),
        ("127.0.0.1:{}." + EVIL, 421), (EVIL + "@127.0.0.1:{}", 421), ("127.0.0.1." + EVIL + ":{}", 421),
        ("127.0.0.1 :{}", 421), ("0.0.0.0:{}", 421), ("[::1]", 421), ("[::1:{}", 421), ("127.0.0.2:{}", 421),
    ],
)  # fmt: skip
def test_names_of_the_server(served, host, status):
    assert served.ask(host=host.format(served.port)).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:{}", 200), ("https://127.0.0.1:{}", 403), ("http://localhost:{}", 403),
        ("http://127.0.0.1:1", 403), ("http://127.0.0.1", 403), ("null", 403), ("", 403), ("http://" + EVIL, 403),
        ("http://127.0.0.1:{}." + EVIL, 403), ("http://" + EVIL + "#http://127.0.0.1:{}", 403),
    ],
)  # fmt: skip
def test_pages_of_other_origins(served, origin, status):
    assert served.ask(origin=origin.format(served.port)).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "STEAL"])
@pytest.mark.parametrize("target", ["/", "/compare", "/nowhere"])
def test_methods_that_are_not_reading(served, method, target):
    answer = served.ask(target, method)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "target",
    [
        "/..", "/../secret", "/../../../../etc/passwd", "/%2e%2e/secret", "/..%2fsecret", "//etc/passwd", "/etc/passwd",
        "/runs", "/runs/", "/runs.db", "/runs/runs.db", "/runs/.", "/runs/..", "/runs/../secret", "/runs/%2e%2e",
        "/runs/..%2fsecret", "/runs/%2e%2e%2fsecret", "/runs/..%5csecret", "/runs/%2fetc%2fhosts",
        "/runs/{}/", "/runs/{}/..", "/runs/{}/path.bin", "/runs/{}/points", "/runs/{}/events/", "/runs/{}%00",
        "/runs/{}%0a", "/runs/{}/survey.npz", "/runs/{}/..%2f..%2fsecret", "/runs/digits", "/runs/dig", "/RUNS/{}",
        "/runs/..%252fsecret", "/static", "/favicon.ico", "/compare?run=../secret", "/compare?run={}&run=..", "/?page=",
        "/compare/events?run=..", "/?page=-1", "/?page=x", "/?page=99999999999999999999", "/?page=%C2%B2",
    ],
)  # fmt: skip
def test_paths_that_lead_elsewhere(served, target):
    run = next(iter(served.store.names()))
    for method in ("GET", "HEAD"):
        answer = served.ask(target.format(run), method)
        assert answer.status_code == 404
        assert "classified" not in answer.text


@pytest.mark.parametrize("count", [0, 7])
def test_too_few_or_too_many_to_compare(served, count, tmp_path):
    runs = list(served.store.names())
    if count:
        store = Store(tmp_path)
        runs = [ended(store, "x", 2) for _ in range(count)]
        with serving(store) as many:
            answer = many.ask("/compare?" + "&".join(f"run={run}" for run in runs))
    else:
        answer = served.ask("/compare")
    assert answer.status_code == 400
    assert f"Select 2 to 6 runs, got {count}" in answer.text


@pytest.mark.parametrize(
    "target", ["/", "/runs/{}", "/runs/{}/events", "/compare?run={}&run={}", "/nowhere", "/runs/nobody"]
)
def test_every_answer_is_sealed(served, target):
    run = next(iter(served.store.names()))
    for answer in (served.ask(target.format(run, run)), served.ask(target.format(run, run), host=EVIL)):
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_what_people_write_stays_text(tmp_path):
    store = Store(tmp_path)
    run = ended(store, "bold", rule="<script>alert(1)</script>", metric="</script><b>")
    with serving(store) as found:
        for target in ("/", f"/runs/{run}", f"/compare?run={run}", "/runs/<script>alert(2)</script>"):
            page = found.client.get(target, follow_redirects=True).text
            assert "<script>alert" not in page
            assert "</script><b>" not in page


def test_an_id_that_leads_elsewhere_is_none(tmp_path):
    store = Store(tmp_path / "runs")
    run = ended(store)
    with sqlite3.connect(tmp_path / "runs" / "runs.db") as database:
        for table, key in (("runs", "id"), ("chunks", "run"), ("measurements", "run")):
            database.execute(f"UPDATE {table} SET {key}='../elsewhere' WHERE {key}=?", (run,))
    database.close()
    with serving(store) as found:
        assert found.ask("/runs/..%2felsewhere").status_code == 404
        assert found.ask("/compare?run=../elsewhere").status_code == 404


# -- Tokens ------------------------------------------------------------------------------------------------------------

TOKEN = "t ö&k;en"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("guarded"))
    ended(store)
    with serving(store, "0.0.0.0", TOKEN) as found:
        yield found


def asked(guarded, path="/", headers=None, **params):
    """What somebody is answered who was not here before."""
    with httpx.Client(base_url=f"http://127.0.0.1:{guarded.port}") as anew:
        return anew.get(path, params=params, headers=headers)


@pytest.mark.parametrize("path", ["/", "/compare", "/nowhere", "/runs/x/events"])
@pytest.mark.parametrize("given", [{}, {"token": "wrong"}, {"token": ""}, {"token": TOKEN + "x"}])
def test_without_the_token_nothing_is_told(guarded, path, given):
    answer = asked(guarded, path, **given)
    assert (answer.status_code, len(answer.cookies)) == (403, 0)
    assert "a token is needed" in answer.text


def test_the_token_becomes_a_cookie(guarded):
    answer = asked(guarded, "/", token=TOKEN, page="1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?page=1")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    assert TOKEN not in cookie
    with httpx.Client(base_url=f"http://127.0.0.1:{guarded.port}") as anew:
        assert anew.get("/", params={"token": TOKEN}, follow_redirects=True).status_code == 200
        assert anew.get("/").status_code == 200
        assert anew.get("/", headers={"host": f"{EVIL}:{guarded.port}"}).status_code == 421
        assert anew.get("/", headers={"origin": f"http://{EVIL}"}).status_code == 403
        assert anew.get("/", params={"token": "wrong"}).status_code == 403


@pytest.mark.parametrize("target", [f"//{EVIL}/", f"///{EVIL}", f"/%2f{EVIL}", f"/\\{EVIL}"])
def test_the_way_back_stays_here(guarded, target):
    answer = guarded.ask(f"{target}?token=t%20%C3%B6%26k%3Ben")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(("/evil", "/%5Cevil"))


@pytest.mark.parametrize(("name", "status"), [("192.0.2.7", 403), ("[2001:db8::1]", 403), (EVIL, 421)])
def test_a_server_for_everybody_is_known_by_addresses(guarded, name, status):
    assert asked(guarded, headers={"host": f"{name}:{guarded.port}"}).status_code == status
