"""Writing a world to disk in the media-folder layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmgraph.data.synthetic.config import WorldConfig
from mmgraph.data.synthetic.world import World, generate


def write(world: World, folder: str | Path, *, features: bool = True) -> Path:
    """Write a world's tables, features and truth into `folder`; the same world gives the same bytes.

    Files: users.csv, videos.csv, interactions.csv (every exposure; `click` tells which were taken),
    world.json (the configuration, enough for `read_world` to make the world again), truth.npz (latent factors
    and tastes), and unless `features` is False features/<modality>.npy [V, D] float32, rows as in videos.csv, with
    features/<modality>_present.npy [V] bool beside each.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    world.users.write_csv(folder / "users.csv")
    world.videos.write_csv(folder / "videos.csv")
    world.interactions.write_csv(folder / "interactions.csv")
    (folder / "world.json").write_text(world.config.model_dump_json(indent=1) + "\n", encoding="utf-8")
    np.savez(folder / "truth.npz", **world.truth())  # pyright: ignore[reportArgumentType]
    if features:
        (folder / "features").mkdir(exist_ok=True)
        for modality, values in world.features.items():
            np.save(folder / "features" / f"{modality}.npy", values)
            np.save(folder / "features" / f"{modality}_present.npy", world.present[modality])
    return folder


def read_world(folder: str | Path) -> World:
    """Make again the world that was written to `folder`, from its configuration."""
    return generate(WorldConfig.model_validate_json((Path(folder) / "world.json").read_text(encoding="utf-8")))
