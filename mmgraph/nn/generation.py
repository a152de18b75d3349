"""A trained embedding of generation metadata."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgraph.encoders.generation import GenerationTable


class GenerationEmbedding(nn.Module):
    """Generation metadata of videos -> [V, D]: categorical, numeric and vector parts, each trained.

    x = sum of the known parts + one learnt vector for each missing part, then LayerNorm: an embedding for each
    known category and one for unknown values; for a number v the line v * w + b (so 0 is not missing); for an
    identity (a seed) an embedding by its hash; for a vector a linear map of its own field and length, since
    generators report latents of different lengths. Missing is a vector of its own, so it is neither zero nor
    any value.

    Args:
        table: the metadata the layer is for; only its sizes are read, no reference is kept.
        embedding_dim: width D.
        identity_buckets: rows of the table that seeds are hashed into.
    """

    def __init__(self, table: GenerationTable, embedding_dim: int, identity_buckets: int = 1024) -> None:
        super().__init__()
        schema = table.schema
        self.embedding_dim = embedding_dim
        self.identity_buckets = identity_buckets
        # Rows of each: missing, unknown, known values.
        self.categories = nn.ModuleList(
            nn.Embedding(2 + len(known), embedding_dim) for known in schema.categorical.values()
        )
        self.identities = nn.ModuleList(nn.Embedding(1 + identity_buckets, embedding_dim) for _ in schema.identities)
        numbers = len(schema.numeric)
        self.slope = nn.Parameter(torch.randn(numbers, embedding_dim) * 0.1)
        self.offset = nn.Parameter(torch.randn(numbers, embedding_dim) * 0.1)
        self.no_number = nn.Parameter(torch.randn(numbers, embedding_dim) * 0.1)
        self.fields = tuple(schema.vectors)
        self.no_vector = nn.Parameter(torch.randn(len(self.fields), embedding_dim) * 0.1)
        self.vector_keys = tuple(table.vectors)
        self.vectors = nn.ModuleList(nn.Linear(part.values.shape[1], embedding_dim) for part in table.vectors.values())
        self.norm = nn.LayerNorm(embedding_dim)
        for module in (*self.categories, *self.identities):
            nn.init.normal_(module.weight, std=0.1)  # type: ignore[arg-type]

    def forward(self, table: GenerationTable, rows: Tensor | None = None) -> Tensor:
        """Embeddings of all videos [V, D], or of ``rows`` [B] only: [B, D].

        Raises:
            ValueError: the table has other fields or vector lengths than the one the layer was made for.
        """
        if len(self.categories) != table.codes.shape[1] or len(self.slope) != table.numbers.shape[1]:
            raise ValueError(
                f"the layer has {len(self.categories)} categories and {len(self.slope)} numbers, the table "
                f"{table.codes.shape[1]} and {table.numbers.shape[1]}: make both from one schema"
            )
        unknown = sorted(set(table.vectors) - set(self.vector_keys))
        if unknown:
            raise ValueError(f"vectors {unknown} are new; the layer knows {list(self.vector_keys)}")
        rows = torch.arange(len(table.codes), device=table.codes.device) if rows is None else rows
        total = self.slope.new_zeros(len(rows), self.embedding_dim)
        for column, embedding in enumerate(self.categories):
            total = total + embedding(table.codes[rows, column])
        for column, embedding in enumerate(self.identities):
            hashed = table.identities[rows, column]
            total = total + embedding(torch.where(hashed < 0, 0, 1 + hashed % self.identity_buckets))
        number = table.numbers[rows].unsqueeze(-1)
        known = table.numbers_present[rows].unsqueeze(-1)
        total = total + torch.where(known, number * self.slope + self.offset, self.no_number).sum(1)
        for index, field in enumerate(self.fields):
            total = total + self._vector(table, rows, field, index)
        return self.norm(total)

    def _vector(self, table: GenerationTable, rows: Tensor, field: str, index: int) -> Tensor:
        """The part of one vector field: through the map of its length, or the vector for "missing"."""
        total = self.no_vector[index].expand(len(rows), -1)
        for key, linear in zip(self.vector_keys, self.vectors, strict=True):
            if key.rsplit("/", 1)[0] == field and key in table.vectors:
                part = table.vectors[key]
                position = part.position[rows]
                has = position >= 0
                mapped = linear(part.values[position[has]])
                total = total.masked_scatter(has.unsqueeze(-1), mapped.to(total.dtype))
        return total
