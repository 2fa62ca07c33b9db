# SPDX-License-Identifier: Apache-2.0
"""Files that tf2onnx writes of Keras' networks, channels last, with dead channels: exact, smaller?

    python -m venv /tmp/keras && /tmp/keras/bin/pip install tensorflow-cpu tf2onnx
    /tmp/keras/bin/python bench/shrink/keras_files.py --make build/keras      # in an environment of its own
    python -m bench.shrink.keras_files --files build/keras

Of every batch norm a share of the channels gets scale and shift zero, as network slimming leaves them; all other
weights are random.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

NETWORKS = ("MobileNetV2", "MobileNetV3Small", "ResNet50", "EfficientNetB0", "DenseNet121")
SIDE, CLASSES, SHARE = 64, 10, 0.4


def make(folder: Path) -> None:
    """Build, empty channels, convert."""
    import keras
    import tensorflow as tf
    import tf2onnx

    folder.mkdir(parents=True, exist_ok=True)
    for name in NETWORKS:
        draws = np.random.default_rng(0)
        network = getattr(keras.applications, name)(
            weights=None, input_shape=(SIDE, SIDE, 3), classes=CLASSES
        )
        for layer in network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                numbers = [draws.uniform(0.3, 1, w.shape).astype(np.float32) for w in layer.get_weights()]
                dead = draws.random(len(numbers[0])) < SHARE
                numbers[0][dead] = numbers[1][dead] = 0
                layer.set_weights(numbers)
        signature = [tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="x")]
        call = tf.function(lambda x, network=network: network(x, training=False), input_signature=signature)
        path = folder / f"{name}.onnx"
        tf2onnx.convert.from_function(call, input_signature=signature, opset=17, output_path=str(path))


def row(path: Path) -> dict[str, Any]:
    """One file, shrunk."""
    from edgeshift.graph import shrink_onnx

    shrunk = shrink_onnx(path)
    assert shrunk.proof is not None
    before, after = shrunk.report.before, shrunk.report.after
    return {
        "network": path.stem,
        "float64_error": shrunk.proof.max_error_float64,
        "float32_error": shrunk.proof.max_error,
        "fewer_parameters": round(before.parameters / after.parameters, 2),
        "fewer_macs": round(before.macs / after.macs, 2),
        "smaller_file": round(path.stat().st_size / len(shrunk.to_bytes()), 2),
    }


def measured(folder: Path) -> None:
    """Measure, print, keep."""
    from bench.record import Run, keep, table

    rows = [row(folder / f"{name}.onnx") for name in NETWORKS]
    print(table(rows, list(rows[0])))
    findings = [
        f"{r['network']}: {r['fewer_parameters']} times fewer parameters, {r['fewer_macs']} times fewer "
        f"multiply-accumulates; float64 error {r['float64_error']:.1g}."
        for r in rows
    ]
    says = f"ONNX files of Keras' networks, {SHARE:.0%} of the channels of every batch norm dead."
    keep(Run("shrink_keras_files", says), rows, findings)


def main() -> None:
    """Make the files, or measure them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--make", type=Path, help="folder to write the files to; needs tensorflow and tf2onnx")
    which.add_argument("--files", type=Path, help="folder with the files")
    asked = parser.parse_args()
    if asked.make:
        make(asked.make)
    else:
        measured(asked.files)


if __name__ == "__main__":
    main()
