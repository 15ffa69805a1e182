"""What this processor is: its name, the instruction sets that matter for speed, and its cores.

A speed means little without it: with AVX-512 VNNI an 8-bit product takes a third of a float32 one, with AVX2 alone more
than all of it. Libraries can be kept to fewer instruction sets than the processor has, to see what a narrower one would
do; what they may still use is `in_effect`.
"""

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

AVX2, FMA = "AVX2", "FMA"
AVX512, AVX512_VNNI, AVX512_BF16 = "AVX-512", "AVX-512 VNNI", "AVX-512 BF16"
AVX_VNNI = "AVX-VNNI"
AMX_INT8, AMX_BF16 = "AMX int8", "AMX bf16"
NEON, NEON_DOT, NEON_I8MM, NEON_BF16 = "NEON", "NEON dot product", "NEON i8mm", "NEON bf16"

FLAGS: Mapping[str, frozenset[str]] = {
    AVX2: frozenset({"avx2"}),
    FMA: frozenset({"fma"}),
    AVX_VNNI: frozenset({"avx_vnni"}),
    AVX512: frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
    AVX512_VNNI: frozenset({"avx512_vnni"}),
    AVX512_BF16: frozenset({"avx512_bf16"}),
    AMX_INT8: frozenset({"amx_tile", "amx_int8"}),
    AMX_BF16: frozenset({"amx_tile", "amx_bf16"}),
    NEON: frozenset({"asimd"}),
    NEON_DOT: frozenset({"asimddp"}),
    NEON_I8MM: frozenset({"i8mm"}),
    NEON_BF16: frozenset({"bf16"}),
}
"""Instruction set -> the flags of Linux that are all there where the processor has it, narrow sets first."""
_TO_AVX2 = frozenset({AVX2, FMA})
_TO_AVX512 = _TO_AVX2 | {AVX512}
_TO_BF16 = _TO_AVX512 | {AVX_VNNI, AVX512_VNNI, AVX512_BF16}
LIMITS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "ONEDNN_MAX_CPU_ISA": {
        "SSE41": frozenset(),
        "AVX": frozenset(),
        "AVX2": _TO_AVX2,
        "AVX2_VNNI": _TO_AVX2 | {AVX_VNNI},
        "AVX2_VNNI_2": _TO_AVX2 | {AVX_VNNI},
        "AVX512_CORE": _TO_AVX512,
        "AVX512_CORE_VNNI": _TO_AVX512 | {AVX512_VNNI},
        "AVX512_CORE_BF16": _TO_BF16,
        "AVX512_CORE_FP16": _TO_BF16,
    },
    "ATEN_CPU_CAPABILITY": {"DEFAULT": frozenset(), "AVX2": _TO_AVX2},
    "MKL_ENABLE_INSTRUCTIONS": {
        "SSE4_2": frozenset(),
        "AVX": frozenset(),
        "AVX2": _TO_AVX2,
        "AVX2_E1": _TO_AVX2 | {AVX_VNNI},
        "AVX512": _TO_AVX512,
        "AVX512_E1": _TO_AVX512 | {AVX512_VNNI},
        "AVX512_E2": _TO_BF16,
        "AVX512_E3": _TO_BF16,
    },
}
"""Variable of oneDNN, of PyTorch's own kernels, of MKL -> what each value of it leaves; any other value leaves all."""
ARM_PARTS: Mapping[tuple[str, str], str] = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
}
"""Implementer and part, as Linux gives them for arm64 in place of a name."""
CPUINFO = Path("/proc/cpuinfo")
TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """A processor, as far as this process may use it.

    `instruction_sets` are those of `FLAGS` that it has, and `in_effect` those of them that oneDNN, PyTorch's kernels or
    MKL may use: a set is in effect until the variables of all three leave it out, which `narrowed_by` names. `threads`
    are what the system calls processors, `cores` the physical ones among them: hyperthreads of one core share it. Off
    Linux the instruction sets are not known, and a core counts for each thread.
    """

    model: str
    architecture: str
    instruction_sets: tuple[str, ...]
    in_effect: tuple[str, ...]
    narrowed_by: tuple[str, ...]
    cores: int
    threads: int

    def has(self, *sets: str) -> bool:
        """Whether all of these instruction sets are in effect."""
        return set(sets) <= set(self.in_effect)

    @property
    def narrowed(self) -> bool:
        """Whether it plays a narrower processor than it is."""
        return self.in_effect != self.instruction_sets

    def __str__(self) -> str:
        sets = ", ".join(self.in_effect) or "no instruction set known"
        played = f" (played by {' '.join(self.narrowed_by)})" if self.narrowed else ""
        cores = f"{self.cores} core{'s' if self.cores > 1 else ''}"
        hyperthreads = f" of {self.threads} hyperthreads" if self.threads > self.cores else ""
        return f"{self.model}, {self.architecture}: {sets}{played}; {cores}{hyperthreads}"


def this_processor() -> Processor:
    """The processor that this process runs on, by what the system and the environment say now."""
    usable = _usable()
    siblings = []
    for number in usable:
        path = Path(TOPOLOGY.format(number))
        if path.exists():
            siblings.append(path.read_text(encoding="ascii").strip())
    cpuinfo = CPUINFO.read_text(encoding="utf-8", errors="replace") if CPUINFO.exists() else ""
    return read_processor(cpuinfo, platform.machine(), os.environ, usable, siblings)


def read_processor(
    cpuinfo: str,
    architecture: str,
    environment: Mapping[str, str],
    usable: Iterable[int] | None = None,
    siblings: Iterable[str] = (),
) -> Processor:
    """What texts of the system say of a processor.

    Args:
        cpuinfo: Linux's /proc/cpuinfo, or nothing.
        architecture: of the machine, as `platform.machine` names it.
        environment: where the variables of `LIMITS` may stand.
        usable: numbers of the processors that count; all by default.
        siblings: for each of these, the list of the hyperthreads of its core, where the system has such lists.
    """
    blocks = [_fields(block) for block in cpuinfo.split("\n\n") if "processor" in _fields(block)]
    numbers = set(usable) if usable is not None else {int(block["processor"]) for block in blocks}
    kept = [block for block in blocks if int(block["processor"]) in numbers]
    first = kept[0] if kept else {}
    flags = set((first.get("flags") or first.get("Features") or "").split())
    sets = tuple(name for name, needed in FLAGS.items() if needed <= flags)
    allowed, narrowed_by = _allowed(environment)
    threads = max(1, len(numbers))
    by_package = {(block.get("physical id"), block["core id"]) for block in kept if "core id" in block}
    return Processor(
        model=_model(first, cpuinfo),
        architecture=architecture,
        instruction_sets=sets,
        in_effect=tuple(name for name in sets if name in allowed),
        narrowed_by=narrowed_by,
        cores=len(set(siblings)) or len(by_package) or threads,
        threads=threads,
    )


def _usable() -> list[int]:
    """Numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def _model(block: Mapping[str, str], cpuinfo: str) -> str:
    if "model name" in block:
        numbers = "cpu family" in block and "model" in block  # in a virtual machine the name may say little
        more = f" (family {block['cpu family']}, model {block['model']})" if numbers else ""
        return block["model name"] + more
    part = block.get("CPU implementer"), block.get("CPU part")
    board = next((line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("Model")), "")
    if part[0] and part[1]:
        name = ARM_PARTS.get((part[0], part[1]), f"implementer {part[0]}, part {part[1]}")
        return f"{name} ({board})" if board else name
    return platform.processor() or "unknown processor"


def _allowed(environment: Mapping[str, str]) -> tuple[set[str], tuple[str, ...]]:
    """Instruction sets that at least one of the libraries may use, and the variables that say so."""
    allowed: set[str] = set()
    said = []
    for variable, limits in LIMITS.items():
        value = environment.get(variable, "").upper()
        allowed |= limits.get(value, FLAGS.keys())
        if value in limits:
            said.append(f"{variable}={environment[variable]}")
    return allowed, tuple(said)
