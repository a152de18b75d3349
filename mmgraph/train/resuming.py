"""What a checkpoint holds of a training, and how one goes on from it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmgraph.description import differences
from mmgraph.train.callbacks import acts, name_of
from mmgraph.train.fit_config import FitConfig
from mmgraph.train.fit_report import FitReport
from mmgraph.train.health import Health
from mmgraph.train.identity import describe_graph, describe_model, describe_part

if TYPE_CHECKING:
    from mmgraph.train.loop import Loop

_log = logging.getLogger(__name__)


def identity_of(loop: Loop, given: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """What must agree for a resumed run to equal an uninterrupted one; more epochs or patience may be asked for."""
    settings = {name: getattr(loop.config, name) for name in FitConfig.model_fields}
    for free in ("epochs", "patience", "checkpoint_seconds"):
        del settings[free]
    settings["schedule"] = loop.schedule
    return {
        "seed": loop.seed,
        "fit": describe_part(settings),
        "model": describe_model(loop.model),
        "graph": describe_graph(loop.graph),
        "epoch_transforms": describe_part(loop.transforms),
        "identity": describe_part(given),
    }


def state_of(loop: Loop) -> dict[str, Any]:
    """What a checkpoint holds of a run."""
    last = loop.model.state_dict()
    return {
        "identity": json.dumps(loop.identity, sort_keys=True),
        "model": loop.best_state or last,
        "last": last,
        "optimizer": loop.optimizer.state_dict(),
        "callbacks": [{"class": name_of(c), "state": c.state_dict()} for c in loop.callbacks if acts(c, "state_dict")],
        "report": json.dumps(vars(loop.report)),
        "ended": loop.ended,
        "done": bool(loop.ended),
        "epoch": loop.epoch,
        "batch": loop.batch,
        "spent": loop.spent,
        "sums": loop.health.sums(),
        "random": random_state(loop.device),
    }


def go_on(loop: Loop, state: dict[str, Any]) -> None:
    """Puts a run where its checkpoint left it.

    Raises:
        ValueError: the checkpoint is of another run; the message says what differs.
    """
    path = (loop.folder or Path()) / loop.together.checkpoint
    there = json.loads(state.get("identity", "{}"))
    if changed := differences(there, json.loads(json.dumps(loop.identity))):
        lines = "\n".join(f"  {line}" for line in changed)
        raise ValueError(
            f"{path} is of another run, so going on from it would mix the two:\n{lines}\n"
            "Remove it, choose another directory, or run without resume"
        )
    loop.model.load_state_dict(state["last"])
    loop.optimizer.load_state_dict(state["optimizer"])
    loop.report = FitReport(**json.loads(state["report"]))
    loop.best_state = state["model"] if loop.report.best else {}
    loop.epoch, loop.batch, loop.spent, loop.ended = (state[k] for k in ("epoch", "batch", "spent", "ended"))
    sums = {name: value.to(loop.device) for name, value in state["sums"].items()}
    loop.health, loop.random = Health(loop.batch, sums), state["random"]
    _restore_callbacks(loop, state["callbacks"])
    waited = (loop.epoch - 1 - loop.report.best_epoch) // loop.config.eval_every
    more = loop.ended == "epochs" and loop.epoch < loop.config.epochs
    if more or (loop.ended == "patience" and waited < loop.config.patience):
        loop.ended, loop.report.stopped, loop.report.rising = "", "", False
    _log.info("going on from %s: epoch %d, batch %d", path, loop.epoch, loop.batch)


def _restore_callbacks(loop: Loop, saved: list[dict[str, Any]]) -> None:
    left = list(saved)
    for callback in loop.callbacks:
        mine = next((entry for entry in left if entry["class"] == name_of(callback)), None)
        if mine is not None and acts(callback, "load_state_dict"):
            left.remove(mine)
            callback.load_state_dict(mine["state"])
    if left:
        _log.warning("callbacks of the checkpoint that are not given now: %s", [entry["class"] for entry in left])


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's generators, of the CPU and of the device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_state(device: torch.device, states: dict[str, Tensor]) -> None:
    """Puts the generators back into a state of :func:`random_state`."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
