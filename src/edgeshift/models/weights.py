# SPDX-License-Identifier: Apache-2.0
"""Weights from a safetensors file into a model, or one line that says why not."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgeshift.core.errors import BadWeights, NotFinite, UnknownName
from edgeshift.models.published import pretrained, pretrained_path

# Batch norm counts its training steps here; inference never reads it, so files may leave it out.
COUNTER = "num_batches_tracked"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file.

    Raises:
        BadWeights: If there is no such file, or it is not safetensors.
    """
    if not path.is_file():
        raise BadWeights(f"weights must be a safetensors file, got {path}, which does not exist")
    try:
        return dequantised(load_file(path))
    except SafetensorError as error:
        raise BadWeights(f"weights must be a safetensors file, got {path}: {error}") from error


def dequantised(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Quantised weights as floats: `x_q`, `x_zero` and `x_scale` become `x = (x_q - x_zero) * x_scale`.

    Args:
        tensors: All tensors of a file. `x_zero` and `x_scale` hold one number, or one for each of axis 0.
    """
    found = dict(tensors)
    for name in tensors:
        start = name.removesuffix("_q")
        if start != name and f"{start}_zero" in tensors and f"{start}_scale" in tensors:
            values = found.pop(name)
            ones = [1] * (values.dim() - 1)
            zero = found.pop(f"{start}_zero").reshape(-1, *ones)
            scale = found.pop(f"{start}_scale").reshape(-1, *ones)
            found[start] = (values.to(torch.int32) - zero.to(torch.int32)).float() * scale
    return found


def tied_names(model: nn.Module) -> dict[str, str]:
    """Name of a shared parameter -> the first name it has."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(p), name) for name, p in model.named_parameters(remove_duplicate=False)}


def check_fit(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Nothing, or an error about the first tensor that does not fit.

    Raises:
        BadWeights: If a tensor is missing, unknown, or of another shape or kind.
        NotFinite: If a tensor holds NaN or infinity.
    """
    tied = tied_names(model)
    present = {tied.get(name, name) for name in tensors}
    wanted = model.state_dict()
    for name, old in wanted.items():
        shape = tuple(old.shape)
        if name not in tensors:
            if name.rpartition(".")[2] != COUNTER and tied.get(name, name) not in present:
                raise BadWeights(f"tensor {name} must have shape {shape} as in the model, got none")
            continue
        new = tensors[name]
        if new.shape != old.shape:
            raise BadWeights(f"tensor {name} must have shape {shape} as in the model, got {tuple(new.shape)}")
        if new.is_floating_point() != old.is_floating_point():
            raise BadWeights(f"tensor {name} must be of kind {old.dtype}, got {new.dtype}")
        finite = torch.isfinite(new)
        if not finite.all():
            raise NotFinite(f"tensor {name} must be finite, got {new[~finite][0].item()}")
    for name, tensor in tensors.items():
        if name not in wanted:
            raise BadWeights(f"tensor {name} must have a place in the model, got shape {tuple(tensor.shape)}")


def load_weights(model: nn.Module, source: str | Path) -> None:
    """Put a file's weights into a model, in place; on an error the model is untouched.

    Args:
        model: Any model; its tensors must have the file's names and shapes.
        source: A safetensors file, or the name of a pretrained network.

    Raises:
        BadWeights: If the file is missing, not safetensors, or does not fit; names the first tensor and both
            shapes.
        NotFinite: If a tensor holds NaN or infinity.
        UnknownName: If `source` looks like a name and no pretrained network is called that.
    """
    path = Path(source)
    if str(source) in pretrained():
        path = pretrained_path(str(source))
    elif not path.exists() and path.name == str(source) and not path.suffix:
        raise UnknownName("pretrained network", str(source), pretrained())
    tensors = read_tensors(path)
    check_fit(model, tensors)
    tied = tied_names(model)
    values = {tied.get(name, name): tensor for name, tensor in tensors.items()}
    with torch.no_grad():
        for name, old in model.state_dict().items():
            if tied.get(name, name) in values:
                old.copy_(values[tied.get(name, name)])
