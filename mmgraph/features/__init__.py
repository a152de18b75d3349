"""Feature matrices: what is in them, where they lie, where they come from (see `docs/feature-store.md`)."""

from __future__ import annotations

from mmgraph.features.chunks import StoreWriteError
from mmgraph.features.encoded import Encoded, Encodes, MediaError, Problem
from mmgraph.features.passports import NoiseCheck, Passport, noise_check, passport
from mmgraph.features.probing import Probe, click_auc, probe_dataset, probe_features
from mmgraph.features.standardise import Standardiser
from mmgraph.features.store import EncodeReport, FeatureStore, Stored

__all__ = [
    "EncodeReport",
    "Encoded",
    "Encodes",
    "FeatureStore",
    "MediaError",
    "NoiseCheck",
    "Passport",
    "Probe",
    "Problem",
    "Standardiser",
    "StoreWriteError",
    "Stored",
    "click_auc",
    "noise_check",
    "passport",
    "probe_dataset",
    "probe_features",
]
