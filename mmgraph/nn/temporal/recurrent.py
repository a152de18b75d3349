"""Recurrent encoders over packed sequences."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmgraph.nn.temporal.base import CausalLayer, lengths
from mmgraph.ops import checks


def _check(dim: int, num_layers: int, dropout: float) -> None:
    checks.count(dim, "dim")
    checks.count(num_layers, "num_layers")
    checks.number(dropout, "dropout", 0, 1, below=True)


class _Recurrent(CausalLayer):
    """Packed recurrence, then a linear layer on each state; the vector is that of the last *real* step.

    Packing means that padded steps are not computed at all. Dropout is on the input steps.
    """

    rnn: nn.RNNBase

    def __init__(self, rnn: nn.RNNBase, dim: int, dropout: float) -> None:
        super().__init__()
        self.rnn = rnn
        self.out = nn.Linear(rnn.hidden_size, dim)
        self.dropout = nn.Dropout(dropout)

    def states(self, x: Tensor, mask: Tensor, time: Tensor | None = None) -> Tensor:
        """The state after each step, [B, T, D], 0 where padded. ``time`` is not used."""
        length = lengths(mask)
        some = length > 0
        if not bool(some.any()):
            return x.new_zeros(*mask.shape, self.out.out_features)
        whole = bool(some.all())
        x, length = (x, length) if whole else (x[some], length[some])
        packed = pack_padded_sequence(self.dropout(x), length.cpu(), batch_first=True, enforce_sorted=False)
        hidden, _ = self.rnn(packed)
        out = hidden._replace(data=self.out(hidden.data))
        padded, _ = pad_packed_sequence(out, batch_first=True, total_length=mask.shape[1])
        if whole:
            return padded
        return padded.new_zeros(*mask.shape, padded.shape[-1]).index_copy(0, some.nonzero().flatten(), padded)


class LSTMEncoder(_Recurrent):
    """Two LSTM layers, then a linear layer on the last real step.

    Hochreiter & Schmidhuber, "Long Short-Term Memory", 1997. c_t = f ⊙ c_{t−1} + i ⊙ g; h_t = o ⊙ tanh c_t.

    Args:
        dim: D, width of steps and of the result.
        hidden_dim: width of the state; D by default.
        num_layers: stacked layers.
        dropout: on the input steps.
    """

    def __init__(self, dim: int, hidden_dim: int | None = None, num_layers: int = 2, dropout: float = 0.0) -> None:
        _check(dim, num_layers, dropout)
        super().__init__(nn.LSTM(dim, hidden_dim or dim, num_layers, batch_first=True), dim, dropout)


class GRUEncoder(_Recurrent):
    """GRU layers, then a linear layer on the last real step.

    Cho et al., EMNLP 2014, https://arxiv.org/abs/1406.1078. h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}.

    Args:
        dim, hidden_dim, num_layers, dropout: as :class:`LSTMEncoder`; one layer by default.
    """

    def __init__(self, dim: int, hidden_dim: int | None = None, num_layers: int = 1, dropout: float = 0.0) -> None:
        _check(dim, num_layers, dropout)
        super().__init__(nn.GRU(dim, hidden_dim or dim, num_layers, batch_first=True), dim, dropout)
