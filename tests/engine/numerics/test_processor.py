"""What a processor is, read from what Linux says of it."""

import dataclasses

import pytest

from patchline.engine.numerics import processor
from patchline.engine.numerics.processor import Processor, read_processor, this_processor

XEON = """processor	: {number}
vendor_id	: GenuineIntel
cpu family	: 6
model		: 207
model name	: Intel(R) Xeon(R) Processor
stepping	: 2
microcode	: 0x1
cpu MHz		: 2100.000
cache size	: 307200 KB
physical id	: 0
siblings	: 4
core id		: {core}
cpu cores	: 2
flags		: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss ht \
syscall nx pdpe1gb rdtscp lm constant_tsc rep_good nopl xtopology nonstop_tsc cpuid tsc_known_freq pni pclmulqdq \
ssse3 fma cx16 pcid sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave avx f16c rdrand hypervisor \
lahf_lm abm 3dnowprefetch cpuid_fault ssbd ibrs ibpb stibp ibrs_enhanced fsgsbase tsc_adjust bmi1 avx2 smep bmi2 \
erms invpcid avx512f avx512dq rdseed adx smap avx512ifma clflushopt clwb avx512cd sha_ni avx512bw avx512vl xsaveopt \
xsavec xgetbv1 xsaves avx_vnni avx512_bf16 wbnoinvd arat avx512vbmi umip pku ospke avx512_vbmi2 gfni vaes vpclmulqdq \
avx512_vnni avx512_bitalg avx512_vpopcntdq rdpid bus_lock_detect cldemote movdiri movdir64b fsrm md_clear serialize \
tsxldtrk ibt amx_bf16 avx512_fp16 amx_tile amx_int8 flush_l1d arch_capabilities
bogomips	: 4200.00
address sizes	: 46 bits physical, 57 bits virtual

"""
"""A processor of a virtual machine, as Linux writes it; its number and that of its core are filled in."""
HASWELL = """processor	: 0
vendor_id	: GenuineIntel
model name	: Intel(R) Core(TM) i5-4570 CPU @ 3.20GHz
physical id	: 0
core id		: 0
flags		: fpu vme de pse tsc msr sse sse2 ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand bmi1 \
avx2 smep bmi2 erms invpcid

"""
NEOVERSE_N1 = """processor	: {number}
BogoMIPS	: 243.75
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x3
CPU part	: 0xd0c
CPU revision	: 1

"""
NEOVERSE_V2_FEATURES = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 "
    "asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm sb paca pacg dcpodp sve2 svei8mm svebf16 i8mm bf16 dgh rng bti"
)
RASPBERRY = """
Revision	: d04171
Serial		: 0000000000000000
Model		: Raspberry Pi 5 Model B Rev 1.0
"""
AVX2_PLAYED = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
ALL_X86 = ("AVX2", "FMA", "AVX-VNNI", "AVX-512", "AVX-512 VNNI", "AVX-512 BF16", "AMX int8", "AMX bf16")
FOUR = "".join(XEON.format(number=number, core=number // 2) for number in range(4))


def test_an_x86_processor_is_read() -> None:
    """Its name, its sets from narrow to wide, and two cores where hyperthreads share them."""
    found = read_processor(FOUR, "x86_64", {})
    assert found.model == "Intel(R) Xeon(R) Processor (family 6, model 207)"
    assert found.instruction_sets == found.in_effect == ALL_X86
    assert (found.cores, found.threads) == (2, 4)
    assert not found.narrowed
    assert found.has("AVX-512", "AVX-512 VNNI")
    assert str(found) == f"{found.model}, x86_64: {', '.join(ALL_X86)}; 2 cores of 4 hyperthreads"


def test_a_processor_with_avx2_alone_has_nothing_wider() -> None:
    """What is not among its flags is not there, whatever else begins with the same letters."""
    found = read_processor(HASWELL, "x86_64", {})
    assert found.instruction_sets == ("AVX2", "FMA")
    assert not found.has("AVX-VNNI")
    assert str(found).endswith("AVX2, FMA; 1 core")


@pytest.mark.parametrize("missing", ["avx512f", "avx512bw", "avx512dq", "avx512vl"])
def test_avx512_is_all_that_libraries_ask_of_it(missing: str) -> None:
    """A processor with a part of AVX-512 gets kernels for AVX2."""
    found = read_processor(XEON.format(number=0, core=0).replace(f" {missing} ", " "), "x86_64", {})
    assert "AVX-512" not in found.instruction_sets
    assert "AVX2" in found.instruction_sets


def test_an_arm64_processor_is_read() -> None:
    """Linux gives it numbers in place of a name, and no cores; each of its processors is one."""
    found = read_processor("".join(NEOVERSE_N1.format(number=n) for n in range(4)), "aarch64", {})
    assert found.model == "Neoverse-N1"
    assert found.instruction_sets == found.in_effect == ("NEON", "NEON dot product")
    assert (found.cores, found.threads) == (4, 4)


def test_newer_arm64_multiplies_matrices_of_8_bits() -> None:
    """Sets of SVE with the same name do not count for NEON's."""
    plain = NEOVERSE_N1.format(number=0)
    features = plain.splitlines()[2].partition(":")[2].strip()
    found = read_processor(plain.replace(features, NEOVERSE_V2_FEATURES), "aarch64", {})
    assert found.instruction_sets == ("NEON", "NEON dot product", "NEON i8mm", "NEON bf16")
    without = NEOVERSE_V2_FEATURES.replace(" i8mm bf16", "")
    assert "NEON i8mm" not in read_processor(plain.replace(features, without), "aarch64", {}).instruction_sets


def test_an_arm64_part_that_is_not_known_keeps_its_numbers() -> None:
    """And a board says its own name at the end."""
    text = NEOVERSE_N1.format(number=0).replace("0xd0c", "0xfff") + RASPBERRY
    assert read_processor(text, "aarch64", {}).model == (
        "implementer 0x41, part 0xfff (Raspberry Pi 5 Model B Rev 1.0)"
    )


def test_only_processors_that_the_process_may_use_count() -> None:
    """Two hyperthreads of one core are one core, by the lists of siblings as by the numbers of cores."""
    assert read_processor(FOUR, "x86_64", {}, usable=[0, 1]).cores == 1
    assert read_processor(FOUR, "x86_64", {}, usable=[0, 2]).cores == 2
    by_lists = read_processor(HASWELL, "x86_64", {}, usable=[0, 1, 2], siblings=["0-1", "0-1", "2-3"])
    assert (by_lists.cores, by_lists.threads) == (2, 3)


def test_a_narrower_processor_is_played_by_three_variables() -> None:
    """With all three at AVX2 nothing wider is in effect, and the text says by what."""
    found = read_processor(FOUR, "x86_64", AVX2_PLAYED)
    assert found.instruction_sets == ALL_X86
    assert found.in_effect == ("AVX2", "FMA")
    assert found.narrowed
    assert "played by ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2" in str(found)


@pytest.mark.parametrize("left_out", sorted(AVX2_PLAYED))
def test_a_set_is_in_effect_while_one_library_may_use_it(left_out: str) -> None:
    """Two of the variables are not enough: the third library computes as before."""
    some = {name: value for name, value in AVX2_PLAYED.items() if name != left_out}
    found = read_processor(FOUR, "x86_64", some)
    assert found.in_effect == ALL_X86
    assert not found.narrowed
    assert len(found.narrowed_by) == 2


def test_what_the_widest_of_them_leaves_is_in_effect() -> None:
    """oneDNN may use VNNI, the others AVX2 alone."""
    found = read_processor(FOUR, "x86_64", AVX2_PLAYED | {"ONEDNN_MAX_CPU_ISA": "avx512_core_vnni"})
    assert found.in_effect == ("AVX2", "FMA", "AVX-512", "AVX-512 VNNI")


def test_a_value_that_names_no_limit_narrows_nothing() -> None:
    """`ALL` is oneDNN's word for all there is."""
    found = read_processor(FOUR, "x86_64", AVX2_PLAYED | {"ONEDNN_MAX_CPU_ISA": "ALL"})
    assert found.in_effect == ALL_X86


def test_without_linux_little_is_known() -> None:
    """No instruction set is claimed, and each thread counts as a core."""
    found = read_processor("", "arm64", {}, usable=range(8))
    assert (found.instruction_sets, found.cores, found.threads) == ((), 8, 8)
    assert found.model
    assert "no instruction set known" in str(found)


def test_this_processor_has_a_name_and_cores() -> None:
    """Whatever the machine is."""
    found = this_processor()
    assert found.model
    assert 1 <= found.cores <= found.threads
    assert set(found.in_effect) <= set(found.instruction_sets)


def test_the_names_are_those_of_the_table() -> None:
    """What a limit leaves is named as the sets are; a name that is misspelt would leave a set out."""
    left = {name for limits in processor.LIMITS.values() for sets in limits.values() for name in sets}
    assert left <= processor.FLAGS.keys()
    assert dataclasses.asdict(this_processor()).keys() == {field.name for field in dataclasses.fields(Processor)}
