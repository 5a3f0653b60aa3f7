"""Random piecewise linear programs on dyadic numbers, composed from the rule table.

Weights are small integers or halves and inputs quarters, so in float64 every sum and
product is exact and tests can ask for `==`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from jax import lax

import ecg_jax as ej

CHANNELS, TIME = 3, 4
Step = Callable[[list], None]


def signs(rng, *shape):
    return jnp.asarray(rng.integers(-1, 2, shape), jnp.float64)


def halves(rng, *shape):
    return jnp.asarray(rng.integers(-4, 5, shape) / 2, jnp.float64)


def on_top(make):
    """A step that replaces the newest value by a function of it."""

    def step(rng):
        fn = make(rng)

        def run(stack):
            stack.append(fn(stack[-1]))

        return run

    return step


def dense(rng):
    weight = signs(rng, CHANNELS, CHANNELS)
    return lambda h: weight @ h


def over_time(rng):
    weight = signs(rng, TIME, TIME)
    return lambda h: h @ weight


def conv(rng):
    kernel = signs(rng, CHANNELS, CHANNELS, 2)
    return lambda h: lax.conv_general_dilated(
        h[None], kernel, (1,), [(1, 1)], rhs_dilation=(2,)
    )[0]


def bias(rng):
    b = halves(rng, CHANNELS, 1)
    return lambda h: h + b


def scale(rng):
    c = jnp.asarray(rng.choice([-0.5, 0.5, 2.0, -1.0], (CHANNELS, 1)))
    return lambda h: h * c


def relu(rng):
    return jax.nn.relu


def leaky(rng):
    slope = float(rng.choice([0.5, 0.25, -0.5, 2.0]))
    return lambda h: jax.nn.leaky_relu(h, slope)


def prelu(rng):
    slope = jnp.asarray(rng.choice([-1.0, 0.5, 1.0, 2.0], (CHANNELS, 1)))
    return lambda h: jnp.where(h > 0, h, slope * h)


def absolute(rng):
    return jnp.abs


def clamp(rng):
    low = float(rng.integers(-3, 1))
    return lambda h: jnp.clip(h, low, low + 2.0)


def hard_tanh(rng):
    return jax.nn.hard_tanh


def relu6(rng):
    return jax.nn.relu6


def below(rng):
    c = halves(rng, CHANNELS, TIME)
    return lambda h: jnp.minimum(h, c)


def largest_of_two(rng):
    a, b = signs(rng, CHANNELS, CHANNELS), signs(rng, CHANNELS, CHANNELS)
    return lambda h: jnp.maximum(a @ h, b @ h)


def smallest_of_two(rng):
    shift = int(rng.integers(1, TIME))
    return lambda h: jnp.minimum(h, jnp.roll(h, shift, axis=1))


def max_pool(rng):
    return lambda h: lax.reduce_window(
        h, -jnp.inf, lax.max, (1, 2), (1, 1), ((0, 0), (1, 0))
    )


def min_pool(rng):
    return lambda h: lax.reduce_window(
        h, jnp.inf, lax.min, (1, 3), (1, 1), ((0, 0), (1, 1))
    )


def sum_pool(rng):
    return lambda h: lax.reduce_window(
        h, 0.0, lax.add, (1, 2), (1, 1), ((0, 0), (0, 1))
    )


def strided_pool(rng):
    def pool(h):
        pooled = lax.reduce_window(h, -jnp.inf, lax.max, (1, 2), (1, 2), "VALID")
        return jnp.repeat(pooled, 2, axis=1)

    return pool


def best_channel(rng):
    weight = signs(rng, CHANNELS, 1)
    return lambda h: h + weight * jnp.max(h, axis=0, keepdims=True)


def worst_time(rng):
    return lambda h: h - jnp.min(h, axis=1, keepdims=True)


def running_max(rng):
    reverse = bool(rng.integers(2))
    return lambda h: lax.cummax(h, axis=1, reverse=reverse)


def running_min(rng):
    return lambda h: lax.cummin(h, axis=0)


def shuffled(rng):
    order = rng.permutation(TIME)
    return lambda h: h[::-1, order]


def shifted(rng):
    return lambda h: jnp.pad(h[:, :-1], ((0, 0), (1, 0)))


def masked(rng):
    mask = jnp.asarray(rng.integers(0, 2, (CHANNELS, TIME)), bool)
    return lambda h: jnp.where(mask, h, 0.5)


def flipped(rng):
    return lambda h: jnp.tile(h, (2, 1))[1 : 1 + CHANNELS]


def residual(rng):
    """Adds an earlier value: a skip connection, or one value used twice."""
    back = int(rng.integers(1, 5))

    def run(stack):
        stack.append(stack[-1] + stack[-min(back, len(stack))])

    return run


def branch(rng):
    """Takes up an earlier value again; the newest waits on the stack."""
    back = int(rng.integers(1, 5))

    def run(stack):
        stack.append(stack[-min(back, len(stack))])

    return run


def meeting(rng):
    """The larger of two values, each with a history of its own."""
    back = int(rng.integers(1, 5))

    def run(stack):
        stack.append(jnp.maximum(stack[-1], stack[-min(back, len(stack))]))

    return run


def concatenated(rng):
    back = int(rng.integers(1, 5))
    weight = signs(rng, CHANNELS, 2 * CHANNELS)

    def run(stack):
        both = jnp.concatenate([stack[-1], stack[-min(back, len(stack))]])
        stack.append(weight @ both)

    return run


def rounded(rng):
    return jnp.round


def product(rng):
    shift = int(rng.integers(TIME))
    return lambda h: jnp.clip(h, -4, 4) * jnp.roll(jnp.clip(h[::-1], -4, 4), shift, 1)


def gram(rng):
    """Scores of every channel with every other, as attention has them."""
    weight, back = signs(rng, CHANNELS, CHANNELS), signs(rng, CHANNELS, TIME)

    def fn(h):
        h = jnp.clip(h, -4, 4)
        return jnp.einsum("ik,jk->ij", h, weight @ h) @ back

    return fn


def step_of(rng):
    c = halves(rng, CHANNELS, 1)
    return lambda h: jnp.where(h > c, 1.0, 0.5 * h)


def chosen_row(rng):
    return lambda h: h + h[jnp.argmax(h[:, 0])][None]


def jumping_branch(rng):
    """A black box on a branch: what waits on the stack does not go through it."""
    back = int(rng.integers(1, 5))
    fn = rounded(rng)

    def run(stack):
        stack.append(stack[-1] + fn(stack[-min(back, len(stack))]))

    return run


LINEAR_STEPS = [
    *map(
        on_top,
        (dense, over_time, conv, bias, scale, sum_pool, shuffled, shifted, masked),
    ),
    on_top(flipped),
    residual,
    branch,
    concatenated,
]
GATE_STEPS = [
    *map(
        on_top,
        (
            relu,
            leaky,
            prelu,
            absolute,
            clamp,
            hard_tanh,
            relu6,
            below,
            largest_of_two,
            smallest_of_two,
            max_pool,
            min_pool,
            strided_pool,
            best_channel,
            worst_time,
            running_max,
            running_min,
        ),
    ),
    meeting,
]


PRODUCT_STEPS = [*map(on_top, (product, gram))]
REFUSED_STEPS = [
    *map(on_top, (rounded, step_of, chosen_row)),
    jumping_branch,
]
NUM_RULED = len(LINEAR_STEPS) + len(GATE_STEPS)


def head(rng, classes):
    if classes == 1:
        weight = signs(rng, CHANNELS, TIME)
        return lambda h: jnp.sum(weight * h)
    weight = signs(rng, classes, CHANNELS * TIME)
    return ej.margin(lambda h: weight @ h.reshape(-1), int(rng.integers(classes)))


def build(seed: int, choices: list[int], classes: int):
    """The program that the drawn numbers stand for: [CHANNELS, TIME] -> scalar."""
    rng = np.random.default_rng(seed)
    table = LINEAR_STEPS + GATE_STEPS + REFUSED_STEPS + PRODUCT_STEPS
    steps = [table[choice](rng) for choice in choices]
    out = head(rng, classes)

    def fn(x):
        stack = [x]
        for step in steps:
            step(stack)
        return out(stack[-1])

    return fn


def programs(max_depth: int = 12):
    """Strategy of random programs; every other step is a gate, more or less."""
    linear = st.integers(0, len(LINEAR_STEPS) - 1)
    gates = st.integers(0, len(GATE_STEPS) - 1).map(lambda i: i + len(LINEAR_STEPS))
    steps = st.lists(st.one_of(linear, gates), min_size=2, max_size=max_depth)
    return st.builds(build, st.integers(0, 2**32 - 1), steps, st.integers(1, 3))


def programs_with_products():
    """The same with one product of two values that both see the input, or two."""
    ruled = st.lists(st.integers(0, NUM_RULED - 1), max_size=3)
    products = st.integers(0, len(PRODUCT_STEPS) - 1)
    products = products.map(lambda i: i + NUM_RULED + len(REFUSED_STEPS))
    steps = st.tuples(ruled, st.lists(products, min_size=1, max_size=2), ruled)
    steps = steps.map(lambda parts: [choice for part in parts for choice in part])
    return st.builds(build, st.integers(0, 2**32 - 1), steps, st.integers(1, 3))


def programs_with_black_boxes():
    """The same with one or two operations in them that have no rule."""
    ruled = st.integers(0, NUM_RULED - 1)
    refused = st.integers(0, len(REFUSED_STEPS) - 1).map(lambda i: i + NUM_RULED)
    below, above = (st.lists(ruled, max_size=n) for n in (4, 8))
    steps = st.tuples(below, st.lists(refused, min_size=1, max_size=2), below, above)
    steps = steps.map(lambda parts: [choice for part in parts for choice in part])
    return st.builds(build, st.integers(0, 2**32 - 1), steps, st.integers(1, 3))


def inputs(seed: int, count: int):
    """Quarters between -2 and 2, many of them zero: ties at the gates are common."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-8, 9, (count, CHANNELS, TIME)) / 4
    x[rng.random(x.shape) < 0.2] = 0
    x[0] = 0
    return jnp.asarray(x)
