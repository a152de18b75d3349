"""Structured captions and tags."""

from __future__ import annotations

from mmgraph.encoders import caption_text, tag_entities


def test_captions_are_read_in_a_fixed_order_shot_by_shot() -> None:
    caption = {
        "shots": [{"camera": "pan", "subject": "a cat"}, None, {"style": None}, "it jumps"],
        "style": "noir",
        "mood": ["dark", "slow"],
        "background": "",
        "subject": " a cat ",
    }
    expected = "subject: a cat. style: noir. mood: dark, slow. shot 1: subject: a cat. camera: pan. shot 4: it jumps"
    assert caption_text(caption) == expected
    assert caption_text(dict(reversed(caption.items()))) == expected
    assert caption_text(None) == ""
    assert caption_text("  plain ") == "plain"


def test_tags_become_nodes_with_an_edge_each() -> None:
    entities = tag_entities(["cat|dog|cat", None, [" dog ", "", "鱼"], "dog, cat"])
    raw = entities.ids.raw(entities.edges[1])
    assert list(zip(entities.edges[0].tolist(), raw)) == [
        (0, "cat"),
        (0, "dog"),
        (2, "dog"),
        (2, "鱼"),
        (3, "dog"),
        (3, "cat"),
    ]
    assert len(entities) == 3
    assert len(tag_entities([None, ""])) == 0
