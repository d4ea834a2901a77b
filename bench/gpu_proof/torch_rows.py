# mypy: ignore-errors
"""What PyTorch takes for the same networks on the same GPU, pixels on the host to answers on the host, batch 1: eager
in FP32 and FP16, torch.compile in FP16, FP16 in a CUDA graph. Needs torch; runs in the GPU machine's own Python.

    python3 torch_rows.py OUT.json [--cpu]

The file is written anew after every row, so that running out of time loses only what was not measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch_networks import NETWORKS, make, pictures

Run = Callable[[], object]


def measure(run: Run, count: int) -> dict[str, float]:
    """p50, p99 and most milliseconds of single runs after a warm-up."""
    for _ in range(max(count // 10, 2)):
        run()
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - start) / 1e6)
    times.sort()
    return {"p50": times[len(times) // 2], "p99": times[int(0.99 * (len(times) - 1))], "max": times[-1]}


def plain(model: torch.nn.Module, host: torch.Tensor, device: str) -> Run:
    """Copy, run, copy back; `.cpu()` waits."""
    return lambda: model(host.to(device, non_blocking=True)).cpu()


def in_graph(model: torch.nn.Module, host: torch.Tensor) -> Run:
    """The copies and the network captured once and replayed."""
    seen = host.cuda()
    answer_host = model(seen).cpu().pin_memory()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            model(seen)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        seen.copy_(host, non_blocking=True)
        answer_host.copy_(model(seen), non_blocking=True)

    def run() -> None:
        graph.replay()
        torch.cuda.current_stream().synchronize()

    return run


def rows(name: str, device: str) -> dict[str, Callable[[], Run]]:
    """What is measured, each made when it is its turn."""
    host = pictures(1, NETWORKS[name])
    if device == "cpu":
        return {"eager fp32": lambda: plain(make(name), host, device)}
    host = host.pin_memory()

    def half() -> torch.nn.Module:
        bundled = make(name).to(device)
        bundled.network.half()
        return bundled

    return {
        "eager fp32": lambda: plain(make(name).to(device), host, device),
        "eager fp16": lambda: plain(half(), host, device),
        "cuda graph fp16": lambda: in_graph(half(), host),
        "compile fp16": lambda: plain(torch.compile(half()), host, device),
    }


def main() -> None:
    out, device = Path(sys.argv[1]), "cpu" if "--cpu" in sys.argv else "cuda"
    measured: dict[str, object] = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "rows": {},
    }
    kept: dict[str, object] = {}
    measured["rows"] = kept
    made = {name: rows(name, device) for name in NETWORKS}
    # All networks eager first, the slow compilations last: what is missing then is missing for all alike.
    for row in next(iter(made.values())):
        for name in NETWORKS:
            try:
                # Not inference_mode: networks are made in here, and torch.compile wants weights made outside of it.
                with torch.no_grad():
                    kept[f"{name}: {row}"] = measure(made[name][row](), 3 if device == "cpu" else 500)
            except Exception as error:  # a row that fails is a result: which, and why
                kept[f"{name}: {row}"] = {"failed": str(error).splitlines()[0][:200]}
            out.write_text(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
