"""What every view asks: are these beats of this tree, what is its function called."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import jax
import numpy as np

from ecg_jax.ecg.beats import Beats
from ecg_jax.errors import ExampleError
from ecg_jax.tree.tree import Tree


def check_tree(tree: Tree) -> None:
    """Raises `ExampleError` unless this is a tree of a function of one array."""
    if not isinstance(tree, Tree):
        raise ExampleError(
            f"tree is a {type(tree).__name__}, not a Tree.\n"
            "  try: ecg_jax.grow(fn, beats)"
        )
    if not getattr(tree.example, "shape", ()):
        raise ExampleError(
            "the tree's function takes no beat, which is one array of samples.\n"
            "  try: a function of the beat alone, the rest as constants"
        )


def need_beats(beats: Any) -> None:
    """Raises `ExampleError` unless these are `Beats`."""
    if not isinstance(beats, Beats):
        raise ExampleError(
            f"beats is a {type(beats).__name__}, not Beats.\n"
            "  try: ecg_jax.beats(x, sample_rate_hz=...)"
        )


def check_beats(tree: Tree, beats: Beats) -> None:
    """Raises `ExampleError` unless the tree's function takes the beats."""
    check_tree(tree)
    need_beats(beats)
    have = beats.inputs(slice(0, 1)).shape[1:]
    want = tree.example.shape
    if have != want:
        raise ExampleError(
            f"the tree's function takes an input of shape {list(want)}, a beat has "
            f"{list(have)}.\n  try: the beats that the tree was grown on"
        )


def name_of(tree: Tree) -> str:
    """What the tree's function is called; "your function" where it has no name."""
    name = getattr(tree.fn, "__name__", "")
    return "your function" if name in ("", "<lambda>") else name


def seen(beats: Beats) -> dict[str, Any]:
    """What a network sees of beats, for its card: how they were cut, or given."""
    config = asdict(beats.config)
    if beats.given is None:
        return config
    return {"given": {**config, "leads": list(beats.leads)}}


def exact(dtype: Any) -> AbstractContextManager[Any]:
    """64-bit numbers, where a function is of these; else JAX stays as it is."""
    return jax.enable_x64(True) if dtype == np.float64 else nullcontext()
