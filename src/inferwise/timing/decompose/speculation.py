"""Drafting as operators: a draft model, or the model's own multi-token-prediction layers, before each verification.

A step drafts `speculative_tokens` tokens one after another and verifies them with the token before in one pass of the
model (Step.queries). The first pass of a draft follows all tokens of the step, so that its caches keep up (prompts,
and what was verified); each further one adds a token a sequence (vLLM 0.24, v1/spec_decode/eagle.py; llama.cpp,
common/speculative.cpp). Leviathan et al. 2022, arXiv:2211.17192.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from inferwise.errors import BadInput
from inferwise.memory.case import Case
from inferwise.memory.formatted import FormattedTensor
from inferwise.memory.placement import stages
from inferwise.spec.blocks import Stack
from inferwise.spec.deployment import Parallel
from inferwise.spec.tensor import Component
from inferwise.timing.decompose.site import Site
from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.gemm import LOGITS
from inferwise.timing.operators.passes import LAST, ONE, TEXT, passes
from inferwise.timing.operators.small import Sampling

PART = "draft"


def draft(site: Site, fused: bool) -> tuple[tuple[Operator, ...], int]:
    """What drafting adds to the last stage's device, and the layers that it runs a step; nothing where none drafts."""
    case = site.case
    if not case.speculative_tokens:
        return (), 0
    if case.draft is not None:
        found, layers = [*_model(site, fused)], len(case.draft.decoder.pattern)
    elif case.mtp:
        found, layers = [*_modules(site, fused)], 1
    else:
        return (), 0
    return tuple(_drafted(each, case.speculative_tokens) for each in found), layers * case.speculative_tokens


def _drafted(operator: Operator, tokens: int) -> Operator:
    """An operator of the draft in all of its passes; logits are wanted of one position a sequence."""
    at_end = isinstance(operator, Sampling) or getattr(operator, "rows", "") == LOGITS
    first = LAST if at_end else TEXT
    return passes(operator, (1.0, first), (tokens - 1.0, ONE), name=f"draft: {operator.name}", part=PART)


def _model(site: Site, fused: bool) -> Sequence[Operator]:
    """The draft model, dealt over the tensor-parallel ranks as memory/parts/speculation.py has it."""
    from inferwise.timing.decompose.stage import operators

    case = site.case
    assert case.draft is not None
    parallel = Parallel(tp=case.parallel.tp, ep=case.parallel.ep, dp=case.parallel.dp)
    own = replace(
        case,
        model=case.draft,
        weights=case.draft_weights,
        parallel=parallel,
        draft=None,
        mtp=False,
        speculative_tokens=0,
        lora=None,
        encoder=False,
    )
    stage = stages(case.draft, case.draft_weights, parallel, encoder=False)[0]
    return operators(replace(site, case=own), stage, fused=fused)


def _modules(site: Site, fused: bool) -> Iterator[Operator]:
    """The model's MTP layers, one of them a pass (they take turns), with the model's own head."""
    from inferwise.timing.decompose.linear import gemms
    from inferwise.timing.decompose.stage import head, layers

    case = site.case
    last = stages(case.model, case.weights, case.parallel, mtp=True, encoder=False)[-1]
    stacks = {id(each.stack): each.stack for each in last.tensors if each.stack.role == "mtp"}.values()
    if not stacks:
        raise BadInput(f"{case.model.name} has no MTP layers to draft with", remedy="give a draft model")
    for stack in stacks:
        modules = max(1, _modules_of(stack))
        mine = [each for each in last.tensors if each.stack is stack and not _copied(each)]
        found = [*gemms(site, mine, case.model.hidden, fused), *layers(site, stack, None, mine)]
        yield from (replace(each, count=each.count / modules) for each in found)
    own = [each for each in last.tensors if each.component is Component.HEAD]  # none where it is tied
    yield from gemms(site, own, case.model.hidden, fused)
    yield from head(site, last)


def _modules_of(stack: Stack) -> int:
    """MTP modules of a stack: each joins the last hidden state with the next token's embedding by a projection.

    Some are built of several layers (Nemotron-H: attention and experts), of which one holds that projection.
    """
    joins = [
        sum(count for layer, count in stack.layer_counts() if any(_joins(tensor.name) for tensor in layer.tensors())),
        sum(1 for tensor in stack.outer if _joins(tensor.name)),
    ]
    return joins[0] or joins[1] or len(stack.pattern)


def _joins(name: str) -> bool:
    module = name.removesuffix(".weight").rpartition(".")[2]
    return module in ("eh_proj", "input_proj", "e_proj", "fc")


def _copied(each: FormattedTensor) -> bool:
    """Copies of the embedding and the head that checkpoints store with an MTP layer; engines share the model's."""
    return each.tensor.name.endswith(("embed_tokens.weight", "shared_head.head.weight"))


def check_acceptance(case: Case, acceptance: float) -> None:
    """Raises BadInput for more tokens a step than are drafted and verified in it."""
    most = 1 + case.speculative_tokens
    if acceptance > most:
        drafted = f"{case.speculative_tokens} drafted tokens" if case.speculative_tokens else "no draft"
        raise BadInput(f"acceptance {acceptance:g} with {drafted}", remedy=f"give tokens a step from 1 to {most}")
