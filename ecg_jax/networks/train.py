"""Train a network on beats: deterministic, checkpointed, resumable.

An epoch is one jitted `lax.scan` over its batches. Rows, dropout and augmentation come
from counters (seed, epoch, step), never from a generator's state, so a training that
was killed continues from its last epoch and ends with the same bits.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from ecg_jax.errors import DataError, NonFiniteError, RunError
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.models import Variables, build, init_variables, margins
from ecg_jax.networks.sampling import TrainingConfig, augment, beat_weights, epoch_rows
from ecg_jax.networks.templates import begin
from ecg_jax.statistics.scores import auc, record_scores
from ecg_jax.storage.arrays import flatten, read_arrays, unflatten, write_arrays

Callback = Callable[[int, dict[str, float]], None]
CHECKPOINT = "checkpoint.safetensors"


def train(
    network: NetworkConfig,
    training: TrainingConfig,
    train_x: Float[np.ndarray, "beat lead time"],
    train_y: Float[np.ndarray, " beat"],
    train_record: Int[np.ndarray, " beat"],
    valid_x: Float[np.ndarray, "valid lead time"],
    valid_y: Float[np.ndarray, " valid"],
    valid_record: Int[np.ndarray, " valid"],
    folder: Path | str,
    progress: Callback | None = None,
) -> Variables:
    """Train a network; continue where an earlier call with the same arguments stopped.

    The loss is the weighted mean of `softplus(f) - y f`, the binary cross-entropy of
    the logit `f`, plus what the network itself sows as `penalty`. Evaluated and
    returned is the running average of the weights, at the epoch with the best `monitor`
    on the validation recordings; by beat alone where a recording holds beats of both
    labels, so has none itself. After every epoch the
    whole state is written to `folder` in one atomic step.

    Args:
        network: the network's shape.
        training: how to train it.
        train_x: what the network sees of each training beat.
        train_y: 1 for normal, 0 for not normal, or a probability of normal.
        train_record: recording of each training beat.
        valid_x: validation beats, of other recordings.
        valid_y: 1 for normal, 0 for not normal.
        valid_record: recording of each validation beat.
        folder: where the checkpoint goes; made if it is not there.
        progress: called as `progress(step, figures)` after every epoch, epochs done
            by an earlier call included.

    Returns:
        The network's variables, float32.

    Raises:
        DataError: arrays disagree, or the validation recordings hold one class only.
        RunError: the checkpoint in `folder` belongs to another training.
        NonFiniteError: the loss is no longer finite.
    """
    _check(network, train_x, train_y, train_record, "training")
    _check(network, valid_x, valid_y, valid_record, "validation")
    if len(np.unique(np.asarray(valid_y) > 0.5)) < 2:
        raise DataError(
            "the validation beats are of one class only, so no epoch can be chosen: "
            "use more recordings, or another split"
        )
    path = Path(folder) / CHECKPOINT
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = _digest(network, training, train_x, train_y, train_record, valid_x)
    num_steps = len(epoch_rows(train_record, training, 0))
    state = _initial_state(network, training, train_x, train_y)
    history: list[dict[str, float]] = []
    if path.exists():
        state, history = _resume(path, digest, state)
    if progress is not None:
        for figures in history:
            progress(int(figures["step"]), figures)
    unseeded = replace(training, seed=0)  # one program serves all seeds
    run_epoch = _make_epoch(network, unseeded, num_steps * training.num_epochs)
    key = jax.random.fold_in(jax.random.key(training.seed), 1)
    x = jnp.asarray(train_x, jnp.float32)
    y = jnp.asarray(train_y, jnp.float32)
    weight = jnp.asarray(beat_weights(train_record, training))
    for epoch in range(len(history), training.num_epochs):
        if epoch - _best_epoch(history) > training.patience:
            break
        rows = epoch_rows(train_record, training, epoch)
        first = epoch * num_steps
        live, loss = run_epoch(state["live"], key, x, y, weight, rows, first)
        loss = float(loss)
        if not math.isfinite(loss):
            raise NonFiniteError(
                f"training diverged: the loss of epoch {epoch + 1} is {loss}; "
                f"try a learning rate below {training.learning_rate}"
            )
        score = margins(network, live["average"], valid_x)
        figures = {"epoch": epoch + 1, "step": (epoch + 1) * num_steps, "loss": loss}
        figures |= _validate(score, valid_y, valid_record, training.monitor)
        best = not history or figures["score"] > max(h["score"] for h in history)
        kept = live["average"] if best else state["best"]
        state = {"live": live, "best": kept}
        history.append(figures)
        write_arrays(
            path,
            flatten(state),
            {"digest": digest, "history": json.dumps(history)},
        )
        if progress is not None:
            progress(int(figures["step"]), figures)
    return jax.tree.map(np.asarray, state["best"])


def read_history(folder: Path | str) -> list[dict[str, float]]:
    """The figures of every epoch so far, as `progress` received them.

    Args:
        folder: the folder given to `train`.

    Returns:
        One dictionary an epoch.
    """
    _, metadata = read_arrays(Path(folder) / CHECKPOINT)
    return json.loads(metadata["history"])


def _validate(
    score: np.ndarray, y: np.ndarray, record: np.ndarray, monitor: str
) -> dict[str, float]:
    """Figures of an epoch.

    A recording whose beats have both labels has none of its own: where there is one,
    there is no AUC of recordings, and that of the beats selects the epoch.
    """
    normal = np.asarray(y) > 0.5
    _, first, row = np.unique(record, return_index=True, return_inverse=True)
    beat = whole = auc(score, normal)
    figures = {"beat_auc": beat}
    if np.array_equal(normal, normal[first][row]):
        whole = auc(record_scores(score, record)[1], normal[first])
        figures["record_auc"] = whole
    loss = np.logaddexp(0, score) - normal * score
    figures["valid_loss"] = float(record_scores(loss, record)[1].mean())
    scores = {"beat": beat, "record": whole, "both": (beat + whole) / 2}
    return figures | {"score": scores[monitor]}


def _best_epoch(history: list[dict[str, float]]) -> int:
    """Number of the best epoch, counted from 1; 0 before the first."""
    scores = [figures["score"] for figures in history]
    return scores.index(max(scores)) + 1 if scores else 0


def _optimizer(
    training: TrainingConfig, num_steps: int
) -> optax.GradientTransformation:
    warmup = max(1.0, training.warmup * num_steps)

    def schedule(count: ArrayLike) -> Array:
        step = jnp.asarray(count, jnp.float32) + 1.0
        rest = jnp.clip((step - warmup) / max(1.0, num_steps - warmup), 0.0, 1.0)
        cosine = 0.5 * (1.0 + jnp.cos(math.pi * rest))
        return training.learning_rate * jnp.minimum(step / warmup, cosine)

    def kernels(params: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    return optax.chain(
        optax.clip_by_global_norm(training.clip),
        optax.adamw(schedule, weight_decay=training.weight_decay, mask=kernels),
    )


def _initial_state(
    network: NetworkConfig, training: TrainingConfig, x: np.ndarray, y: np.ndarray
) -> dict[str, Any]:
    variables = init_variables(network, jax.random.key(training.seed))
    if network.kind == "templates":
        params = begin(network, x, y, variables["params"], training.seed)
        variables = variables | {"params": params}
    optimizer = _optimizer(training, 1)
    live = {
        "variables": variables,
        "average": variables,
        "optimizer": optimizer.init(variables["params"]),
    }
    return {"live": live, "best": variables}


@cache
def _make_epoch(
    network: NetworkConfig, training: TrainingConfig, num_steps: int
) -> Callable[..., tuple[dict[str, Any], Array]]:
    """One epoch, jitted.

    `(live, key, x, y, weight, rows, first_step) -> (live, loss)`
    """
    module = build(network)
    optimizer = _optimizer(training, num_steps)
    smooth = training.label_smoothing

    def loss_of(params, rest, x, y, weight, key, done):
        logit, updates = module.apply(
            {"params": params, **rest},
            x,
            training=done,
            rngs={"dropout": key},
            mutable=[*rest, "penalty"],
        )
        y = y * (1.0 - smooth) + 0.5 * smooth
        loss = (weight * (jax.nn.softplus(logit) - y * logit)).mean()
        penalty = sum(jax.tree.leaves(updates.get("penalty", {})))
        return loss + penalty, {k: v for k, v in updates.items() if k in rest}

    def step(live, key, x, y, weight, count):
        drop, augmentation = jax.random.split(jax.random.fold_in(key, count))
        x = augment(x.astype(jnp.float32), augmentation, training)
        variables = live["variables"]
        rest = {k: v for k, v in variables.items() if k != "params"}
        done = count.astype(jnp.float32)
        (loss, rest), gradient = jax.value_and_grad(loss_of, has_aux=True)(
            variables["params"], rest, x, y, weight, drop, done / num_steps
        )
        with jax.numpy_dtype_promotion("standard"):  # optax mixes int32 and floats
            updates, state = optimizer.update(
                gradient, live["optimizer"], variables["params"]
            )
        variables = {"params": optax.apply_updates(variables["params"], updates)} | rest
        # A short memory at first, so that the average forgets the random start.
        decay = jnp.minimum(training.average, (1.0 + done) / (10.0 + done))
        average = jax.tree.map(
            lambda old, new: decay * old + (1.0 - decay) * new,
            live["average"],
            dict(variables),
        )
        return {"variables": variables, "average": average, "optimizer": state}, loss

    @jax.jit
    def one(live, key, x, y, weight, row, count):
        return step(live, key, x[row], y[row], weight[row], count)

    @jax.jit
    def scanned(live, key, x, y, weight, rows, counts):
        def body(live, item):
            return one(live, key, x, y, weight, *item)

        live, losses = lax.scan(body, live, (rows, counts))
        return live, losses.mean()

    def looped(live, key, x, y, weight, rows, counts):
        losses = []
        for row, count in zip(rows, counts, strict=True):
            live, loss = one(live, key, x, y, weight, row, count)
            losses.append(loss)
        return live, jnp.stack(losses).mean()

    # Inside a loop of XLA's a convolution runs on one CPU core, 5 to 15 times slower.
    loop = jax.default_backend() == "cpu" and network.kind != "mlp"
    epoch = looped if loop else scanned

    def run(live, key, x, y, weight, rows, first):
        counts = first + np.arange(len(rows), dtype=np.int32)
        return epoch(live, key, x, y, weight, rows, counts)

    return run


def _check(
    network: NetworkConfig, x: np.ndarray, y: np.ndarray, record: np.ndarray, part: str
) -> None:
    window = (network.num_leads, network.num_samples)
    if len(x) == 0:
        raise DataError(f"there are no {part} beats: use more recordings")
    if x.shape[1:] != window or not len(x) == len(y) == len(record):
        raise DataError(
            f"the {part} arrays disagree with each other or with the network:\n"
            f"  windows:    {x.shape}, the network takes [beat, {window[0]}, "
            f"{window[1]}]\n"
            f"  labels:     {np.shape(y)}\n"
            f"  recordings: {np.shape(record)}"
        )


def _digest(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(json.dumps(asdict(part), sort_keys=True).encode())
    return digest.hexdigest()


def _resume(
    path: Path, digest: str, state: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    arrays, metadata = read_arrays(path)
    if metadata.get("digest") != digest:
        raise RunError(
            f"{path} belongs to a training with another configuration or other data: "
            "delete it, or train into another folder"
        )
    return unflatten(arrays, state, path), json.loads(metadata["history"])
