"""Throughput of the encoders, through the feature store, on media made for the purpose.

    python -m benchmarks.encoders            # all; appends one row each to benchmarks/results/encoders.jsonl
    python -m benchmarks.encoders mfcc use   # some; --dry prints only

Pictures are 640 x 360 JPEG, sounds 10 s of 16-bit WAV at 44.1 kHz, clips 5 s of 320 x 240 mp4 with sound, texts
titles in English and Chinese. Each encoder sees every medium once before (cold store, warm weights). Reported:

- items_per_second: media through hashing, decoding, encoding and writing;
- decode_cpu_seconds in threads, encode_seconds in the main thread, wait_seconds the main thread stood still for
  decoding: what decoding costs after overlap; decode_share = decode / (decode + encode);
- sequential_items_per_second: the same work with decoding first and encoding after, no threads;
- cpu_utilisation: the process's CPU seconds / (wall seconds x cores).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmgraph.encoders import (
    EfficientNetLite0,
    Encoder,
    GenerationEncoder,
    HashEncoder,
    MFCCStatistics,
    UniversalSentenceEncoder,
    VideoFrames,
    minilm,
)
from mmgraph.features import FeatureStore

RESULTS = Path(__file__).parent / "results" / "encoders.jsonl"
PACKAGES = ("torch", "transformers", "librosa", "av", "pillow", "numpy")


def titles(folder: Path, count: int) -> list[Any]:
    """Titles of about ten words, every third in Chinese."""
    rng = np.random.default_rng(0)
    english = ["a", "cat", "dog", "robot", "dances", "sleeps", "under", "the", "neon", "moon", "slow", "ocean", "rain"]
    chinese = "猫狗城市机器人跳舞睡觉霓虹月亮海洋雨快慢红色的在下"
    return [
        "".join(rng.choice(list(chinese), 14)) if n % 3 == 0 else " ".join(rng.choice(english, 10)) + f" {n}"
        for n in range(count)
    ]


def pictures(folder: Path, count: int) -> list[Any]:
    """640 x 360 JPEG, smooth with some grain."""
    from PIL import Image

    paths = []
    for n in range(count):
        rng = np.random.default_rng(n)
        coarse = Image.fromarray(rng.integers(0, 256, (9, 16, 3), dtype=np.uint8)).resize((640, 360))
        grain = rng.normal(0, 8, (360, 640, 1))
        pixels = np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)
        paths.append(folder / f"{n}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def sounds(folder: Path, count: int) -> list[Any]:
    """10 s of tones with beats and noise, stereo, 44.1 kHz."""
    import soundfile

    paths, clock = [], np.arange(441000) / 44100
    for n in range(count):
        rng = np.random.default_rng(n)
        beat = (np.sin(2 * np.pi * rng.uniform(1, 3) * clock) > 0.8) * rng.normal(0, 0.2, len(clock))
        wave = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 900) * clock) + beat
        paths.append(folder / f"{n}.wav")
        soundfile.write(paths[-1], np.stack([wave, wave], axis=1), 44100)
    return paths


def clips(folder: Path, count: int) -> list[Any]:
    """5 s of 320 x 240 at 24 frames a second, with AAC sound."""
    import av

    paths = []
    for n in range(count):
        rng = np.random.default_rng(n)
        base = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
        base = np.asarray(base[::40, ::40].repeat(40, 0).repeat(40, 1))
        paths.append(folder / f"{n}.mp4")
        with av.open(str(paths[-1]), "w") as container:
            video = container.add_stream("libx264", rate=24)
            video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
            audio = container.add_stream("aac", rate=44100)
            for step in range(120):
                frame = av.VideoFrame.from_ndarray(np.roll(base, 2 * step, axis=1), format="rgb24")
                container.mux(video.encode(frame))
            container.mux(video.encode())
            wave = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 900) * np.arange(5 * 44100) / 44100)
            sound = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
            sound.sample_rate = 44100
            container.mux(audio.encode(sound))
            container.mux(audio.encode())
    return paths


def records(folder: Path, count: int) -> list[Any]:
    """Generation metadata of two generators."""
    rng = np.random.default_rng(0)
    prompts = titles(folder, count)
    return [
        {"generator": "a", "prompt": prompts[n], "seed": n, "guidance": 7.5, "latent": rng.normal(size=64).tolist()}
        if n % 2
        else {"generator": "b", "prompt": prompts[n], "steps": 20 + n % 9}
        for n in range(count)
    ]


Make = Callable[[Path, int], list[Any]]
CASES: dict[str, tuple[Callable[[list[Any]], Encoder], Make, int, str]] = {
    "minilm": (lambda media: minilm(), titles, 1500, "title"),
    "use": (lambda media: UniversalSentenceEncoder(), titles, 3000, "title"),
    "hash": (lambda media: HashEncoder(), titles, 20000, "title"),
    "generation": (GenerationEncoder.fit, records, 5000, "record"),
    "efficientnet-lite0": (lambda media: EfficientNetLite0(), pictures, 256, "640x360 JPEG"),
    "mfcc": (lambda media: MFCCStatistics(), sounds, 128, "10 s WAV"),
    "mfcc-mp4": (lambda media: MFCCStatistics(), clips, 96, "sound of a 5 s mp4"),
    "frames-uniform": (lambda media: VideoFrames(EfficientNetLite0(), 8), clips, 40, "5 s 320x240 mp4, 8 frames"),
    "frames-keyframes": (
        lambda media: VideoFrames(EfficientNetLite0(), 8, sampling="keyframes"),
        clips,
        96,
        "5 s 320x240 mp4, its keyframes",
    ),
}


def measure(case: str) -> dict[str, Any]:
    """One row of results."""
    build, make, count, item = CASES[case]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        media = make(folder, count)
        encoder = build(media)
        one_after_the_other(encoder, media)  # loads weights and libraries, prepares the kernels for each length
        encoder.key()
        began, cpu = time.perf_counter(), time.process_time()
        report = FeatureStore(folder / "store").encode(encoder, media, workers=cores()).report
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        again = time.perf_counter()
        second = FeatureStore(folder / "store").encode(encoder, media).report
        again = time.perf_counter() - again
        sequential = one_after_the_other(encoder, media)
    if report.present != count or second.encoded:
        raise RuntimeError(f"{case}: {report.text()}; second pass encoded {second.encoded}")
    decode, encode = report.seconds["decode"], report.seconds["encode"]
    return {
        "benchmark": "encoders",
        "case": case,
        "item": item,
        "items": count,
        "items_per_second": round(count / wall, 2),
        "sequential_items_per_second": round(count / sequential, 2),
        "second_pass_items_per_second": round(count / again, 1),
        "seconds": round(wall, 3),
        "hash_seconds": report.seconds["hash"],
        "decode_cpu_seconds": decode,
        "encode_seconds": encode,
        "wait_seconds": report.seconds["wait"],
        "write_seconds": report.seconds["write"],
        "decode_share": round(decode / (decode + encode), 3),
        "encode_share": round(encode / (decode + encode), 3),
        "cpu_utilisation": round(cpu / (wall * cores()), 3),
        "encoder": encoder.describe()["name"],
        "weights": encoder.weights_hash()[:16],
    }


def one_after_the_other(encoder: Encoder, media: Sequence[Any]) -> float:
    """Seconds to hash and decode a batch, then encode it, in one thread."""
    began = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(media), encoder.batch_size):
            part = media[start : start + encoder.batch_size]
            for item in part:
                encoder.fingerprint(item)
            encoder.encode([encoder.decode(item) for item in part])
    return time.perf_counter() - began


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def provenance() -> dict[str, Any]:
    """Command, commit, hardware, versions, date."""
    root = Path(__file__).resolve().parents[1]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True).stdout.strip()
    dirty = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no", "mmgraph/encoders", "benchmarks/encoders.py"],
        cwd=root,
        capture_output=True,
        text=True,
    ).stdout.strip()
    return {
        "command": "python -m benchmarks.encoders " + shlex.join(sys.argv[1:]),
        "commit": commit + ("+changes" if dirty else ""),
        "hardware": f"{platform.machine()}, {processor()}, {cores()} cores",
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def processor() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def main() -> None:
    """Measure the named cases, print a table, append the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}; by default all")
    parser.add_argument("--dry", action="store_true", help="print, do not append")
    arguments = parser.parse_args()
    unknown = [case for case in arguments.cases if case not in CASES]
    if unknown:
        parser.error(f"unknown cases {unknown}; there are {', '.join(CASES)}")
    for case in arguments.cases or CASES:
        row = {**measure(case), **provenance()}
        print(
            f"{case:18} {row['items_per_second']:>9} items/s  one after the other "
            f"{row['sequential_items_per_second']:>9}  decode {row['decode_share']:.0%}  "
            f"encode {row['encode_share']:.0%}  waiting {row['wait_seconds'] / row['seconds']:.0%}  "
            f"CPU {row['cpu_utilisation']:.0%}",
            flush=True,
        )
        if not arguments.dry:
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
