"""What `compare.py` measures: cases, each of some contenders, by part. All as data."""

from dataclasses import dataclass
from pathlib import Path

# PyTorch gives every large tensor back to the system and faults its pages in anew at the next step. It is faster by
# far when the C library keeps them.
KEPT_MEMORY = {
    "GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=34359738368:glibc.malloc.top_pad=268435456"
}
NO_MATRIX_UNIT = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
# PyTorch's own loops, oneDNN and MKL are limited one by one.
ONLY_AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """A program and how it is run. `ours`: the side of the comparison it stands on."""

    name: str
    program: str
    precision: str = "f32"
    environment: tuple = ()
    options: tuple = ()

    @property
    def ours(self):
        return self.program == "alexnet"


def contender(name, program, precision="f32", environment=None, options=()):
    return Contender(name, program, precision, tuple((environment or {}).items()), tuple(options))


@dataclass(frozen=True)
class Case:
    """The same steps for every contender. `rounds` and `seconds` override the command line's."""

    part: str
    task: str
    batch: int
    contenders: tuple
    model: str = "modern"
    image_size: int = 224
    width: float = 1.0
    threads: int = 0
    rounds: int = 0
    seconds: float = 0.0

    def gflop(self):
        """Roughly, of a step, computed directly: what its time is guessed from."""
        images = self.batch * (self.image_size / 224) ** 2 * self.width**2
        return images * {"train": 6.6, "infer": 2.3}[self.task]


F32 = contender("alexnet f32", "alexnet")
BF16 = contender("alexnet bf16", "alexnet", "bf16")
F32_AVX512 = contender("alexnet f32, avx512", "alexnet", "f32", {"ALEXNET_ISA": "avx512"})
BF16_AVX512 = contender("alexnet bf16, avx512", "alexnet", "bf16", {"ALEXNET_ISA": "avx512"})
F32_AVX2 = contender("alexnet f32, avx2", "alexnet", "f32", {"ALEXNET_ISA": "avx2"})

TORCH = contender("PyTorch f32", "torch", "f32", KEPT_MEMORY)
TORCH_CONTIGUOUS = contender("PyTorch f32, NCHW", "torch", "f32", KEPT_MEMORY, ["--contiguous"])
TORCH_BF16 = contender("PyTorch bf16", "torch", "bf16", KEPT_MEMORY)
TORCH_BF16_NO_UNIT = contender(
    "PyTorch bf16, no matrix unit", "torch", "bf16", {**KEPT_MEMORY, **NO_MATRIX_UNIT}
)
TORCH_AVX2 = contender("PyTorch f32, avx2", "torch", "f32", {**KEPT_MEMORY, **ONLY_AVX2})
TORCH_AS_INSTALLED = contender("PyTorch f32, as installed", "torch")
TORCH_BF16_AS_INSTALLED = contender("PyTorch bf16, as installed", "torch", "bf16")

OPENVINO = contender("OpenVINO f32", "openvino")
OPENVINO_BF16 = contender("OpenVINO bf16", "openvino", "bf16")
OPENVINO_BF16_NO_UNIT = contender(
    "OpenVINO bf16, no matrix unit", "openvino", "bf16", NO_MATRIX_UNIT
)

# Where there is no matrix unit, nobody has to be kept from it.
CPU_INFO = Path("/proc/cpuinfo")
HAS_MATRIX_UNIT = CPU_INFO.exists() and "amx_tile" in CPU_INFO.read_text()


def with_unit(*contenders):
    return contenders if HAS_MATRIX_UNIT else ()


CEILINGS = (F32, *with_unit(F32_AVX512), BF16, *with_unit(BF16_AVX512), F32_AVX2)
TRAINERS = (F32, BF16, TORCH, TORCH_BF16, *with_unit(TORCH_BF16_NO_UNIT))
SERVERS = (F32, BF16, OPENVINO, OPENVINO_BF16, *with_unit(OPENVINO_BF16_NO_UNIT), TORCH, TORCH_BF16)
ON_AVX2 = (F32_AVX2, TORCH_AVX2)

BATCHES = [1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 31, 32, 33, 64, 100, 128, 256]
PEER_BATCHES = {1, 4, 16, 32, 128}


def scaling(task, batch=32, contenders=(F32,), **more):
    return Case("scaling", task, batch, contenders, rounds=1, seconds=1.5, **more)


TASKS = ["train", "infer"]
CASES = [
    Case("ceilings", "infer", 1, CEILINGS, seconds=0.1),
    Case("train", "train", 128, TRAINERS),
    Case("train", "train", 32, TRAINERS),
    *[Case("infer", "infer", batch, SERVERS) for batch in (128, 16, 1)],
    *[Case("models", task, 128, (F32, TORCH), "torchvision") for task in TASKS],
    *[Case("models", task, 128, (F32, TORCH, TORCH_CONTIGUOUS), "paper", 227) for task in TASKS],
    *[Case("sizes", task, 32, (F32, TORCH), image_size=s) for task in TASKS for s in (224, 64, 231)],
    *[Case("avx2", task, batch, ON_AVX2) for task in TASKS for batch in (128, 32)],
    Case(
        "memory", "train", 128, (F32, BF16, TORCH_AS_INSTALLED, TORCH_BF16_AS_INSTALLED),
        rounds=1, seconds=0.1,
    ),
    *[
        scaling(task, batch, (F32, TORCH) if batch in PEER_BATCHES else (F32,))
        for task in TASKS
        for batch in BATCHES
    ],
    # Two threads and the whole width are above.
    *[scaling(task, threads=1) for task in TASKS],
    *[scaling(task, width=width) for task in TASKS for width in (0.25, 0.5, 1.5)],
]  # fmt: skip
PARTS = list(dict.fromkeys(case.part for case in CASES))
