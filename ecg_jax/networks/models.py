"""Flax networks that say whether a beat is normal, and their pure margins.

Every network is built of dense layers, convolutions, batch norm, ReLU, max-pool, max,
average pool and additions only, so that its margin can be factored exactly. The
output is the logit of "normal": a margin, `>= 0` means normal. In training a network is
told what share of it is done (`training`); otherwise None.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ecg_jax.errors import ModelError
from ecg_jax.networks.config import NetworkConfig, Training
from ecg_jax.networks.templates import Templates

Variables = Mapping[str, Any]
Windows = Float[Array | np.ndarray, "*batch lead time"]

Margin = Callable[[Float[Array, "lead time"]], Float[Array, ""]]


def _flatten(
    x: Float[Array, "*batch row column"],
) -> Float[Array, "*batch feature"]:
    return x.reshape(*x.shape[:-2], -1)


def _max_pool(
    x: Float[Array, "*batch time channel"], stride: int, training: Training
) -> Float[Array, "*batch _ channel"]:
    """Max over pairs of samples of `[..., time, channel]`, the end padded by -inf.

    In training the same maximum is taken of two slices: on a CPU its gradient takes
    half the time of that of a pooling window.
    """
    if training is None:
        return nn.max_pool(x, (2,), strides=(stride,), padding="SAME")
    end = jnp.full((*x.shape[:-2], 1, x.shape[-1]), -jnp.inf, x.dtype)
    first = x[..., ::stride, :]
    second = jnp.concatenate([x, end], -2)[..., 1::stride, :]
    return jnp.maximum(first, second[..., : first.shape[-2], :])


class Mlp(nn.Module):
    """Dense layers with ReLU on the flattened window.

    `f(x) = <w, h_L> + b`, `h_i = max(0, W_i h_{i-1} + b_i)`, `h_0 = x`.
    """

    config: NetworkConfig

    @nn.compact
    def __call__(self, x: Windows, training: Training = None) -> Float[Array, "*batch"]:
        """Logits `[...]` of windows `[..., lead, time]`."""
        x = _flatten(jnp.asarray(x))
        for i, width in enumerate(self.config.widths):
            x = nn.relu(nn.Dense(width, name=f"hidden_{i}")(x))
            if i < len(self.config.widths) - 1:
                x = nn.Dropout(self.config.dropout, deterministic=training is None)(x)
        return nn.Dense(1, name="head")(x)[..., 0]


class Authors(nn.Module):
    """The network of Snyder and Vishwanath (arXiv:2006.15189).

    Encoder: four stages of convolution (64, 64, 32, 16 channels; kernels 6, 6, 4, 4;
    stride 2), ReLU and max-pool (2, stride 1), then dense 32-32 to a bottleneck.
    Decoder: dense layers down to the margin.
    """

    config: NetworkConfig

    @nn.compact
    def __call__(self, x: Windows, training: Training = None) -> Float[Array, "*batch"]:
        """Logits `[...]` of windows `[..., lead, time]`."""
        x = jnp.swapaxes(x, -1, -2)
        for i, (features, kernel) in enumerate(((64, 6), (64, 6), (32, 4), (16, 4))):
            x = nn.Conv(features, (kernel,), strides=(2,), name=f"conv_{i}")(x)
            x = _max_pool(nn.relu(x), 1, training)
        x = _flatten(x)
        for i, width in enumerate((32, 32, self.config.bottleneck)):
            x = nn.relu(nn.Dense(width, name=f"encoder_{i}")(x))
            if i == 0:
                x = nn.Dropout(self.config.dropout, deterministic=training is None)(x)
        for i, width in enumerate(self.config.decoder):
            x = nn.relu(nn.Dense(width, name=f"decoder_{i}")(x))
        return nn.Dense(1, name="head")(x)[..., 0]


class ResNet(nn.Module):
    """A residual 1-D CNN: stem, stages of residual blocks, mean over time, head.

    A block is `relu(x + BN(conv(relu(BN(conv(x))))))`. A stage begins with a max-pool
    (2, stride 2) and, where the number of channels changes, a pointwise convolution
    on the skip path.
    """

    config: NetworkConfig

    @nn.compact
    def __call__(self, x: Windows, training: Training = None) -> Float[Array, "*batch"]:
        """Logits `[...]` of windows `[..., lead, time]`."""
        config = self.config
        conv = partial(nn.Conv, kernel_size=(config.kernel,), use_bias=False)
        norm = partial(nn.BatchNorm, use_running_average=training is None, momentum=0.9)
        x = jnp.swapaxes(x, -1, -2)
        x = conv(config.channels[0], strides=(config.stride,), name="stem")(x)
        x = nn.relu(norm(name="stem_norm")(x))
        for i, features in enumerate(config.channels):
            x = _max_pool(x, 2, training)
            for j in range(config.blocks):
                name = f"block_{i}_{j}"
                y = conv(features, name=f"{name}_conv_0")(x)
                y = nn.relu(norm(name=f"{name}_norm_0")(y))
                y = conv(features, name=f"{name}_conv_1")(y)
                y = norm(name=f"{name}_norm_1")(y)
                if x.shape[-1] != features:
                    x = nn.Conv(features, (1,), use_bias=False, name=f"{name}_skip")(x)
                x = nn.relu(x + y)
        x = x.mean(axis=-2)
        for i, width in enumerate(config.widths):
            x = nn.Dropout(config.dropout, deterministic=training is None)(x)
            x = nn.relu(nn.Dense(width, name=f"hidden_{i}")(x))
        return nn.Dense(1, name="head")(x)[..., 0]


NETWORKS: dict[str, type[nn.Module]] = {
    "mlp": Mlp,
    "authors": Authors,
    "resnet": ResNet,
    "templates": Templates,
}


def build(config: NetworkConfig) -> nn.Module:
    """The flax module of a configuration.

    Args:
        config: its shape.

    Returns:
        A module that maps windows `[..., lead, time]` to logits `[...]`.
    """
    return NETWORKS[config.kind](config)


def init_variables(config: NetworkConfig, key: Array) -> dict[str, Any]:
    """Fresh variables in float32: `params`, and `batch_stats` where there are some.

    Args:
        config: the network's shape.
        key: a JAX random key.

    Returns:
        The variables as nested dictionaries.

    Example:
        >>> import jax
        >>> config = NetworkConfig(num_samples=8, widths=(3,))
        >>> jax.tree.map(jnp.shape, init_variables(config, jax.random.key(0)))["params"]
        {'head': {'bias': (1,), 'kernel': (3, 1)}, 'hidden_0': {'bias': (3,), 'kernel': (8, 3)}}
    """  # noqa: E501
    example = jnp.zeros((1, config.num_leads, config.num_samples), jnp.float32)
    return dict(build(config).init(key, example))


def margin_of(config: NetworkConfig, variables: Variables) -> Margin:
    """The network as a pure function of one window, in inference mode.

    `f(x) >= 0` means "normal"; `1 / (1 + exp(-f(x)))` is the probability that the
    network was trained to give. Batch norm uses its running averages and dropout is
    off, so that `f` is continuous and piecewise linear.

    Args:
        config: the network's shape.
        variables: its variables; cast them (`cast`) to compute in float64.

    Returns:
        A function `[lead, time] -> scalar`, to which jit, vmap and grad apply; of a
        single lead it takes `[time]` too.

    Example:
        >>> import jax
        >>> config = NetworkConfig(num_samples=8, widths=(3,))
        >>> margin = margin_of(config, init_variables(config, jax.random.key(0)))
        >>> jax.vmap(margin)(jnp.zeros((5, 1, 8), jnp.float32)).shape
        (5,)
    """
    module = build(config)
    shape = (config.num_leads, config.num_samples)

    def margin(x: Float[Array | np.ndarray, "..."]) -> Float[Array, ""]:
        if config.num_leads == 1 and jnp.shape(x) == shape[1:]:
            x = jnp.asarray(x)[None]
        if jnp.shape(x) != shape:
            raise ModelError(
                f"the network takes one window [lead, time] of shape {shape}, "
                f"not {jnp.shape(x)}: cut it with the network's own window "
                "(its model card), or use jax.vmap for several"
            )
        return module.apply(variables, x)  # pyright: ignore[reportReturnType]

    return margin


def cast(variables: Variables, dtype: Any) -> dict[str, Any]:
    """The same variables in another floating dtype (float64 needs JAX's x64 mode).

    Args:
        variables: nested dictionaries of arrays.
        dtype: what to cast to.

    Returns:
        Nested dictionaries of the same structure.
    """
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), dict(variables))


def margins(
    config: NetworkConfig,
    variables: Variables,
    windows: Float[np.ndarray, "beat lead time"],
    *,
    block: int = 2048,
) -> Float[np.ndarray, " beat"]:
    """The margins of many windows, block by block.

    All blocks have one shape (the last is padded), so that a margin does not depend on
    how many windows come with it.

    Args:
        config: the network's shape.
        variables: its variables.
        windows: what the network sees; a NumPy array or memory map is fine.
        block: windows a block.

    Returns:
        A NumPy array of margins.
    """
    fn = _apply(config)
    out = np.empty(len(windows), np.float32)
    for start in range(0, len(windows), block):
        part = np.asarray(windows[start : start + block], np.float32)
        size = len(part)
        if size < block:
            part = np.pad(part, ((0, block - size), (0, 0), (0, 0)))
        out[start : start + size] = np.asarray(fn(variables, part))[:size]
    return out


@cache
def _apply(config: NetworkConfig) -> Callable[[Variables, Any], Array]:
    return jax.jit(build(config).apply)  # pyright: ignore[reportReturnType]
