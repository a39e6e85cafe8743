"""Which rotary tables a config asks for: their lengths follow the kind of scaling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from inferwise.spec.attention import Attention, LatentAttention
from inferwise.spec.blocks import Shared
from inferwise.spec.model import Model
from inferwise.spec.rotary import RotaryTable

# No table, and none of learned positions either: ALiBi, or no positions at all.
WITHOUT = ("bloom", "mpt", "nemotron_h", "jamba")
# Three positions a token, whatever the config says of sections (vLLM, rotary_embedding/mrope.py): four times the rows.
MROPE = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
SCALED = ("linear", "dynamic", "yarn", "deepseek_yarn")  # tables longer than what the model was first made for
MAX_POSITIONS = 2**31


def rotary_tables(config: Mapping[str, Any], model: Model) -> tuple[RotaryTable, ...]:
    """The distinct tables of a model's decoder, as vLLM makes them (0.19, model_executor/layers/rotary_embedding).

    A table has max_position_embeddings rows; linear and dynamic scaling make it `factor` times longer, YaRN has
    `factor` times the original length, LongRoPE one table for short and one for long texts, M-RoPE four times the
    length. Fields that are no numbers count as absent: the tables are an engine's overhead, not the model.
    """
    text = _text(config)
    none = text.get("position_embedding_type") in ("nope", "alibi") or model.family in WITHOUT
    if none or _learned(model):
        return ()
    tables = set()
    top = {name: text[name] for name in ("original_max_position_embeddings",) if name in text}
    for own, windowed in _kinds(text):
        parameters = {**top, **own}
        for width in _widths({**text, **parameters}, model, windowed):
            tables.add(RotaryTable(_positions(parameters, model.max_context or 0, model.family), width))
    return tuple(sorted((t for t in tables if t.positions and t.width), key=lambda t: (t.positions, t.width)))


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of the text model, where it is nested."""
    for value in config.values():
        if isinstance(value, Mapping) and "num_hidden_layers" in value and "vocab_size" in value:
            return value
    return config


def _learned(model: Model) -> bool:
    """Whether positions are embeddings of their own."""
    names = ("position_embeddings", "embed_positions", "wpe", "pos_embed")
    return any(word in tensor.name for tensor in model.decoder.outer for word in names)


def _kinds(text: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], bool | None]]:
    """The parameters of each kind of layer, and whether they are those of windowed ones (None: of all)."""
    given = text.get("rope_parameters") or text.get("rope_scaling")
    given = given if isinstance(given, Mapping) else {}
    nested = {name: value for name, value in given.items() if isinstance(value, Mapping)}
    if nested:
        for name, value in nested.items():
            yield value, "sliding" in name or "chunked" in name
    elif "rope_local_base_freq" in text:  # Gemma 3: windowed layers have a table of their own, unscaled
        yield given, False
        yield {}, True
    else:
        yield given, None


def _widths(text: Mapping[str, Any], model: Model, windowed: bool | None) -> set[int]:
    """Rotated widths of the heads of the decoder's layers."""
    share = 0.5 if model.family == "chatglm" else 1.0  # half of each head
    share = _number(text.get("partial_rotary_factor", text.get("rotary_pct")), share)
    widths = set()
    for layer in model.decoder.kinds:
        for block in layer.blocks:
            inner = block.block if isinstance(block, Shared) else block
            if isinstance(inner, LatentAttention):
                widths.add(inner.rope)
            elif isinstance(inner, Attention) and (windowed is None or windowed == (inner.window is not None)):
                rotated = _number(text.get("rotary_dim"), inner.head_dim * share)
                widths.add(min(inner.head_dim, int(rotated)))
    return widths


def _positions(parameters: Mapping[str, Any], positions: int, family: str) -> int:
    """Rows of a table."""
    kind = parameters.get("rope_type", parameters.get("type"))
    factor = _number(parameters.get("factor"), 1.0)
    original = int(_number(parameters.get("original_max_position_embeddings"), 0)) or positions
    if kind in SCALED:
        base = original if "yarn" in str(kind) else positions
        positions = int(base * factor)
    elif kind in ("longrope", "su"):
        positions += original
    if "mrope_section" in parameters or family in MROPE:
        positions *= 4
    return min(positions, MAX_POSITIONS)


def _number(value: Any, default: float) -> float:
    """A finite number above 0 that is none too large, else the default."""
    sound = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if sound and 0 < value < MAX_POSITIONS else default
