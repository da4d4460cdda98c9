"""In the image, as its default user: torch is the cell's, for its CUDA and the GPUs promised; no GPU is needed."""

import os
import re

from verdict import Failed, Skip, run_checks


def torch(expected):
    """torch imports, has the cell's version, and was built for the cell's CUDA."""
    torch = import_torch(expected)
    found = torch.__version__.partition("+")[0]
    if found != expected["torch"]:
        raise Failed(f"torch is {found}, the lock has {expected['torch']}")
    built = ".".join(torch.version.cuda.split(".")[:2]) if torch.version.cuda else None
    if built != expected["cuda"]:
        built, wanted = (f"CUDA {cuda}" if cuda else "the CPU alone" for cuda in (built, expected["cuda"]))
        raise Failed(f"torch was built for {built}, the cell is for {wanted}")
    total = float((torch.ones(64, 64) @ torch.ones(64, 64)).sum())
    if total != 64.0**3:
        raise Failed(f"a matrix product on the CPU gave {total}")
    return f"{torch.__version__}, CUDA {torch.version.cuda}"


def arches(expected):
    """torch has kernels, or PTX to make them from, for every GPU that is promised."""
    torch = import_torch(expected)
    if not expected["cuda"]:
        raise Skip("this cell is for the CPU")
    if not expected["arches"]:
        raise Skip("no GPU is promised: the definition has no arches, and none are known of this build")
    ask = getattr(torch._C, "_cuda_getArchFlags", None)  # a build for the CPU alone lacks it
    compiled = ((ask and ask()) or "").split()
    missing = [arch for arch in expected["arches"] if not covers(compiled, arch)]
    if missing:
        raise Failed(f"no kernels for {', '.join(missing)}: torch is compiled for {' '.join(compiled) or 'no GPU'}")
    return " ".join(compiled)


def cudnn(expected):
    """torch finds the cuDNN that it was built for, which is that of the lock where the lock has one."""
    torch = import_torch(expected)
    if not expected["cuda"]:
        raise Skip("this cell is for the CPU")
    try:
        found = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    except RuntimeError as error:  # torch refuses one that it was not built for
        raise Failed(str(error)) from error
    if not found:
        raise Failed("torch finds no cuDNN: its libraries are not where torch looks for them")
    told, wanted = ".".join(map(str, split_version(found))), expected["libraries"].get("cudnn")
    if wanted and not f"{wanted}.".startswith(f"{told}."):
        raise Failed(f"torch finds cuDNN {told}, the lock has {wanted}")
    return f"cuDNN {told}"


def split_version(number):
    """Return (major, minor, patch) of 90100, or of 8902 as cuDNN before 9 and NCCL before 2.9 have it.

    CUDNN_VERSION of cudnn_version.h, and NCCL_VERSION of nccl.h.
    """
    major, rest = divmod(number, 10000 if number >= 10000 else 1000)
    return major, rest // 100, rest % 100


def import_torch(expected):
    """Return torch; raise Skip where the image has none."""
    if expected["torch"] is None:
        raise Skip("this image has no torch")
    try:
        import torch
    except (ImportError, OSError) as error:  # libraries of CUDA that are not there
        raise Failed(f"torch cannot be imported: {error}") from error
    return torch


def covers(compiled, arch):
    """Return whether an architecture is served by kernels of its major version, not newer ones, or by older PTX.

    As `has_kernels` of builder/compat.py has it: an `a` (sm_90a) serves that architecture alone, an `f` (sm_100f) its
    major version, PTX or not (https://docs.nvidia.com/cuda/cuda-programming-guide/, compute capabilities).
    """
    major, minor, _ = split_arch(arch)
    for one in compiled:
        found_major, found_minor, feature = split_arch(one)
        same = found_major == major and (found_minor == minor if feature == "a" else found_minor <= minor)
        if same or (not feature and one.startswith("compute_") and found_major < major):
            return True
    return False


def split_arch(arch):
    """Return (major, minor, feature) of `sm_86`, `compute_90` or `sm_90a`."""
    digits, feature = re.search(r"_(\d+)([a-z]?)", arch).groups()
    return int(digits[:-1]), int(digits[-1]), feature


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what GPUs a machine has is not to change what is said of the image
    run_checks([torch, arches, cudnn])
