"""Why torch sees no GPU in a container whose host has one, in one line with what to do about it."""

import ctypes
import glob
import os

# cuInit's results, https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html
RESULTS = {
    34: "the CUDA stub library stands in for the driver: take it out of LD_LIBRARY_PATH",
    100: "the driver sees no device: look at `nvidia-smi` on the host, and at CUDA_VISIBLE_DEVICES",
    802: "the system is not ready: on NVSwitch machines start nvidia-fabricmanager on the host",
    803: "the driver's library and its kernel module differ: restart the host, or the driver, after its update",
    804: "the image's libcuda, of a cuda-compat package, does not fit this GPU: take it out of LD_LIBRARY_PATH",
    999: "the driver fails: reload the nvidia_uvm module on the host (`modprobe nvidia_uvm`)",
}


def explain_no_gpu(torch):
    """Return why torch.cuda.is_available() is false here."""
    if not torch.version.cuda:
        return f"torch {torch.__version__} is a CPU build: it cannot use the GPU; build the cell again for a CUDA"
    if os.environ.get("CUDA_VISIBLE_DEVICES", None) in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU: unset it"
    nodes = glob.glob("/dev/nvidia[0-9]*") + glob.glob("/dev/dxg")
    library = load_driver()
    if not nodes and library is None:
        return "the container was started without a GPU: run it with --gpus all"
    if not nodes:
        return "the container has the driver's library but no device: NVIDIA_VISIBLE_DEVICES is empty or void"
    if library is None:
        return "the container has a device but no libcuda.so.1: NVIDIA_DRIVER_CAPABILITIES has to name compute"
    return explain_driver(library.cuInit(0), read_newest(library), torch.version.cuda)


def explain_driver(result, newest, wanted):
    """Return what a driver that starts with a result, and runs CUDA up to `newest` (12020), has against `wanted`."""
    major, minor = (int(part) for part in wanted.split(".")[:2])
    if result in RESULTS:
        return RESULTS[result]
    if newest // 1000 < major:
        told = f"{newest // 1000}.{newest % 1000 // 10}"
        return f"the driver runs CUDA up to {told}, torch needs CUDA {major}.{minor}: update it (`imgbuild doctor`)"
    if result == 0:
        return "the driver starts, and torch sees no GPU all the same: `import torch; torch.cuda.init()` says why"
    return f"the driver answers cuInit with {result}: look for Xid in the host's kernel log"


def load_driver():
    """Return the driver's library, None where there is none."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def read_newest(library):
    """Return the newest CUDA that the driver runs, as 12020 for 12.2."""
    version = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    return version.value
