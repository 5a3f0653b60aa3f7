"""The ONNX project's own node tests: which are equal, refused, wrong.

    python experiments/networks_elsewhere/onnx_nodes.py [PATTERN]

The first input of real numbers stays free, the others are constants; the outputs are
compared with the stored ones. Writes results/onnx_nodes.csv, one row an operation.
"""

import collections
import csv
import re
import sys
import warnings
from pathlib import Path

import jax
import numpy as np

from ecg_jax.errors import ModelError
from ecg_jax.networks.onnx_ops import REFUSED
from ecg_jax.networks.onnx_walk import read_graph

HERE = Path(__file__).parent
OF_SCALE = 1e-6
"""An entry is also equal within this share of the largest stored one: float32 FFTs."""


def cases():
    """`(operation, test)` of every node test with an input of real numbers."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = load_model_tests(kind="node")
    tested, found = {}, []
    for test in tests:
        node = test.model.graph.node[-1]
        whole = test.name.removesuffix("_expanded")
        tested.setdefault(whole, (node.domain, node.op_type))
        if any(is_real(array(value)) for value in test.data_sets[0][0]):
            found.append((tested[whole], test))
    return found


def array(value):
    """A stored value as an array; sequences stay what they are."""
    from onnx import TensorProto, numpy_helper

    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def is_real(value):
    return isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float64)


def judge(test):
    """`equal`, `refused` or `wrong`, and why."""
    inputs, outputs = ([array(v) for v in values] for values in test.data_sets[0])
    free = next(i for i, value in enumerate(inputs) if is_real(value))
    if any(isinstance(v, list) or v is None for v in (*inputs, *outputs)):
        return "refused", "sequences of arrays and optional values are no arrays"
    given = {
        value.name: jax.ShapeDtypeStruct(
            a.shape, jax.dtypes.canonicalize_dtype(a.dtype)
        )
        if i == free
        else a
        for i, (value, a) in enumerate(
            zip(test.model.graph.input, inputs, strict=False)
        )
    }
    names = [value.name for value in test.model.graph.output]
    try:
        graph = read_graph(test.model, given, names, test.name)
    except ModelError as error:
        return "refused", str(error).splitlines()[0].rpartition("): ")[2]
    for ours, theirs in zip(jax.jit(graph)(inputs[free]), outputs, strict=True):
        why = difference(np.asarray(ours), theirs, test)
        if why:
            return "wrong", why
    return "equal", ""


def difference(ours, theirs, test):
    """What differs, if anything does."""
    wide = jax.dtypes.canonicalize_dtype(theirs.dtype)
    if ours.shape != theirs.shape or ours.dtype != wide:
        return f"{ours.dtype}{ours.shape}, not {wide}{theirs.shape}"
    if theirs.dtype.kind not in "biu":
        ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    known = theirs[np.isfinite(theirs)] if theirs.dtype.kind == "f" else theirs
    scale = np.abs(known).max(initial=0) if theirs.dtype.kind == "f" else 0
    near = max(test.atol, OF_SCALE * float(scale))
    same = np.isclose(ours, theirs, rtol=test.rtol, atol=near, equal_nan=True)
    return "" if same.all() else f"{(~same).sum()} of {same.size} entries differ"


def is_of_networks(domain, operation):
    """Whether a network that runs has it: not training, text, chance, sequences."""
    return not domain and operation not in REFUSED


def main():
    pattern = re.compile(sys.argv[1] if sys.argv[1:] else "")
    jax.config.update("jax_enable_x64", True)
    rows = collections.defaultdict(collections.Counter)
    reasons = collections.defaultdict(dict)
    for operation, test in cases():
        if not pattern.search(test.name):
            continue
        verdict, why = judge(test)
        rows[operation][verdict] += 1
        if why:
            reasons[operation].setdefault(why, test.name)
    table = [
        {
            "operation": ".".join(filter(None, key)),
            "of networks": is_of_networks(*key),
            **{name: count[name] for name in ("equal", "refused", "wrong")},
            "why": "; ".join(f"{why} ({name})" for why, name in reasons[key].items()),
        }
        for key, count in sorted(rows.items())
    ]
    for part in (True, False):
        kept = [row for row in table if row["of networks"] is part]
        sums = {n: sum(row[n] for row in kept) for n in ("equal", "refused", "wrong")}
        print("of networks" if part else "others", sums)
    if not sys.argv[1:]:
        path = HERE / "results" / "onnx_nodes.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, table[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)


if __name__ == "__main__":
    main()
