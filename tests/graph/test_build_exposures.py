"""What was shown becomes edges, as far as it is known at the stage that is ranked."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import torch

from mmgraph.data import global_time_split
from mmgraph.data.synthetic import MODALITIES, WorldConfig, generate
from mmgraph.graph import build_graph


def test_exposures_known_at_the_stage_become_edges():
    world = generate(WorldConfig(users=40, videos=60, days=10))
    dataset = world.dataset(dict.fromkeys(()), exposures=False, name="w")
    clicks = dataset.interactions
    shown = pl.DataFrame(
        {
            "user": clicks["user"],
            "video": (clicks["video"] + 1) % dataset.num_videos,
            "time": clicks["time"].cast(pl.Float64),
            "position": pl.Series(range(len(clicks)), dtype=pl.Int64),
            "propensity": pl.Series([0.5] * (len(clicks) - 1) + [None], dtype=pl.Float32),
        }
    )
    split = global_time_split(replace(dataset, exposures=shown))
    known = split.exposures("valid")
    assert known is not None
    assert 0 < len(known) < len(shown)  # what was shown later is not known
    graph = build_graph(split)
    store = graph["user", "exposed", "video"]
    assert store.edge_index.tolist() == [known["user"].to_list(), known["video"].to_list()]
    assert store.position.tolist() == known["position"].to_list()
    assert torch.equal(graph["video", "rev_exposed", "user"].edge_index, store.edge_index.flip(0))
    assert ("user", "exposed", "video") not in build_graph(global_time_split(dataset)).edge_types
    assert len(MODALITIES) == 4
