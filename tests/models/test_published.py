# SPDX-License-Identifier: Apache-2.0
"""Networks that other people trained score what their files document."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeshift import models
from edgeshift.core.errors import BadWeights, UnknownName
from edgeshift.data import DataSet, normalise, open_set

NAMES = sorted(models.pretrained())
needs_data = pytest.mark.skipif(
    not os.environ.get("EDGESHIFT_DATA"), reason="EDGESHIFT_DATA names no folder with cifar10 and weights"
)
# Parameters as documented beside the files.
PARAMETERS = {
    "camvid_espnet_p2_q8": 354_517,
    "cifar10_densenetbc_k12_16x3": 769_210,
    "cifar10_densenetbc_k12_6_12_24": 616_042,
    "cifar10_distiller_resnet20_5layers_removed": 253_850,
    "cifar10_distiller_resnet20_channel_pruned": 235_774,
    "cifar10_distiller_resnet20_dense": 272_474,
    "cifar10_mlperftiny_resnet8": 78_186,
    "cifar10_resnet20": 269_722,
    "cifar10_resnet32": 464_154,
    "cifar10_resnet44": 658_586,
    "cifar10_resnet56": 853_018,
    "cifar10_simpnet_1m": 1_001_296,
    "cifar10_simpnet_300k": 300_964,
    "cifar10_simpnet_600k": 601_021,
    "cifar10_squeezenet_bn": 733_226,
    "imagenet_mobilenetv2_1.0_224_uint8": 3_489_097,
    "silero_vad_16k": 243_585,
    "silero_vad_8k": 219_009,
    "speechcommands12_dscnn": 23_756,
    "streaming_wakeword_ds1d": 46_875,
    "vww96_mobilenetv1_025": 216_322,
}
ON_CIFAR = [name for name in NAMES if name.startswith("cifar10_")]


@pytest.fixture(scope="module")
def cifar10() -> DataSet:
    return open_set("cifar10")


def right(name: str, cifar10: DataSet, count: int) -> int:
    """How many of the first test images a network gets right."""
    ref = models.resolve(name)
    model = models.build(ref).eval()
    models.load_weights(model, name)
    test = cifar10.split("test")
    found = 0
    with torch.inference_mode():
        for start in range(0, count, 250):
            images = torch.from_numpy(normalise(test.images[start : start + 250], ref.mean, ref.std))
            labels = torch.from_numpy(test.labels[start : start + 250])
            found += int((model(images).argmax(1) == labels).sum())
    return found


@pytest.mark.parametrize("name", NAMES)
def test_it_has_the_documented_number_of_parameters(name: str) -> None:
    model = models.build(models.resolve(name))
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


def test_what_is_documented_reads_as_a_sentence() -> None:
    networks = models.pretrained()
    assert networks["cifar10_resnet20"].figure == "91.7% on the CIFAR-10 test set"
    assert networks["silero_vad_8k"].figure == "equal to its ONNX file within 2.5e-6 over 60 s of speech"


@needs_data
@pytest.mark.parametrize("name", NAMES)
def test_its_file_fits(name: str) -> None:
    models.load_weights(models.build(models.resolve(name)), name)


@needs_data
@pytest.mark.parametrize(
    ("name", "count"),
    [("cifar10_mlperftiny_resnet8", 881), ("cifar10_resnet20", 915)],
)
def test_it_gets_so_many_of_the_first_1000_test_images_right(name: str, count: int, cifar10: DataSet) -> None:
    assert right(name, cifar10, 1_000) == count


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("name", ON_CIFAR)
def test_it_reaches_its_documented_accuracy(name: str, cifar10: DataSet) -> None:
    # One image in 10,000 may fall the other way on another machine's rounding.
    documented = models.pretrained()[name].top1
    assert documented is not None
    assert abs(right(name, cifar10, 10_000) - 10_000 * documented) <= 1.5


@needs_data
def test_the_wake_word_detector_gets_41_of_its_45_samples_right() -> None:
    name = "streaming_wakeword_ds1d"
    model = models.build(models.resolve(name)).eval()
    models.load_weights(model, name)
    with np.load(models.pretrained_path(name).with_name("streaming_wakeword_samples.npz")) as held:
        bands = torch.from_numpy(held["specs"].transpose(0, 2, 1)[..., None].copy())
        labels = torch.from_numpy(held["labels"].astype(np.int64))
    with torch.inference_mode():
        assert int((model(bands).argmax(1) == labels).sum()) == 41


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_missing_folder_names_the_variable(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESHIFT_DATA", folder)
    want = r"EDGESHIFT_DATA must name the folder that holds weights/cifar10_resnet20.safetensors"
    with pytest.raises(BadWeights, match=f"{want}, got {folder or 'nothing'}"):
        models.pretrained_path("cifar10_resnet20")


def test_the_file_is_called_like_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "cifar10_resnet20.safetensors").touch()
    monkeypatch.setenv("EDGESHIFT_DATA", str(tmp_path))
    assert models.pretrained_path("cifar10_resnet20").name == "cifar10_resnet20.safetensors"


def test_a_network_nobody_published_is_unknown() -> None:
    with pytest.raises(UnknownName, match="no pretrained network named 'resnet20'; did you mean"):
        models.pretrained_path("resnet20")
