"""How a model is dealt over devices."""

from __future__ import annotations

from dataclasses import dataclass

from inferwise.errors import BadInput

MAX_DEGREE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """Degrees of parallelism of one replica, on tp x pp devices.

    tp: tensor parallel ranks of a pipeline stage. pp: pipeline stages. ep: groups of ranks that the experts are dealt
    whole to; inside a group tp / ep ranks cut each of them (ep 1: like dense weights; ep tp: not at all). dp: attention
    data parallelism inside the tensor-parallel group (a sequence lives on tp / dp ranks). cp: decode context
    parallelism inside it (a sequence's tokens are dealt).
    Raises BadInput for degrees that cannot be laid over one another.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1
    cp: int = 1

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "ep", "dp", "cp"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_DEGREE:
                raise BadInput(f"{name} is {value!r}", remedy=f"give a whole number from 1 to {MAX_DEGREE}")
        if self.tp % (self.dp * self.cp):
            raise BadInput(
                f"dp {self.dp} x cp {self.cp} does not divide tp {self.tp}",
                remedy="attention data and context parallelism live inside the tensor-parallel group",
            )
        if self.tp % self.ep:
            raise BadInput(
                f"ep {self.ep} does not divide tp {self.tp}",
                remedy="experts are dealt inside the tensor-parallel group: an ep that divides tp",
            )

    @property
    def devices(self) -> int:
        """Devices of the replica."""
        return self.tp * self.pp

    @property
    def attention_tp(self) -> int:
        """Ranks that one sequence's attention heads are dealt over."""
        return self.tp // self.dp

    @property
    def expert_tp(self) -> int:
        """Ranks that one expert is cut over."""
        return self.tp // self.ep


def pipeline_stages(layers: int, stages: int) -> list[range]:
    """The layers of each pipeline stage, in order; as in vLLM, the stages before the last take the remainder.

    Raises BadInput for more stages than layers. (vLLM 0.33, distributed/utils.py get_pp_indices.)
    """
    if stages > layers:
        raise BadInput(f"pp {stages} with {layers} layers", remedy="give each stage a layer")
    counts = [layers // stages] * stages
    for index in range(layers % stages):
        counts[-(index + 2)] += 1
    starts = [sum(counts[:index]) for index in range(stages)]
    return [range(start, start + count) for start, count in zip(starts, counts, strict=True)]
