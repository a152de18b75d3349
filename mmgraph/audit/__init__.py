"""What each modality is worth to a trained model, with intervals over users: taken away, alone, shuffled, blurred,
missing from some videos; and whether explanations name what scores hang on."""

from __future__ import annotations

from mmgraph.audit.auditing import AUDIT, audit_run
from mmgraph.audit.findings import Audit, AuditConfig, Effect, EffectRow, FidelityRow, MissingRow, paired_effect
from mmgraph.audit.popularity import recall_by_popularity
from mmgraph.audit.shapley import MOST_GROUPS, shapley_values

__all__ = [
    "AUDIT",
    "MOST_GROUPS",
    "Audit",
    "AuditConfig",
    "Effect",
    "EffectRow",
    "FidelityRow",
    "MissingRow",
    "audit_run",
    "paired_effect",
    "recall_by_popularity",
    "shapley_values",
]
