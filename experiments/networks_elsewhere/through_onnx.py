"""PyTorch and Keras networks through ONNX: values beside onnxruntime, then factored.

    python experiments/networks_elsewhere/through_onnx.py [NAME ...]

Every PyTorch network goes through both exporters of PyTorch. Writes
results/through_onnx.csv.
"""

import csv
import io
import os
import re
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("KERAS_BACKEND", "torch")

import jax
import numpy as np
import onnxruntime
import torch
import torch_networks
import torch_small

import ecg_jax as ej
from ecg_jax.errors import EcgJaxError

HERE = Path(__file__).parent
INPUTS, LEVELS = 20, 3
TORCH = {
    "resnet1d": torch_networks.Resnet1d,
    "xresnet1d": torch_networks.XResnet1d,
    "InceptionTime": torch_networks.InceptionTime,
    "TCN": torch_small.TCN,
    "MobileNet (ReLU6)": torch_small.MobileNet,
    "MobileNet v3 (Hardswish)": torch_small.MobileNetV3,
    "CNN and LSTM": torch_small.CnnLSTM,
    "CNN and GRU": torch_small.CnnGRU,
    "U-Net": torch_small.UNet,
    "transformer": torch_small.Transformer,
    "16-bit weights": torch_small.Half,
}


def from_torch(name, dynamo, path):
    torch.backends.mha.set_fastpath_enabled(False)  # which TorchScript cannot export
    torch.manual_seed(0)
    network = TORCH[name]()
    example = torch.zeros(torch_small.LEADS, torch_small.TIME)
    torch_networks.settle(network, example)
    options = {"dynamo": dynamo, "external_data": False}
    if not dynamo:
        options["opset_version"] = 17
    with torch.no_grad():
        torch.onnx.export(network, (example[None],), path, **options)


def keras_network(kind):
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    bodies = {
        "Keras CNN": [
            layers.Conv1D(16, 5, strides=2, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling1D(3, 2, padding="same"),
            layers.SeparableConv1D(16, 3, padding="same", activation="elu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(5),
        ],
        "Keras residual": None,
        "Keras CNN and LSTM": [
            layers.Conv1D(16, 7, strides=8, activation="relu"),
            layers.LSTM(8),
            layers.Dense(5),
        ],
    }
    x = layers.Input((256, 12), batch_size=1)
    y = x
    if bodies[kind] is None:
        y = layers.Conv1D(16, 5, padding="same")(y)
        for _ in range(2):
            z = layers.Conv1D(16, 5, padding="same", activation="relu6")(y)
            y = layers.ReLU()(layers.add([y, layers.Conv1D(16, 5, padding="same")(z)]))
        y = layers.Dense(5)(layers.GlobalMaxPooling1D()(y))
    for layer in bodies[kind] or ():
        y = layer(y)
    network = keras.Model(x, y)
    network(np.zeros((1, 256, 12), np.float32))  # Keras exports what was called
    return network


KERAS = ("Keras CNN", "Keras residual", "Keras CNN and LSTM")


def descend(fn, x):
    """Levels opened on the way down at one input, and what stopped it."""
    node, gates = fn, []
    for _ in range(LEVELS):
        try:
            eq = ej.factor(node, x)
        except ej.NoGateError:
            return gates, "an atom"
        except EcgJaxError as error:
            return gates, re.sub(r" at \S+:\d+", "", " ".join(str(error).split()))
        gates.append(" ".join(sorted({gate.name for gate in eq.gates})))
        own = eq.component(*eq.pattern(x))
        value, wanted = float(own(x)), float(fn(x))
        assert abs(value - wanted) <= 1e-3 * max(1, abs(wanted)), (value, wanted)
        node = own
    return gates, ""


def check(path):
    session = onnxruntime.InferenceSession(path)
    (given,) = session.get_inputs()
    fn = ej.from_onnx(path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(INPUTS, *fn.example.shape)).astype(np.float32)
    theirs = np.stack([session.run(None, {given.name: row[None]})[0][0] for row in x])
    ours = np.stack([fn(row) for row in x])
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    share = np.bincount(np.argmax(theirs - theirs.mean(0), 1))
    margin = ej.margin(fn, int(np.argmax(share)))
    levels, end = descend(margin, x[0])
    equations = len(jax.make_jaxpr(fn)(x[0]).eqns)
    return {
        "difference": f"{difference:.1e}",
        "equations": equations,
        "levels": len(levels),
        "gates": "; ".join(levels),
        "stopped by": end,
    }


def main():
    asked = sys.argv[1:]
    jobs = [(n, d) for n in TORCH for d in (True, False)]
    jobs += [(name, None) for name in KERAS]
    path_of_rows = HERE / "results" / "through_onnx.csv"
    kept = {}
    if path_of_rows.exists():
        with path_of_rows.open(newline="") as file:
            kept = {(r["network"], r["exporter"]): r for r in csv.DictReader(file)}
    for name, dynamo in jobs:
        if asked and name not in asked:
            continue
        with TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = str(Path(folder) / "network.onnx")
            with redirect_stdout(io.StringIO()):
                if dynamo is None:
                    keras_network(name).export(path, format="onnx", verbose=False)
                else:
                    from_torch(name, dynamo, path)
            via = {True: "dynamo", False: "TorchScript", None: "Keras"}[dynamo]
            row = {"network": name, "exporter": via, **check(path)}
        print(row, flush=True)
        kept[name, via] = row
        with path_of_rows.open("w", newline="") as file:
            writer = csv.DictWriter(file, row, lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept.values())


if __name__ == "__main__":
    main()
