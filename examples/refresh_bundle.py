"""Serve, let people click, go on training on what they clicked, serve the next bundle.

python examples/refresh_bundle.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from mmgraph.bundle import Training, export
from mmgraph.data import Dataset
from mmgraph.data.split import user_time_split
from mmgraph.graph import build_graph
from mmgraph.models import LightGCN
from mmgraph.serve.engine import Engine
from mmgraph.serve.log import Event, SqliteLog
from mmgraph.serve.question import Question
from mmgraph.serve.refresh import refresh
from mmgraph.train import FitConfig, fit


def main() -> None:
    """Trains, exports, clicks as somebody new, refreshes, asks."""
    # users 0, 2, 4 … watch even videos, the others odd ones
    clicks = [(user, 2 * turn + user % 2) for user in range(20) for turn in range(user // 2, user // 2 + 6)]
    dataset = Dataset.from_frames(
        {"user": [u for u, _ in clicks], "video": [v for _, v in clicks], "time": list(range(len(clicks)))},
        videos={"video_id": list(range(40))},
    )
    graph = build_graph(user_time_split(dataset, (0.6, 0.2, 0.2)), "test")
    how = Training(learning_rate=0.02, batch_size=256)
    torch.manual_seed(0)
    model = LightGCN(graph, embedding_dim=16)
    fit(model, graph, None, FitConfig(epochs=40, learning_rate=how.learning_rate, batch_size=how.batch_size))
    with tempfile.TemporaryDirectory() as place:
        bundle = Path(place) / "bundle"
        export(model, graph, dataset, bundle, training=how)
        with SqliteLog(Path(place) / "events.db") as log:
            engine = Engine(bundle, log).start()
            log.append([Event(f"c{v}", "click", 1.7e9 + v, {"user": "anna", "video": str(v)}) for v in range(0, 12, 2)])
            before = engine.ask(Question("anna", k=4)).result()
            done = refresh(bundle, log, epochs=20)
            print(f"trained on {done.interactions} new clicks of {done.users} new user: bundle {done.bundle.id}")
            engine.reload()
            after = engine.ask(Question("anna", k=4)).result()
            for name, answer in (("before", before), ("after", after)):
                print(f"{name}: {[item['video'] for item in answer.items]} (row: {answer.meta['profile']})")
            engine.close()


if __name__ == "__main__":
    main()
