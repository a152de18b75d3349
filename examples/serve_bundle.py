"""Serve without a server: a bundle, a log, a video that is posted, recommended and hidden again.

python examples/serve_bundle.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from mmgraph.bundle import export
from mmgraph.data import Dataset
from mmgraph.data.split import user_time_split
from mmgraph.graph import build_graph
from mmgraph.models import ContentMean
from mmgraph.serve.engine import Engine
from mmgraph.serve.features import pack
from mmgraph.serve.log import Event, SqliteLog
from mmgraph.serve.question import Question


def main() -> None:
    """Exports, asks, posts, asks, hides, asks."""
    # users 0, 2, 4 … watch even videos, the others odd ones; a picture tells even from odd
    clicks = [(user, 2 * turn + user % 2) for user in range(10) for turn in range(user // 2, user // 2 + 5)]
    look = torch.tensor([[1.0, 0.1 * video] if video % 2 else [-1.0, 0.1 * video] for video in range(20)])
    dataset = Dataset.from_frames(
        {"user": [u for u, _ in clicks], "video": [v for _, v in clicks], "time": list(range(len(clicks)))},
        videos={"video_id": list(range(20)), "title": [f"video {v}" for v in range(20)]},
        features={"visual": look},
    )
    graph = build_graph(user_time_split(dataset, (0.6, 0.2, 0.2)), "test")
    model = ContentMean(graph)
    model.solve(graph)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        export(model, graph, dataset, folder / "bundle")
        with SqliteLog(folder / "events.db") as log:
            engine = Engine(folder / "bundle", log).start()

            def show(when: str) -> None:
                answer = engine.ask(Question("3", k=3, explain=True)).result()
                print(f"{when}: {[item['video'] for item in answer.items]} (log at {answer.meta['seq']})")

            show("at first")
            log.append([Event("1", "video", 1.7e9, {"video": "new", "features": {"visual": pack([1.0, 0.9])}})])
            show("posted")
            log.append([Event("2", "hide", 1.7e9, {"video": "new"})])
            show("hidden")
            engine.close()


if __name__ == "__main__":
    main()
