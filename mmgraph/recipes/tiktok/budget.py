"""What one training of ``mmgraph bench tiktok`` may cost: about a minute and a half of one core, whatever the model.

A model with long epochs gets fewer of them, and larger steps: what costs there is the propagation, once a step.
"""

from __future__ import annotations

from mmgraph.experiment import Experiment, Tuning, Uniform

# epochs and pairs a step, by what an epoch of 30 steps takes one core
A_QUARTER = 300, 2048
HALF_A_SECOND = 120, 2048
A_SECOND = 80, 2048
TWO_SECONDS = 80, 4096
THREE_SECONDS = 50, 4096
FIVE_SECONDS = 50, 8192
TEN_SECONDS = 30, 8192

STEPS = {
    "bprmf": A_QUARTER,
    "ngcf": TWO_SECONDS,
    "simgcl": TWO_SECONDS,
    "slmrec": TWO_SECONDS,
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
    "bprmf-ccl": THREE_SECONDS,
    "ultragcn": THREE_SECONDS,
    "damrs": THREE_SECONDS,
    "gume": FIVE_SECONDS,
    "lightgcl": FIVE_SECONDS,
    "multvae": FIVE_SECONDS,
    "mentor": TEN_SECONDS,
    "lattice": TEN_SECONDS,
    "micro": TEN_SECONDS,
    "diffmm": TEN_SECONDS,
    "mmssl": TEN_SECONDS,
} | dict.fromkeys(("vbpr", "lightgcn", "lightgcnpp", "mmgcn", "freedom"), HALF_A_SECOND)


def within_budget(experiment: Experiment) -> Experiment:
    """The recipe with the suite's patience and epochs, tuned around its own learning rate; a closed form as it is."""
    if experiment.model.closed_form:
        return experiment.variant(tuning=Tuning())
    epochs, batch = STEPS.get(experiment.name.removeprefix("tiktok-"), A_SECOND)
    rate = experiment.fit.learning_rate
    space = {**experiment.tuning.space, "fit.learning_rate": Uniform(rate / 3, rate * 10, log=True)}
    fit = {"fit.epochs": epochs, "fit.batch_size": batch, "fit.patience": 10}
    tuning = Tuning(space=space, startup=2, batch=2, warm_up=10)
    return experiment.variant(fit, tuning=tuning, baselines=())
