"""Raw media in, features out: frozen encoders, the feature store, passports (see `docs/encoders.md`)."""

from __future__ import annotations

from mmgraph.encoders.audio import AudioEncoder, HuggingFaceAudio, MFCCStatistics
from mmgraph.encoders.base import Encoded, Encoder, FileEncoder, MediaError, Problem
from mmgraph.encoders.captions import caption_text, tag_entities
from mmgraph.encoders.command import EncodeSummary, audio_encoder, encode_folder, image_encoder, text_encoder
from mmgraph.encoders.extract import (
    Extraction,
    extract,
    extract_with_report,
    generation_records,
    media_of,
    texts_of,
)
from mmgraph.encoders.generation import GenerationEncoder, GenerationSchema, GenerationTable, VectorPart
from mmgraph.encoders.hashing import HashEncoder
from mmgraph.encoders.image import EfficientNetLite0, HuggingFaceImage, ImageEncoder, read_image
from mmgraph.encoders.passport import NoiseCheck, Passport, noise_check, passport
from mmgraph.encoders.sound import read_sound
from mmgraph.encoders.store import EncodeReport, FeatureStore, Stored, StoreWriteError
from mmgraph.encoders.text import HuggingFaceText, TextEncoder, UniversalSentenceEncoder, minilm
from mmgraph.encoders.video import HuggingFaceVideo, VideoFrames, read_frames

__all__ = [
    "AudioEncoder",
    "EfficientNetLite0",
    "EncodeReport",
    "EncodeSummary",
    "Encoded",
    "Encoder",
    "Extraction",
    "FeatureStore",
    "FileEncoder",
    "GenerationEncoder",
    "GenerationSchema",
    "GenerationTable",
    "HashEncoder",
    "HuggingFaceAudio",
    "HuggingFaceImage",
    "HuggingFaceText",
    "HuggingFaceVideo",
    "ImageEncoder",
    "MFCCStatistics",
    "MediaError",
    "NoiseCheck",
    "Passport",
    "Problem",
    "StoreWriteError",
    "Stored",
    "TextEncoder",
    "UniversalSentenceEncoder",
    "VectorPart",
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
    "noise_check",
    "passport",
    "read_frames",
    "read_image",
    "read_sound",
    "tag_entities",
    "text_encoder",
    "texts_of",
]
