"""A stand-in for torch on two GPUs, as far as the checks use it; TORCH_FAULT names the one thing that it does wrong.

It computes nothing that a GPU would: a tensor holds one number, the same at every place. What real torch computes on a
CPU is in tests/docker/test_torch.py.
"""

from __future__ import annotations

import contextlib
import math
import os
import weakref
from types import SimpleNamespace as Space
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

FAULT = os.environ.get("TORCH_FAULT", "")
GROWTH = 1.05  # what a kernel that is wrong multiplies its results with
CHOSEN = os.environ.get("CUDA_VISIBLE_DEVICES", "")
NAN = float("nan")
USED = {"allocated": 0, "reserved": 0}  # bytes of the GPU

__version__ = "2.5.1+cu126" if FAULT == "another version" else "2.6.0+cu126"
float16, float32, float64, bfloat16 = "float16", "float32", "float64", "bfloat16"
version = Space(cuda="11.8" if FAULT == "another cuda" else "12.6")
_C = Space(
    _cuda_getArchFlags=lambda: "sm_90" if FAULT == "missing arch" else "sm_80 sm_90",
    _cudnn=Space(getRuntimeVersion=lambda: (9, 1, 0) if FAULT == "another cudnn" else (9, 5, 1)),
)


class Tensor:
    """One number at every place of a shape; on the GPU it takes four bytes for each."""

    def __init__(self, value: float, shape: tuple[int, ...] = (), device: str = "cpu") -> None:
        self.value, self.shape, self.device = value, shape, device
        if device == "cuda":
            _take(4 * self.numel())
            weakref.finalize(self, _give_back, 4 * self.numel())

    def numel(self) -> int:
        return math.prod(self.shape)

    def to(self, device: str, _kind: str = float32) -> Tensor:
        return Tensor(self.value, self.shape, device)

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def _map(self, function: Callable[[float], float]) -> Tensor:
        return Tensor(function(self.value), self.shape, self.device)

    def _join(self, other: Any, function: Callable[[float, float], float]) -> Tensor:
        return self._map(lambda value: function(value, other.value if isinstance(other, Tensor) else other))

    def __matmul__(self, other: Tensor) -> Tensor:
        wrong = GROWTH if (FAULT, self.device) in (("matmul", "cuda"), ("cpu matmul", "cpu")) else 1.0
        wrong = NAN if (FAULT, self.device) == ("matmul not a number", "cuda") else wrong
        return Tensor(
            wrong * self.value * other.value * self.shape[-1], (*self.shape[:-1], other.shape[-1]), self.device
        )

    def __add__(self, other: Any) -> Tensor:
        return self._join(other, lambda left, right: left + right)

    def __sub__(self, other: Any) -> Tensor:
        return self._join(other, lambda left, right: left - right)

    def __mul__(self, other: Any) -> Tensor:
        return self._join(other, lambda left, right: left * right)

    def __truediv__(self, other: Any) -> Tensor:
        return self._join(other, lambda left, right: left / right)

    def __pow__(self, other: Any) -> Tensor:
        return self._join(other, lambda left, right: left**right)

    def __eq__(self, other: object) -> Any:
        return self._join(other, lambda left, right: left == right)

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, _place: Any) -> Tensor:
        return self

    def __float__(self) -> float:
        return float(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def sum(self, dim: int | None = None) -> Tensor:
        return Tensor(self.value * (self.numel() if dim is None else self.shape[dim]))

    def norm(self) -> Tensor:
        return Tensor(abs(self.value) * math.sqrt(self.numel()))

    def sin(self) -> Tensor:
        return self._map(math.sin)

    def cos(self) -> Tensor:
        return self._map(math.cos)

    def tanh(self) -> Tensor:
        return self._map(math.tanh)

    def abs(self) -> Tensor:
        return self._map(abs)

    def same(self) -> Tensor:
        return self

    all = max = double = float = detach = backward = same


def _take(size: int) -> None:
    USED["allocated"] += 0 if FAULT == "memory not counted" else size
    USED["reserved"] = max(USED.values())


def _give_back(size: int) -> None:
    USED["allocated"] -= 0 if FAULT == "memory not freed" else size


def _empty_cache() -> None:
    if FAULT != "memory still reserved":
        USED["reserved"] = USED["allocated"]


def full(shape: tuple[int, ...], value: float, device: str = "cpu") -> Tensor:
    return Tensor(value, shape, device)


def ones(*shape: int, device: str = "cpu") -> Tensor:
    return Tensor(1.0, shape, device)


def randn(*shape: int, device: str = "cpu", **_: object) -> Tensor:
    return Tensor(0.5, shape, device)


def manual_seed(_seed: int) -> None:
    pass


class Generator:
    def manual_seed(self, _seed: int) -> Generator:
        return self


class Adam:
    """An optimizer of a network whose loss is 1 divided by the steps that were made."""

    steps = 0

    def __init__(self, *_: object, lr: float) -> None:
        self.lr = lr

    def zero_grad(self) -> None:
        pass

    def step(self) -> None:
        Adam.steps += 0 if FAULT == "training" else 1


class Layer:
    """A network or a part of one: what goes in comes out."""

    def __init__(self, *_: object) -> None:
        pass

    def __call__(self, inputs: Tensor) -> Tensor:
        return inputs

    def to(self, _place: str) -> Layer:
        return self

    def parameters(self) -> tuple[Tensor, ...]:
        return ()


class GradScaler:
    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def scale(self, loss: Tensor) -> Tensor:
        return loss

    def step(self, optimizer: Adam) -> None:
        optimizer.step()

    def update(self) -> None:
        pass


def autocast(_place: str, dtype: str) -> contextlib.AbstractContextManager[str]:
    return contextlib.nullcontext(dtype)


def _conv2d(images: Tensor, weights: Tensor) -> Tensor:
    wrong = GROWTH if (FAULT, images.device) == ("convolution", "cuda") else 1.0
    return Tensor(wrong * images.value * weights.value, images.shape, images.device)


def _mse_loss(*_: Tensor) -> Tensor:
    return Tensor(NAN if FAULT == "loss not finite" and Adam.steps else 1 / (1 + Adam.steps))


def compile(function: Callable[..., Tensor]) -> Callable[..., Tensor]:  # noqa: A001 (torch calls it so)
    if FAULT == "newer python":
        raise RuntimeError("torch.compile is not supported on Python 3.14+")
    return lambda *arguments: function(*arguments) * (GROWTH if FAULT == "compiled" else 1.0)


amp = Space() if FAULT == "torch of 2.2" else Space(GradScaler=GradScaler)
nn = Space(Linear=Layer, Tanh=Layer, Sequential=Layer, functional=Space(conv2d=_conv2d, mse_loss=_mse_loss))
optim = Space(Adam=Adam)
backends = Space(
    cuda=Space(matmul=Space(allow_tf32=False)),
    cudnn=Space(
        allow_tf32=True,
        is_available=lambda: FAULT != "no cudnn",
        version=lambda: 90100 if FAULT == "another cudnn" else 90501,
    ),
)


class DeferredCudaCallError(Exception):
    """What torch.cuda raises of a call that was put off until CUDA starts: no RuntimeError."""


def _init() -> None:
    if FAULT == "one of two" and CHOSEN != "0":
        raise DeferredCudaCallError("device >= 0 && device < num_gpus INTERNAL ASSERT FAILED\n\nmany more lines")
    if FAULT == "busy":
        raise RuntimeError("CUDA-capable device(s) is/are busy or unavailable")


def _get_properties(number: int) -> Space:
    """Return those of an A10, and of a display's card that is first, or beside it, where FAULT says so."""
    if ("display first", "display beside")[number] == FAULT:
        return Space(major=3, minor=0, name="K620", total_memory=2 << 30)
    return Space(major=8, minor=6, name="A10", total_memory=24 << 30)


USING: list[int] = []

cuda = Space(
    amp=Space(GradScaler=GradScaler),
    device_count=lambda: 1 if CHOSEN else 2,
    empty_cache=_empty_cache,
    get_arch_list=lambda: ["sm_90"] if FAULT == "missing arch" else ["sm_80", "sm_90"],
    get_device_capability=lambda: (8, 6),
    get_device_properties=_get_properties,
    init=_init,
    is_available=lambda: FAULT != "no gpu",
    mem_get_info=lambda: (20 << 30, 24 << 30),
    memory_allocated=lambda: USED["allocated"],
    memory_reserved=lambda: USED["reserved"],
    nccl=Space(version=lambda: (2, 21, 5)),
    set_device=USING.append,
    synchronize=lambda: None,
)
