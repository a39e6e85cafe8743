"""llama.cpp's log: the line formats from 2024 (`llm_load_print_meta`) to build 11549 (`print_info`, `sched_reserve`).

Formats: src/llama-model.cpp, llama-context.cpp, llama-kv-cache*.cpp, llama-memory-recurrent.cpp, ggml-cuda.cu,
common/fit.cpp. Buffers are MiB, rounded to 0.01; the memory breakdown table is whole MiB.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from inferwise.evidence.logs.engine_log import EngineLog, LogDevice
from inferwise.evidence.logs.lines import Line
from inferwise.evidence.logs.reading import NUMBER, Reading, size_of
from inferwise.units import MIB

NAME = "llama.cpp"
LOAD = "loaded meta data with"
SIGNS = (LOAD, " buffer size =", "print_info:", "llm_load_print_meta:", "memory breakdown [MiB]", "KV self size")
KEYWORDS = (
    LOAD,
    " buffer size =",
    "file type ",
    "model ftype",
    "file size ",
    "model size ",
    "general.name ",
    "no_alloc ",
    "vocab_only ",
    "layers to GPU",
    "n_ctx",
    "n_seq_max",
    "n_batch",
    "n_ubatch",
    "flash_attn",
    "Flash Attention",
    "kv_unified",
    " cells, ",
    "KV self size",
    "memory breakdown",
    "_breakdown_print:",
    "loading draft model",
    "using device",
    "  Device ",
    "_cuda_init: found",
    "MiB free)",
    "build: ",
    "build = ",
    "build_info:",
    "version: ",
)
# Every repetition is bounded: a hostile line costs no more than its length.
MODEL = re.compile(
    r"loaded meta data with \d{1,9} key-value pairs and \d{1,9} tensors from (.{1,1000}?)(?: \(version|$)"
)
BUFFER = re.compile(
    rf"([^\s:]\S{{0,80}}) {{1,40}}(?:(model|KV|RS|compute|output) {{1,40}})?buffer size = {{0,40}}{NUMBER} (MiB)"
)
NAMES = {"model": "weights", "KV": "kv", "RS": "recurrent", "compute": "compute", "output": "output", "": "weights"}
FILE_TYPE = re.compile(r"(?:file type|model ftype) {0,40}= {0,40}(?:\(guessed\) )?(?:all )?(\S.{0,60})")
FILE_SIZE = re.compile(rf"(?:file size|model size) {{0,40}}= {{0,40}}{NUMBER} (GiB|MiB)")
GENERAL = re.compile(r"(?:print_info|print_meta): general\.name {0,40}= {0,40}(\S.{0,200})")
OFFLOADED = re.compile(r"offloaded (\d{1,6})/(\d{1,6}) layers")
FIELDS = {
    "n_ctx": re.compile(r"\bn_ctx {0,40}= {0,40}(\d{1,12})\b"),
    "max_num_seqs": re.compile(r"\bn_seq_max {0,40}= {0,40}(\d{1,9})\b"),
    "max_num_batched_tokens": re.compile(r"\bn_batch {0,40}= {0,40}(\d{1,12})\b"),
    "ubatch": re.compile(r"\bn_ubatch {0,40}= {0,40}(\d{1,12})\b"),
}
FLASH = re.compile(
    r"flash_attn {0,40}= {0,40}(enabled|disabled|0|1)\b|Flash Attention (?:was auto, set to )?(enabled|disabled)"
)
UNIFIED = re.compile(r"kv_unified {0,40}= {0,40}(true|false|0|1)\b")
CACHE = re.compile(r"MiB \( {0,20}(\d{1,12}) cells, {1,20}\d{1,6} layers, {1,20}(\d{1,6})(?:/ {0,20}(\d{1,6}))? seqs")
SELF = re.compile(rf"KV self size {{0,40}}= {{0,40}}{NUMBER} (MiB)")
KEY_VALUE = re.compile(r"K \((\w{1,12})\).{0,60}?V \((\w{1,12})\)")
LATENT = re.compile(r"c\^KV \((\w{1,12})\)")
BUILD = re.compile(r"(?:build: |build_info: |version: |\bbuild = )b?([1-9]\d{1,8})\b(?![.]|-\d\d-)")
USING = re.compile(
    r"using device (\w{1,40})(?:\[[^\]]{0,80}\])? \((.{1,100}?)\)(?: \([^)]{0,40}\))? - (\d{1,9}) MiB free"
)
LISTED = re.compile(r"- (\w{1,40}) {0,40}: (.{1,100}?) \((\d{1,9}) MiB, (\d{1,9}) MiB free\)")
FOUND = re.compile(r"_cuda_init: found \d{1,4} (\w{1,10}) devices")
DEVICE = re.compile(r"Device (\d{1,3}): ([^,]{1,100}), (?:compute capability|gfx)(?:.{0,200}?VRAM: (\d{1,9}) MiB)?")
TABLE_ROW = re.compile(r"\| {1,20}- ([^|]{1,120})\|([-\d =()+]{5,200})\|")
TRIAL = re.compile(r"(?:no_alloc|vocab_only) {0,40}= {0,40}1\b")
FORMATS = {"f16": "fp16", "f32": "fp32"}


@dataclass(slots=True, eq=False)
class Load:
    """A model that the process loads, with its contexts."""

    reading: Reading
    draft: bool = False
    trial: bool = False  # of --fit: sizes are measured, nothing is allocated
    context: int = 0
    buffers: set[tuple[int, str]] = field(default_factory=set)  # contexts, and what was printed of them

    @property
    def complete(self) -> bool:
        """Whether the weights were loaded and a context made."""
        has = self.reading.has
        return has("weights") and (has("kv") or has("recurrent") or has("compute"))


def read(lines: Sequence[Line]) -> EngineLog:
    """The last complete model load in a llama.cpp log, with the draft model's beside it."""
    loads = [load for load in _loads(lines) if not load.trial]
    main = [load for load in loads if not load.draft] or loads or [Load(Reading(NAME))]
    complete = [load for load in main if load.complete]
    chosen = (complete or main)[-1]
    reading = chosen.reading
    if len(complete) > 1:
        reading.remarks.append(f"the log holds {len(complete)} model loads: the last complete one is read")
    later = loads[loads.index(chosen) + 1 :] if chosen in loads else []
    _beside(reading, next((load for load in later if load.draft), None))
    facts = reading.facts
    facts |= {
        "starts": max(1, len(complete)),
        "context": facts.pop("n_ctx", None),
        "kv_tokens": facts.pop("cells", None),
    }
    return reading.log(_looked_for(reading))


def _beside(reading: Reading, draft: Load | None) -> None:
    """The terms of a draft model that is loaded beside the model."""
    if draft is None:
        return
    for term in draft.reading.terms:
        reading.add(f"draft {term.name}", term.device, (term.size_bytes, term.resolution_bytes), term.line)
    reading.remarks.append(f"a draft model is loaded beside it: {draft.reading.facts.get('model', '?')}")


def _looked_for(reading: Reading) -> dict[str, bool]:
    """What a log of the engine tells, and whether this one did."""
    known, found = reading.facts, reading.has
    return {
        "build ('build: ...')": "version" in known,
        "model ('loaded meta data ... from')": "model" in known,
        "file type": "weights" in known,
        "model buffers ('model buffer size')": found("weights"),
        "KV buffers ('KV buffer size')": found("kv") or found("recurrent"),
        "compute buffers ('compute buffer size')": found("compute"),
        "output buffer ('output buffer size')": found("output"),
        "n_ctx": known["context"] is not None,
        "n_ubatch": "ubatch" in known,
        "devices": bool(reading.devices),
    }


def _loads(lines: Sequence[Line]) -> list[Load]:
    """Each model load; what the process printed before it (build, devices) is known to it."""
    process = Load(Reading(NAME))
    loads: list[Load] = []
    draft = False
    kind = "CUDA"
    for line in lines:
        if match := FOUND.search(line.text):
            kind = match[1]
        draft = draft or "loading draft model" in line.text
        if LOAD in line.text:
            loads.append(Load(Reading(NAME, dict(process.reading.facts), devices=dict(process.reading.devices)), draft))
            draft = False
        current = loads[-1] if loads else process
        _process(process.reading, line, kind)
        if current is not process:
            _process(current.reading, line, kind)
        _model(current, line)
        _context(current, line.text)
        _buffer(current, line)
    return loads if loads or not process.reading.terms else [process]


def _process(reading: Reading, line: Line, kind: str) -> None:
    """The build and the devices."""
    if (match := BUILD.search(line.text)) and "GGUF" not in line.text:
        reading.facts.setdefault("version", f"b{match[1]}")
    if match := DEVICE.search(line.text):
        total = int(match[3]) * MIB if match[3] else None
        reading.device(f"{kind}{match[1]}", name=match[2], total_bytes=total)
    if match := USING.search(line.text):
        reading.device(match[1], name=match[2], free_bytes=int(match[3]) * MIB)
    if match := LISTED.search(line.text):
        total, free = int(match[3]) * MIB, int(match[4]) * MIB
        reading.device(match[1], name=match[2].strip(), total_bytes=total, free_bytes=free)
    if (match := TABLE_ROW.search(line.text)) and len(numbers := _row(match[2])) == 7:
        reading.device(match[1].split()[0], total_bytes=numbers[0] * MIB)


def _row(cells: str) -> list[int]:
    """The figures of a row of the breakdown: total, free, self, model, context, compute, unaccounted; a host's 4."""
    return [int(number) for number in re.findall(r"-?\d{1,12}", cells)]


def _model(load: Load, line: Line) -> None:
    facts, text = load.reading.facts, line.text
    if match := FILE_SIZE.search(text):
        load.reading.put("file", "", size_of(match[1], match[2]), line.number)
    if match := MODEL.search(text):
        facts["model"] = match[1]
    if match := FILE_TYPE.search(text):
        facts["weights"] = match[1].strip()
    if match := GENERAL.search(text):
        facts["model_name"] = match[1].strip()
    if match := OFFLOADED.search(text):
        facts["gpu_layers"], facts["layers"] = int(match[1]), int(match[2])
    load.trial = load.trial or TRIAL.search(text) is not None


def _context(load: Load, text: str) -> None:
    """Settings of a context. A second one on the same model is a draft's (MTP): its settings are not the model's."""
    facts = load.reading.facts
    if FIELDS["n_ctx"].search(text) and any((load.context, kind) in load.buffers for kind in ("kv", "compute")):
        load.context += 1
    if load.context:
        return
    for name, pattern in FIELDS.items():
        if match := pattern.search(text):
            facts[name] = int(match[1])
    if match := FLASH.search(text):
        facts["flash_attention"] = (match[1] or match[2]) in ("enabled", "1")
    if match := UNIFIED.search(text):
        facts["kv_unified"] = match[1] in ("true", "1")
    if match := KEY_VALUE.search(text):
        if "recurrent" not in text:
            key, value = (FORMATS.get(kind, kind) for kind in match.groups())
            facts["kv_format"] = key if key == value else f"{key}/{value}"
    elif match := LATENT.search(text):
        facts["kv_format"] = FORMATS.get(match[1], match[1])
    if "recurrent" not in text and (match := CACHE.search(text)):
        cells = int(match[1]) * int(match[3] or 1)  # each stream has so many
        facts["cells"] = max(cells, facts.get("cells", 0))


def _buffer(load: Load, line: Line) -> None:
    """A buffer. Those of weights and caches add up; compute and output buffers are reserved anew, and replace."""
    reading = load.reading
    at = line.text.find("buffer size =")
    if at >= 0 and (match := BUFFER.search(line.text, max(0, at - 160), at + 80)):
        kind = match[2] or ""
        if not kind and "load_tensors" not in line.text:
            return
        name = NAMES[kind]
        load.buffers.add((load.context, "kv" if name in ("kv", "recurrent") else name))
        name = f"draft {name}" if load.context and name != "weights" else name
        add = reading.put if kind in ("compute", "output") else reading.add
        add(name, match[1], size_of(match[3], match[4]), line.number)
    elif (match := SELF.search(line.text)) and not reading.has("kv"):
        reading.add("kv", "", size_of(match[1], match[2]), line.number)
    elif (match := TABLE_ROW.search(line.text)) and not load.buffers:
        numbers = _row(match[2])
        if len(numbers) in (4, 7):
            figures = numbers[-3:] if len(numbers) == 4 else numbers[3:6]
            for name, figure in zip(("weights", "context", "compute"), figures, strict=True):
                reading.put(name, match[1].split()[0], (figure * MIB, MIB), line.number)


def used_devices(log: EngineLog) -> tuple[LogDevice, ...]:
    """The devices that hold weights or caches, in order of their labels; the CPU where no other does."""
    kinds = ("weights", "kv", "recurrent", "context")
    held = {t.device.split("_")[0] for t in log.terms if t.name in kinds and not is_host(t.device) and t.size_bytes}
    known = {device.label: device for device in log.devices}
    labels = sorted(held, key=lambda name: (len(name), name))
    return tuple(known.get(name) or LogDevice(label=name) for name in labels or ["CPU"])


def is_host(buffer: str) -> bool:
    """Whether a buffer lies in the host's memory: CPU, CPU_Mapped, CPU_REPACK, CUDA_Host, BLAS, AMX."""
    return buffer.split("_")[0] in ("CPU", "BLAS", "AMX", "Host", "") or buffer.endswith("_Host")
