"""A media folder on disk: write a tiny one, look at it, split it in time, and see what a bad line says."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from mmgraph.data import DataError, encode_user_features, global_time_split, inspect, read_media_folder

HOUR = 3600


def write_folder(folder: Path) -> None:
    """Twelve people, ten videos, two of them without a look."""
    rng = np.random.default_rng(0)
    people = [f"p{n:02},{rng.integers(18, 60)},{rng.choice(['f', 'm'])}" for n in range(12)]
    (folder / "users.csv").write_text("\n".join(["user_id,age,gender", *people]) + "\n")
    clips = [f"clip-{n},a video of number {n},{rng.integers(5, 60)}" for n in range(10)]
    (folder / "videos.csv").write_text("\n".join(["video_id,title,duration", *clips]) + "\n")
    lines = ["user_id,video_id,timestamp,click,like"]
    for person in range(12):
        for clip in rng.choice(10, 6, replace=False):
            time = 1_700_000_000 + HOUR * int(rng.integers(0, 240))
            lines.append(f"p{person:02},clip-{clip},{time},{int(rng.random() < 0.8)},{int(rng.random() < 0.2)}")
    (folder / "interactions.csv").write_text("\n".join(lines) + "\n")
    (folder / "features").mkdir()
    np.save(folder / "features" / "visual.npy", rng.normal(size=(10, 8)).astype(np.float32))
    np.save(folder / "features" / "visual_present.npy", np.arange(10) < 8)


def main() -> None:
    """Write, inspect, read, split, spoil."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folder(folder)
        print(inspect(folder), "\n")

        dataset = read_media_folder(folder, signal="click", name="clips")
        split = global_time_split(dataset)
        print(split)
        print("user features, from training users only:", tuple(encode_user_features(split).shape), "\n")

        with (folder / "interactions.csv").open("a") as file:
            file.write("p00,clip-77,1700000000,1,0\n")
        try:
            read_media_folder(folder)
        except DataError as error:
            print("DataError:", error)


if __name__ == "__main__":
    main()
