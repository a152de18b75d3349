"""Exact top-k over a catalogue that is kept and grown in place."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.ops import checks
from mmgraph.ops.csr import CSR
from mmgraph.ops.spmm import cpu as spmm
from mmgraph.ops.topk import cpu
from mmgraph.ops.topk.select import TopK, best, length, padded, room

_ROUNDED = 2.0**-8 * 1.02  # a number is off by at most this share of it when it is rounded to bfloat16
_HUGE, _TINY = 1e15, 1e-20  # norms, and scores, beyond which products in bfloat16 overflow, or vanish
_LONGEST = 4096  # bounds selected a row, at most
_SCAN = 32  # rows from which a product in bfloat16 is quicker than a scan
_PART = 1 << 16  # videos put into the table at a time
_SMALL = 1 << 16  # pairs of a user and a video up to which all are scored one by one


class TopKIndex:
    """A catalogue kept so that the k best videos of a user are found quickly, exactly, and right after any change.

    score = user · video + bias. The lists are those of :func:`mmgraph.ops.topk` over the same videos: exact, ties to
    the lower row. Videos keep their rows for good; new ones are appended, and a hidden one is never returned::

        index = TopKIndex(videos)                    # [V, D]; copies
        rows = index.append(new_videos)              # [n] int64, V .. V + n - 1; found by the next search
        index.set(rows, better_vectors)              # replaced in place
        index.hide(rows); index.show(rows)           # O(1) a video
        index.set_bias(rows, 0.5)                    # added to the scores of these videos
        best = index.search(users, k=20, seen=seen)  # .video [B, k] rows, -1 where there are no more; .score [B, k]

    Beside the float32 rows it holds a table in bfloat16 whose products with a user are upper bounds of the scores: a
    row for each dimension, one of c ‖v‖ and one of the biases, -inf where a video is hidden. Rounded to bfloat16 a dot
    product is off by at most c ‖u‖‖v‖. The K > k videos with the highest bounds are scored in float32; when the k-th of
    these scores is above the (K + 1)-th bound, no other video can be among the best. Where it is not (crowds of near
    ties), all videos are scored in float32. A few users (fewer than 32, or any number on a CPU that does not multiply
    bfloat16) are answered by one scan of the table, more by a matrix product. 4 D + 2 (D + 2) + 5 bytes a video.

    Off the CPU, or where the kernels in C were not compiled, there is no table, and blocks of float32 products do it.

    Search and change from one thread, or under a lock. Appending costs O(n), amortised: the room grows by a quarter.

    Args:
        video: [V, D] float32 (float16 and bfloat16 are widened), V may be 0; finite.
        bias: [V] float32, finite; 0 by default.

    Raises:
        TypeError: not floating point, or float64, which would be cut.
        ValueError: not [V, D], or something is not finite.
    """

    def __init__(self, video: Tensor, *, bias: Tensor | None = None) -> None:
        video = checks.numbers(video, (None, None), "video")
        self._begin(video.shape[1], video.device)
        self.append(video, bias)

    @classmethod
    def over(cls, video: Tensor) -> TopKIndex:
        """An index that reads ``video`` itself, [V, D] float32 and finite, in place of a copy. Not to be changed."""
        out = cls.__new__(cls)
        out._begin(video.shape[1], video.device)
        out._video, out._count = video.contiguous(), len(video)
        out._bias = video.new_zeros(len(video))
        out._hidden = torch.zeros(len(video), dtype=torch.bool, device=video.device)
        out._table = out._new_table(len(video))
        out._write(slice(0, len(video)))
        return out

    @staticmethod
    def takes(video: Tensor) -> bool:
        """Whether these vectors [V, D] are finite, and not so long that their products might not be."""
        return bool((torch.linalg.vector_norm(video, dim=1) < _HUGE).all())

    def _begin(self, width: int, device: torch.device) -> None:
        self._count = 0
        self._video = torch.empty(0, width, device=device)
        self._bias = torch.empty(0, device=device)
        self._hidden = torch.empty(0, dtype=torch.bool, device=device)
        self._table = self._new_table(0)
        self._bounds = torch.empty(0, dtype=torch.bfloat16)

    # -- reading -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._count

    @property
    def width(self) -> int:
        """D."""
        return self._video.shape[1]

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self._video.device

    @property
    def video(self) -> Tensor:
        """[V, D] float32, a view: change it by :meth:`set`."""
        return self._video[: self._count]

    @property
    def bias(self) -> Tensor:
        """[V] float32, a view: change it by :meth:`set_bias`."""
        return self._bias[: self._count]

    @property
    def hidden(self) -> Tensor:
        """[V] bool, a view: change it by :meth:`hide` and :meth:`show`."""
        return self._hidden[: self._count]

    @property
    def nbytes(self) -> int:
        """Bytes held, room to grow and the buffer of the last search included."""
        parts = (self._video, self._bias, self._hidden, self._table, self._bounds)
        return sum(part.nbytes for part in parts if part is not None)

    # -- changing ----------------------------------------------------------------------------------

    def append(self, video: Tensor, bias: Tensor | None = None) -> Tensor:
        """Adds videos at the end.

        Args:
            video: [n, D].
            bias: [n]; 0 by default.

        Returns:
            [n] int64, their rows.

        Raises:
            TypeError, ValueError: as the constructor; nothing was added then.
        """
        video = self._vectors(video, None)
        bias = video.new_zeros(len(video)) if bias is None else self._biases(bias, len(video))
        first, last = self._count, self._count + len(video)
        self._reserve(last)
        new = slice(first, last)
        self._video[new], self._bias[new], self._hidden[new] = video, bias, False
        self._count = last
        self._write(new)
        return torch.arange(first, last, device=self.device)

    def set(self, rows: Tensor, video: Tensor) -> None:
        """Puts other vectors in the place of those of some videos; their biases stay, and what is hidden stays hidden.

        Args:
            rows: [n], each once.
            video: [n, D].

        Raises:
            TypeError, ValueError: a row that is not there or twice, or vectors that the constructor would refuse.
        """
        rows = self._distinct(rows)
        self._video[rows] = self._vectors(video, len(rows))
        self._write(rows)

    def set_bias(self, rows: Tensor, bias: Tensor | float) -> None:
        """Adds ``bias`` ([n], or one number for all) to the scores of some videos [n], in place of the one before.

        Raises:
            TypeError, ValueError: a row that is not there or twice, or a bias that is not a finite number.
        """
        rows = self._distinct(rows)
        if isinstance(bias, (int, float)):
            bias = torch.full((len(rows),), float(bias), device=self.device)
        self._bias[rows] = self._biases(bias, len(rows))
        self._write_bias(rows)

    def hide(self, rows: Tensor) -> None:
        """Returns these videos [n] no more."""
        self._mark(rows, True)

    def show(self, rows: Tensor) -> None:
        """Returns these videos [n] again, with the biases they had."""
        self._mark(rows, False)

    def _mark(self, rows: Tensor, hidden: bool) -> None:
        rows = checks.rows(rows, self._count, "rows", like=self)
        self._hidden[rows] = hidden
        self._write_bias(rows)

    def _distinct(self, rows: Tensor) -> Tensor:
        rows = checks.rows(rows, self._count, "rows", like=self)
        if len(rows.unique()) < len(rows):
            raise ValueError("rows names a video twice: which of the two is meant?")
        return rows

    def _vectors(self, video: Tensor, count: int | None) -> Tensor:
        video = checks.numbers(video, (count, self.width), "video", like=self)
        if video.dtype == torch.float64:
            raise TypeError("video must be float32 or narrower, got float64: pass video.float()")
        video = video.detach().float()
        if not self.takes(video):
            raise ValueError(f"video holds a vector that is NaN, infinite or longer than {_HUGE:g}")
        return video

    def _biases(self, bias: Tensor, count: int) -> Tensor:
        bias = checks.numbers(bias, (count,), "bias", like=self).detach().float()
        if not bool((bias.abs() < _HUGE).all()):
            raise ValueError(f"bias holds a number that is NaN, infinite or beyond {_HUGE:g}")
        return bias

    # -- the table ---------------------------------------------------------------------------------

    def _new_table(self, room: int) -> Tensor | None:
        if self.device.type != "cpu" or not cpu.compiled():
            return None
        # an even number of rows multiplies faster; rows at multiples of 4096 bytes would share places in the cache
        stride = room + 64 * (room % 2048 == 0)
        return torch.zeros(self.width + 2 + self.width % 2, stride, dtype=torch.bfloat16)

    def _reserve(self, count: int) -> None:
        if count <= len(self._bias):
            return
        room = max(count, self._count + self._count // 4)
        for name in ("_video", "_bias", "_hidden"):
            kept = getattr(self, name)
            wider = kept.new_empty(room, *kept.shape[1:])
            wider[: self._count] = kept[: self._count]
            setattr(self, name, wider)
        table, self._table = self._table, self._new_table(room)
        if table is not None and self._table is not None:
            self._table[:, : self._count] = table[:, : self._count]

    def _write(self, rows: slice | Tensor) -> None:
        """Brings the table up to date with some videos."""
        if self._table is None:
            return
        if isinstance(rows, slice):
            parts = [slice(a, min(a + _PART, rows.stop)) for a in range(rows.start, rows.stop, _PART)]
        else:
            parts = list(rows.split(_PART))
        for part in parts:
            video = self._video[part]
            norm = torch.linalg.vector_norm(video, dim=1, keepdim=True)
            # twice: a user's numbers are rounded too; and this one is rounded itself, hence a little more
            self._table[: self.width + 1, part] = torch.cat([video, norm * (2 * _ROUNDED * 1.02)], 1).bfloat16().T
            self._write_bias(part)

    def _write_bias(self, rows: slice | Tensor) -> None:
        if self._table is not None:
            bias = self._bias[rows]
            above = (bias + bias.abs() * (2 * _ROUNDED)).masked_fill(self._hidden[rows], -torch.inf)
            self._table[self.width + 1, rows] = above.bfloat16()

    # -- searching ---------------------------------------------------------------------------------

    def search(
        self,
        user: Tensor,
        k: int,
        *,
        seen: CSR | None = None,
        users: Tensor | None = None,
        candidates: Tensor | None = None,
        memory: int | None = None,
    ) -> TopK:
        """The k videos with the highest scores for each user, best first, ties to the lower row.

        Args:
            user: [B, D].
            k: how many; where there are fewer to show the rest is -1.
            seen: [U, C] with C at most V, the pairs never to be returned; later videos are nobody's.
            users: [B], the row of ``seen`` of each row of ``user``; 0..B-1 by default.
            candidates: [V] bool, the videos that may be returned, or [B, V], those of each user; all by default.
            memory: bytes that one block of scores may take, as in :func:`mmgraph.ops.topk`.

        Raises:
            TypeError: ``users`` or ``k`` are not whole numbers, ``candidates`` not bool, ``user`` is float64.
            ValueError: sizes or devices do not fit, a row lies outside ``seen``, or a score is NaN.
        """
        user = checks.numbers(user, (None, self.width), "user", like=self)
        if user.dtype == torch.float64:
            raise TypeError("user must be float32 or narrower, got float64: pass user.float()")
        k, memory = length(k, self._count), room(memory, self.device)
        if seen is not None:
            if not isinstance(seen, CSR):
                raise TypeError(f"seen must be a CSR, got {type(seen).__name__}: CSR.from_edges makes one")
            if seen.shape[1] > self._count:
                raise ValueError(f"seen is {list(seen.shape)}, but there are {self._count} videos")
            users = torch.arange(len(user), device=self.device) if users is None else users
            users = checks.rows(users, seen.shape[0], "users", like=self)
            if len(users) != len(user):
                raise ValueError(f"users must be [{len(user)}], got [{len(users)}]")
        if candidates is not None:
            if isinstance(candidates, Tensor) and candidates.dim() == 2:
                if candidates.shape[0] != len(user):
                    raise ValueError(f"candidates must be [{len(user)}, {self._count}], got {list(candidates.shape)}")
                checks.flags(candidates.flatten(), len(user) * self._count, "candidates", like=self)
            else:
                candidates = checks.flags(candidates, self._count, "candidates", like=self)
        with torch.no_grad():
            return self._search(user.detach().float().contiguous(), k, seen, users, candidates, memory)

    def _search(
        self, user: Tensor, k: int, seen: CSR | None, users: Tensor | None, candidates: Tensor | None, memory: int
    ) -> TopK:
        """:meth:`search` of what was checked: blocks by bounds; the rows these leave open, and all from where they are
        many, by products."""

        if not self._bounds_serve(k) and 4 * self._count * len(user) <= memory:
            return self._products(user, k, seen, users, candidates)

        def of(rows: slice | Tensor) -> tuple:
            mine = candidates[rows] if candidates is not None and candidates.dim() == 2 else candidates
            return user[rows], k, seen, None if users is None else users[rows], mine

        total, parts, unsure, done = len(user), [], [], 0
        step = max(1, memory // (2 * max(self._count, 1)))
        while self._bounds_serve(k) and done < total:
            block = slice(done, min(done + step, total))
            part, left = self._bounded(*of(block))
            parts.append(part)
            unsure.append(left + done)
            done = block.stop
            if 4 * len(left) > len(part.score):
                break
        again = torch.cat([*unsure, torch.arange(done, total, device=self.device)])
        score = torch.cat([*(p.score for p in parts), user.new_empty(total - done, k)])
        video = torch.cat([*(p.video for p in parts), again.new_empty(total - done, k)])
        step = max(1, memory // (4 * max(self._count, 1)))
        for start in range(0, len(again), step):
            rows = again[start : start + step]
            score[rows], video[rows] = self._products(*of(rows))
        return TopK(score, video)

    def _bounds_serve(self, k: int) -> bool:
        wanted = 2 * k + 25
        return self._table is not None and k > 0 and wanted <= _LONGEST and self._count >= 16 * wanted

    def _bounded(
        self, user: Tensor, k: int, seen: CSR | None, users: Tensor | None, candidates: Tensor | None
    ) -> tuple[TopK, Tensor]:
        """The lists of a block of users, and which of them are not certain."""
        norm = torch.linalg.vector_norm(user, dim=1, keepdim=True)
        usual = (norm < _HUGE) & ((norm > 1 / _HUGE) | (norm == 0))
        bounds = self._upper(torch.where(usual, user, 0.0), torch.where(usual, norm, 0.0))
        if candidates is not None:
            # 0 or -inf, as bits: filling by a mask takes twenty times as long
            bounds += (~candidates).to(torch.int16).mul_(-128).view(torch.bfloat16)
        bound, column = cpu.select(bounds, 2 * k + 25, seen, users)
        last = bound[:, -1]
        last = last + _ROUNDED * last.abs() + _TINY  # it was rounded once more when it was stored
        found = self._rescored(user, column[:, :-1], k)
        sure = (found.score[:, -1] > last) | (bound[:, -1] == -torch.inf)
        return found, (~(sure & usual.squeeze(1))).nonzero().flatten()

    def _upper(self, user: Tensor, norm: Tensor) -> Tensor:
        """[B, V] bfloat16, at least the scores."""
        assert self._table is not None
        few = len(user) < _SCAN or not torch.cpu._is_avx512_bf16_supported()
        # in a scan the user's numbers are not rounded
        left = torch.zeros(len(user), len(self._table))
        left[:, : self.width], left[:, self.width + 1] = user, 1.0
        left[:, self.width] = norm.squeeze(1) * (0.51 if few else 1.01)
        size = len(user) * self._count
        if len(self._bounds) < size:  # kept: memory that is new to the process takes longer to fill than to compute
            self._bounds = torch.empty(size, dtype=torch.bfloat16)
        out = self._bounds[:size].view(len(user), self._count)
        if few:
            return cpu.scan(left, self._table, out)
        return torch.mm(left.bfloat16(), self._table[:, : self._count], out=out)

    def _each(self, user: Tensor) -> Tensor:
        """[B, V] the products of all pairs, each as :meth:`_rescored` has it."""
        pairs = torch.arange(0, len(user) * self._count + 1, self._count)
        column = torch.arange(self._count, dtype=torch.int32).expand(len(user), -1).flatten()
        return spmm.edge_dot(pairs, column, user, self.video).view(len(user), self._count)

    def _rescored(self, user: Tensor, column: Tensor, k: int) -> TopK:
        """The k best of some videos [B, K] of each user by their float32 scores; -1 is none."""
        none = column < 0
        column = column.clamp(min=0)
        pairs = torch.arange(0, column.numel() + 1, column.shape[1])
        score = spmm.edge_dot(pairs, column.to(torch.int32).flatten(), user, self.video).view(column.shape)
        score = (score + self.bias[column]).masked_fill_(none, -torch.inf)
        column, order = column.masked_fill(none, self._count).sort(dim=1)
        score, place = score.gather(1, order).sort(dim=1, descending=True, stable=True)
        column = column.gather(1, place)
        return TopK(score[:, :k], column.masked_fill(score == -torch.inf, -1)[:, :k])

    def _products(
        self, user: Tensor, k: int, seen: CSR | None, users: Tensor | None, candidates: Tensor | None
    ) -> TopK:
        small = self._table is not None and 0 < len(user) * self._count <= _SMALL
        scores = self._each(user) if small else torch.mm(user, self.video.T)
        scores.add_(self.bias).masked_fill_(self.hidden, -torch.inf)
        if candidates is not None:
            scores.masked_fill_(~candidates, -torch.inf)
        if small or self._table is None or k == 0 or self._count == 0:
            return best(scores, k, seen, users)
        # scored once more as in a block by bounds, so that a user's list does not depend on who asks beside him
        near = best(scores, min(2 * k + 24, self._count), seen, users).video
        found = self._rescored(user, near, k)
        if bool(found.score.isnan().any()):
            raise ValueError("user or video holds a NaN or an infinity: a score is NaN")
        return padded(found.score, found.video, k)
