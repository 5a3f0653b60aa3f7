"""Affine operations: `op(z) = A z + b` in the operands that see the input.

A component applies them as they are; weights come from their transposes.
"""

from types import MappingProxyType

import jax.numpy as jnp
from jax import lax

from ecg_jax import _jax
from ecg_jax.program import Affine, Application, Refused, Rewrite, Role, Rules, Same

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
        if live and not jnp.issubdtype(aval.dtype, jnp.floating):
            return Refused(
                f"arithmetic on {aval.dtype} values that depend on the input",
                "keep every value that sees the input in float32 or float64",
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
    return Refused(PRODUCT[0], f"{PRODUCT[1]}; a softmax orders as its logits do")


def indexed(application: Application) -> Role:
    """`z[indices]`: affine where the indices do not see the input.

    Operands of integer dtype are indices; `scatter` places, `scatter_add` adds.
    """
    for live, aval in zip(application.live, application.avals, strict=True):
        if live and not jnp.issubdtype(aval.dtype, jnp.floating):
            return Refused("an index depends on the input")
    return Affine()


def convert(application: Application) -> Role:
    """`float(z)`: affine between float32 and float64, rounding apart."""
    source, target = application.avals[0].dtype, application.params["new_dtype"]
    if source == target:
        return Same(0)
    if {jnp.dtype(source), jnp.dtype(target)} <= {jnp.dtype("f4"), jnp.dtype("f8")}:
        return Affine()
    return Refused(
        f"conversion from {jnp.dtype(source)} to {jnp.dtype(target)} is not affine",
        "keep every value that sees the input in float32 or float64",
    )


def identity(application: Application) -> Role:
    """`z`: copies, stopped gradients, names and layout hints change no value."""
    return Same(0)


def unroll(application: Application) -> Role:
    """`scan` of static length: its body, written out step by step."""
    params = application.params
    body = _jax.as_function(params["jaxpr"])
    num_consts, num_carry = _jax.scan_split(params)
    order = range(params["length"])

    def unrolled(*args: jnp.ndarray) -> tuple:
        consts, carry = args[:num_consts], args[num_consts : num_consts + num_carry]
        xs, steps = args[num_consts + num_carry :], []
        for i in reversed(order) if params["reverse"] else order:
            out = body(*consts, *carry, *(x[i] for x in xs))
            carry = out[:num_carry]
            steps.append(out[num_carry:])
        if params["reverse"]:
            steps.reverse()
        return (*carry, *(jnp.stack(ys) for ys in zip(*steps, strict=True)))

    return Rewrite(unrolled)


def branch(application: Application) -> Role:
    """`cond` whose index does not see the input: the branch taken."""
    if application.live[0]:
        return Refused(
            "a branch that depends on the input is discontinuous",
            "write it with jnp.maximum, jnp.minimum or jnp.where on its own sign",
        )
    branches = application.params["branches"]
    index = min(max(int(application.constant(0)), 0), len(branches) - 1)
    taken = _jax.as_function(branches[index])
    return Rewrite(lambda _, *args: tuple(taken(*args)))


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


_LINEAR = (
    lax.add_p,
    lax.sub_p,
    lax.neg_p,
    _jax.primitives.add_jaxvals_p,
    lax.reduce_sum_p,
    lax.reduce_window_sum_p,
    lax.cumsum_p,
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
        lax.scan_p: unroll,
        lax.cond_p: branch,
    }
)
