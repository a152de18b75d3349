"""How a question gets to the state: addresses and queries, in whose thread it is answered, who is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from mmgraph.bundle import Bundle
from mmgraph.serve.answering import Asked, answer, late, listed, meta
from mmgraph.serve.app import ROUTES
from mmgraph.serve.desk import Desk
from mmgraph.serve.engine import QUICK, Engine, settle_all
from mmgraph.serve.http import Problem, Request, Response, Route, Router
from mmgraph.serve.log import Entry, Event, SqliteLog
from mmgraph.serve.query import filter_of, flag, identity, query, whole
from mmgraph.serve.question import Answer, Busy, Question, UnknownId, Unready
from mmgraph.serve.routes import ok, ref, text
from mmgraph.serve.schema import Item
from mmgraph.serve.state import State
from mmgraph.serve.watching import read_page


def request(path: str, method: str = "GET", **headers: str) -> Request:
    address, _, values = path.partition("?")
    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"method": method, "path": address, "query_string": values.encode(), "headers": given})


async def nothing(app: Any, asked: Request) -> Response:
    return Response(200, b"")


def test_a_path_is_found_by_its_segments_whatever_stands_in_the_brace():
    paths = ["/v1/a/{user}", "/v1/b/{video}", "/v1/b", "/v1/b/{video}/c", "/{page}"]
    routes = [Route(method, path, nothing, None, "", ok(None)) for path in paths for method in ("GET", "PUT")]
    router = Router([*routes, Route("GET", "/v1/b", nothing, None, "later", text())])
    for path, wanted, parameters in [
        ("/v1/a/x", "/v1/a/{user}", {"user": "x"}),
        ("/v1/b/{}", "/v1/b/{video}", {"video": "{}"}),
        ("/v1/b/%2F?k=1", "/v1/b/{video}", {"video": "/"}),
        ("/v1/b/", "/v1/b/{video}", {"video": ""}),
        ("/v1/b/b/c", "/v1/b/{video}/c", {"video": "b"}),
        ("/v1/b", "/v1/b", {}),
        ("/b", "/{page}", {"page": "b"}),
    ]:
        asked = request(path)
        route = router.find(asked)
        assert (route.path, route.summary, asked.parameters) == (wanted, "", parameters)
    for path, method, status in [("/v1/c/x", "GET", 404), ("/v1/a/x/c", "GET", 404), ("/v1/b", "POST", 405)]:
        with pytest.raises(Problem) as caught:
            router.find(request(path, method))
        assert caught.value.status == status
    with pytest.raises(ValueError, match="two segments"):
        Router([Route("GET", "/{a}/{b}", nothing, None, "", ok(None))])


def test_what_stands_in_a_query():
    found = query(request("/?k=5&filter=a:b&filter=a:c&filter=d:e%20f"), "k", "filter", "explain")
    assert whole(found, "k", 20, 1, 10) == 5
    assert filter_of(found) == {"a": ["b", "c"], "d": ["e f"]}
    assert (filter_of({}), whole({}, "k", 20, 1, 10), flag({}, "explain")) == ({}, 20, False)
    asked = request("/")
    asked.parameters = {"user": "7"}
    assert identity(asked, "user") == "7"
    for wrong in ("/?k=11", "/?k=0", "/?k=-1", "/?k=1&k=1", "/?q=1", "/?filter=a"):
        with pytest.raises(Problem, match=r"/(k|q|filter)") as caught:
            whole(query(request(wrong), "k", "filter"), "k", 20, 1, 10)
        assert caught.value.status == 422
    with pytest.raises(Problem):
        flag({"explain": "yes"}, "explain")
    assert ref(Item) == {"$ref": "#/components/schemas/Item"}
    assert sorted(read_page()) == ["", "page.css", "page.js"]
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


@pytest.fixture
def engine(bundle_folder: Path, log_path: Path) -> Iterator[Engine]:
    with SqliteLog(log_path, durability="normal") as log:
        made = Engine(bundle_folder, log).start()
        yield made
        made.close()


def asked(user: str = "0", **more: Any) -> Asked:
    return Asked(Question(user, 3, **more), Future())


def videos(found: Answer | Exception | None) -> list[str]:
    assert isinstance(found, Answer), found
    return [item["video"] for item in found.items]


def test_a_quick_question_is_answered_in_the_thread_that_asks(engine: Engine, bundle: Bundle):
    wanted = bundle.recommend(["0", "1"], k=3)
    some = [asked("0"), asked("1"), asked("nobody", unknown_user="error"), asked("0")]
    some[3].done.set_result(Answer(None, [], {}))
    assert engine.at_once(some)
    assert [videos(one.outcome) for one in some[:2]] == [wanted["0"], wanted["1"]]
    assert isinstance(some[2].outcome, UnknownId), "one that fails fails alone"
    assert some[3].outcome is None, "nobody waits for it"
    settle_all(some)
    assert videos(some[0].done.result()) == wanted["0"]
    with pytest.raises(UnknownId):
        some[2].done.result()
    here = engine.look(lambda state: threading.get_ident())
    assert here.done()
    assert here.result() == threading.get_ident()
    assert engine.call(lambda state: threading.get_ident()).result() != threading.get_ident()


def test_while_another_has_the_state_or_batches_are_slow_it_waits_for_the_engine(engine: Engine, bundle: Bundle):
    wanted = bundle.recommend(["0"], k=3)["0"]
    begun, gate = threading.Event(), threading.Event()
    engine.call(lambda _: begun.set() or gate.wait(10))
    assert begun.wait(10)
    assert not engine.at_once([asked()])
    waits = engine.ask(Question("0", 3))
    looks = engine.look(lambda state: state.seq)
    assert not waits.done()
    assert not looks.done()
    assert engine.waiting == 1
    engine._room = 1
    with pytest.raises(Busy):
        engine.enter(asked())
    gate.set()
    assert videos(waits.result(10)) == wanted
    assert looks.result(10) == 0
    engine.call(lambda _: None).result()
    engine._pace = 1.0
    assert not engine.at_once([asked()])
    turns = 0
    while engine._pace > QUICK:
        assert videos(engine.ask(Question("0", 3)).result(10)) == wanted
        turns += 1
    assert 20 < turns < 200, "a slow moment is forgotten"
    engine.closing = True
    with pytest.raises(Unready):
        engine.at_once([asked()])
    engine.closing = False


def test_a_desk_asks_together_what_came_in_one_turn_of_the_loop(engine: Engine, bundle: Bundle):
    users = [str(user) for user in range(24)] * 3
    wanted = bundle.recommend(users[:24], k=3)
    desk = Desk(engine, engine.log, 5.0)  # type: ignore[arg-type]

    async def all_of_them() -> list[Any]:
        asking = [desk.ask(Question(user, 3)) for user in users]
        asking.append(desk.ask(Question("nobody", 3, unknown_user="error")))
        return await asyncio.gather(*asking, return_exceptions=True)

    found = asyncio.run(all_of_them())
    assert [videos(one) for one in found[:-1]] == [wanted[user] for user in users]
    assert isinstance(found[-1], UnknownId)
    assert (engine.questions, engine.batches) == (73, 3), "32, 32 and 9"
    engine._pace = 1.0
    assert [videos(one) for one in asyncio.run(all_of_them())[:-1]] == [wanted[user] for user in users]
    asyncio.run(desk.applied(0))
    assert [videos(one) for one in asyncio.run(desk.ask_all([Question("1", 3)] * 2))] == [wanted["1"]] * 2


def test_too_late_is_counted_from_when_it_was_asked_and_a_cancelled_one_is_let_go(engine: Engine):
    desk = Desk(engine, engine.log, 0.01)  # type: ignore[arg-type]
    begun, gate = threading.Event(), threading.Event()
    engine.call(lambda _: begun.set() or gate.wait(10))
    assert begun.wait(10)

    async def ask() -> Answer:
        given_up = asyncio.create_task(desk.ask(Question("1", 3)))
        await asyncio.sleep(0)
        given_up.cancel()
        return await desk.ask(Question("0", 3))

    found = asyncio.run(ask())
    assert found.meta["fallback"] == "late"
    gate.set()
    assert engine.call(lambda state: state.seq).result(10) == 0


def test_an_answer_says_what_it_was_made_from(bundle: Bundle):
    state = State(bundle)
    one = asked("0")
    answer(state, [one], now=1e9)
    assert isinstance(one.outcome, Answer)
    assert one.outcome.meta == meta(state, None, 0)
    assert meta(state, "late")["profile"] == "none"
    state.fold([Entry(1, 0.0, Event("1", "hide", 0.0, {"video": "0"}))])
    shown = listed(state, asked("0"), [(0, 2.0), (1, 1.0)])
    assert shown.items == [{"video": "1", "score": 1.0, "source": "model", "title": "title 1"}], "the last gate"
    assert late(state, Question("0", 3)).meta["fallback"] == "late"
    free = set(map(str, range(24))) - {"0"}  # it was hidden
    met = {str(row) for row in state.profiles.seen(1).tolist()}
    assert set(videos(late(state, Question("1", 24, exclude=["2", "4"])))) == free - met - {"2", "4"}
    assert set(videos(late(state, Question(None, 24, history=["3"])))) == free - {"3"}
    assert set(videos(late(state, Question("1", 24, candidates=["0", "2", "3", "4"])))) == {"2", "4"} - met
    assert set(videos(late(state, Question("1", 24, filter={"tag": ["odd"]})))) == {"1"}


def test_an_engine_ends_with_what_it_does_beside_its_answers(bundle_folder: Path, log_path: Path, monkeypatch):
    engine, done = Engine(bundle_folder, SqliteLog(log_path)), []

    def warm(state: State) -> None:
        while any(thread.name == "engine" for thread in threading.enumerate()) or not engine.closing:
            pass
        done.append(sum(range(3_000_000)))  # after the answers have ended

    monkeypatch.setattr(State, "warm", warm)
    engine.start()
    engine.close()
    assert done
    engine.log.close()
