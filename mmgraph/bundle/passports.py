"""The passports of the features that a run was trained on, from the folder that ``mmgraph encode`` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmgraph.data.errors import DataError
from mmgraph.data.files import DamagedFile, read_json
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.feature_folder import read_feature_folder
from mmgraph.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from mmgraph.data.dataset import Dataset
    from mmgraph.graph.multimodal import MultimodalGraph

PASSPORTS, IDS = "passports.json", "video_ids.csv"


def read_passports(folder: str | Path, graph: MultimodalGraph, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Modality -> passport, of the graph's modalities whose features lie in a folder of ``mmgraph encode``.

    A passport goes to a bundle so that a server encodes the media of new videos as those were that the model knows.
    Hence the features themselves are compared: each video of the graph must have the row that lies in the folder.

    Args:
        folder: holds ``passports.json``, ``video_ids.csv`` and a matrix of each modality.
        graph: with the features that were trained on.
        dataset: raw ids, rows as in the graph.

    Raises:
        DataError: no such folder, no modality of the graph in it, or features that are not the graph's.
    """
    folder = Path(folder)
    try:
        told = read_json(folder / PASSPORTS, "list of passports")["passports"]
    except (FileNotFoundError, DamagedFile, KeyError, TypeError) as error:
        raise DataError(
            f"no {PASSPORTS} that can be read", file=folder, fix="name what mmgraph encode wrote"
        ) from error
    table, source = read_table(folder / IDS, required=("video_id",), text=("video_id",))
    there = Vocabulary(table["video_id"], source)
    features = read_feature_folder(folder, there)
    names = [name for name in graph.modalities if name in told and name in features]
    if not names:
        known = ", ".join(graph.modalities) or "none"
        raise DataError(f"no passport of a modality of the run ({known})", file=folder / PASSPORTS)
    rows = there.find(dataset.video_ids.ids)
    for name in names:
        mine = graph.features(name)
        values, present = mine.values.cpu().numpy(), mine.present.cpu().numpy()
        known = np.where(rows >= 0, features[name].present.numpy()[rows], False)
        same = np.array_equal(known, present)
        if not same or not np.array_equal(features[name].values.numpy()[rows[present]], values[present]):
            raise DataError(
                f"the features of {name!r} are not those that the run was trained on",
                file=folder,
                fix="name the folder that the run read, or export without passports",
            )
    return {name: dict(told[name]) for name in names}
