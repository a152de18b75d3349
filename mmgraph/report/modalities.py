"""The modalities of a report: coverage and passports."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from mmgraph.data import Features
from mmgraph.features import Passport, passport
from mmgraph.report.content import ModalityFacts


def modality_facts(features: Mapping[str, Features], train: pl.DataFrame) -> list[ModalityFacts]:
    """Coverage, maker and noise check of each modality; the check reads the training interactions alone."""
    return [_facts(passport(name, values, interactions=train)) for name, values in features.items()]


def _facts(found: Passport) -> ModalityFacts:
    made = "given as a matrix"
    if found.encoder is not None:
        made = f"{found.encoder['name']} v{found.encoder['version']}, weights {str(found.encoder['weights'])[:12]}"
    facts = {
        "width": str(found.dim),
        "duplicate rows": str(found.duplicates),
        "all-zero rows": str(found.zero_rows),
        "constant columns": str(found.constant_columns),
    }
    if found.noise is not None:
        facts["neighbours share users"] = f"{found.noise.agreement:.4f}"
        facts["the same, shuffled"] = f"{found.noise.shuffled:.4f}"
        facts["p"] = f"{found.noise.p_value:.2f}"
    return ModalityFacts(found.modality, made, found.present / max(1, found.rows), facts, found.warnings)
