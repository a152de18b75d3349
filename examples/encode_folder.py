"""A folder of pictures and sounds to features: encode, break a file, encode again, look at the passports.

Runs offline in seconds. For pretrained networks put ``minilm()``, ``UniversalSentenceEncoder()`` and
``EfficientNetLite0()`` where the hash encoders stand.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from mmgraph.data import Dataset
from mmgraph.encoders import HashEncoder, MFCCStatistics, extract_with_report
from mmgraph.features import FeatureStore, passport


def make_media(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Six pictures and six tones of one second."""
    import soundfile
    from PIL import Image

    pictures, sounds = {}, {}
    for number in range(6):
        rng = np.random.default_rng(number)
        name = f"video{number}"
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        small.resize((96, 96)).save(folder / f"{name}.jpg")
        tone = 0.3 * np.sin(2 * np.pi * 110 * (number + 1) * np.arange(16000) / 16000)
        soundfile.write(folder / f"{name}.wav", tone, 16000)
        pictures[name], sounds[name] = [folder / f"{name}.jpg"], [folder / f"{name}.wav"]
    return pictures, sounds


def main() -> None:
    """Encode twice; the second time one sound is broken, and only that one is looked at again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures, sounds = make_media(folder)
        dataset = Dataset.from_frames(
            pl.DataFrame({"user": ["ann", "ann", "bob"], "video": ["video0", "video1", "video2"]}),
            videos=pl.DataFrame({"video": sorted(pictures), "title": [f"a film of number {n}" for n in range(6)]}),
            media={"image": pictures, "audio": sounds},
            name="six",
        )
        encoders = {"text": HashEncoder(), "visual": HashEncoder(reads="image"), "audio": MFCCStatistics()}
        store = FeatureStore(folder / "store")
        for turn in ("first pass", "second pass, one sound broken"):
            result = extract_with_report(dataset, encoders, store)
            print(f"# {turn}")
            for report in result.reports.values():
                print(report.text())
            sounds["video3"][0].write_bytes(b"")
        for modality, features in result.dataset.features.items():
            print(passport(modality, features, encoder=encoders[modality]).text())


if __name__ == "__main__":
    main()
