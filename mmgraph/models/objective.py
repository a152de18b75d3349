"""What a head costs on a batch of pairs: the one place where a model's loss meets its head."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import kl_gaussian, pair_loss
from mmgraph.models.base import Embeddings, Recommender
from mmgraph.nn.heads import VAEHead


def pair_terms(model: Recommender, emb: Embeddings, at: PairBatch) -> dict[str, Tensor]:
    """The recommendation loss of a batch under the model's head, as named terms.

    The head's own objective (BPR for a dot product, cross-entropy for NCF, softmax for a cosine). A
    :class:`~mmgraph.nn.VAEHead` scores a draw z ~ q(z | h_u) and adds ``kl`` = β · KL(q ‖ N(0, I)), mean over the
    batch's users: the negative ELBO of the variational graph form, one pair an observation.

    Args:
        model: its ``score`` and ``head`` are used.
        emb: embeddings of the batch's rows.
        at: the batch, with positions in ``emb`` (:func:`mmgraph.models.base.batch_rows`).
    """
    videos = torch.cat([at.positive.unsqueeze(1), at.negative], 1)
    head = model.head
    if not isinstance(head, VAEHead):
        scores = model.score(emb, at.user, videos)
        return pair_loss(head.objective, scores[:, :1], scores[:, 1:])
    z, mean, log_var = head.sample(emb.user)
    scores = head.decode(z[at.user], emb.video[videos])
    kl = kl_gaussian(mean[at.user], log_var[at.user])
    return {**pair_loss(head.objective, scores[:, :1], scores[:, 1:]), "kl": head.next_beta() * kl}
