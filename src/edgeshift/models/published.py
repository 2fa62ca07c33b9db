# SPDX-License-Identifier: Apache-2.0
"""Networks that other people trained: what each is built from. Imports no torch.

The files are not part of EdgeShift; they lie in the folder `weights` of the folder that EDGESHIFT_DATA names.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeshift.core.errors import BadWeights, UnknownName

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR_SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class Pretrained:
    """One file of weights and the network it fits.

    Attributes:
        architecture: File name in the zoo.
        options: Fields of the architecture.
        mean: Per channel, subtracted from pixels in 0..1; empty where the inputs are no pixels.
        std: Per channel, divides after `mean`.
        top1: Share it gets right, 0..1, as documented beside the file; None where no share is.
        source: Repository and commit the weights come from.
        licence: Licence of the weights; "none stated" where their repository has no licence file.
        classes: Number of classes.
        input_shape: `(channels, height, width)`.
        benchmark: What `top1` was counted on, or what was checked in its place.
    """

    architecture: str
    options: Mapping[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    top1: float | None
    source: str
    licence: str
    classes: int = 10
    input_shape: tuple[int, ...] = CIFAR_SHAPE
    benchmark: str = "the CIFAR-10 test set"

    @property
    def figure(self) -> str:
        """What is documented about it, in words."""
        return self.benchmark if self.top1 is None else f"{self.top1:.1%} on {self.benchmark}"


def cifar_resnets() -> dict[str, Pretrained]:
    """ResNet-20 to -56 with parameter-free shortcuts."""
    documented = {20: 0.9173, 32: 0.9263, 44: 0.9311, 56: 0.9339}
    return {
        f"cifar10_resnet{depth}": Pretrained(
            architecture="resnet",
            options={"blocks": [(depth - 2) // 6] * 3},
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            top1=top1,
            source="akamaster/pytorch_resnet_cifar10 @ d5489e89",
            licence="BSD-2-Clause",
        )
        for depth, top1 in documented.items()
    }


def distiller_resnets() -> dict[str, Pretrained]:
    """ResNet-20 with projection shortcuts: whole, with channels removed, with layers removed."""
    removed = ["layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1", "layer1.1.conv2", "layer2.2.conv2"]
    documented: dict[str, tuple[float, dict[str, Any]]] = {
        "dense": (0.9171, {}),
        "channel_pruned": (0.9154, {"inner": [11, 8, 9, 22, 20, 32, 52, 56, 64]}),
        "5layers_removed": (0.9110, {"removed": removed}),
    }
    return {
        f"cifar10_distiller_resnet20_{name}": Pretrained(
            architecture="resnet",
            options={"blocks": [3, 3, 3], "shortcut": "B", **options},
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            top1=top1,
            source="IntelLabs/distiller @ d859fc85",
            licence="Apache-2.0",
        )
        for name, (top1, options) in documented.items()
    }


def caffe_networks() -> dict[str, Pretrained]:
    """SimpNets and a SqueezeNet, trained in Caffe on pixels in 0..255."""
    thin = [30, 40, 40, 40, 50, 50, 50, 50, 50, 58, 58, 70, 90]
    middle = [40, 60, 60, 60, 72, 73, 73, 73, 75, 81, 82, 90, 120]
    wide = [60, 80, 80, 80, 85, 85, 90, 90, 90, 110, 110, 127, 150]
    documented: dict[str, tuple[float, str, dict[str, Any]]] = {
        "simpnet_300k": (0.9325, "simpnet", {"widths": thin}),
        "simpnet_600k": (0.9404, "simpnet", {"widths": middle}),
        "simpnet_1m": (0.9476, "simpnet", {"widths": wide}),
        "squeezenet_bn": (0.9219, "squeezenet", {"without_norm": ["fire2.squeeze1x1", "fire4.expand1x1"]}),
    }
    return {
        f"cifar10_{name}": Pretrained(
            architecture=architecture,
            options=options,
            mean=(125.307 / 255, 122.950 / 255, 113.865 / 255),
            std=(62.993 / 255, 62.089 / 255, 66.705 / 255),
            top1=top1,
            source="Coderx7/SimpNet @ acd7aa01",
            licence="none stated",
        )
        for name, (top1, architecture, options) in documented.items()
    }


def densenets() -> dict[str, Pretrained]:
    """Two DenseNet-BC with growth 12; their files name the same layers differently."""
    documented: dict[str, tuple[float, str, dict[str, Any]]] = {
        "16x3": (0.9073, "Ericsciencer/DenseNet @ b741c7ad", {"blocks": [16, 16, 16], "stem_norm": True}),
        "6_12_24": (0.9022, "JasonWei05/DenseNet @ 86b44bae", {"blocks": [6, 12, 24], "names": "flat"}),
    }
    return {
        f"cifar10_densenetbc_k12_{name}": Pretrained(
            architecture="densenet",
            options={"bottleneck": True, "stem": 24, "kept": 0.5, **options},
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2023, 0.1994, 0.2010),
            top1=top1,
            source=source,
            licence="none stated",
        )
        for name, (top1, source, options) in documented.items()
    }


def tiny_networks() -> dict[str, Pretrained]:
    """The four tasks of MLPerf Tiny that classify."""
    source, licence = "mlcommons/tiny @ 1afd2c98", "Apache-2.0"
    # It takes pixels in 0..255 as they are.
    grey_level = (1 / 255, 1 / 255, 1 / 255)
    zero, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return {
        "cifar10_mlperftiny_resnet8": Pretrained("resnet8", {}, zero, grey_level, 0.8721, source, licence),
        "speechcommands12_dscnn": Pretrained(
            "dscnn", {}, (), (), 0.915, source, licence, 12, (1, 49, 10), "the 1,000 official keyword items"
        ),
        "vww96_mobilenetv1_025": Pretrained(
            "mobilenetv1",
            {"width": 0.25},
            zero,
            one,
            0.86,
            source,
            licence,
            classes=2,
            input_shape=(3, 96, 96),
            benchmark="visual wake words, as published",
        ),
        "streaming_wakeword_ds1d": Pretrained(
            "ds1d", {}, (), (), 41 / 45, source, licence, 3, (40, 30, 1), "its 45 calibration samples"
        ),
    }


def imagenet_mobilenet() -> Pretrained:
    """MobileNetV2 with 8-bit weights; its input is `(pixel - 128) / 128`."""
    return Pretrained(
        architecture="mobilenetv2_folded",
        options={},
        mean=(128 / 255, 128 / 255, 128 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
        top1=0.71,
        source="google-coral/test_data @ 104342d2",
        licence="Apache-2.0",
        classes=1001,
        input_shape=(3, 224, 224),
        benchmark="ImageNet, as published",
    )


def voice_detectors() -> dict[str, Pretrained]:
    """Silero's, at 16 and 8 kHz: 32 ms after the 4 ms before them, in -1..1; class 1 is speech."""
    return {
        f"silero_vad_{rate}k": Pretrained(
            architecture="silero_vad",
            options={"window": 16 * rate},
            mean=(),
            std=(),
            top1=None,
            source="snakers4/silero-vad @ 806dcba3",
            licence="MIT",
            classes=2,
            input_shape=(1, 36 * rate, 1),
            benchmark="equal to its ONNX file within 2.5e-6 over 60 s of speech",
        )
        for rate in (16, 8)
    }


def camvid_espnet() -> Pretrained:
    """ESPNet for road scenes. Its channels are blue, green, red; the last of its 12 maps is void, for no pixel."""
    return Pretrained(
        architecture="espnet",
        options={"blocks": [2, 8], "width": 12},
        mean=(110.331 / 255, 108.409 / 255, 105.033 / 255),
        # Its authors divide pixels in 0..255 by these numbers and then by 255.
        std=(72.126, 72.691, 69.904),
        top1=0.8702,
        source="sacmehta/ESPNet @ afe71c38",
        licence="MIT (its training data is non-commercial)",
        classes=12,
        input_shape=(3, 360, 480),
        benchmark="the pixels of the CamVid test set as WebP (mean IoU 55.81%)",
    )


def pretrained() -> dict[str, Pretrained]:
    """Every pretrained network by name; the file of each is called like it."""
    return {
        **cifar_resnets(),
        **distiller_resnets(),
        **caffe_networks(),
        **densenets(),
        **tiny_networks(),
        **voice_detectors(),
        "imagenet_mobilenetv2_1.0_224_uint8": imagenet_mobilenet(),
        "camvid_espnet_p2_q8": camvid_espnet(),
    }


def pretrained_path(name: str) -> Path:
    """The file of a pretrained network.

    Raises:
        UnknownName: If there is no such network.
        BadWeights: If EDGESHIFT_DATA names no folder that holds the file.
    """
    known = pretrained()
    if name not in known:
        raise UnknownName("pretrained network", name, known)
    folder = os.environ.get("EDGESHIFT_DATA", "")
    path = Path(folder) / "weights" / f"{name}.safetensors"
    if not folder or not path.is_file():
        want = f"the folder that holds weights/{name}.safetensors"
        raise BadWeights(f"EDGESHIFT_DATA must name {want}, got {folder or 'nothing'}")
    return path
