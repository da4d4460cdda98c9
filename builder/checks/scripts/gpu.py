"""In the image, on a GPU: torch sees it, computes right on it in every precision, and trains; skipped without one."""

import contextlib
import importlib.util
import math
import os
import re
import shutil
import sys
import tempfile

from diagnosis import explain_no_gpu
from together import run_together
from torch_build import covers, import_torch, split_version
from verdict import Failed, Skip, run_checks

SIZE = 512
SEED = 20260101

# The largest relative error of a sum of SIZE products against float64: rounding of the inputs, of each product in
# tf32 (10 bits of mantissa), and of the result; Winograd's convolutions lose most, 3.4e-3 in tf32. Above what any
# algorithm gives, far below what a wrong kernel gives.
BOUNDS = {"float32": 1e-5, "tf32": 5e-3, "float16": 5e-3, "bfloat16": 3e-2}

NCCL = """
import sys, torch, torch.distributed as dist
rank = int(sys.argv[1])
torch.cuda.set_device(int(sys.argv[2]))
dist.init_process_group("nccl", init_method="file://" + sys.argv[3], rank=rank, world_size=2)
total = torch.full((1024,), float(rank + 1), device="cuda")
dist.all_reduce(total)
if not bool((total == 3.0).all()):
    sys.exit("the sum of 1 and 2 is " + str(total[0]))
dist.destroy_process_group()
"""


def device(expected):
    """torch sees a GPU that it has kernels for; one beside it, which drives the display, may have none."""
    torch = require_gpu(expected)
    served = list_served(torch)
    found = []
    for index in range(torch.cuda.device_count()):
        traits = torch.cuda.get_device_properties(index)
        told = f"{traits.name}, capability {traits.major}.{traits.minor}"
        found.append(f"{told}, {traits.total_memory / 2**30:.0f} GiB" if index in served else f"no kernels for {told}")
    if not served:
        known = f"torch is compiled for {' '.join(torch.cuda.get_arch_list())}"
        raise Failed(f"{'; '.join(found)}: {known}; choose a cell whose CUDA knows this GPU")
    return f"driver {read_driver()}; " + "; ".join(found)


def list_served(torch):
    """Return the numbers of the GPUs that torch has kernels for."""
    compiled, every = torch.cuda.get_arch_list(), range(torch.cuda.device_count())
    traits = map(torch.cuda.get_device_properties, every)
    return [index for index, it in zip(every, traits) if covers(compiled, f"sm_{it.major}{it.minor}")]  # noqa: B905


def read_driver():
    """Return the version of the driver, and of the newest CUDA that it runs."""
    import ctypes

    version = ctypes.c_int()
    ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    newest = f"up to CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    with contextlib.suppress(OSError, StopIteration):
        with open("/proc/driver/nvidia/version", encoding="utf-8") as file:
            words = file.readline().split()
        return f"{next(word for word in words if word[0].isdigit())}, {newest}"
    return newest


def memory(expected):
    """What is allocated is counted, and what is freed comes back."""
    torch = require_gpu(expected)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    held = torch.ones(64, 2**20, device="cuda")
    allocated, reserved = torch.cuda.memory_allocated() - before, torch.cuda.memory_reserved()
    if allocated < held.numel() * 4 or reserved < allocated:
        raise Failed(f"{allocated} bytes allocated and {reserved} reserved for a tensor of {held.numel() * 4}")
    del held
    freed = before + allocated - torch.cuda.memory_allocated()
    torch.cuda.empty_cache()
    if freed != allocated or torch.cuda.memory_reserved() >= reserved:
        raise Failed(f"{freed} of {allocated} bytes came back; {torch.cuda.memory_reserved()} are still reserved")
    free, total = torch.cuda.mem_get_info()
    return f"{allocated / 2**20:.0f} MiB allocated and freed; {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def matmul(expected):
    """Matrix products agree with float64 on the CPU, in every precision of this GPU."""
    torch = require_gpu(expected)
    generator = torch.Generator().manual_seed(SEED)
    left, right = (torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64) for _ in range(2))
    return compare(torch, lambda first, second: first @ second, (left, right))


def convolution(expected):
    """Convolutions agree with float64 on the CPU, in every precision of this GPU."""
    torch = require_gpu(expected)
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(8, 16, 32, 32, generator=generator, dtype=torch.float64)
    weights = torch.randn(32, 16, 3, 3, generator=generator, dtype=torch.float64)
    return compare(torch, torch.nn.functional.conv2d, (images, weights))


def compare(torch, operation, arguments, place="cuda"):
    """Return the relative errors of an operation by precision; raise Failed where one is above its bound."""
    exact = operation(*arguments)
    errors = {}
    for name in list_precisions(torch, place):
        kind = torch.float32 if name == "tf32" else getattr(torch, name)
        with allow_tf32(torch, name == "tf32"):
            found = operation(*(argument.to(place, kind) for argument in arguments)).cpu().double()
        errors[name] = float((found - exact).norm() / exact.norm())
    wrong = [name for name, error in errors.items() if not error <= BOUNDS[name]]
    told = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    if wrong:
        raise Failed(f"relative error against float64: {told}; too much for {', '.join(wrong)}")
    return f"relative error against float64: {told}"


def list_precisions(torch, place):
    """Return the precisions that a GPU has: bfloat16 and tf32 came with capability 8.0."""
    if place == "cuda" and torch.cuda.get_device_capability()[0] < 8:
        return ["float32", "float16"]
    return list(BOUNDS)


@contextlib.contextmanager
def allow_tf32(torch, allowed):
    """Let float32 be rounded to tf32 in products and convolutions, or not."""
    kinds = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [kind.allow_tf32 for kind in kinds]
    for kind in kinds:
        kind.allow_tf32 = allowed
    try:
        yield
    finally:
        for kind, value in zip(kinds, before):  # noqa: B905 (strict came with Python 3.10)
            kind.allow_tf32 = value


def libraries(expected):
    """cuDNN and NCCL, as this process has loaded them, are those of the lock, where the lock has them."""
    torch = require_gpu(expected)
    if not torch.backends.cudnn.is_available():
        raise Failed("torch finds no cuDNN")
    nccl = read_nccl()
    # torch.backends.cudnn.version() refuses to answer where any GPU, also one that is not used, is too old for it.
    found = {"cudnn": torch._C._cudnn.getRuntimeVersion(), "nccl": nccl or torch.cuda.nccl.version()}
    told = {name: ".".join(map(str, version)) for name, version in found.items()}
    compared = ("cudnn", "nccl") if nccl else ("cudnn",)  # an NCCL that is part of torch is not that of the lock
    faults = [
        f"{name} is {told[name]}, the lock has {wanted}"
        for name, wanted in expected["libraries"].items()
        if name in compared and not f"{wanted}.".startswith(f"{told[name]}.")
    ]
    if faults:
        raise Failed("; ".join(faults))
    return f"CUDA {torch.version.cuda}, cuDNN {told['cudnn']}, NCCL {told['nccl']}"


def read_nccl():
    """Return the version of the NCCL library that torch has loaded, None where NCCL is part of torch."""
    import ctypes

    version = ctypes.c_int()
    try:
        ctypes.CDLL("libnccl.so.2", mode=os.RTLD_NOLOAD).ncclGetVersion(ctypes.byref(version))
    except OSError:
        return None
    return split_version(version.value)


def training(expected):
    """A small network learns with autocast and a gradient scaler."""
    torch = require_gpu(expected)
    first, last = train(torch, "cuda", torch.float16)
    return f"loss {first:.3f} → {last:.4f}"


def train(torch, place, kind):
    """Return the first and the last loss of a network that learns a product; raise Failed unless it converges."""
    torch.manual_seed(SEED)
    inputs = torch.randn(1024, 8, device=place)
    wanted = (inputs[:, :1] * inputs[:, 1:2]).tanh()
    layers = (torch.nn.Linear(8, 128), torch.nn.Tanh(), torch.nn.Linear(128, 1))
    model = torch.nn.Sequential(*layers).to(place)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    module = torch.amp if hasattr(torch.amp, "GradScaler") else torch.cuda.amp  # torch.cuda's is deprecated since 2.4
    scaler = module.GradScaler(enabled=place == "cuda")
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        with torch.autocast(place, dtype=kind):
            loss = torch.nn.functional.mse_loss(model(inputs).float(), wanted)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(float(loss.detach()))
    if not math.isfinite(losses[-1]) or losses[-1] > 0.2 * losses[0]:
        raise Failed(f"the loss went from {losses[0]:.4f} to {losses[-1]:.4f} in {len(losses)} steps")
    return losses[0], losses[-1]


def compiled(expected):
    """torch.compile makes a kernel that computes the same."""
    torch = require_gpu(expected)
    if not hasattr(torch, "compile"):
        raise Skip(f"torch {torch.__version__} has no torch.compile")
    if importlib.util.find_spec("triton") is None:
        raise Skip("this image has no triton")
    try:
        import triton
    except ImportError as error:
        raise Failed(f"triton cannot be imported: {error}") from error
    if not any(map(shutil.which, [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"])):
        # It compiles what starts each kernel: triton-lang/triton, python/triton/runtime/build.py.
        raise Skip("triton has no C compiler here: for torch.compile, list gcc and libc6-dev under apt")
    if torch.cuda.get_device_capability()[0] < 7:
        raise Skip("triton needs a GPU of capability 7.0")

    def curve(values):
        return (values.sin() ** 2 + values.cos() ** 2 * values).sum(dim=-1)

    values = torch.randn(256, 256, device="cuda")
    try:
        made = torch.compile(curve)(values)
    except RuntimeError as error:
        if re.search(r"Python 3\.\d+\+ not yet supported|not supported on Python 3", str(error)):
            raise Skip(f"torch {torch.__version__} has no torch.compile for this Python: {error}") from error
        raise
    error = float((made - curve(values)).abs().max())
    if not error < 1e-3:
        raise Failed(f"what torch.compile made differs by {error:.1e}")
    return f"triton {triton.__version__}"


def two_gpus(expected):
    """Two processes on two GPUs reach each other through NCCL."""
    torch = require_gpu(expected)
    served = list_served(torch)
    if len(served) < 2:
        raise Skip("one GPU")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-E", "-B", "-c", NCCL]
        try:
            run_together([[*command, str(rank), str(served[rank]), f"{folder}/meet"] for rank in range(2)], folder)
        except Failed as error:
            raise Failed(f"{error}{advise_nccl(read_nccl())}") from error
    return "all-reduce of two processes"


def advise_nccl(version):
    """Return what to do about an NCCL that takes for granted what Docker forbids: memory of the host by cuMem.

    From 2.26.3 on it tries whether that works (NVIDIA/nccl, src/misc/cudawrap.cc). GPUs with NVLink don't need it.
    """
    if version is None or not (2, 24) <= version < (2, 26, 3):
        return ""
    told = ".".join(map(str, version))
    return f"; NCCL {told} in a container may need NCCL_CUMEM_HOST_ENABLE=0, under env: in the image's definition"


def require_gpu(expected):
    """Return torch; raise Skip where there is no GPU to use, and Failed where there is one that torch cannot use."""
    if expected["torch"] is None:
        raise Skip("this image has no torch")
    if not expected["cuda"]:
        raise Skip("this cell is for the CPU")
    if expected["gpu"] == "none":
        raise Skip(expected["no-gpu"])
    if expected["gpu"] == "out of reach":
        raise Failed(expected["no-gpu"])
    torch = import_torch(expected)
    if not torch.cuda.is_available():
        raise Failed(explain_no_gpu(torch))
    try:
        torch.cuda.init()
        torch.cuda.set_device(next(iter(list_served(torch)), 0))
    except Exception as error:
        if "num_gpus" in str(error) and "CUDA_VISIBLE_DEVICES" not in os.environ:
            # NVML counts GPUs in MIG mode of which CUDA then gives one alone, and torch believes NVML unless it is
            # told which to use: https://github.com/pytorch/pytorch/issues/131667. So this begins anew with the first.
            os.environ["CUDA_VISIBLE_DEVICES"] = "0"
            os.execv(sys.executable, [sys.executable, "-E", "-B", *sys.argv])  # noqa: S606
        raise Failed(f"torch sees a GPU and cannot start CUDA: {str(error).splitlines()[0]}") from error
    return torch


if __name__ == "__main__":
    run_checks([device, memory, matmul, convolution, libraries, training, compiled, two_gpus])
