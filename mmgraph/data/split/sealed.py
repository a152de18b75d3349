"""A dataset in three parts, the last of them sealed."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgraph.data.checks import check_word, pair_keys
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import DataError, SealedTestError
from mmgraph.data.fingerprints import hash_pairs
from mmgraph.data.split.exposed import known_exposures
from mmgraph.data.split.protocol import Protocol, SeenAtTest

Repeats = Literal["error", "keep"]
_PARTS = ("train", "valid", "test")
# Who opened which test in this process, by what the test holds: a split made again, renamed or copied is no new test.
_OPENED: dict[str, list[str]] = {}


class Split:
    """A dataset divided into train, valid and a sealed test part.

    Args:
        dataset: all interactions. The split's own ``dataset`` holds train and valid only, so that nothing built from
            it can have seen the test part.
        part: [E] int: 0 train, 1 valid, 2 test, for each row of ``dataset.interactions``.
        name, method, parameters, seed, seen_at_test: go into the :class:`Protocol`.
        repeats: ``error`` refuses a (user, video) pair that is in two parts (it would be masked as seen while it is
            a target), ``keep`` allows it.

    Attributes:
        protocol: how the split was made, and hashes of what came out; ``protocol_id`` is its short name.
        test_id: 16 hex digits of what the test part holds (users, videos, pairs), whatever the split is called.
        train, valid: the interactions of these parts.
        dataset: all that is not test.
        num_test: how many test interactions there are.

    Raises:
        DataError: a part is empty, or a pair is in two parts.
    """

    def __init__(
        self,
        dataset: Dataset,
        part: NDArray[np.integer],
        *,
        name: str,
        method: str,
        parameters: dict[str, Any],
        seed: int | None = None,
        seen_at_test: SeenAtTest = "train",
        repeats: Repeats = "error",
    ) -> None:
        rows = [np.flatnonzero(part == p) for p in range(3)]
        sizes = {what: len(r) for what, r in zip(_PARTS, rows)}
        for what, size in sizes.items():
            if not size:
                raise DataError(
                    f"{method}: the {what} part is empty ({sizes} of {len(part)} interactions)",
                    fix="give that part a larger share, or use a protocol that suits the data: users with fewer than 3 "
                    "interactions train only",
                )
        check_word(seen_at_test, get_args(SeenAtTest), "seen_at_test")
        check_word(repeats, get_args(Repeats), "repeats")
        if repeats == "error":
            _refuse_repeats(dataset, part, method)
        train, valid, test = (dataset.interactions[r] for r in rows)
        manifest = dataset.manifest()
        for what, frame in zip(_PARTS, (train, valid, test)):
            manifest[what] = hash_pairs(frame, dataset.num_videos)
        self.protocol = Protocol(
            name=name,
            dataset=dataset.name,
            method=method,
            parameters={**parameters, "repeats": repeats},
            seed=seed,
            seen_at_test=seen_at_test,
            manifest=manifest,
        )
        self.protocol_id = self.protocol.id
        self.train, self.valid = train, valid
        self.dataset = replace(
            dataset,
            interactions=pl.concat([train, valid], rechunk=False),
            exposures=known_exposures(dataset, test, self.protocol.parameters),
        )
        self.num_test = len(test)
        self._test = test
        held = " ".join(manifest[key] for key in ("users", "videos", "test"))
        self.test_id = hashlib.blake2b(held.encode(), digest_size=8).hexdigest()

    def __repr__(self) -> str:
        parts = f"{len(self.train)} train, {len(self.valid)} valid, {self.num_test} sealed test"
        return f"Split({self.protocol_id!r}: {parts})"

    def with_parameters(self, **parameters: Any) -> Split:
        """The same parts under a protocol that says more, hence another id; openings of the test are shared.

        What a model may see beside the seen interactions belongs there: ``split.with_parameters(transductive_exposure=
        True)``. :class:`~mmgraph.experiment.Experiment` does it for transforms that have ``protocol_parameters``.
        """
        out = copy.copy(self)
        merged = {**self.protocol.parameters, **parameters}
        out.protocol = self.protocol.model_copy(update={"parameters": merged})
        out.protocol_id = out.protocol.id
        return out

    @property
    def test(self) -> pl.DataFrame:
        """Sealed: always raises. ``mmgraph.evaluate.evaluate_test`` opens it, once an experiment.

        Raises:
            SealedTestError: always.
        """
        raise SealedTestError(
            "the test part is sealed: choose the model on valid, then call mmgraph.evaluate.evaluate_test(model, "
            "graph, split, experiment), which opens it once and writes the opening into the result"
        )

    def open_test(self, experiment: str) -> pl.DataFrame:
        """The test interactions, once for each experiment name; the opening is recorded. For ``evaluate_test`` only.

        What counts is the test: another :class:`Split` with the same test part, a copy or one made again, shares its
        openings within the process. :func:`mmgraph.experiment.run` also keeps a journal of them on disk.

        Raises:
            SealedTestError: this experiment has opened it before, in this process.
        """
        if not experiment or not isinstance(experiment, str):
            raise SealedTestError(f"opening the test part needs the experiment's name, got {experiment!r}")
        opened = _OPENED.setdefault(self.test_id, [])
        if experiment in opened:
            raise SealedTestError(
                f"experiment {experiment!r} has opened the test part of {self.protocol_id} already: a second look "
                "would be selection on test. Choose on valid; another experiment needs another name"
            )
        opened.append(experiment)
        return self._test

    @property
    def openings(self) -> tuple[str, ...]:
        """The experiments that opened this test part in this process, in order, through whichever split."""
        return tuple(_OPENED.get(self.test_id, ()))

    def seen(self, stage: Literal["valid", "test"]) -> pl.DataFrame:
        """The interactions known when this part is ranked: the edges of the graph."""
        check_word(stage, ("valid", "test"), "stage")
        if stage == "test" and self.protocol.seen_at_test == "train+valid":
            return self.dataset.interactions
        return self.train

    def masked(self, stage: Literal["valid", "test"]) -> pl.DataFrame:
        """The interactions whose videos are left out of their user's ranking: the seen ones, or none with
        ``repeats="keep"``."""
        seen = self.seen(stage)
        return seen.clear() if self.protocol.parameters.get("repeats") == "keep" else seen

    def exposures(self, stage: Literal["valid", "test"]) -> pl.DataFrame | None:
        """What was shown, as far as it is known when this part is ranked; None where the dataset does not say.

        A showing of a held-out pair is left out, and where time orders the parts so is all that was shown since the
        first held-out interaction (of the user, or of all under ``global_time_split``).
        """
        if len(self.seen(stage)) == len(self.dataset.interactions):
            return self.dataset.exposures
        return known_exposures(self.dataset, self.valid, self.protocol.parameters)


def _refuse_repeats(dataset: Dataset, part: NDArray[np.integer], method: str) -> None:
    keys = pair_keys(dataset.interactions, dataset.num_videos)
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    crossing = same & (part[order][1:] != part[order][:-1])
    if crossing.any():
        row = int(order[1:][crossing].min())
        user = dataset.user_ids.raw([dataset.interactions["user"][row]])[0]
        video = dataset.video_ids.raw([dataset.interactions["video"][row]])[0]
        raise DataError(
            f"{method}: user {user!r} has video {video!r} in two "
            f"parts ({int(crossing.sum())} such rows): it would be masked as seen while it is a target",
            row=row,
            fix="read the data with duplicates='first', or pass repeats='keep'",
        )
