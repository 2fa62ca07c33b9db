# SPDX-License-Identifier: Apache-2.0
"""One sparse checkpoint file in, one smaller file out."""

from pathlib import Path

from edgeshift.core.errors import BadValue, FolderTaken
from edgeshift.core.values import ModelRef
from edgeshift.formats import save
from edgeshift.graph import Shrunk, shrink
from edgeshift.models import build, example, load_weights


def shrink_file(source: Path, target: Path, ref: ModelRef) -> Shrunk:
    """Shrink a sparse checkpoint exactly and write the smaller one.

    Args:
        source: The `.safetensors` file.
        target: The `.safetensors` file to write; holds the shape plan too.
        ref: The model that the checkpoint belongs to.

    Raises:
        BadValue: If either file is not called `.safetensors`.
        BadWeights: If the checkpoint does not fit the model.
        FolderTaken: If the target is the source.
        NotExact: If the smaller model would compute something else; nothing is written then.
    """
    for what, path in (("checkpoint", source), ("out", target)):
        if path.suffix != ".safetensors":
            raise BadValue(what, str(path), "a .safetensors file")
    if target.exists() and target.samefile(source):
        raise FolderTaken(f"out must be another file than the checkpoint, got {target}")
    network = build(ref)
    load_weights(network, source)
    shrunk = shrink(network.eval(), example(ref))
    save(shrunk.model, target, plan=shrunk.plan)
    return shrunk
