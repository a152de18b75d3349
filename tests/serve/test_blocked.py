"""Whatever happens in whatever order, a barred video is in no answer."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mmgraph.serve.answering import find_video
from mmgraph.serve.engine import Engine
from mmgraph.serve.features import pack
from mmgraph.serve.log import Event, SqliteLog
from mmgraph.serve.question import Question, UnknownId

USERS = ("0", "1", "stranger")


class Barred(RuleBasedStateMachine):
    """Blocks, unblocks, deletes, posts, clicks, publishes, reloads and restarts; asks everything after each."""

    bundle: ClassVar[Path]
    looks: ClassVar[dict[str, dict[str, list[float]]]]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.count = 0
        self.hidden: set[str] = set()
        self.deleted: set[str] = set()
        self.videos = [str(i) for i in range(24)]
        self.engine: Engine | None = None

    @initialize()
    def begin(self) -> None:
        self.log = SqliteLog(self.folder / "log", durability="normal")
        self.engine = Engine(self.bundle, self.log, snapshot=self.folder / "snapshot").start()

    def teardown(self) -> None:
        if self.engine is not None:
            self.engine.close()
            self.log.close()
        shutil.rmtree(self.folder)

    def write(self, kind: str, **data: object) -> None:
        self.count += 1
        done = self.log.append([Event(str(self.count), kind, 1e9, dict(data))])
        self.engine.applied(done.seq).result()

    @rule(video=st.sampled_from(range(24)))
    def block(self, video: int) -> None:
        self.write("hide", video=str(video))
        self.hidden.add(str(video))

    @rule(video=st.sampled_from(range(24)))
    def unblock(self, video: int) -> None:
        self.write("show", video=str(video))
        self.hidden.discard(str(video))

    @rule(video=st.sampled_from(range(24)))
    def delete(self, video: int) -> None:
        self.write("delete", video=str(video))
        self.deleted.add(str(video))

    @rule(look=st.sampled_from(["even", "odd"]), number=st.integers(0, 3), hide=st.booleans())
    def post(self, look: str, number: int, hide: bool) -> None:
        raw = f"new{number}"
        self.write("video", video=raw, features={m: pack(v) for m, v in self.looks[look].items()})
        self.deleted.discard(raw)
        if raw not in self.videos:
            self.videos.append(raw)
        if hide:
            self.write("hide", video=raw)
            self.hidden.add(raw)

    @rule(user=st.sampled_from(USERS), video=st.sampled_from(range(24)))
    def click(self, user: str, video: int) -> None:
        self.write("click", user=user, video=str(video))

    @rule()
    def publish(self) -> None:
        self.engine.call(lambda state: state.publish(1e9)).result()

    @rule()
    def reload(self) -> None:
        self.engine.reload()

    @rule(snapshot=st.booleans())
    def restart(self, snapshot: bool) -> None:
        self.engine.close()
        self.log.close()
        if not snapshot:
            (self.folder / "snapshot").unlink()
        self.begin()

    @precondition(lambda self: self.engine is not None)
    @invariant()
    def nothing_barred_leaves(self) -> None:
        barred = self.hidden | self.deleted
        questions = [Question(user, 1000, explain=True) for user in USERS]
        questions += [Question("0", 1000, candidates=self.videos), Question(None, 1000, popular=True)]
        open_history = [raw for raw in self.videos[:3] if raw not in barred]
        questions += [Question("0", 1000, history=open_history, explain=True)]
        answers = [done.result() for done in self.engine.ask_all(questions)]
        answers += [self.engine.late(question) for question in questions]
        for answer in answers:
            shown = {item["video"] for item in answer.items}
            reasons = {item["because"]["video"] for item in answer.items if item.get("because")}
            assert not (shown | reasons) & barred, answer
        popular = {item["video"] for item in answers[4].items}
        assert popular == set(self.videos) - barred, "and everything else is there again"

        def similar(state) -> set[str]:
            return {state.videos.raw[row] for row, _ in state.similar(state.videos.find("0"), 1000)}

        assert not self.engine.call(similar).result() & barred
        for raw in sorted(barred)[:2]:
            with pytest.raises(UnknownId) as caught:
                self.engine.call(lambda state, raw=raw: find_video(state, raw)).result()
            assert not set(caught.value.close) & barred, "not even as a spelling"


def test_a_barred_video_never_leaves(bundle_folder: Path, looks):
    Barred.bundle, Barred.looks = bundle_folder, looks
    checked = settings(max_examples=8, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck))
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Barred, settings=checked)
    assert Barred.bundle == bundle_folder
