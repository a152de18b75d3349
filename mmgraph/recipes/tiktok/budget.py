"""What one training of ``mmgraph bench tiktok`` costs: one to two minutes of one core, whatever the model, or of a GPU
(``tiktok_cuda``).

A model with long epochs gets fewer of them, and larger steps at a rate as much higher: what costs there is the
propagation, once a step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mmgraph.experiment import Experiment, Tuning, Uniform


class Budget(NamedTuple):
    """Epochs, pairs a step, and validations without a rise that end it."""

    epochs: int
    batch: int
    patience: int = 10


# by what an epoch of 30 steps takes one core
A_QUARTER = Budget(300, 2048, 30)  # matrix factorisation lies flat for 30 epochs
HALF_A_SECOND = Budget(120, 2048)
A_SECOND = Budget(80, 2048)
TWO_SECONDS = Budget(50, 4096)
THREE_SECONDS = Budget(40, 4096)
FIVE_SECONDS = Budget(40, 8192)
TEN_SECONDS = Budget(30, 8192)
ON_A_GPU = Budget(60, 2048)

STEPS = {
    "bprmf": A_QUARTER,
    "ngcf": TWO_SECONDS,
    "simgcl": TWO_SECONDS,
    "dragon": TWO_SECONDS,
    "lgmrec": TWO_SECONDS,
    "pgl": TWO_SECONDS,
    "hetero-mmgcn": TWO_SECONDS,
    "dualgnn": TWO_SECONDS,
    "mgcn": TWO_SECONDS,
    "smore": TWO_SECONDS,
    "mvgae": TWO_SECONDS,
    "grcn": THREE_SECONDS,
    "cohesion": THREE_SECONDS,
    "ultragcn": THREE_SECONDS,
    "gume": FIVE_SECONDS,
    "lightgcl": FIVE_SECONDS,
    "multvae": FIVE_SECONDS,
    "mentor": TEN_SECONDS,
    "lattice": TEN_SECONDS,
    "micro": TEN_SECONDS,
    "damrs": A_SECOND,
    "mmssl": ON_A_GPU,
    "diffmm": ON_A_GPU,
} | dict.fromkeys(("vbpr", "lightgcn", "lightgcnpp", "mmgcn", "freedom"), HALF_A_SECOND)

# the longest steps: six settings and three seeds of each take a core a quarter of an hour to hours
HEAVY = (
    "mvgae",
    "cohesion",
    "gume",
    "lightgcl",
    "multvae",
    "mentor",
    "lattice",
    "micro",
)
# those whose every training takes a core ten minutes to an hour
HEAVIEST = ("damrs", "diffmm", "mmssl")
# what ``tiktok_long`` trains for longer, at which settings
LONG: dict[str, dict[str, Any]] = {
    "bm3": {"fit.epochs": 400, "fit.patience": 50, "model_args.dropout": 0.3},
    "damrs": {
        "fit.epochs": 80,
        "fit.patience": 10,
        "fit.learning_rate": 5.17e-3,
        "model_args.contrast": 0.241,
        "model_args.align": 1.16,
    },
    "diffmm": {
        "fit.epochs": 60,
        "fit.patience": 10,
        "fit.learning_rate": 2.9e-3,
        "model_args.contrast": 0.93,
        "model_args.l2": 1.72e-7,
        "model_args.inject": 0.0227,
    },
    "mmssl": {
        "fit.epochs": 60,
        "fit.patience": 10,
        "fit.learning_rate": 3.57e-4,
        "model_args.contrast": 1.11e-3,
        "model_args.generator": 6.11e-3,
        "model_args.l2": 9.1e-4,
        "fit.precision": "bf16",  # half of its 47 s an epoch on two cores
    },
}
# those that can do what their public code does where that is not what their paper says; LGMRec, as coded, ranks by what
# it draws, so that no run of it can be saved
CODED = ("ngcf", "ultragcn", "grcn", "dualgnn", "dragon", "smore", "mentor", "cohesion")
# what valid had highest
TOP = ("smore", "bprmf-ccl", "sgl", "slmrec", "lightgcnpp", "freedom", "mgcn")


def within_budget(experiment: Experiment) -> Experiment:
    """The recipe with the suite's patience and epochs, tuned around its own learning rate; a closed form as it is."""
    if experiment.model.closed_form:
        return experiment.variant(tuning=Tuning())
    budget = STEPS.get(experiment.name.removeprefix("tiktok-"), A_SECOND)
    rate = experiment.fit.learning_rate * budget.batch / 2048
    space = {**experiment.tuning.space, "fit.learning_rate": Uniform(rate / 3, rate * 10, log=True)}
    fit = {"epochs": budget.epochs, "batch_size": budget.batch, "patience": budget.patience, "learning_rate": rate}
    tuning = Tuning(space=space, startup=2, batch=2, warm_up=10)
    return experiment.variant({f"fit.{name}": value for name, value in fit.items()}, tuning=tuning, baselines=())
