"""MovieLens latest-small with its times, two moments dividing all likes (4 stars and more): protocol ``mlsmall-time``.

``mmgraph run benchmarks.recipes.movielens:lightgcn_time`` runs the seeds. Few users watch over long: of the 59 users
with valid likes 19 have training likes, so differences between rows are small beside the noise between users; the
others are ranked by what the model says of a user it knows nothing about. docs/temporal.md says what was measured.
"""

from __future__ import annotations

from functools import partial

from benchmarks.recipes.source import data_root
from mmgraph.data import Split, global_time_split
from mmgraph.data.readers import read_movielens
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment
from mmgraph.graph import TimeDecay
from mmgraph.models import LightGCN, Popularity, TemporalGraph
from mmgraph.nn import TimeAttention, TimeDecayProfile
from mmgraph.train import FitConfig

YEAR = 365.25


def mlsmall_time() -> Split:
    """610 users, 9,724 films, 48,580 likes; the newest tenth is test, the tenth before it valid."""
    dataset = read_movielens(data_root() / "mlsmall", min_rating=4.0, name="mlsmall")
    return global_time_split(dataset, seen_at_test="train+valid", name="mlsmall-time")


def popularity() -> Experiment:
    """The most liked, ever."""
    return Experiment(name="mlsmall-time-popularity", split=mlsmall_time, model=Popularity, evaluate=_ranking())


def _ranking() -> EvalConfig:
    return EvalConfig(k=(10, 20), groups=("all", "warm"), auc=False)


def lightgcn_time() -> Experiment:
    """LightGCN, every like weighing the same: time off."""
    return Experiment(
        name="mlsmall-time-lightgcn",
        split=mlsmall_time,
        model=LightGCN,
        model_args={"num_layers": 3, "l2": 1e-3},
        fit=FitConfig(epochs=40, batch_size=2048, learning_rate=1e-2, eval_every=5, patience=4),
        evaluate=_ranking(),
        baselines=(popularity(),),
    )


def decay(half_life: float = 2 * YEAR) -> Experiment:
    """LightGCN on edges that lose half their weight in ``half_life`` days."""
    return lightgcn_time().variant(name=f"mlsmall-time-decay-{half_life:g}", transforms=(TimeDecay(half_life),))


def time_attention(use_time: bool = True) -> Experiment:
    """LightGCN with attention over the user's likes as its user side; ``use_time=False`` hides their times from it."""
    layer = partial(TimeAttention, query=True, use_time=use_time)
    return lightgcn_time().variant(
        name="mlsmall-time-attention" if use_time else "mlsmall-time-attention-off",
        model=TemporalGraph,
        model_args={"propagation": partial(LightGCN, num_layers=2), "temporal": layer},
        fit=FitConfig(epochs=15, batch_size=2048, learning_rate=5e-3, eval_every=3, patience=3),
    )


def _profile(dim: int, half_life: float) -> TimeDecayProfile:
    return TimeDecayProfile(half_life)


def decay_profile(half_life: float = 2 * YEAR) -> Experiment:
    """LightGCN with the half-life weighted mean of the user's likes as its user side."""
    return time_attention().variant(
        {"model_args.temporal": partial(_profile, half_life=half_life)}, name=f"mlsmall-time-profile-{half_life:g}"
    )
