"""Raw media in, features out: frozen encoders, one file a kind of media, and whole folders (see `docs/encoders.md`)."""

from __future__ import annotations

from mmgraph.encoders.audio import AudioEncoder, HuggingFaceAudio, MFCCStatistics
from mmgraph.encoders.base import Encoder, FileEncoder
from mmgraph.encoders.captions import caption_text, tag_entities
from mmgraph.encoders.extraction import (
    Extraction,
    extract,
    extract_with_report,
    generation_records,
    media_of,
    texts_of,
)
from mmgraph.encoders.folder import EncodeSummary, audio_encoder, encode_folder, image_encoder, text_encoder
from mmgraph.encoders.generation import GenerationEncoder, GenerationSchema
from mmgraph.encoders.hashing import HashEncoder
from mmgraph.encoders.image import EfficientNetLite0, HuggingFaceImage, ImageEncoder, read_image
from mmgraph.encoders.sound import read_sound
from mmgraph.encoders.text import HuggingFaceText, TextEncoder, UniversalSentenceEncoder, minilm
from mmgraph.encoders.video import HuggingFaceVideo, VideoFrames, read_frames

__all__ = [
    "AudioEncoder",
    "EfficientNetLite0",
    "EncodeSummary",
    "Encoder",
    "Extraction",
    "FileEncoder",
    "GenerationEncoder",
    "GenerationSchema",
    "HashEncoder",
    "HuggingFaceAudio",
    "HuggingFaceImage",
    "HuggingFaceText",
    "HuggingFaceVideo",
    "ImageEncoder",
    "MFCCStatistics",
    "TextEncoder",
    "UniversalSentenceEncoder",
    "VideoFrames",
    "audio_encoder",
    "caption_text",
    "encode_folder",
    "extract",
    "extract_with_report",
    "generation_records",
    "image_encoder",
    "media_of",
    "minilm",
    "read_frames",
    "read_image",
    "read_sound",
    "tag_entities",
    "text_encoder",
    "texts_of",
]
