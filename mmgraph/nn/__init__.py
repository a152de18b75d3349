"""Layers: modules that hold parameters and call ops."""

from __future__ import annotations

from mmgraph.nn.content import ContentInput, Experts
from mmgraph.nn.conv import ModalityConv, RelationConv
from mmgraph.nn.critic import Critic
from mmgraph.nn.diffusion import GeneratedGraph, RowDiffusion
from mmgraph.nn.evaluating import evaluating
from mmgraph.nn.frames import TemporalConv
from mmgraph.nn.heads import CosineHead, DotHead, Head, MMoEHead, NCFHead, VAEHead
from mmgraph.nn.temporal import (
    CausalTransformer,
    GRUEncoder,
    LSTMEncoder,
    RelativeTransformer,
    SearchInterest,
    TemporalLayer,
    TimeAttention,
    TimeDecayProfile,
)
from mmgraph.nn.vae import GaussianLayer, anneal, product_of_experts, reparameterise

__all__ = [
    "CausalTransformer",
    "ContentInput",
    "CosineHead",
    "Critic",
    "DotHead",
    "Experts",
    "GRUEncoder",
    "GaussianLayer",
    "GeneratedGraph",
    "Head",
    "LSTMEncoder",
    "MMoEHead",
    "ModalityConv",
    "NCFHead",
    "RelationConv",
    "RelativeTransformer",
    "RowDiffusion",
    "SearchInterest",
    "TemporalConv",
    "TemporalLayer",
    "TimeAttention",
    "TimeDecayProfile",
    "VAEHead",
    "anneal",
    "evaluating",
    "product_of_experts",
    "reparameterise",
]
