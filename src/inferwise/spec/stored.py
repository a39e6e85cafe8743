"""Weights as a file's header says they are stored, exact to the byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a checkpoint file.

    format: how its elements are stored: "bf16", "fp16", "fp32", "fp8_e4m3", "u8", "i32", … or a ggml type in lower
    case ("q4_k"). A packed tensor (GPTQ's int4 in i32, MXFP4 in u8) has the format and shape of its container.
    shape: outermost dimension first. size_bytes: what it takes in the file, without padding.
    """

    name: str
    format: str
    shape: tuple[int, ...]
    size_bytes: int

    @property
    def elements(self) -> int:
        """Elements of the container; 1 for a scalar."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that tensors came from. header_bytes: all that precedes the tensors' data."""

    name: str
    size_bytes: int
    header_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The tensors of a checkpoint, of all its files.

    source: where the headers were read. metadata: what the file says of itself (`__metadata__` of safetensors, the
    key/value pairs of GGUF).
    """

    tensors: tuple[StoredTensor, ...]
    files: tuple[StoredFile, ...]
    source: str
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    @property
    def gguf(self) -> bool:
        """Whether the files are GGUF."""
        return "general.architecture" in self.metadata

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def file_bytes(self) -> int:
        """Bytes of all files: tensors, headers and padding."""
        return sum(file.size_bytes for file in self.files)

    def bytes_by_format(self) -> dict[str, int]:
        """Bytes by format, the largest first; they add up to `size_bytes`."""
        sizes: Counter[str] = Counter()
        for tensor in self.tensors:
            sizes[tensor.format] += tensor.size_bytes
        return dict(sizes.most_common())
