"""How a model is trained, as settings that are checked when they are made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator

from mmgraph.config import Config, did_you_mean
from mmgraph.train.optimisers import Adam, Optimiser, read_optimiser
from mmgraph.train.schedules import Schedule, read_schedule

Number = Annotated[float, Field(allow_inf_nan=False)]

# Words for devices that people write, and what torch calls them.
_MEANT = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps", "apple": "mps", "intel": "xpu"}


class FitConfig(Config):
    """How a model is trained. Unknown names are refused.

    Every ``eval_every`` epochs the model is validated, and training stops when ``monitor`` has not risen for
    ``patience`` validations. The best epoch's weights are what remains.

    Attributes:
        epochs: at most so many.
        batch_size: of the model's own sampler.
        learning_rate: of the optimiser, before the schedule.
        weight_decay: of the optimiser; what it means is the optimiser's.
        optimizer: :class:`Adam`, :class:`AdamW`, :class:`SparseAdam`, :class:`RowwiseAdagrad`, or an
            :class:`~mmgraph.train.optimisers.Optimiser` of your own.
        schedule: None for a constant learning rate, :class:`Cosine`, :class:`StepDecay`, :class:`Plateau`,
            :class:`Constant` for a warm-up alone, or a :class:`~mmgraph.train.schedules.Schedule` of your own.
        patience: validations without a rise of ``monitor`` before stopping.
        eval_every: epochs from one validation to the next.
        monitor: the metric that chooses the epoch.
        device: as torch spells it. The model moves there, and the graph with it, and both stay.
        precision: ``"bf16"`` computes under autocast; the weights stay float32.
        clip_norm: the gradient of all parameters together is made no longer than this.
        checkpoint_seconds: least time between two checkpoints.
    """

    epochs: int = Field(default=1000, ge=0)
    batch_size: int = Field(default=2048, ge=1)
    learning_rate: Number = Field(default=1e-3, gt=0)
    weight_decay: Number = Field(default=0.0, ge=0)
    optimizer: Annotated[SerializeAsAny[Optimiser], BeforeValidator(read_optimiser)] = Adam()
    schedule: Annotated[SerializeAsAny[Schedule] | None, BeforeValidator(read_schedule)] = None
    patience: int = Field(default=20, ge=1)
    eval_every: int = Field(default=1, ge=1)
    monitor: str = Field(default="recall@20", min_length=1)
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    clip_norm: Number | None = Field(default=None, gt=0)
    checkpoint_seconds: Number = Field(default=20.0, ge=0)

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, device: str) -> str:
        try:
            torch.device(device)
        except RuntimeError:
            name = device.partition(":")[0]
            meant = _MEANT.get(name.lower())
            hint = f"; did you mean {meant!r}?" if meant else did_you_mean(name, ("cpu", "cuda", "mps", "xpu"))
            raise ValueError(f"no device {device!r}{hint}") from None
        return device


def open_device(name: str) -> torch.device:
    """The device, after asking whether it is there.

    Raises:
        ValueError: torch sees none of that kind here, or not so many.
    """
    device = torch.device(name)
    if device.type == "cpu" or device.type == "meta":
        return device
    module: Any = getattr(torch, device.type, None)
    count = module.device_count() if hasattr(module, "device_count") and module.is_available() else 0
    if not count:
        built = "" if device.type != "cuda" or torch.version.cuda else ", which is built without CUDA"
        raise ValueError(f"device={name!r}, but torch {torch.__version__}{built} sees none here: use device='cpu'")
    if (device.index or 0) >= count:
        raise ValueError(f"device={name!r}, but there are {count}: {device.type}:0 to {device.type}:{count - 1}")
    return device
