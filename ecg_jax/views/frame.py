"""What every view asks: are these beats of this tree, what is its function called."""

from ecg_jax.ecg.beats import Beats
from ecg_jax.errors import ExampleError
from ecg_jax.tree.tree import Tree


def check_beats(tree: Tree, beats: Beats) -> None:
    """Raises `ExampleError` unless the tree's function takes the beats."""
    if not isinstance(beats, Beats):
        raise ExampleError(
            f"beats is a {type(beats).__name__}, not Beats.\n"
            "  try: ecg_jax.beats(x, sample_rate_hz=...)"
        )
    have = beats.inputs(slice(0, 1)).shape[1:]
    want = getattr(tree.example, "shape", None)
    if want is None:
        raise ExampleError(
            "the tree's function takes several arrays, a beat is one.\n"
            "  try: a function of the beat alone, the rest as constants"
        )
    if have != want:
        raise ExampleError(
            f"the tree's function takes an input of shape {list(want)}, a beat has "
            f"{list(have)}.\n  try: the beats that the tree was grown on"
        )


def name_of(tree: Tree) -> str:
    """What the tree's function is called; "your function" where it has no name."""
    name = getattr(tree.fn, "__name__", "")
    return name if name.isidentifier() else "your function"
