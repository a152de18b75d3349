"""The VAE head: a variational bottleneck between a user's state and the videos."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgraph.losses.gaussian import kl_gaussian
from mmgraph.nn.heads.base import Head, dot
from mmgraph.nn.vae import GaussianLayer, anneal, reparameterise
from mmgraph.ops import checks


class VAEHead(Head):
    """A user's state becomes a Gaussian q(z | h_u); the video embeddings are the rows of the decoder's last layer.

    q(z | h) = N(μ(h), σ²(h)),  ŷ_u = E · g(z) + b, E the video embeddings [V, D]; ranking takes z = μ. What it is
    depends on what h is:

    - h = tanh(W x + b) of a whole, normalised interaction row x, multinomial likelihood: Mult-VAE (Liang et al., WWW
      2018, https://arxiv.org/abs/1802.05814), see :class:`mmgraph.models.MultVAE`;
    - h from a graph neighbourhood (LightGCN, MMGCN), pair-wise likelihood: the variational graph form (Kipf and
      Welling, 2016, https://arxiv.org/abs/1611.07308), one argument to any propagation: ``LightGCN(graph,
      head=VAEHead(64))``.

    Its models add β·KL(q(z | h_u) ‖ N(0, I)) to their loss; β is :func:`mmgraph.nn.vae.anneal` of ``step``, a buffer
    that counts training batches, so a resumed run continues at the same β.

    Args:
        embedding_dim: width of h and of the video rows.
        latent_dim: width of z; ``embedding_dim`` when None.
        decoder: True: g(z) = tanh(W z + b), as in Mult-VAE; False: g(z) = W z + b where the widths differ, else z
        itself. beta: last β.
        anneal_steps: training batches over which β rises from 0.
        bias: the last column of the video rows is the decoder's bias b, so they are ``embedding_dim`` + 1 wide.
    """

    step: Tensor

    def __init__(
        self,
        embedding_dim: int = 64,
        *,
        latent_dim: int | None = None,
        decoder: bool = False,
        beta: float = 0.2,
        anneal_steps: int = 2000,
        bias: bool = False,
    ) -> None:
        super().__init__()
        checks.count(embedding_dim, "embedding_dim")
        checks.number(beta, "beta", 0)
        checks.count(anneal_steps, "anneal_steps", 0)
        latent = latent_dim or embedding_dim
        self.beta, self.anneal_steps, self.bias, self.squash = beta, anneal_steps, bias, decoder
        self.posterior = GaussianLayer(embedding_dim, latent)
        self.map = nn.Linear(latent, embedding_dim) if decoder or latent != embedding_dim else None
        if self.map is not None:
            nn.init.xavier_uniform_(self.map.weight)
            nn.init.trunc_normal_(self.map.bias, std=0.001)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def state(self, user: Tensor) -> Tensor:
        """z = μ(h), [B, latent_dim]: what is ranked with."""
        return self.posterior(user)[0]

    def draw(self, user: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """A draw z ~ q(z | h) for each user, and ``kl`` = β · KL(q ‖ N(0, I)), mean over these users."""
        z, mean, log_var = self.sample(user)
        return z, {"kl": self.next_beta() * kl_gaussian(mean, log_var)}

    def compare(self, state: Tensor, video: Tensor) -> Tensor:
        """Scores of latents: [B, V], or [B, N] for ``video`` [B, N, W]."""
        return self.decode(state, video)

    def factors(self, user: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        """g(μ(h)), with a 1 for the bias, and the video rows."""
        state = self.decoded(self.state(user))
        return (torch.cat([state, torch.ones_like(state[:, :1])], 1) if self.bias else state), video

    def decoded(self, z: Tensor) -> Tensor:
        """g(z), [B, embedding_dim]."""
        if self.map is None:
            return z
        z = self.map(z)
        return torch.tanh(z) if self.squash else z

    def decode(self, z: Tensor, video: Tensor) -> Tensor:
        """Scores of latents z [B, latent_dim] against video rows [V, W] or [B, N, W]."""
        z = self.decoded(z)
        if not self.bias:
            return dot(z, video)
        return dot(z, video[..., :-1]) + video[..., -1]

    def sample(self, user: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For training: a draw z ~ q(z | h), and q's μ and ln σ²; each [B, latent_dim]."""
        mean, log_var = self.posterior(user)
        return reparameterise(mean, log_var), mean, log_var

    def next_beta(self) -> Tensor:
        """β of this training batch; counts it. Batches seen lie in the buffer ``step``, saved with the weights."""
        beta = anneal(self.step, self.beta, self.anneal_steps)
        if self.training:
            self.step += 1
        return beta
