"""Networks written elsewhere, unmodified, factored three levels deep.

    python experiments/networks_elsewhere/run.py [NAME ...]

For each network: every input goes down its own path, three levels of its own patterns;
the component reached must decide as the network does. Across pairs, witnesses stay
below and refuters above. Writes results/results.json.
"""

import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np

import ecg_jax as ej

HERE = Path(__file__).parent
LEVELS = 3


def flax_resnet(dimensions):
    import flax.linen as nn

    class Block(nn.Module):
        features: int
        stride: int

        @nn.compact
        def __call__(self, x):
            kernel, stride = (3,) * dimensions, (self.stride,) * dimensions
            y = nn.Conv(self.features, kernel, stride, use_bias=False)(x)
            y = nn.relu(nn.BatchNorm(use_running_average=True)(y))
            y = nn.Conv(self.features, kernel, use_bias=False)(y)
            y = nn.BatchNorm(use_running_average=True)(y)
            if x.shape != y.shape:
                x = nn.Conv(self.features, (1,) * dimensions, stride)(x)
            return nn.relu(x + y)

    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(16, (5,) * dimensions)(x[None]))
            x = nn.max_pool(x, (3,) * dimensions, (2,) * dimensions, "SAME")
            for features, stride in ((16, 1), (32, 2), (32, 1)):
                x = Block(features, stride)(x)
            return nn.Dense(4)(x.mean(tuple(range(1, dimensions + 1))))[0]

    network = ResNet()
    example = jnp.zeros((64, 2) if dimensions == 1 else (24, 24, 2), jnp.float32)
    variables = network.init(jax.random.key(0), example)
    return lambda x: network.apply(variables, x), example


def flax_nnx():
    from flax import nnx

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(2, 16, (5,), rngs=rngs)
            self.norm = nnx.BatchNorm(16, use_running_average=True, rngs=rngs)
            self.deep = nnx.Conv(16, 16, (5,), rngs=rngs)
            self.hidden = nnx.Linear(16, 32, rngs=rngs)
            self.head = nnx.Linear(32, 4, rngs=rngs)

        def __call__(self, x):
            y = nnx.relu(self.norm(self.conv(x[None])))
            y = nnx.max_pool(nnx.leaky_relu(self.deep(y)) + y, (4,), (2,))
            return self.head(nnx.relu(self.hidden(y.mean(1))))[0]

    graph, state = nnx.split(Network(nnx.Rngs(0)))
    return lambda x: nnx.merge(graph, state)(x), jnp.zeros((64, 2), jnp.float32)


def equinox():
    import equinox as eqx

    keys = jax.random.split(jax.random.key(0), 4)
    network = eqx.nn.Sequential(
        [
            eqx.nn.Conv1d(2, 16, 5, key=keys[0]),
            eqx.nn.Lambda(lambda x: eqx.nn.PReLU(0.25)(x)),
            eqx.nn.MaxPool1d(3, 2),
            eqx.nn.Conv1d(16, 16, 5, key=keys[1]),
            eqx.nn.Lambda(jax.nn.silu),
            eqx.nn.AvgPool1d(4, 4),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(96, 32, key=keys[2]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Linear(32, 4, key=keys[3]),
        ]
    )
    return network, jnp.zeros((2, 64), jnp.float32)


def haiku():
    import haiku as hk

    def network(x):
        y = jax.nn.relu(hk.Conv1D(16, 5, 2)(x[None]))
        y = jax.nn.gelu(hk.Conv1D(16, 3)(y))
        y = hk.max_pool(y, (3, 1), (2, 1), "SAME")
        return hk.nets.MLP([32, 4])(hk.Flatten()(y))[0]

    transformed = hk.without_apply_rng(hk.transform(network))
    example = jnp.zeros((64, 2), jnp.float32)
    weights = transformed.init(jax.random.key(0), example)
    return lambda x: transformed.apply(weights, x), example


def keras_application(name, size):
    import keras

    keras.utils.set_random_seed(0)
    build = getattr(keras.applications, name)
    network = build(
        weights=None, input_shape=(size, size, 3), classes=4, classifier_activation=None
    )
    trained = [v.value for v in network.trainable_variables]
    others = [v.value for v in network.non_trainable_variables]

    def fn(x):
        return network.stateless_call(trained, others, x[None], training=False)[0][0]

    return fn, jnp.zeros((size, size, 3), jnp.float32)


def through_onnx(name):
    import torch
    import torch_networks

    torch.manual_seed(0)
    example = torch.zeros(12, 256)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        network = torch_networks.export(
            getattr(torch_networks, name)(), example, str(path)
        )
        fn = ej.from_onnx(path)

    def reference(x):
        with torch.no_grad():
            return network(torch.from_numpy(np.array(x))).numpy()

    return fn, fn.example, reference


NETWORKS = {
    "flax linen ResNet, 1-D": lambda: flax_resnet(1),
    "flax linen ResNet, 2-D": lambda: flax_resnet(2),
    "flax nnx convnet": flax_nnx,
    "Equinox convnet, PReLU and SiLU": equinox,
    "Haiku convnet, GELU": haiku,
    "Keras ResNet50": lambda: keras_application("ResNet50", 64),
    "Keras MobileNetV2 (relu6)": lambda: keras_application("MobileNetV2", 64),
    "PyTorch resnet1d, ONNX": lambda: through_onnx("Resnet1d"),
    "PyTorch xresnet1d, ONNX": lambda: through_onnx("XResnet1d"),
    "PyTorch InceptionTime, ONNX": lambda: through_onnx("InceptionTime"),
}


def descend(fn, example, levels):
    """`x -> the values of its components`, one for each level, and the gates opened."""
    gates = []

    def values(x):
        node, found = fn, []
        gates.clear()
        for _ in range(levels):
            try:
                eq = ej.factor(node, example)
            except ej.NoGateError:
                break
            gates.append([gate.name for gate in eq.gates])
            node = eq.component(*eq.pattern(x))
            found.append(node(x))
        return jnp.stack(found)

    return values, gates


def check(name, count):
    made = NETWORKS[name]()
    logits, example = made[0], made[1]
    shape = (count, *example.shape)
    x = jax.random.normal(jax.random.key(1), shape, example.dtype)
    outputs = jax.lax.map(logits, x)
    centred = outputs - outputs.mean(0)
    share = np.bincount(np.asarray(jnp.argmax(centred, 1)), minlength=2)
    shift = outputs.mean(0)
    fn = ej.margin(lambda a: logits(a) - shift, int(np.argmax(share)))
    f = np.asarray(jax.jit(lambda x: jax.lax.map(fn, x))(x))

    started = time.process_time()
    eq = ej.factor(fn, example)
    factor_s = time.process_time() - started
    values, gates = descend(fn, example, LEVELS)
    down = np.asarray(jax.jit(lambda x: jax.lax.map(values, x))(x))
    scale = np.abs(np.asarray(outputs)).max()
    anchors = x[:8]

    def pairs(bound):
        rows = jax.jit(lambda a, x: jax.lax.map(lambda p: jax.lax.map(bound(p), x), a))(
            anchors, x
        )
        return np.asarray(rows)

    low, high = pairs(eq.witness), pairs(eq.refuter)
    result = {
        "inputs": count,
        "positive": int((f >= 0).sum()),
        "equations": len(eq.program.equations),
        "gates": len(eq.program.gates),
        "factor_cpu_s": round(factor_s, 2),
        "opened": gates,
        "largest_residual": float(np.abs(down - f[:, None]).max() / scale),
        "decisions_equal": bool(np.all((down >= 0) == (f >= 0)[:, None])),
        "smallest_margin": float(np.abs(f).min() / scale),
        "pairs": int(low.size),
        "witness_above": float(max((low - f).max(), 0) / scale),
        "refuter_below": float(max((f - high).max(), 0) / scale),
    }
    if len(made) > 2:
        result["torch_residual"] = float(
            np.abs(made[2](x) - np.asarray(outputs)).max() / scale
        )
    return result


def versions():
    names = ("jax", "flax", "equinox", "dm-haiku", "keras", "onnx", "torch")
    found = {"python": platform.python_version(), "cores": os.cpu_count()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def main():
    path = HERE / "results" / "results.json"
    path.parent.mkdir(exist_ok=True)
    done = json.loads(path.read_text()) if path.exists() else {}
    for name in sys.argv[1:] or NETWORKS:
        count = 16 if name.startswith("Keras") else 100
        done[name] = check(name, count)
        done["versions"] = versions()
        path.write_text(json.dumps(done, indent=2) + "\n")
        print(name, json.dumps({k: v for k, v in done[name].items() if k != "opened"}))


if __name__ == "__main__":
    main()
