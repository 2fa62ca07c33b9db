# SPDX-License-Identifier: Apache-2.0
"""From a name to a reference."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgeshift import models
from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.core.values import ModelRef, model_ref_from_json, to_json
from edgeshift.models.names import read_presets


def test_a_zoo_name_is_a_network_for_cifar_by_default() -> None:
    assert models.resolve("resnet20") == ModelRef("resnet20", 10, (3, 32, 32), {"blocks": [3, 3, 3]})


def test_classes_shape_and_options_are_taken() -> None:
    ref = models.resolve("resnet20", classes=4, input_shape=(1, 8, 8), options={"width": 4})
    assert ref == ModelRef("resnet20", 4, (1, 8, 8), {"blocks": [3, 3, 3], "width": 4})


def test_a_family_is_a_name_too() -> None:
    assert models.resolve("vgg").options == {}


def test_a_reference_survives_json() -> None:
    ref = models.resolve("cifar10_distiller_resnet20_channel_pruned")
    assert model_ref_from_json(to_json(ref)) == ref


def test_a_pretrained_name_knows_its_normalisation() -> None:
    ref = models.resolve("cifar10_resnet20")
    assert (ref.mean, ref.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_pixels_in_0_to_255_are_a_std_of_one_grey_level() -> None:
    ref = models.resolve("cifar10_mlperftiny_resnet8")
    assert (ref.mean, ref.std) == ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnt20", "resnet20"), ("vgg16bn", "vgg16_bn"), ("cifar10_resnet_56", "cifar10_resnet56")],
)
def test_an_unknown_name_gets_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"no model named '{name}'; did you mean '{near}'"):
        models.resolve(name)


def test_an_unknown_option_is_named_with_the_known_ones() -> None:
    with pytest.raises(
        BadValue,
        match=r"option of resnet must be one of blocks, width, shortcut, inner, removed, got 'widht'",
    ):
        models.resolve("resnet20", options={"widht": 8})


def test_a_bad_option_is_refused_at_once() -> None:
    with pytest.raises(BadValue, match="width must be at least 1, got 0"):
        models.resolve("resnet20", options={"width": 0})


def test_a_pretrained_network_keeps_its_classes() -> None:
    with pytest.raises(BadValue, match="classes of cifar10_resnet20 must be 10, got 5"):
        models.resolve("cifar10_resnet20", classes=5)


def test_a_pretrained_network_keeps_its_channels() -> None:
    with pytest.raises(BadValue, match="channels of cifar10_resnet20 must be 3, got 1"):
        models.resolve("cifar10_resnet20", input_shape=(1, 28, 28))


@pytest.mark.parametrize("classes", [0, 1])
def test_fewer_than_two_classes_are_refused(classes: int) -> None:
    with pytest.raises(BadValue, match=f"classes must be at least 2, got {classes}"):
        models.resolve("resnet20", classes=classes)


def test_a_file_without_presets_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text("x = 1\n")
    with pytest.raises(BadValue, match=r"architecture file must be one with `presets`, got 'bare\.py'"):
        read_presets(tmp_path / "bare.py")


def test_presets_and_pretrained_names_import_no_torch() -> None:
    program = (
        "from edgeshift import models; models.presets(); models.pretrained(); models.resolve('vgg16_bn');"
        "import sys; assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_door_names_what_it_holds() -> None:
    assert "resolve" in dir(models)
    with pytest.raises(AttributeError, match=r"module 'edgeshift\.models' has no attribute 'resovle'"):
        _ = models.resovle
