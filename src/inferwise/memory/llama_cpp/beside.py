"""What llama.cpp loads beside the model: projector, MTP layers, adapters, a draft model, and its runtime."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inferwise.memory.case import Case
from inferwise.memory.llama_cpp.buffers import Load, buffers
from inferwise.memory.llama_cpp.flags import Flags, offload_devices
from inferwise.memory.llama_cpp.layers import Layers, layers_of
from inferwise.memory.llama_cpp.placement import placed
from inferwise.spec.model import Model


@dataclass(frozen=True, slots=True)
class Beside:
    """Bytes by use on each device (one, where the host is the device)."""

    uses: tuple[tuple[tuple[str, int], ...], ...]

    def terms(self, index: int) -> tuple[tuple[str, int], ...]:
        """Uses of one device."""
        return self.uses[index] if index < len(self.uses) else ()

    def on(self, index: int) -> int:
        """Bytes on one device."""
        return sum(size for _, size in self.terms(index))


def beside_the_model(case: Case, flags: Flags) -> Beside:
    """All of it: adapters lie with their layers, the projector and MTP layers on the first device."""
    devices = offload_devices(case)
    count = max(1, len(devices))
    layers = layers_of(case.model, case.weights)
    lora = lora_bytes(case.model, case.lora.rank) * case.lora.slots if case.lora else 0
    draft = draft_bytes(case, flags, len(devices)) if case.draft is not None else (0,) * count
    uses = []
    for index in range(count):
        first = index == 0
        terms = {
            "projector": layers.projector if first and case.encoder else 0,
            "mtp": layers.mtp if first and case.mtp else 0,
            "lora": lora // count,
            "draft": draft[index],
            "runtime": runtime_bytes(layers, flags, devices[index].vendor) if devices else 0,
        }
        uses.append(tuple((name, size) for name, size in terms.items() if size))
    return Beside(tuple(uses))


def runtime_bytes(layers: Layers, flags: Flags, vendor: str) -> int:
    """What a backend takes beside its buffers: its library, and a matrix at a time in F16 where it unpacks them."""
    own = flags.build["runtime_bytes"].get(vendor, 0)
    return int(own) + (2 * layers.widest if vendor in flags.build["unpacks"] else 0)


def lora_bytes(model: Model, rank: int) -> int:
    """An adapter of `rank` on every linear layer of the decoder, in F32 as llama.cpp's converter stores it."""
    total = 0
    for layer, count in model.decoder.layer_counts():
        for tensor in layer.tensors():
            if tensor.linear and len(tensor.shape) == 2:
                total += count * tensor.copies * rank * sum(tensor.shape)
    return 4 * total


def draft_bytes(case: Case, flags: Flags, devices: int) -> tuple[int, ...]:
    """A draft model's weights, caches and compute buffers on each device, at the same context."""
    assert case.draft is not None
    layers = layers_of(case.draft, case.draft_weights)
    plain = replace(flags, overrides=(), cpu_moe=0, outputs=1)
    load = Load(layers=layers, flags=plain, context=case.context, slots=flags.slots)
    count = len(layers.pattern)
    where = placed(count, count + 1 if devices else 0, flags.shares, 0)
    made = buffers(load, where)
    if not devices:
        return (sum(made.host.values()),)
    return tuple(made.device_total(index) for index in range(devices))
