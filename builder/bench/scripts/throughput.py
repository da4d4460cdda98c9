"""In an image: how many samples, products and training steps a second, each measured several times. Needs torch only.

It prints one JSON line for what it runs on, and one for each figure: its name, its unit, and every repeat.
"""

import itertools
import json
import os
import sys
import time
import zlib

STORED = 256  # the side of a stored picture, in pixels
CROPPED = 224  # the side of what a network is given
MATRIX = {"cpu": 1024, "cuda": 4096}
MULTIPLYING = 0.2  # seconds at least: a GPU takes some hundredths until its clock is up


def main():
    """Print the figures that the options ask for."""
    try:
        import torch
    except ImportError as error:
        sys.exit(f"this image cannot import torch: {error}")
    options = json.loads(sys.argv[1])
    place = "cuda" if torch.cuda.is_available() else "cpu"
    tell({"machine": describe(torch, place)})
    for name, unit, measure in list_figures(torch, place, options):
        measure()  # a first time, to warm up
        tell({"figure": name, "unit": unit, "repeats": [measure() for _ in range(options["repeats"])]})


def tell(line):
    """Print one JSON line at once."""
    print(json.dumps(line), flush=True)


def describe(torch, place):
    """Return what the figures depend on: another machine's cannot be compared."""
    gpu = torch.cuda.get_device_name(0) if place == "cuda" else None
    return {"cores": len(os.sched_getaffinity(0)), "cpu": read_cpu(), "gpu": gpu, "torch": torch.__version__}


def read_cpu():
    """Return the model of the processor."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")


def list_figures(torch, place, options):
    """Yield the name, the unit and the measurement of each figure."""
    pins = [False, True] if place == "cuda" else [False]
    for batch, workers, pin in itertools.product(options["batch-sizes"], options["workers"], pins):
        for prefetch in options["prefetch"] if workers else [None]:
            name = f"loader batch={batch} workers={workers} pin={int(pin)} prefetch={prefetch or 0}"
            arguments = (torch, place, options["samples"], batch, workers, pin, prefetch)
            yield name, "samples/s", lambda arguments=arguments: load(*arguments)
    for kind in list_kinds(torch, place):
        yield f"matmul {kind}", "GFLOP/s", lambda kind=kind: multiply(torch, place, getattr(torch, kind))
    for amp in (False, True):
        name = f"train {'amp' if amp else 'float32'}"
        yield name, "steps/s", lambda amp=amp: train(torch, place, options["steps"], amp)


def list_kinds(torch, place):
    """Return the types that products are measured in: GPUs have bfloat16 since capability 8.0."""
    if place == "cpu":
        return ["float32", "bfloat16"]
    return ["float32", "float16"] + (["bfloat16"] if torch.cuda.get_device_capability() >= (8, 0) else [])


class Pictures:
    """A data set of compressed pictures, each decompressed, cropped, flipped and normalized as training does it."""

    def __init__(self, torch, samples):
        """Keep a few pictures compressed; there are as many samples as asked for."""
        self.torch = torch
        self.samples = samples
        ramp = torch.arange(3 * STORED * STORED) // 97
        noise = torch.randint(0, 24, (8, len(ramp)))
        self.stored = [zlib.compress(bytes(((ramp + it) % 256).tolist()), 1) for it in noise]

    def __len__(self):
        """Return how many samples there are."""
        return self.samples

    def __getitem__(self, index):
        """Return one picture, float32, three channels of CROPPED by CROPPED."""
        raw = bytearray(zlib.decompress(self.stored[index % len(self.stored)]))
        picture = self.torch.frombuffer(raw, dtype=self.torch.uint8).view(3, STORED, STORED)
        top, left = (index * step % (STORED - CROPPED) for step in (7, 11))
        picture = picture[:, top : top + CROPPED, left : left + CROPPED].float().div(255).sub(0.5).div(0.25)
        return picture.flip(-1) if index % 2 else picture


def load(torch, place, samples, batch, workers, pin, prefetch):
    """Return the samples a second of a DataLoader over compressed pictures.

    Workers are forked, whatever this Python's own way to start them: that of 3.14 imports torch in each of them anew.
    """
    more = {"prefetch_factor": prefetch, "multiprocessing_context": "fork"} if workers else {}
    loader = torch.utils.data.DataLoader(
        Pictures(torch, samples), batch_size=batch, num_workers=workers, pin_memory=pin, **more
    )
    began = time.perf_counter()
    seen = sum(len(pictures.to(place, non_blocking=pin)) for pictures in loader)
    synchronize(torch, place)
    return seen / (time.perf_counter() - began)


def multiply(torch, place, kind):
    """Return the GFLOP/s of a square matrix product."""
    size = MATRIX[place]
    left, right = (torch.randn(size, size, device=place).to(kind) for _ in range(2))
    synchronize(torch, place)
    rounds, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < MULTIPLYING:
        for _ in range(10):
            left @ right
        synchronize(torch, place)
        rounds += 10
    return 2 * size**3 * rounds / spent / 1e9


def train(torch, place, steps, amp):
    """Return the training steps a second of a small convolutional network, with or without autocast."""
    nn = torch.nn
    layers = (nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 10)).to(place)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    module = torch.amp if hasattr(torch.amp, "GradScaler") else torch.cuda.amp  # torch.cuda's is deprecated since 2.4
    scaler = module.GradScaler(enabled=amp and place == "cuda")
    pictures = torch.randn(32, 3, 64, 64, device=place)
    labels = torch.randint(0, 10, (32,), device=place)
    kind = torch.float16 if place == "cuda" else torch.bfloat16
    synchronize(torch, place)
    began = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast(place, dtype=kind, enabled=amp):
            loss = nn.functional.cross_entropy(model(pictures), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    synchronize(torch, place)
    return steps / (time.perf_counter() - began)


def synchronize(torch, place):
    """Wait until a GPU has done what it was given."""
    if place == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
