"""Networks of a bundle: written as ``.pt2`` and ``.onnx``, read back without a pickle."""

from __future__ import annotations

import copy
import inspect
import json
import threading
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmgraph.data.files import open_atomically

MAX_BATCH, MAX_STEPS = 65_536, 4_096
_NEWTON = 40
_READING = threading.Lock()  # torch.export reads one archive at a time in a process


class TowerError(ValueError):
    """A network that cannot be written or read as a tower; the message says why."""


class Tower:
    """A network of a bundle, read when it is first called: torch.export takes about a second to import.

    Args:
        path: a ``.pt2`` file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._module: Any = None

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> Tensor:
        """The network's output.

        Raises:
            TowerError: the file holds something that would run code when read.
        """
        return self.load()(*inputs)

    def load(self) -> Any:
        """Reads the file now."""
        with _READING:
            if self._module is None:
                _refuse_pickles(self.path)
                self._module = torch.export.load(self.path).module()
            return self._module


def _refuse_pickles(path: Path) -> None:
    """Says no to what torch.export.load would unpickle: sample inputs, constants other than plain tensors."""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename.split("/", 1)[-1]
                if name.endswith(".pt") and info.file_size:
                    raise TowerError(f"{path}: {name} is a pickle")
                if "custom_obj" in name or "opaque_obj" in name:
                    raise TowerError(f"{path}: {name} is an object, not a tensor")
                if name.endswith("_config.json"):
                    config = json.loads(archive.read(info)).get("config", {})
                    if any(entry.get("use_pickle") for entry in config.values()):
                        raise TowerError(f"{path}: {name} names pickled tensors")
    except (zipfile.BadZipFile, ValueError, AttributeError) as error:
        raise error if isinstance(error, TowerError) else TowerError(f"{path} is no .pt2 archive: {error}") from error


def on_cpu(module: nn.Module) -> nn.Module:
    """A copy of a module on the CPU, in evaluation mode; the one given stays where and as it is.

    Each tensor of the copy lies whole and in rows in memory of its own. A tensor is written with all the memory it lies
    in: of a slice that would be the tensor it was cut from, and of columns one after the other, as ``linalg.solve``
    returns them, torch cannot tell where they end and warns.
    """
    out = copy.deepcopy(module).cpu().eval()
    for tensor in (*out.parameters(), *out.buffers()):
        if not tensor.is_contiguous() or tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size():
            tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    return out


def write_tower(
    module: nn.Module,
    example: Sequence[Tensor],
    dynamic: Sequence[Mapping[int, str]],
    path: Path,
    onnx: bool,
    onnx_module: nn.Module | None = None,
    max_steps: int = MAX_STEPS,
) -> None:
    """Writes ``path``.pt2 and, where asked, ``path``.onnx.

    Args:
        module: maps tensors to one tensor.
        example: inputs of it, 3 in each free dimension at least.
        dynamic: for each input its free dimensions and their names, ``batch`` or ``steps``.
        path: without an ending.
        onnx: write that too.
        onnx_module: the same function in operations that ONNX has; ``module`` by default.
        max_steps: the longest history it takes.

    Raises:
        TowerError: torch cannot trace the module; the message holds torch's reason.
        ImportError: ``onnx`` without the packages of ``mmgraph[export]``.
    """
    largest = {"batch": MAX_BATCH, "steps": max_steps}
    dims = {name: torch.export.Dim(name, min=1, max=largest[name]) for free in dynamic for name in free.values()}
    shapes: tuple = tuple({at: dims[name] for at, name in free.items()} for free in dynamic)
    module = on_cpu(module)
    if any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(module.forward).parameters.values()):
        shapes = (shapes,)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with torch.no_grad():
            program: Any = torch.export.export(module, tuple(example), dynamic_shapes=shapes)
    except Exception as error:  # torch raises many kinds here, none of them ours to list
        raise TowerError(f"{type(module).__name__} cannot be traced: {str(error).splitlines()[0]}") from error
    program._example_inputs = None  # they would be stored as a pickle
    with open_atomically(path.with_suffix(".pt2")) as file:
        torch.export.save(program, file)
    _refuse_pickles(path.with_suffix(".pt2"))
    if onnx:
        _write_onnx(module if onnx_module is None else on_cpu(onnx_module), example, shapes, path.with_suffix(".onnx"))


def _write_onnx(module: nn.Module, example: Sequence[Tensor], shapes: tuple, path: Path) -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"ONNX needs {error.name}: pip install 'mmgraph[export]'") from error
    with torch.no_grad():
        program = torch.onnx.export(
            module, tuple(example), dynamo=True, dynamic_shapes=shapes, opset_version=20, external_data=False,
            verbose=False,
        )  # fmt: skip
    assert program is not None
    program.save(path)


class _Given:
    """Features as a tower gets them; without the checks of ``mmgraph.data.Features``, which cannot be traced."""

    def __init__(self, values: Tensor, present: Tensor) -> None:
        self.values, self.present = torch.where(present.unsqueeze(1), values, 0.0), present


class ContentTower(nn.Module):
    """A model's own way from content to a video's row: (values [B, D_m], present [B]) of each modality -> [B, D].

    Args:
        model: with ``embed(features)``.
        modalities: names, in the order of the inputs.
    """

    def __init__(self, model: Any, modalities: Sequence[str]) -> None:
        super().__init__()
        self.model, self.modalities = model, tuple(modalities)

    def forward(self, *inputs: Tensor) -> Tensor:
        pairs = zip(self.modalities, inputs[::2], inputs[1::2], strict=True)
        return self.model.embed({name: _Given(values, present) for name, values, present in pairs})


class PairTower(nn.Module):
    """A head over rows that are given: (user [B, D], videos [B, T, D]) -> scores [B, T].

    Args:
        head: of the model.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, user: Tensor, videos: Tensor) -> Tensor:
        return self.head(user, videos)


class RidgeTower(nn.Module):
    """A user's row from the rows of watched videos: (videos [B, T, D], mask [B, T], prior [B, D]) -> [B, D].

    u = (Σ_t m_t v_t v_tᵀ + R)⁻¹ (Σ_t m_t v_t + R u₀), R = b VᵀV + λI: what ``Recommender.fold_in`` does for u₀ = 0.

    Args:
        gram: VᵀV of the videos, [D, D].
        reg: λ.
        background: b.
        products: find the inverse by matrix products alone, for ONNX, which has no solver: 40 steps of Newton's
            X ← X (2I − A X), each of which squares the error.
    """

    def __init__(self, gram: Tensor, reg: float, background: float, products: bool = False) -> None:
        super().__init__()
        self.register_buffer("base", background * gram + reg * torch.eye(len(gram)))
        self.products = products

    def forward(self, videos: Tensor, mask: Tensor, prior: Tensor) -> Tensor:
        base = self.get_buffer("base")
        rows = videos * mask.unsqueeze(2).to(videos.dtype)
        matrix = rows.transpose(1, 2) @ rows + base
        right = (rows.sum(1) + prior @ base).unsqueeze(2)
        if not self.products:
            return torch.linalg.solve(matrix, right).squeeze(2)
        # scaled to a diagonal of ones the eigenvalues of [D, D] lie in (0, D): X = I / D is near enough to start from
        scale = matrix.diagonal(dim1=1, dim2=2).rsqrt().unsqueeze(2)
        matrix = matrix * scale * scale.transpose(1, 2)
        eye = torch.eye(matrix.shape[1])
        inverse = eye / matrix.abs().sum(2).amax(1).view(-1, 1, 1)
        for _ in range(_NEWTON):
            inverse = inverse @ (2 * eye - matrix @ inverse)
        return (scale * (inverse @ (scale * right))).squeeze(2)


def ridge_row(base: Tensor, videos: Tensor, prior: Tensor | None = None) -> Tensor:
    """:class:`RidgeTower` of one user: u [D] from the rows of watched videos [n, D] and a prior [D]; base is R."""
    right = videos.sum(0)
    if prior is not None:
        right = right + base @ prior
    return torch.linalg.solve(base + videos.T @ videos, right)
