"""The server over HTTP: what was written counts in the next answer, and every bad request is told what is wrong."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmgraph.bundle import Bundle
from mmgraph.serve.http import PROBLEMS
from mmgraph.serve.keys import Keys, Rate
from mmgraph.serve.metrics import Metrics, resident_bytes
from mmgraph.serve.server import ServeConfig, local
from mmgraph.serve.snapshot import state_hash
from tests.serve.conftest import Running

Looks = dict[str, dict[str, list[float]]]
Start = Callable[..., Running]


@pytest.fixture
def running(serving: Start) -> Running:
    return serving()


def test_lists_are_the_bundles_own(running: Running, bundle: Bundle):
    wanted = bundle.recommend([str(i) for i in range(24)], k=5)
    for user, videos in wanted.items():
        assert running.videos(user, k=5) == videos
    answer = running.client.get("/v1/recommendations/3", params={"k": 2, "explain": "true"}).json()
    assert [item["video"] for item in answer["items"]] == wanted["3"][:2]
    assert answer["items"][0]["title"] == f"title {wanted['3'][0]}"
    assert answer["items"][0]["source"] == "model"
    because = answer["items"][0]["because"]
    assert int(because["video"]) % 2 == 1
    assert because["shared"] == {"tag": ["odd"]}
    meta = answer["meta"]
    assert (meta["bundle"], meta["seq"], meta["profile"], meta["fallback"]) == (bundle.id, 0, "trained", None)
    many = running.client.post("/v1/recommendations:batch", json={"users": ["1", 2, "nobody"], "k": 3}).json()[
        "answers"
    ]
    assert [[i["video"] for i in a["items"]] for a in many[:2]] == [wanted["1"][:3], wanted["2"][:3]]
    assert many[2]["meta"]["fallback"] == "unknown user"


def test_a_new_video_leads_the_next_list_and_a_hidden_or_deleted_one_is_gone(running: Running, looks: Looks):
    client = running.client
    put = client.put("/v1/videos/fresh", json={"features": looks["even"], "title": "Fresh", "tags": ["even"]})
    assert (put.status_code, put.json()["recommendable"], put.json()["seq"]) == (201, True, 1)
    found = client.post("/v1/recommendations", json={"user": 0, "k": 3, "min_seq": 1}).json()
    item = next(item for item in found["items"][:2] if item["video"] == "fresh")
    assert item | {"score": 0} == {"video": "fresh", "score": 0, "source": "new", "title": "Fresh"}
    assert client.get("/v1/videos/fresh").json()["columns"] == {"tag": ["even"]}
    assert "fresh" in [i["video"] for i in client.get("/v1/videos/2/similar", params={"k": 1}).json()["items"]]
    assert client.patch("/v1/videos/fresh", json={"hidden": True}).json()["note"] == "it is hidden"
    assert "fresh" not in running.videos("0", k=1000)
    assert "fresh" not in running.videos("0", candidates=["fresh", "0"])
    assert client.get("/v1/videos/fresh/similar").status_code == 404
    assert "fresh" not in client.get("/v1/popular", params={"k": 1000}).text
    assert "fresh" not in client.get("/v1/videos/2/similar", params={"k": 100}).text
    assert client.post("/v1/scores", json={"user": "0", "videos": ["fresh", "0"]}).json()["scores"][0] is None
    assert client.patch("/v1/videos/fresh", json={"hidden": False}).status_code == 200
    assert "fresh" in running.videos("0", k=2)
    gone = client.delete("/v1/videos/fresh")
    assert (gone.status_code, gone.content) == (204, b"")
    assert "fresh" not in running.videos("0", k=1000)
    assert client.get("/v1/videos/fresh").status_code == 404
    assert client.delete("/v1/videos/fresh").status_code == 404
    assert client.put("/v1/videos/fresh", json={}).status_code == 201, "described again, it is back with its features"
    assert "fresh" in running.videos("0", k=2)


def test_an_event_counts_in_the_next_answer(running: Running):
    first = running.videos("0", k=1)[0]
    event = {"id": "e", "type": "skip", "user": "0", "video": first}
    taken = running.client.post("/v1/events", json={"events": [event, event]}).json()
    assert taken == {"accepted": 1, "duplicates": 1, "rejected": [], "seq": 1}
    assert first not in running.videos("0", k=1000)
    running.client.post("/v1/events", json={"events": [{"type": "click", "user": "me", "video": "3"}]})
    mine = running.client.post("/v1/recommendations", json={"user": "me", "k": 5, "explain": True}).json()
    assert mine["meta"]["profile"] == "events"
    assert all(int(item["video"]) % 2 for item in mine["items"]), "a stranger's first click makes a row"
    assert mine["items"][0]["because"]["video"] == "3"
    assert running.videos("stranger", history=["3"], k=5) == [i["video"] for i in mine["items"]]


def test_one_bad_event_rejects_itself_alone(running: Running):
    lines = [
        {"type": "click", "user": "a", "video": "1"},
        {"type": "click", "user": "a", "video": "none"},
        {"type": "buy", "user": "a", "video": "1"},
        {"type": "click", "user": "a", "video": "1", "time": 1e14},
    ]
    body = "\n".join([*map(json.dumps, lines), "{no json", "", json.dumps(lines[0] | {"video": "2"})])
    taken = running.client.post("/v1/events", content=body, headers={"content-type": "application/x-ndjson"})
    assert taken.status_code == 202
    found = taken.json()
    assert (found["accepted"], found["seq"]) == (2, 2)
    assert [(r["index"], r["type"]) for r in found["rejected"]] == [
        (1, "unknown-video"),
        (2, "fields"),
        (3, "future"),
        (4, "fields"),
    ]


def test_filters_candidates_and_exclusions_are_kept_to(running: Running):
    odd = running.videos("0", filter={"tag": ["odd"]}, k=1000)
    assert sorted(map(int, odd)) == list(range(1, 24, 2)), "a filter never under-returns"
    best = running.videos("0", k=3)
    assert running.videos("0", k=2, exclude=[best[0], "never heard"]) == best[1:]
    assert running.videos("0", candidates=[best[2], best[1], "never heard"]) == [best[1], best[2]]
    assert sorted(running.videos("nobody", candidates=["5", "7"])) == ["5", "7"]
    assert running.client.get("/v1/popular?k=2&filter=tag:odd&filter=title:title 5").json()["items"][0]["video"] == "5"


BAD: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/v1/recommendations", b"{", 400, "not-json"),
    ("POST", "/v1/recommendations", {"user": "1", "k": 0}, 422, "fields"),
    ("POST", "/v1/recommendations", {"user": "1", "k": 1001}, 422, "fields"),
    ("POST", "/v1/recommendations", {"user": "1", "k": "5"}, 422, "fields"),
    ("POST", "/v1/recommendations", {"user": "1", "kk": 5}, 422, "fields"),
    ("POST", "/v1/recommendations", {"user": ["1"]}, 422, "fields"),
    ("POST", "/v1/recommendations", {"user": "1", "filter": {"colour": ["red"]}}, 404, "unknown-column"),
    ("POST", "/v1/recommendations", {"user": "1", "min_seq": 10}, 409, "ahead"),
    ("POST", "/v1/recommendations", {"user": "1", "history": ["none"]}, 404, "unknown-id"),
    ("GET", "/v1/recommendations/1?k=ten", None, 422, "fields"),
    ("GET", "/v1/recommendations/1?q=1", None, 422, "fields"),
    ("GET", "/v1/recommendations/%ff", None, 400, "bad-path"),
    ("GET", "/v1/recommendations/", None, 422, "fields"),
    ("GET", "/v1/popular?filter=odd", None, 422, "fields"),
    ("GET", "/v1/videos/none", None, 404, "unknown-id"),
    ("GET", "/v2", None, 404, "no-such-page"),
    ("DELETE", "/v1/popular", None, 405, "method"),
    ("PUT", "/v1/videos/x", {"features": {"smell": [1.0]}}, 409, "bundle-clash"),
    ("PUT", "/v1/videos/x", {"features": {"visual": [1.0]}}, 409, "bundle-clash"),
    ("PUT", "/v1/videos/x", b'{"features": {"visual": [NaN, 1, 1, 1, 1]}}', 422, "fields"),
    ("PUT", "/v1/videos/x", {"features": {"visual": [1e300] * 5}}, 422, "fields"),
    ("PUT", "/v1/videos/x", {"features": {"visual": {"f16_base64": "??"}}}, 422, "fields"),
    ("PUT", "/v1/videos/x", {"features": {"visual": {"f16_base64": "AAAA"}}}, 409, "bundle-clash"),
    ("PUT", "/v1/videos/x", {"columns": {"id": "y"}}, 409, "bundle-clash"),
    ("PUT", "/v1/videos/a%0Ab", {}, 422, "fields"),
    ("PATCH", "/v1/videos/none", {"hidden": True}, 404, "unknown-id"),
    ("PATCH", "/v1/videos/1", {"hidden": "yes"}, 422, "fields"),
    ("POST", "/v1/videos", {"videos": []}, 422, "fields"),
    ("POST", "/v1/scores", {"user": "nobody", "videos": ["1"]}, 404, "unknown-id"),
    ("POST", "/v1/events", {"events": []}, 422, "fields"),
    ("PUT", "/v1/videos/x", {"title": "x" * 2_000_000}, 413, "too-large"),
]


def test_every_bad_request_is_a_problem_that_says_what_is_wrong(running: Running):
    for method, path, body, status, name in BAD:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        answer = running.client.request(method, path, content=content, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path
        problem = answer.json()
        assert problem["type"] == f"/problems/{name}", (path, body)
        assert (problem["status"], problem["title"]) == PROBLEMS[name]
        assert problem["detail"]
    wrong = running.client.post("/v1/recommendations", json={"user": "1", "filter": {"tag": ["a", 1]}, "k": -1}).json()
    assert {e["pointer"] for e in wrong["errors"]} == {"/filter/tag/1", "/k"}
    text = running.client.put("/v1/videos/x", content="{}", headers={"content-type": "text/plain"})
    assert text.status_code == 415
    assert running.client.get("/v1/videos/titl").json()["close"] == []
    assert running.client.delete("/v1/popular").headers["allow"] == "GET, HEAD"
    head = running.client.head("/v1/popular")
    assert (head.status_code, head.content) == (200, b"")
    nobody = running.client.post("/v1/recommendations", json={}).json()
    assert [item["source"] for item in nobody["items"]] == ["popular"] * 20
    assert "x" not in running.app.engine.state.videos, "nothing of what was refused is in the state"


def test_a_strict_server_refuses_strangers_with_close_ids(serving: Start):
    running = serving(unknown_user="error")
    answer = running.client.post("/v1/recommendations", json={"user": "222"})
    assert (answer.status_code, answer.json()["close"][0]) == (404, "22")


def test_half_precision_features_and_the_same_key_twice(running: Running, looks: Looks):
    half = {
        name: {"f16_base64": base64.b64encode(np.array(values, "<f2").tobytes()).decode()}
        for name, values in looks["odd"].items()
    }
    for _ in range(2):
        answer = running.client.put("/v1/videos/a%2Fb", json={"features": half}, headers={"idempotency-key": "k1"})
        assert answer.status_code in (200, 201)
        assert answer.json()["seq"] == 1, "the same key is the same write"
    assert "a/b" in running.videos("1", k=2)
    several = [{"video": "p", "features": looks["even"]}, {"video": "q"}]
    many = running.client.post("/v1/videos", json={"videos": several}).json()
    assert many == {"seq": 3, "written": 2}
    assert running.client.get("/v1/videos/q").json()["recommendable"] is False


def test_roles(serving: Start, tmp_path: Path):
    path = tmp_path / "keys"
    path.write_text("read r-key-0123456789abc\n\nwrite w-key-0123456789abc  # of the feed\nadmin a-key-0123456789abc\n")
    running = serving(api_key_file=path)
    hide = {"method": "PATCH", "url": "/v1/videos/2", "json": {"hidden": True}}

    def status(key: str | None, method: str, url: str, **more: Any) -> int:
        headers = {} if key is None else {"authorization": f"Bearer {key}-key-0123456789abc"}
        return running.client.request(method, url, headers=headers, **more).status_code

    assert [status(key, **hide) for key in (None, "x", "r")] == [401, 401, 403]
    assert running.app.engine.state.hidden == set(), "requests without a key of the role cannot write"
    assert status("w", **hide) == 200
    assert status("w", "POST", "/v1/models:reload") == 403
    assert status("a", "POST", "/v1/models:reload") == 200
    assert [status(key, "GET", "/v1/popular") for key in (None, "r", "w", "a")] == [401, 200, 200, 200]
    assert status(None, "GET", "/livez") == status(None, "GET", "/readyz") == status(None, "GET", "/") == 200
    assert status("r", "GET", "/v1/videos/2") == 404, "a reader is not told of hidden videos"
    assert status("w", "GET", "/v1/videos/2") == 200
    other = running.client.get("/v1/popular", headers={"x-api-key": "r-key-0123456789abc"})
    assert other.status_code == 200
    assert other.request.headers["host"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("own abcdefghijklmnopqrst", "line 1"), ("read short", "at least 16"), ("# nothing", "holds no key")],
)
def test_key_files_that_are_wrong(text: str, message: str, tmp_path: Path):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        Keys(path)
    assert "abcdefghij" not in str(caught.value), "a key is never shown"


def test_other_sites_cannot_write_and_other_names_are_not_answered(running: Running):
    client = running.client
    other = client.patch("/v1/videos/2", json={"hidden": True}, headers={"origin": "https://elsewhere.example"})
    assert (other.status_code, other.json()["type"]) == (403, "/problems/origin")
    assert client.get("/v1/popular", headers={"host": "elsewhere.example"}).status_code == 403
    own = client.patch("/v1/videos/2", json={"hidden": True}, headers={"origin": running.url})
    assert own.status_code == 200


def test_beyond_this_machine_only_with_keys(bundle_folder: Path, log_path: Path):
    with pytest.raises(ValueError, match="api-key-file"):
        ServeConfig(bundle_folder, log_path, host="0.0.0.0")
    with pytest.raises(ValueError, match="workers"):
        ServeConfig(bundle_folder, log_path, workers=0)
    assert [local(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org")] == [True] * 3 + [
        False
    ] * 2


def test_rate():
    now = [0.0]
    rate = Rate(2, clock=lambda: now[0])
    for _ in range(2):
        rate.take("a")
    with pytest.raises(Exception, match="2 requests a second") as caught:
        rate.take("a")
    assert caught.value.headers == {"retry-after": "1"}
    rate.take("b")
    now[0] = 0.5
    rate.take("a")
    Rate(0).take("anybody")


def test_a_client_that_asks_too_often_is_told_when_to_come_again(serving: Start):
    running = serving(rate=3.0)
    answers = [running.client.get("/v1/popular") for _ in range(12)]
    assert {answer.status_code for answer in answers[:3]} == {200}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert refused[0].headers["retry-after"] == "1"
    assert running.client.get("/livez").status_code == 200, "whether it lives may be asked at any time"


def test_too_late_an_answer_is_the_popular_list_and_counted(serving: Start):
    running = serving(deadline_ms=50.0)
    gate = threading.Event()
    running.app.engine.call(lambda _: gate.wait(10))

    answer = running.client.post("/v1/recommendations", json={"user": "0", "k": 3, "filter": {"tag": ["odd"]}}).json()
    gate.set()
    assert answer["meta"]["fallback"] == "late"
    assert [item["source"] for item in answer["items"]] == ["popular"] * 3
    assert all(int(item["video"]) % 2 for item in answer["items"])
    assert 'mmgraph_fallbacks_total{reason="late"} 1' in running.client.get("/metrics").text


def test_too_many_questions_are_refused(serving: Start):
    running = serving()
    running.app.engine._room, running.app.engine._pace = 0, 1.0  # none may wait, and none is answered at once
    answer = running.client.get("/v1/recommendations/0")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


def test_a_full_disk_answers_507_and_reads_go_on(serving: Start, looks: Looks):
    running = serving(max_log_bytes=64 * 1024)
    answers = []
    for i in range(100):
        answers.append(running.client.put(f"/v1/videos/v{i}", json={"features": looks["even"], "title": "x" * 900}))
        if answers[-1].status_code != 201:
            break
    assert answers[-1].status_code == 507
    assert answers[-1].json()["type"] == "/problems/disk-full"
    stored = len(answers) - 1
    assert running.app.log.last() == stored
    assert f"v{stored}" not in running.videos("0", k=1000), "what was refused is nowhere"
    assert running.videos("0", k=2)[1].startswith("v")


def test_a_restart_goes_on_where_it_was_and_gives_the_same_state(serving: Start, looks: Looks):
    running = serving()
    running.client.put("/v1/videos/fresh", json={"features": looks["even"]})
    running.client.patch("/v1/videos/4", json={"hidden": True})
    running.client.post("/v1/events", json={"events": [{"type": "click", "user": "me", "video": "3"}]})
    before = running.app.engine.call(state_hash).result()
    lists = [running.videos(user, k=20) for user in ("0", "1", "me")]
    snapshot = running.app.engine.snapshot_path
    running.stop()
    assert snapshot.exists()
    again = serving()
    assert again.app.engine.call(state_hash).result() == before
    assert [again.videos(user, k=20) for user in ("0", "1", "me")] == lists
    again.stop()
    snapshot.write_bytes(b"damaged")
    third = serving()
    assert third.app.engine.call(state_hash).result() == before, "the log alone is enough"


def test_a_reload_takes_the_new_bundle_and_keeps_what_the_log_said(
    serving: Start, bundle_folder: Path, tmp_path: Path, looks: Looks
):
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "b"))
    running = serving(bundle=folder)
    running.client.put("/v1/videos/fresh", json={"features": looks["even"]})
    running.client.patch("/v1/videos/4", json={"hidden": True})
    (folder / "extra").write_text("x")
    refused = running.client.post("/v1/models:reload")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/bundle-clash")
    assert "fresh" in running.videos("0", k=2), "the old bundle goes on"
    (folder / "extra").unlink()
    done = running.client.post("/v1/models:reload").json()
    assert done["before"] == done["bundle"] == running.client.get("/v1/models").json()["bundle"]
    assert "fresh" in running.videos("0", k=2)
    assert "4" not in running.videos("1", k=1000)


def test_what_operators_look_at(running: Running, bundle: Bundle):
    client = running.client
    assert client.get("/livez").text == "alive\n"
    assert client.get("/readyz").text == "ready\n"
    client.get("/v1/recommendations/nobody")
    status = client.get("/v1/status").json()
    assert (status["bundle"], status["behind_entries"], status["fallbacks"]) == (bundle.id, 0, {"unknown user": 1})
    text = client.get("/metrics").text
    assert 'mmgraph_requests_total{method="GET",route="/v1/recommendations/{user}",status="200"} 1' in text
    assert 'mmgraph_request_seconds_count{route="/v1/recommendations/{user}"} 1' in text
    assert "mmgraph_videos 24" in text
    assert resident_bytes() > 1 << 20
    counted = Metrics()
    counted.count("GET", "/x", 200, 0.003)
    assert 'mmgraph_request_seconds_bucket{route="/x",le="0.002"} 0' in counted.text({})
    assert 'mmgraph_request_seconds_bucket{route="/x",le="0.005"} 1' in counted.text({"up": 1.0})
    for name, kind in (("", "text/html"), ("page.css", "text/css"), ("page.js", "text/javascript")):
        page = client.get(f"/{name}")
        assert page.headers["content-type"].startswith(kind)
        assert "http://" not in page.text
        assert "https://" not in page.text
    assert client.get("/v1/users?prefix=2").json()["users"] == ["2", "20", "21", "22", "23"]


def test_two_servers_over_one_log_see_each_others_writes_in_the_next_answer(serving: Start, looks: Looks):
    one, two = serving(), serving()
    for turn in range(5):
        one.client.put(f"/v1/videos/v{turn}", json={"features": looks["even"]})
        assert f"v{turn}" in two.videos("0", k=2)
        two.client.patch(f"/v1/videos/v{turn}", json={"hidden": True})
        assert f"v{turn}" not in one.videos("0", k=1000)
