"""Affine operations: `op(z) = A z + b` in the operands that see the input.

A component applies them as they are; weights come from their transposes.
"""

from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ecg_jax.program import _jax
from ecg_jax.program.roles import (
    Affine,
    Application,
    Refused,
    Rewrite,
    Role,
    Rule,
    Rules,
    Same,
)
from ecg_jax.rules.why_refused import FLOATS, of_conversion, of_index

PRODUCT = (
    "product of two values that both depend on the input",
    "compute one factor before the input is seen, or factor the network up to here",
)


def linear(application: Application) -> Role:
    """`op(sum_i z_i) = sum_i op(z_i)`: affine in all operands together."""
    return _refused_dtype(application) or Affine()


def placed(application: Application) -> Role:
    """Entries moved, repeated or left out: affine, whatever they are."""
    return Affine()


def _refused_dtype(application: Application) -> Refused | None:
    """Arithmetic on truth values and integers that see the input is refused."""
    for live, aval in zip(application.live, application.avals, strict=True):
        if live and not jnp.issubdtype(aval.dtype, jnp.inexact):
            return Refused(
                f"arithmetic on {aval.dtype} values that depend on the input",
                *FLOATS,
            )
    return None


def product(application: Application) -> Role:
    """`z * c`, `z @ C`, `z (*) C`: affine where one factor does not see the input."""
    if refused := _refused_dtype(application):
        return refused
    if sum(application.live) == 1:
        return Affine()
    if application.primitive is lax.mul_p and len(set(application.inputs)) == 1:
        return Rewrite(lambda z, _: lax.square(z))
    return Refused(*PRODUCT)


def quotient(application: Application) -> Role:
    """`z / c`: affine where only the numerator sees the input."""
    if refused := _refused_dtype(application):
        return refused
    if not application.live[1]:
        return Affine()
    if not application.live[0]:
        return Rewrite(lambda c, z: c * lax.integer_pow(z, -1))
    return Refused(*PRODUCT)


def indexed(application: Application) -> Role:
    """`z[indices]`: affine where the indices do not see the input.

    Operands of integer dtype are indices; `scatter` places, `scatter_add` adds, and
    `scatter_mul` multiplies by constants.
    """
    for number, live in zip(application.inputs, application.live, strict=True):
        dtype = application.builder.avals[number].dtype
        if live and not jnp.issubdtype(dtype, jnp.inexact):
            return of_index(application, number)
    if application.primitive is lax.scatter_mul_p and application.live[2]:
        return Refused(*PRODUCT)
    if application.primitive is lax.scatter_p:
        if not _jax.is_replacement(application.params["update_jaxpr"]):
            return Refused(
                "a function is applied at indices",
                "take the entries and set them again: x.at[i].set(f(x[i]))",
            )
    return Affine()


def convert(application: Application) -> Role:
    """`float(z)`: affine between float32 and float64, complex or not."""
    source, target = application.avals[0].dtype, application.params["new_dtype"]
    if source == target:
        return Same(0)
    if all(str(jnp.dtype(dtype)) in _PRECISE for dtype in (source, target)):
        return Affine()
    return of_conversion(application)


def identity(application: Application) -> Role:
    """`z`: copies, stopped gradients, names and layout hints change no value."""
    return Same(0)


def reduction(application: Application) -> Role:
    """`reduce` by addition, max or min: the sum, or extremum, and the initial value."""
    found = _reducer(application, _REDUCTIONS)
    if isinstance(found, Refused):
        return found
    combine, reduced = found
    axes = tuple(application.params["dimensions"])
    return Rewrite(lambda z, first: combine(reduced(z, axes), first))


def window(application: Application) -> Role:
    """`reduce_window` by addition from 0, max or min: sums, a max-pool."""
    found = _reducer(application, _WINDOWS)
    if isinstance(found, Refused):
        return found
    combine, bind = found
    first = application.constant(1)
    if not _jax.is_concrete(first):
        return Refused("the initial value is not known while the function is traced")
    names = ("window_dimensions", "window_strides", "padding")
    names = (*names, "base_dilation", "window_dilation")
    shape = {name: tuple(application.params[name]) for name in names}
    if combine is lax.add:
        if np.any(np.asarray(first) != 0):
            return Refused(
                "a sum over windows from a number other than 0",
                "start at 0 and add the number afterwards",
            )
        return Rewrite(lambda z, _: bind(z, **shape))
    return Rewrite(lambda z, first: combine(bind(z, **shape), first))


def _reducer(application: Application, known: Any) -> Any:
    """How a reducer's body combines two values, and how many; or a refusal."""
    if refused := _refused_dtype(application):
        return refused
    params = application.params
    made = None
    if len(application.inputs) == 2 and not params.get("consts"):
        made = _jax.reduction(params["jaxpr"])
    if made not in known:
        return Refused(
            "a reduction by a function other than addition, max and min",
            "use jnp.sum, jnp.max, jnp.min or lax.reduce_window with lax.add, lax.max, "
            "lax.min",
        )
    if application.live[1]:
        return Refused("the initial value of a reduction depends on the input")
    return known[made]


def solved(application: Application) -> Role:
    """`A^-1 z`, `A` constant: the solver's own steps."""
    counts = application.params["const_lengths"]
    lengths = [getattr(counts, name) for name in counts._fields]
    if any(application.live[: sum(lengths)]):
        return Refused(
            "a linear system whose matrix depends on the input",
            "solve for a constant matrix, or factor the network up to here",
        )
    start = sum(lengths[: counts._fields.index("solve")])
    end, rest = start + counts.solve, sum(lengths)
    solve = _jax.as_function(application.params["jaxprs"].solve)
    return Rewrite(lambda *args: tuple(solve(*args[start:end], *args[rest:])))


def substituted(application: Application) -> Role:
    """`T^-1 z`, `T` triangular and constant: affine."""
    if application.live[0]:
        return Refused("a linear system whose matrix depends on the input")
    return linear(application)


def sorted_by(rule: Rule) -> Rule:
    """`sort` by keys that do not see the input: a permutation; else as `rule` says."""

    def asked(application: Application) -> Role:
        keys = application.params["num_keys"]
        if any(application.live[:keys]):
            return rule(application)
        axis = application.params["dimension"]
        stable = application.params["is_stable"]

        def permuted(*args: jnp.ndarray) -> tuple:
            shape = args[0].shape
            place = lax.broadcasted_iota(np.int32, shape, axis)
            order = lax.sort((*args[:keys], place), axis, stable, keys)[-1]
            return tuple(jnp.take_along_axis(z, order, axis) for z in args)

        return Rewrite(permuted)

    asked.__doc__ = rule.__doc__
    return asked


def unchanged(application: Application) -> Role:
    """Several values at once, unchanged: barriers and moves between devices."""
    return Rewrite(lambda *args: args)


def rounded(application: Application) -> Role:
    """`reduce_precision` rounds: a staircase, neither convex nor concave."""
    params = application.params
    kept = jnp.finfo(application.avals[0].dtype)
    if params["exponent_bits"] >= kept.nexp and params["mantissa_bits"] >= kept.nmant:
        return Same(0)
    return Refused(
        "rounding to fewer bits is discontinuous in the input",
        "keep every value that sees the input in float32 or float64",
    )


_PRECISE = ("float32", "float64", "complex64", "complex128")
_REDUCTIONS = {
    lax.add_p: (lax.add, lambda z, axes: jnp.sum(z, axes, z.dtype)),
    lax.max_p: (lax.max, lambda z, axes: jnp.max(z, axes)),
    lax.min_p: (lax.min, lambda z, axes: jnp.min(z, axes)),
}
_WINDOWS = {
    lax.add_p: (lax.add, lax.reduce_window_sum_p.bind),
    lax.max_p: (lax.max, lax.reduce_window_max_p.bind),
    lax.min_p: (lax.min, lax.reduce_window_min_p.bind),
}
_LINEAR = (
    lax.add_p,
    lax.sub_p,
    lax.neg_p,
    _jax.primitives.add_jaxvals_p,
    lax.reduce_sum_p,
    lax.reduce_window_sum_p,
    lax.cumsum_p,
    lax.fft_p,
    lax.real_p,
    lax.imag_p,
    lax.conj_p,
    lax.complex_p,
)
_PLACED = (
    lax.reshape_p,
    lax.squeeze_p,
    lax.transpose_p,
    lax.broadcast_in_dim_p,
    lax.concatenate_p,
    lax.pad_p,
    lax.slice_p,
    lax.rev_p,
    lax.split_p,
    *_jax.optional_primitives("tile_p", "stack_p", "unstack_p"),
)
_PRODUCTS = (lax.mul_p, _jax.primitives.dot_general_p, lax.conv_general_dilated_p)
_INDEXED = (
    lax.dynamic_slice_p,
    lax.dynamic_update_slice_p,
    lax.gather_p,
    lax.scatter_p,
    lax.scatter_add_p,
    lax.scatter_mul_p,
    *_jax.optional_primitives("scatter_sub_p"),
)
_IDENTITIES = (
    lax.copy_p,
    lax.stop_gradient_p,
    lax.sharding_constraint_p,
    _jax.primitives.name_p,
)
_UNCHANGED = (lax.optimization_barrier_p, _jax.primitives.device_put_p)

AFFINE_RULES: Rules = MappingProxyType(
    {
        **dict.fromkeys(_LINEAR, linear),
        **dict.fromkeys(_PLACED, placed),
        **dict.fromkeys(_PRODUCTS, product),
        **dict.fromkeys(_INDEXED, indexed),
        **dict.fromkeys(_IDENTITIES, identity),
        **dict.fromkeys(_UNCHANGED, unchanged),
        lax.div_p: quotient,
        lax.convert_element_type_p: convert,
        lax.reduce_precision_p: rounded,
        lax.reduce_p: reduction,
        lax.reduce_window_p: window,
        lax.linear_solve_p: solved,
        lax.linalg.triangular_solve_p: substituted,
    }
)
