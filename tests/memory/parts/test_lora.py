"""Adapter slots: the published size of an adapter, and how it is dealt."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

import inferwise as iw
from inferwise.memory.parts.lora import lora_bytes
from inferwise.memory.placement import stages
from inferwise.spec.deployment import Parallel
from inferwise.spec.engine import Lora

LLAMA = iw.model("meta-llama/Llama-3.1-8B-Instruct")


def slots(lora: Lora, tp: int = 1) -> int:
    return lora_bytes(LLAMA, stages(LLAMA, None, Parallel(tp=tp))[0].tensors, lora)


def test_an_adapter_of_all_linear_layers_has_the_parameters_that_peft_counts() -> None:
    # PEFT prints "trainable params: 41,943,040" for rank 16 on q, k, v, o, gate, up and down of Llama-3.1-8B.
    assert slots(Lora(slots=1, rank=16)) == 2 * 41_943_040


@given(st.integers(1, 16), st.sampled_from([8, 16, 64]), st.sampled_from([1, 2, 4, 8]))
@settings(deadline=None, max_examples=30)
def test_slots_add_up_and_a_rank_holds_less_than_all_but_no_less_than_its_share(count: int, rank: int, tp: int) -> None:
    whole = slots(Lora(slots=count, rank=rank))
    assert whole == count * slots(Lora(slots=1, rank=rank))
    share = slots(Lora(slots=count, rank=rank), tp)
    assert whole / tp <= share <= whole
    assert (share < whole) == (tp > 1)
