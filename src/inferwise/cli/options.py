"""Options that commands share, each under one name everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from inferwise.errors import BadInput

if TYPE_CHECKING:
    from inferwise.spec.engine import Engine, Lora, Settings
    from inferwise.spec.hardware import Host, Node
    from inferwise.spec.state import StateLayout

Json = Annotated[bool, Parameter(help="Print JSON.", negative="")]
Explain = Annotated[bool, Parameter(help="Show how every number comes about.", negative="")]
GIB = 2**30
MAX_GIB = 2**20
MODES = ("local", "cloud", "edge")
DEFAULT_CONTEXT = 8192


def option(text: str) -> Any:
    """An option's help; its default is said in words where it has one."""
    return Parameter(help=text, show_default=False)


@Parameter(name="*")
@dataclass(frozen=True)
class Load:
    """What is asked of a deployment at once."""

    context: Annotated[int | None, option("Tokens of a sequence, prompt and answer together (default: 8192).")] = None
    input: Annotated[
        int | None, option("Tokens of a prompt; with --output the sequence, unless --context leaves more.")
    ] = None
    output: Annotated[int | None, option("Tokens of an answer.")] = None
    batch: Annotated[int | None, option("Sequences held at once (default: 1).")] = None
    concurrency: Annotated[int | None, option("Requests in flight, the same as --batch.")] = None

    def tokens(self) -> int:
        """Tokens of a sequence. Raises BadInput where the lengths contradict each other."""
        if self.input is None and self.output is None:
            return DEFAULT_CONTEXT if self.context is None else self.context
        for name in ("input", "output"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise BadInput(f"{name} is {value}", remedy="give a whole number from 0")
        whole = (self.input or 0) + (self.output or 0)
        if self.context is not None and self.context < whole:
            raise BadInput(f"context {self.context} is less than input and output together, {whole}")
        return whole if self.context is None else self.context

    def sequences(self) -> int:
        """Sequences at once. Raises BadInput where batch and concurrency differ."""
        if self.batch is not None and self.concurrency is not None and self.batch != self.concurrency:
            raise BadInput(f"batch {self.batch} and concurrency {self.concurrency}", remedy="give one of them")
        found = self.concurrency if self.batch is None else self.batch
        return 1 if found is None else found

    def lengths(self) -> dict[str, Any]:
        """The options that were given, by their names."""
        return {name: getattr(self, name) for name in ("context", "input", "output", "batch", "concurrency")}


@Parameter(name="*")
@dataclass(frozen=True)
class Requests:
    """What a request is besides its lengths, and how requests come."""

    protocol: Annotated[
        str,
        option(
            "single_stream, static_batch, closed_loop, steady_batch or offline (default: static_batch with --batch, "
            "closed_loop with --concurrency, else single_stream)."
        ),
    ] = ""
    prefix: Annotated[int, option("Tokens of a prompt that the prefix cache holds.")] = 0
    images: Annotated[int, option("Images of a request.")] = 0
    image_tokens: Annotated[int, option("Tokens that an image adds to the prompt (default: 256).")] = 256
    acceptance: Annotated[
        float, option("Tokens that a step of speculation yields, the verified one included (default: 1).")
    ] = 1.0

    def given(self) -> dict[str, Any]:
        """The options by the names of a workload."""
        names = ("protocol", "prefix", "images", "image_tokens", "acceptance")
        return {name: getattr(self, name) for name in names}


@Parameter(name="*")
@dataclass(frozen=True)
class Formats:
    """How weights and state are stored, and by which engine."""

    weights: Annotated[str, option("Format to convert the weights to: bf16, fp8, int4, nvfp4, Q4_K_M, ...")] = ""
    kv: Annotated[str, option("Format of the KV cache: bf16, fp8, int8, q8_0, ... (default: the engine's).")] = ""
    state: Annotated[str, option("Format of the recurrent state: fp32, bf16 (default: the engine's).")] = ""
    engine: Annotated[
        str,
        option(
            "vllm, sglang, tensorrt-llm, llama.cpp, ollama, mlx or transformers (default: vllm on GPUs that it runs "
            "on, llama.cpp for GGUF and elsewhere)."
        ),
    ] = ""
    engine_version: Annotated[str, option("Version whose defaults count: 0.19.0, b11549 (default: the newest).")] = ""

    def made(self) -> Engine:
        """The engine at its version. Raises UnknownName, BadInput."""
        from inferwise.catalog.engines import engine

        return engine(self.engine or "vllm", self.engine_version or None)

    def layout(self) -> StateLayout:
        """The layout of the state that these options ask for. Raises UnknownName."""
        from inferwise.memory.state import layout_in

        return layout_in(self.made().layout, kv=self.kv or None, state=self.state or None)


@Parameter(name="*")
@dataclass(frozen=True)
class Hardware:
    """The devices, and how a model is dealt over them."""

    gpu: Annotated[
        str | None,
        option(
            "Device, machine or both: rtx-4090, dgx-h100, rtx-3090+rtx-3060, mine.toml, `this` for the machine at hand "
            "(default: every device that we know)."
        ),
    ] = None
    count: Annotated[int | None, option("How many of the device.")] = None
    tp: Annotated[int | None, option("Tensor-parallel devices (default: as many as divide the heads).")] = None
    pp: Annotated[int | None, option("Pipeline stages.")] = None
    ep: Annotated[int | None, option("Groups of devices that the experts are dealt whole to (divides tp).")] = None
    dp: Annotated[int | None, option("Attention data parallelism inside the tensor-parallel group.")] = None
    cp: Annotated[int | None, option("Decode context parallelism inside the tensor-parallel group.")] = None
    host_memory: Annotated[float | None, option("Memory of the host for offloading [GiB].")] = None
    used: Annotated[float | None, option("What others already take of each device [GiB] (default: a desktop's).")] = (
        None
    )
    mode: Annotated[str, option("local, cloud or edge: in the cloud no desktop takes memory (default: local).")] = ""

    def used_gib(self) -> float | None:
        """What others take, where it is said or follows from the mode. Raises BadInput for a mode that is none."""
        if self.mode and self.mode not in MODES:
            raise BadInput(f"mode is {self.mode[:40]!r}", remedy=f"give {', '.join(MODES)}")
        return 0.0 if self.used is None and self.mode == "cloud" else self.used

    def degrees(self) -> dict[str, int]:
        """The degrees that were given."""
        given = {name: getattr(self, name) for name in ("tp", "pp", "ep", "dp", "cp")}
        return {name: value for name, value in given.items() if value is not None}

    def node(self) -> Node:
        """The devices and the host. Raises BadInput, UnknownName, WorldFailed."""
        from dataclasses import replace

        from inferwise.memory.ask import node_named

        found = node_named(self.gpu or "", self.count)
        return replace(found, host=self.host(found.host))

    def host(self, known: Host) -> Host:
        """What is known of the host, with the memory that the user gives it. Raises BadInput."""
        from dataclasses import replace

        if self.host_memory is None:
            return known
        return replace(known, memory_bytes=gib_bytes("host-memory", self.host_memory))


@Parameter(name="*")
@dataclass(frozen=True)
class Flags:
    """Flags of the engine that bear on memory; what is not given is the version's default."""

    gpu_memory_utilization: Annotated[float | None, option("Share of each device that the engine may take.")] = None
    max_num_seqs: Annotated[int | None, option("Most sequences of a step.")] = None
    max_num_batched_tokens: Annotated[int | None, option("Most tokens of a step.")] = None
    block_size: Annotated[int | None, option("Tokens of a KV block.")] = None
    graphs: Annotated[bool | None, Parameter(help="Capture steps as CUDA graphs.", negative="--no-graphs")] = None
    async_scheduling: Annotated[
        bool | None,
        Parameter(help="vLLM: prepare a step while the last one runs.", negative="--no-async-scheduling"),
    ] = None
    ubatch: Annotated[int | None, option("llama.cpp: tokens of a physical batch (-ub).")] = None
    parallel: Annotated[int | None, option("llama.cpp: slots (-np).")] = None
    flash_attention: Annotated[
        bool | None, Parameter(help="llama.cpp: flash attention (-fa).", negative="--no-flash-attention")
    ] = None
    mmap: Annotated[bool | None, Parameter(help="llama.cpp: map the weights of the host.", negative="--no-mmap")] = None
    repack: Annotated[bool | None, Parameter(help="llama.cpp: repack weights on CPU.", negative="--no-repack")] = None
    kv_unified: Annotated[
        bool | None, Parameter(help="llama.cpp: one cache for all slots (-kvu).", negative="--no-kv-unified")
    ] = None
    kv_offload: Annotated[
        bool | None, Parameter(help="llama.cpp: keep the KV cache on the device.", negative="--no-kv-offload")
    ] = None
    ngl: Annotated[int | None, Parameter(name=["--ngl", "-ngl"], help="llama.cpp: layers on the devices.")] = None
    n_cpu_moe: Annotated[int | None, option("llama.cpp: layers whose experts stay on the host.")] = None
    override_tensor: Annotated[
        str, Parameter(name=["--override-tensor", "-ot"], help="llama.cpp: PATTERN=DEVICE,... for tensors.")
    ] = ""
    placing: Annotated[
        bool | None, Parameter(name="--fit", help="llama.cpp: place by itself what does not fit.", negative="--no-fit")
    ] = None
    split: Annotated[str, option("Over unequal devices: layer, tensor or none.")] = ""
    tensor_split: Annotated[str, option("Shares of the devices: 3,1.")] = ""
    offload: Annotated[float, option("Weights left in the host's memory, of each device [GiB].")] = 0.0
    offload_kv: Annotated[float, option("Host memory that evicted KV blocks may take [GiB].")] = 0.0
    disk_kv: Annotated[float, option("Disk that evicted KV blocks may take [GiB].")] = 0.0

    def settings(self, used: float | None = None) -> Settings:
        """As the accountings take them. Raises BadInput."""
        from inferwise.spec.engine import Settings

        return Settings(
            gpu_memory_utilization=self.gpu_memory_utilization,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            block_size=self.block_size,
            graphs=self.graphs,
            async_scheduling=self.async_scheduling,
            ubatch=self.ubatch,
            parallel_slots=self.parallel,
            flash_attention=self.flash_attention,
            mmap=self.mmap,
            repack=self.repack,
            kv_unified=self.kv_unified,
            kv_offload=self.kv_offload,
            gpu_layers=self.ngl,
            cpu_moe_layers=self.n_cpu_moe,
            override_tensors=overrides(self.override_tensor),
            fit=self.placing,
            split=self.split or None,
            tensor_split=shares(self.tensor_split),
            offload_weight_bytes=gib_bytes("offload", self.offload),
            offload_kv_bytes=gib_bytes("offload-kv", self.offload_kv),
            disk_kv_bytes=gib_bytes("disk-kv", self.disk_kv),
            used_bytes=None if used is None else gib_bytes("used", used),
        )


@Parameter(name="*")
@dataclass(frozen=True)
class Extras:
    """What is loaded beside the model."""

    draft: Annotated[str, option("Draft model for speculation, as MODEL.")] = ""
    draft_weights: Annotated[str, option("Format of the draft model's weights.")] = ""
    speculative_tokens: Annotated[int, option("Tokens drafted a step.")] = 0
    mtp: Annotated[bool, Parameter(help="Load the model's own MTP layers.", negative="")] = False
    text_only: Annotated[bool, Parameter(help="Leave image and audio towers out.", negative="")] = False
    lora_slots: Annotated[int, option("Adapters held at once.")] = 0
    lora_rank: Annotated[int, option("Rank of an adapter.")] = 16

    def load(self) -> dict[str, Any]:
        """The fields of a Case. Raises BadInput, UnknownName, WorldFailed."""
        from inferwise.read.resolve import resolve

        if not 0 <= self.speculative_tokens <= 1024:
            raise BadInput(
                f"speculative-tokens is {self.speculative_tokens}", remedy="give a whole number from 0 to 1024"
            )
        return {
            "draft": resolve(self.draft) if self.draft else None,
            "draft_weights": self.draft_weights or None,
            "speculative_tokens": self.speculative_tokens,
            "mtp": self.mtp,
            "encoder": not self.text_only,
            "lora": self._lora(),
        }

    def _lora(self) -> Lora | None:
        from inferwise.spec.engine import Lora

        return Lora(slots=self.lora_slots, rank=self.lora_rank) if self.lora_slots else None


def gib_bytes(name: str, size: float) -> int:
    """A size in GiB as bytes. Raises BadInput."""
    if not 0 <= size <= MAX_GIB:
        raise BadInput(f"{name} is {size} GiB", remedy=f"give 0 to {MAX_GIB:,} GiB")
    return int(size * GIB)


def shares(text: str) -> tuple[float, ...]:
    """`3,1` as numbers. Raises BadInput."""
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise BadInput(f"tensor-split is {text[:40]!r}", remedy="give numbers: 3,1") from None


def overrides(text: str) -> tuple[tuple[str, str], ...]:
    """`exps=CPU,...` as pairs of a pattern and a device. Raises BadInput."""
    pairs = []
    for part in text.split(",") if text else ():
        pattern, equals, device = part.rpartition("=")
        if not equals or not pattern or not device:
            raise BadInput(f"override-tensor has {part[:40]!r}", remedy="give PATTERN=DEVICE: exps=CPU")
        pairs.append((pattern, device))
    return tuple(pairs)


AS_PUBLISHED = Formats()
EVERYWHERE = Hardware()
BY_DEFAULT = Flags()
ALONE = Extras()
ONE_SEQUENCE = Load()
PLAIN = Requests()
