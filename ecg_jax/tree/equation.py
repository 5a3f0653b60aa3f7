"""Verbs that one level of an equation and a tree have in common."""

from typing import Any, overload

from ecg_jax.lattice import text
from ecg_jax.lattice.maxmin import MaxMin
from ecg_jax.program.checks import examples
from ecg_jax.progress import Shown
from ecg_jax.proof import certificate
from ecg_jax.proof.certificate import Certificate
from ecg_jax.tree import circuit
from ecg_jax.tree.certificate import TreeCertificate, certify_tree
from ecg_jax.tree.tree import Tree


@overload
def certify(
    equation: MaxMin, data: Any, *, progress: Shown = None, **options: Any
) -> Certificate: ...
@overload
def certify(
    equation: Tree, data: Any, *, progress: Shown = None, **options: Any
) -> TreeCertificate: ...
def certify(
    equation: MaxMin | Tree, data: Any, *, progress: Shown = None, **options: Any
) -> Certificate | TreeCertificate:
    """Checks an equation on data: that it equals `fn`, and that its bounds hold.

    Args:
      equation: one level, as `factor` gives it, or a tree.
      data: examples along the first axis, or `Beats`.
      progress: called as `progress(done, total)`; True for a bar, None for silence.
      **options: as `ecg_jax.proof.certificate.certify` takes them for one level
        (`num_pairs`, `seed`, ...), `ecg_jax.tree.certificate.certify_tree` for a tree.

    Returns:
      The certificate: `holds`, `raise_if_violated()`; it does not raise by itself.

    Raises:
      ExampleError: the data do not fit the equation.
      NonFiniteError: an example is not finite, or the function is not at an example.
      UnsupportedPrimitiveError: an operation has no rounding rule.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, ecg_jax as ej
      >>> eq = ej.factor(lambda x: jax.nn.relu(x).sum(), jnp.zeros(3))
      >>> ej.certify(eq, np.eye(3), num_pairs=64).holds
      True
    """
    data = examples(data, equation.example)
    if isinstance(equation, Tree):
        return certify_tree(equation, data, progress=progress, **options)
    return certificate.certify(equation, data, progress=progress, **options)


def to_text(equation: MaxMin | Tree, **options: Any) -> str:
    """The equation in words.

    Args:
      equation: one level, as `factor` gives it, or a tree.
      **options: as `ecg_jax.lattice.text.to_text` takes them for one level (`depth`,
        `x`), `ecg_jax.tree.circuit.to_text` for a tree (`phrases`, `decision`).

    Example:
      >>> import jax, jax.numpy as jnp, ecg_jax as ej
      >>> print(ej.to_text(ej.factor(lambda x: jax.nn.relu(x).sum(), jnp.zeros(3))))
      ... # doctest: +ELLIPSIS
      f(x) = max over mu, min over tau of N[mu, tau](x)
      ...
    """
    if isinstance(equation, Tree):
        return circuit.to_text(equation, **options)
    return text.to_text(equation, **options)


def to_latex(equation: MaxMin | Tree, **options: Any) -> str:
    r"""The equation in LaTeX, for `amsmath`; a tree takes `phrases`.

    Example:
      >>> import jax, jax.numpy as jnp, ecg_jax as ej
      >>> eq = ej.factor(lambda x: jax.nn.relu(x).sum(), jnp.zeros(3))
      >>> ej.to_latex(eq).startswith(r"\begin{align*}")
      True
    """
    if isinstance(equation, Tree):
        return circuit.to_latex(equation, **options)
    return text.to_latex(equation, **options)
