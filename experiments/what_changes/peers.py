"""The families of `run.py`, proven by auto_LiRPA and by `ej.prove`, on the same beats.

python experiments/what_changes/peers.py RUN [--beats N] [--data-dir DIR]

The peer, in an environment of its own: `pip install torch appdirs pyyaml tqdm graphviz`
beside this package, then a clone of github.com/Verified-Intelligence/auto_LiRPA on
PYTHONPATH (its setup.py asks for an older torch; 0.7.1 runs with 2.13).

Both get the network as a function of four numbers, `f(x + sum_k t_k v_k)`, `t` in a box
(the peer with the first layer and the changes multiplied out, `W V` and `W x + b`, and
with the first layer's bounds, which are exact), and both cut boxes that are neither
proven nor broken by their centre or by the corner that the bound's slopes point to, up
to as many parts. The peer halves along the largest `|slope| x radius`, as alpha-beta-
CROWN does. Both in float32; rounding is counted by `ej.prove` only.
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm
from auto_LiRPA import __version__ as peer_version

import ecg_jax as ej
from ecg_jax.proof.boxes import BROKEN, MOST_BOXES, OPEN, PROVEN, Prover
from ecg_jax.runs.run_folder import read_json
from ecg_jax.runs.saved_run import load_run
from ecg_jax.runs.source import source_of
from ecg_jax.storage.files import write_json
from ecg_jax.storage.versions import versions
from ecg_jax.views.what_changes import FAMILY

METHODS = {"CROWN": 64, "forward+backward": 1024, "alpha-CROWN": 128}
"""Of the peer, and boxes a batch: the fastest of 64 to 1,024 (alpha: of 8, 32, 128)."""

WORDS = {PROVEN: "proven", BROKEN: "broken", OPEN: "open"}


def main() -> None:
    args = parsed()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    jax.config.update("jax_enable_x64", True)
    network, beats, changes = problem(args)
    x, v, radii = parts_of(beats, changes)
    found = {"beats": len(beats), "threads": args.threads, "rows": {}}
    status = {}
    for dtype in (np.float32, np.float64):
        name, fn = f"ej.prove, {dtype.__name__}", network.cast(dtype).margin
        own = [leaf.astype(dtype) for leaf in (x, v, radii)]
        status[name], *rows = ours(fn, beats, changes, *own)
        for label, row in zip((name, f"{name}, compiled"), rows, strict=True):
            found["rows"][label] = row
            print(label, row, flush=True)
    start = time.perf_counter()
    peer = Peer(network.variables["params"], x, v, radii)
    found["seconds of the peer's setup"] = time.perf_counter() - start
    found["largest difference of values"] = peer.difference(network.margin, x, v)
    for method, batch in METHODS.items():
        alpha = method == "alpha-CROWN"
        most = args.alpha_beats if alpha else len(beats)
        for parts in (1, args.alpha_parts if alpha else MOST_BOXES):
            name = f"{method}, {parts:,} parts"
            status[name], row = timed(peer, method, batch, parts, most)
            found["rows"][name] = row
            print(name, row, flush=True)
    found["disagreements"] = disagreements(status)
    found["versions"] = {
        **versions(),
        "torch": torch.__version__,
        "auto_LiRPA": peer_version,
    }
    write_json(args.out, found)
    print(json.dumps(found, indent=1, default=float))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--beats", type=int, default=1000)
    parser.add_argument("--alpha-beats", type=int, default=100)
    parser.add_argument("--alpha-parts", type=int, default=MOST_BOXES)
    parser.add_argument("--threads", type=int, default=2)
    default = Path(__file__).parent / "results" / "peers.json"
    parser.add_argument("--out", type=Path, default=default)
    return parser.parse_args()


def problem(args):
    """The network, held-out beats that offer all of the family, their changes."""
    network, _, config = load_run(args.run)
    data = read_json(args.run / "config.json")["data"]
    beats = source_of(data, args.data_dir).beats(config)
    rows = np.random.default_rng(0).permutation(beats.rows("heldout"))
    some = beats.take(np.sort(rows[: args.beats + args.beats // 4]))
    reasons = ej.changes(some).reasons
    offered = np.all([reasons[name] == "" for name in FAMILY], axis=0)
    beats = some.take(np.flatnonzero(offered)[: args.beats])
    return network, beats, ej.changes(beats)


def parts_of(beats, changes):
    """`x`, `v` and the radii of every beat."""
    v = np.stack([changes.directions[name] for name in FAMILY], axis=1)
    radii = np.tile(list(FAMILY.values()), (len(beats), 1))
    return beats.inputs(), v, radii


def ours(fn, beats, changes, x, v, radii):
    """`ej.prove`, compilation included; then the same prover again, compiled."""
    start, cpu = time.perf_counter(), time.process_time()
    proof = ej.prove(fn, beats, changes, FAMILY)
    clocks = time.perf_counter() - start, time.process_time() - cpu
    codes = {word: code for code, word in WORDS.items()}
    status = np.array([codes[word] for word in proof.status])
    cold = summed_up(status, proof.boxes, *clocks)

    def path(params, t):
        return params[0] + jnp.tensordot(t, params[1], 1)

    prover = Prover(fn, path, [x[0], v[0]], len(FAMILY), ej.RULES)
    for _ in range(2):
        start, cpu = time.perf_counter(), time.process_time()
        found = prover.prove([x, v], radii)
        clocks = time.perf_counter() - start, time.process_time() - cpu
    return status, cold, summed_up(found.status, found.boxes, *clocks)


def timed(peer, method, batch, most_boxes, most):
    """The peer on the first beats."""
    start, cpu = time.perf_counter(), time.process_time()
    status, boxes = peer.prove(method, batch, most_boxes, most)
    seconds = time.perf_counter() - start
    return status, summed_up(status, boxes, seconds, time.process_time() - cpu)


def summed_up(status, boxes, seconds, cpu):
    return {
        "beats": len(status),
        **{word: float(np.mean(status == code)) for code, word in WORDS.items()},
        "parts a family": float(boxes.mean()),
        "seconds": seconds,
        "CPU seconds": cpu,
        "beats a second": len(status) / seconds,
        "beats a CPU second": len(status) / cpu,
    }


def disagreements(status):
    """How many beats one row proves and another breaks."""
    num = max(map(len, status.values()))
    proven, broken = np.zeros(num, bool), np.zeros(num, bool)
    for codes in status.values():
        proven[: len(codes)] |= codes == PROVEN
        broken[: len(codes)] |= codes == BROKEN
    return int((proven & broken).sum())


class Affine(torch.nn.Module):
    """`f(x + V t)` of `t`, the `slope` and the `offset` of its first layer."""

    def __init__(self, layers):
        super().__init__()
        rest = []
        for kernel, bias in layers:
            linear = torch.nn.Linear(*kernel.shape)
            linear.weight.data = torch.tensor(np.asarray(kernel).T.copy())
            linear.bias.data = torch.tensor(np.asarray(bias))
            rest += [torch.nn.ReLU(), linear]
        self.rest = torch.nn.Sequential(*rest)

    def forward(self, t, slope, offset):
        return self.rest((t.unsqueeze(1) @ slope).flatten(1) + offset)


class Peer:
    """auto_LiRPA on the families: one bounded module for all of them."""

    def __init__(self, params, x, v, radii):
        names = sorted(name for name in params if name.startswith("hidden"))
        layers = [(params[n]["kernel"], params[n]["bias"]) for n in (*names, "head")]
        kernel, bias = (np.asarray(leaf, np.float64) for leaf in layers[0])
        slope = v.reshape(*v.shape[:2], -1).astype(np.float64) @ kernel
        offset = x.reshape(len(x), -1).astype(np.float64) @ kernel + bias
        self.slope, self.offset, self.radii = (
            torch.tensor(np.asarray(leaf, np.float32))
            for leaf in (slope, offset, radii)
        )
        self.net = Affine(layers[1:]).eval()
        one = torch.zeros(1, v.shape[1]), self.slope[:1], self.offset[:1]
        self.bounded = BoundedModule(self.net, one, device="cpu")
        self.first = self.bounded.relus[0].inputs[0].name
        with torch.no_grad():
            zero = torch.zeros_like(self.radii)
            normal = self.net(zero, self.slope, self.offset)[:, 0] >= 0
        self.sign = torch.where(normal, 1.0, -1.0)

    def difference(self, fn, x, v):
        """How far its values are from those of `fn`, at random members."""
        t = self.radii * (2 * torch.rand(self.radii.shape) - 1)
        moved = x + np.einsum("bk,bk...->b...", t.numpy(), v)
        with torch.no_grad():
            own = self.net(t, self.slope, self.offset)[:, 0].numpy()
        other = np.asarray(jax.jit(jax.vmap(fn))(moved.astype(np.float32)))
        worst = float(np.abs(own - other).max() / np.abs(other).max())
        if worst > 1e-5:
            raise SystemExit(
                f"the networks differ by {worst:.1e} of their largest value"
            )
        return worst

    def prove(self, method, batch, most_boxes, most):
        """Status and parts of each of the first `most` families."""
        radius = self.radii[:most]
        num = len(radius)
        status, boxes = np.zeros(num, np.int8), np.zeros(num, np.int64)
        left, family = np.ones(num, np.int64), np.arange(num)
        middle = torch.zeros_like(radius)
        while len(family):
            part, at, reach = family[:batch], middle[:batch], radius[:batch]
            low, slopes, flips = self.bound(method, part, at, reach)
            boxes += np.bincount(part, minlength=num)
            status[part[flips]] = BROKEN
            left -= np.bincount(part[low > 0], minlength=num)
            status[(left == 0) & (status == OPEN)] = PROVEN
            alive = (status == OPEN) & (boxes < most_boxes)
            cut = np.flatnonzero(~(low > 0) & alive[part])
            left += np.bincount(part[cut], minlength=num)
            half, rows = reach[cut].clone(), torch.arange(len(cut))
            widest = (slopes[cut].abs() * half).argmax(dim=1)
            half[rows, widest] /= 2
            step = torch.zeros_like(half)
            step[rows, widest] = half[rows, widest]
            stays = np.flatnonzero(alive[family[batch:]]) + batch
            family = np.concatenate([part[cut], part[cut], family[stays]])
            middle = torch.cat([at[cut] - step, at[cut] + step, middle[stays]])
            radius = torch.cat([half, half, radius[stays]])
        return status, boxes

    def bound(self, method, part, middle, radius):
        """Lower bounds of the signed margin, their slopes; whether a member flips."""
        slope, offset, sign = self.slope[part], self.offset[part], self.sign[part]
        ball = PerturbationLpNorm(x_L=middle - radius, x_U=middle + radius)
        box = BoundedTensor(middle, ball)
        known = None
        if method != "forward+backward":  # which takes no bounds from outside
            centre = (middle.unsqueeze(1) @ slope).flatten(1) + offset
            reach = (radius.unsqueeze(1) @ slope.abs()).flatten(1)
            known = {self.first: [centre - reach, centre + reach]}
        output, given = self.bounded.output_name[0], self.bounded.input_name[0]
        with torch.set_grad_enabled(method == "alpha-CROWN"):
            low, _, slopes = self.bounded.compute_bounds(
                x=(box, slope, offset),
                C=sign[:, None, None],
                method=method,
                bound_upper=False,
                interm_bounds=known,
                return_A=True,
                needed_A_dict={output: [given]},
            )
        with torch.no_grad():
            slopes = slopes[output][given]["lA"].detach()[:, 0]
            flips = torch.zeros(len(part), dtype=torch.bool)
            for t in (middle, middle - radius * slopes.sign()):
                normal = self.net(t, slope, offset)[:, 0] >= 0
                flips |= normal != (sign > 0)
        return low.detach()[:, 0].numpy(), slopes, flips.numpy()


if __name__ == "__main__":
    main()
