"""Number formats of stored weights: what a tensor of a shape takes, its scales and zero points included.

`spec.precision` has the formats of caches; the block formats of ggml are the same in both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from fractions import Fraction
from math import prod

from inferwise.errors import UnknownName
from inferwise.units import ceil_div

# ggml's types: elements a block, bytes a block (ggml-common.h block layouts).
GGML_TYPES: dict[str, tuple[int, int]] = {
    "f32": (1, 4),
    "f16": (1, 2),
    "bf16": (1, 2),
    "f64": (1, 8),
    "i8": (1, 1),
    "i16": (1, 2),
    "i32": (1, 4),
    "i64": (1, 8),
    "q1_0": (128, 18),
    "q2_0": (64, 18),
    "q4_0": (32, 18),
    "q4_1": (32, 20),
    "q5_0": (32, 22),
    "q5_1": (32, 24),
    "q8_0": (32, 34),
    "q8_1": (32, 40),  # activations only; older ggml.h counts 36 with FP16 scales
    "q2_k": (256, 84),
    "q3_k": (256, 110),
    "q4_k": (256, 144),
    "q5_k": (256, 176),
    "q6_k": (256, 210),
    "q8_k": (256, 292),
    "iq1_s": (256, 50),
    "iq1_m": (256, 56),
    "iq2_xxs": (256, 66),
    "iq2_xs": (256, 74),
    "iq2_s": (256, 82),
    "iq3_xxs": (256, 98),
    "iq3_s": (256, 110),
    "iq4_nl": (32, 18),
    "iq4_xs": (256, 136),
    "tq1_0": (256, 54),
    "tq2_0": (256, 66),
    "mxfp4": (32, 17),
    "nvfp4": (64, 36),
}

# The numbers that GGUF files give the types (enum ggml_type).
GGML_TYPE_IDS: dict[int, str] = {
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 9: "q8_1",
    10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k", 15: "q8_k",
    16: "iq2_xxs", 17: "iq2_xs", 18: "iq3_xxs", 19: "iq1_s", 20: "iq4_nl", 21: "iq3_s", 22: "iq2_s", 23: "iq4_xs",
    24: "i8", 25: "i16", 26: "i32", 27: "i64", 28: "f64", 29: "iq1_m", 30: "bf16",
    34: "tq1_0", 35: "tq2_0", 39: "mxfp4", 40: "nvfp4", 41: "q1_0", 42: "q2_0",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """How a weight [rows, columns] is stored.

    block, block_bytes: values of a row that are packed together, and their bytes (a row holds whole blocks).
    tile: rows and columns that share a scale, 0 for all of them; scale_bits: of a tile's scale, its zero point
    included; column_bytes: of what every column has (GPTQ's group index, AWQ's activation scales). fixed: bytes of
    what the tensor has once (a global scale, the scale of activations, packing facts).
    """

    name: str
    block: int = 1
    block_bytes: int
    scale_bits: Fraction | int = 0
    tile: tuple[int, int] = (0, 0)
    column_bytes: int = 0
    fixed: int = 0

    def size(self, shape: tuple[int, ...]) -> int:
        """Bytes of one tensor of this shape; all but the last dimension are rows."""
        columns = shape[-1] if shape else 1
        rows = prod(shape[:-1])
        size = rows * ceil_div(columns, self.block) * self.block_bytes
        if self.scale_bits:
            tall, wide = self.tile
            tiles = (ceil_div(rows, tall) if tall else 1) * (ceil_div(columns, wide) if wide else 1)
            size += int(-(-tiles * self.scale_bits // 8))
        return size + self.column_bytes * columns + self.fixed


def dense(name: str, block_bytes: int) -> WeightFormat:
    """A format of so many bytes a value, without scales."""
    return WeightFormat(name=name, block_bytes=block_bytes)


def packed(bits: int) -> tuple[int, int]:
    """Values and bytes of the int32 words that AWQ, GPTQ and compressed-tensors pack a row into."""
    return {8: (4, 4), 4: (8, 4), 2: (16, 4), 3: (32, 12), 5: (32, 20), 6: (16, 12), 7: (32, 28)}[bits]


GGML = {name: WeightFormat(name=name, block=b, block_bytes=size) for name, (b, size) in GGML_TYPES.items()}

DENSE = {name: dense(name, size) for name, size in (("fp64", 8), ("fp32", 4), ("fp16", 2), ("bf16", 2))}

# Scales as the tools that make these checkpoints store them: F32 with FP8 (modelopt, DeepSeek), F16 with AWQ and GPTQ,
# BF16 with compressed-tensors, FP8 of 16 values and one F32 with NVFP4, E8M0 of 32 with MXFP4 (OCP MX 1.0).
FP8_TENSOR = WeightFormat(name="fp8", block_bytes=1, scale_bits=32)
FP8_CHANNEL = WeightFormat(name="fp8_channel", block_bytes=1, scale_bits=32, tile=(1, 0))
FP8_BLOCK = WeightFormat(name="fp8_block", block_bytes=1, scale_bits=32, tile=(128, 128))
INT8_CHANNEL = WeightFormat(name="int8", block_bytes=1, scale_bits=32, tile=(1, 0))
AWQ_INT4 = WeightFormat(name="awq", block=8, block_bytes=4, scale_bits=16 + 4, tile=(1, 128))
GPTQ_INT4 = replace(AWQ_INT4, name="gptq", column_bytes=4)
INT4_GROUP = replace(AWQ_INT4, name="int4")
NVFP4 = WeightFormat(name="nvfp4", block=16, block_bytes=9, fixed=4)
MXFP4 = WeightFormat(name="mxfp4", block=32, block_bytes=17)
MXFP8 = WeightFormat(name="mxfp8", block=32, block_bytes=33)
# bitsandbytes (arXiv:2305.14314): 64 values share a scale; doubly quantised it is 8 bits, and 256 share an F32.
# Fixed: the value tables of 16 and 256 F32 and about 90 bytes of JSON.
NF4 = WeightFormat(
    name="nf4", block=2, block_bytes=1, scale_bits=8 + Fraction(32, 256), tile=(1, 64), fixed=64 + 1024 + 90
)
NF4_SINGLE = WeightFormat(name="nf4", block=2, block_bytes=1, scale_bits=32, tile=(1, 64), fixed=64 + 90)
# MLX (mlx-lm's convert): groups of 64 with a 16-bit scale and bias; embeddings and heads too.
MLX_INT8 = WeightFormat(name="mlx_int8", block=4, block_bytes=4, scale_bits=32, tile=(1, 64))
MLX_INT4 = WeightFormat(name="mlx_int4", block=8, block_bytes=4, scale_bits=32, tile=(1, 64))
BNB_INT8 = WeightFormat(name="bnb_int8", block_bytes=1, scale_bits=32, tile=(1, 0))

# What a user may ask for: linear weights go to the format, the rest stays in 16 bits.
CONVERSIONS = {
    each.name: each
    for each in (
        FP8_TENSOR, FP8_CHANNEL, FP8_BLOCK, INT8_CHANNEL, INT4_GROUP, AWQ_INT4, GPTQ_INT4, NVFP4, MXFP4, MXFP8, NF4,
        BNB_INT8, MLX_INT8, MLX_INT4,
    )
}  # fmt: skip
ALIASES = {
    "fp8_e4m3": "fp8", "fp8_tensor": "fp8", "fp8_per_tensor": "fp8", "fp8_per_channel": "fp8_channel",
    "fp8_blockwise": "fp8_block", "w8a8": "int8", "w4a16": "int4", "bnb": "nf4", "bnb_nf4": "nf4", "bnb_4bit": "nf4",
    "bitsandbytes": "nf4", "bnb_8bit": "bnb_int8", "int4_awq": "awq", "int4_gptq": "gptq", "fp4": "nvfp4",
    "mlx_8bit": "mlx_int8", "mlx_4bit": "mlx_int4",
}  # fmt: skip


def stored_format(name: str) -> WeightFormat:
    """A dense format or a ggml type by its name."""
    return DENSE.get(name) or GGML[name]


def unknown_format(name: str, known: list[str]) -> UnknownName:
    """The error for a weight format that we do not know, with the nearest ones."""
    spelled = {each.lower(): each for each in known}
    near = [spelled[each] for each in get_close_matches(name.lower(), spelled, n=3, cutoff=0.5)]
    return UnknownName("weight format", name, suggestions=near or ("bf16", "fp8", "int4", "Q4_K_M"))
