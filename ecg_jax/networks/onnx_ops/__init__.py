"""The operations of ONNX: one small function each.

`OPS` maps an operation's name to `op(node, *inputs) -> output`, or a tuple of outputs.
What is not in it is taken apart by the standard's own definition, where there is one;
`REFUSED` says of the others why they are not there, and what to do. Source: ONNX,
onnx.ai, the operator schemas of `OPSETS`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from ecg_jax.networks.onnx_ops.activations import ACTIVATIONS
from ecg_jax.networks.onnx_ops.elementwise import ELEMENTWISE
from ecg_jax.networks.onnx_ops.indexing import INDEXING
from ecg_jax.networks.onnx_ops.linear import LINEAR
from ecg_jax.networks.onnx_ops.node import TEXT, Ops
from ecg_jax.networks.onnx_ops.norms import NORMS
from ecg_jax.networks.onnx_ops.pools import POOLS
from ecg_jax.networks.onnx_ops.quantized import QUANTIZED
from ecg_jax.networks.onnx_ops.recurrent import RECURRENT
from ecg_jax.networks.onnx_ops.reductions import REDUCTIONS
from ecg_jax.networks.onnx_ops.resize import RESIZE
from ecg_jax.networks.onnx_ops.shapes import SHAPES
from ecg_jax.networks.onnx_ops.spectra import SPECTRA

OPS: Ops = MappingProxyType(
    {
        **ELEMENTWISE,
        **ACTIVATIONS,
        **SHAPES,
        **INDEXING,
        **LINEAR,
        **POOLS,
        **NORMS,
        **REDUCTIONS,
        **RECURRENT,
        **RESIZE,
        **QUANTIZED,
        **SPECTRA,
    }
)

OPSETS = range(7, 29)
"""The opsets that the table speaks of: before 7, arrays broadcast otherwise."""

_SEQUENCES = (
    "sequences of arrays and optional values are no arrays",
    "export with arrays only, such as Split, Concat and Gather",
)
_CHANCE = (
    "it draws random numbers, so the network is no pure function",
    "export in evaluation mode, or with the numbers as a constant",
)
_IMAGES = (
    "it belongs to the detection of objects in images",
    "export the part of the network that has no such node",
)

REFUSED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "SequenceAt",
                "SequenceConstruct",
                "SequenceEmpty",
                "SequenceErase",
                "SequenceInsert",
                "SequenceLength",
                "SequenceMap",
                "SplitToSequence",
                "ConcatFromSequence",
                "Optional",
                "OptionalGetElement",
                "OptionalHasElement",
            ),
            _SEQUENCES,
        ),
        **dict.fromkeys(
            (
                "Bernoulli",
                "Multinomial",
                "RandomNormal",
                "RandomNormalLike",
                "RandomUniform",
                "RandomUniformLike",
            ),
            _CHANCE,
        ),
        **dict.fromkeys(
            (
                "RegexFullMatch",
                "StringConcat",
                "StringNormalizer",
                "StringSplit",
                "TfIdfVectorizer",
            ),
            TEXT,
        ),
        **dict.fromkeys(
            (
                "DeformConv",
                "GridSample",
                "ImageDecoder",
                "MaxRoiPool",
                "NonMaxSuppression",
                "RoiAlign",
            ),
            _IMAGES,
        ),
    }
)

__all__ = ["OPS", "OPSETS", "REFUSED"]
