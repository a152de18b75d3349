"""Small samples of every layout, 20 interactions each, written to disk. The pairs are the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

USERS, VIDEOS = 5, 8
# user u watches videos u, u+2, u+3, u+5 (mod 8): 20 distinct pairs, four a user
PAIRS = [(u, (u + step) % VIDEOS) for u in range(USERS) for step in (0, 2, 3, 5)]
TIMES = [1_700_000_000 + 3600 * ((7 * n) % 20) for n in range(20)]  # distinct, not in file order
FEATURES = np.arange(VIDEOS * 3, dtype=np.float32).reshape(VIDEOS, 3) / 10


def write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def media_folder(folder: Path) -> Path:
    ages = (20, 30, 40, 50, 60)
    genders = ("f", "m", "f", "m", "")
    write(
        folder / "users.csv", ["user_id,age,gender", *(f"00{u},{a},{g}" for u, (a, g) in enumerate(zip(ages, genders)))]
    )
    # backwards, so that row order is the table's and not the sorted one
    write(
        folder / "videos.csv",
        [
            "video_id,title,duration,creator",
            *(f'v{v},"title, {v}",{10 + v},c{v % 3}|c{v % 2}' for v in reversed(range(VIDEOS))),
        ],
    )
    write(
        folder / "interactions.csv",
        [
            "user_id,video_id,timestamp,click,finish,like",
            *(f"00{u},v{v},{t},{int(n % 4 > 0)},{n % 2},0" for n, ((u, v), t) in enumerate(zip(PAIRS, TIMES))),
        ],
    )
    for name in ("video_frames/v1/b.jpg", "video_frames/v1/a.jpg", "video_frames/v3/0.png", "video_audio/v1.wav"):
        write(folder / name, ["not decoded here"])
    write(folder / "video_audio/v2/x.wav", ["not decoded here"])
    write(folder / "video_frames/v5/.hidden.jpg", ["not a frame"])
    (folder / "features").mkdir()
    np.save(folder / "features/visual.npy", FEATURES)
    values = FEATURES.copy()
    values[2] = np.nan
    np.save(folder / "features/audio.npy", values)
    np.save(folder / "features/audio_present.npy", np.arange(VIDEOS) != 2)
    return folder


def mmrec(folder: Path) -> Path:
    rows = [f"{u}\t{v}\t{(0, 0, 1, 2)[n % 4]}" for n, (u, v) in enumerate(PAIRS)]
    write(folder / "tiny.inter", ["userID\titemID\tx_label", *rows])
    np.save(folder / "image_feat.npy", FEATURES.astype(np.float16))
    np.save(folder / "audio_feat.npy", FEATURES[:, :2].astype(np.float64))
    return folder


def lightgcn(folder: Path) -> Path:
    lists = {u: [v for w, v in PAIRS if w == u] for u in range(USERS)}
    write(folder / "train.txt", [f"{u} {vs[0]} {vs[1]}" for u, vs in lists.items()])
    write(folder / "valid.txt", [f"{u} {vs[2]}" for u, vs in lists.items()])
    write(folder / "test.txt", [f"{u} {vs[3]}" if u else f"{u} {vs[3]} " for u, vs in lists.items()])
    return folder


def sequences(folder: Path) -> Path:
    lists = {u: [v + 1 for w, v in PAIRS if w == u] for u in range(USERS)}
    write(folder / "Tiny.txt", [f"{u + 1} {' '.join(map(str, vs))}" for u, vs in lists.items()])
    (folder / "Tiny_item2attributes.json").write_text(json.dumps({"1": [7, 9], "3": [9], "99": [7]}))
    return folder


def microlens(folder: Path) -> Path:
    lists = {u: [v + 1 for w, v in PAIRS if w == u] for u in range(USERS)}
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{u + 1}\t{' '.join(map(str, vs))}\r\n" for u, vs in lists.items())
    (folder / "Tiny_pairs.tsv").write_bytes(lines.encode())
    write(folder / "Tiny_titles.csv", ["item,title", *(f'{v},"clip {v}, part 1"' for v in (9, 3, 1, 2, 4, 5, 6, 7))])
    return folder


def movielens(folder: Path) -> Path:
    write(
        folder / "ratings.csv",
        [
            "userId,movieId,rating,timestamp",
            *(f"{u + 1},{10 * v + 10},{1 + (n % 9) / 2},{t}" for n, ((u, v), t) in enumerate(zip(PAIRS, TIMES))),
        ],
    )
    genres = ("Comedy|Drama", "Drama", "(no genres listed)")
    write(
        folder / "movies.csv",
        [
            "movieId,title,genres",
            *(f'{10 * v + 10},"Film, {v} ({1990 + v})",{genres[v % 3]}' for v in range(VIDEOS)),
            "990,Unseen,Horror",
        ],
    )
    write(
        folder / "tags.csv",
        [
            "userId,movieId,tag,timestamp",
            "1,10,Funny,1700000000",
            "2,10,funny,1700000001",
            "1,20,1984,1700000002",
            "1,990,x,1700000003",
        ],
    )
    write(folder / "links.csv", ["movieId,imdbId,tmdbId", *(f"{10 * v + 10},00{v},{v}" for v in range(VIDEOS))])
    for movie in (10, 30, 990, 12345):
        write(folder / f"posters/{movie}.jpg", ["not decoded here"])
    return folder
