"""GPU report: what the stages of the proof found, in tables with the targets beside them.

python -m scopeline_bench.gpu_report STATE OUT [--rehearse]     writes OUT/<date>-<commit>-gpu/gpu.json and gpu.md
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from scopeline_bench.gpu_state_folder import StateFolder
from scopeline_bench.report import Rows


def tables(found: Mapping[str, Any]) -> list[Rows]:
    """Every table for which something was found."""
    made = [
        _parity(found.get("plans", {})),
        _latency(found.get("latency", {})),
        _raw(found.get("raw", {}), found.get("latency", {})),
        _streams(found.get("streams", {})),
        _preprocess(found.get("preprocess", {})),
        _decode(found.get("decode", {})),
        _switch(found.get("switch", {})),
        _torch(found.get("torch", {})),
    ]
    return [table for table in made if table.rows]


def _parity(plans: Mapping[str, Any]) -> Rows:
    rows = []
    for name, plan in plans.items():
        if not isinstance(plan, dict):
            continue
        if "failed" in plan:
            rows.append((name, "-", "-", str(plan["failed"])[:120], "-", "-", "-"))
            continue
        verdict = plan["verdict"]
        failed = [
            f"{row['head']} {row['check']} {row['figure']:.4g}"
            for row in verdict["rows"]
            if not row["passed"]
        ]
        worst = max((row["figure"] for row in verdict["rows"] if row["check"] == "max_difference"), default=0)
        rows.append(
            (
                name,
                str(verdict["frames"]),
                f"{worst:.4f}",
                ", ".join(failed) or "none",
                f"{100 * plan['weights_in_half']:.1f} %",
                ", ".join(plan["key"]["fp32"]) or "-",
                f"{plan['build_s']:.1f}" if "build_s" in plan else "-",
            )
        )
    columns = (
        "bundle",
        "frames",
        "largest difference",
        "rows that failed",
        "weights in FP16",
        "kept in FP32",
        "build s",
    )
    return Rows(title="Parity with FP32 (the broken one must fail)", columns=columns, rows=tuple(rows))


def _latency(latency: Mapping[str, Any]) -> Rows:
    rows = []
    for name, run in latency.items():
        if isinstance(run, dict) and "capture_to_publish" in run:
            whole, models, rest = run["capture_to_publish"], run["models"], run["overhead"]
            rows.append(
                (
                    name,
                    str(run["heads"]),
                    f"{run['fps']:.0f}",
                    _three(whole),
                    _three(models),
                    _three(rest),
                    f"{sum(run['lost'].values())} of {run['published'] + sum(run['lost'].values())}",
                )
            )
    columns = ("set", "heads", "fps", "capture to publish", "models", "overhead", "lost")
    title = "1080p, ms p50 / p99 / max (targets: 5 / 8 in all, overhead p99 2)"
    return Rows(title=title, columns=columns, rows=tuple(rows))


def _raw(raw: Mapping[str, Any], latency: Mapping[str, Any]) -> Rows:
    """The engine's own time for the models beside the raw loop of the same plans."""
    rows = []
    for name, loops in raw.items():
        if not isinstance(loops, dict):
            continue
        for how, figures in loops.items():
            warm = ", kept warm" if "warm" in how else ""
            run = latency.get(f"{name}{warm}")
            if not isinstance(figures, dict):
                rows.append((name, how, str(figures), "-", "-"))
                continue
            ours = run["models"]["p50"] if isinstance(run, dict) else None
            ratio = f"{ours / figures['p50']:.2f}" if ours else "-"
            rows.append((name, how, _three(figures), f"{ours:.3f}" if ours else "-", ratio))
    columns = ("set", "raw loop", "ms p50 / p99 / max", "engine's models p50", "ratio (target 1.15)")
    return Rows(title="Models' time against a raw loop of the same plans", columns=columns, rows=tuple(rows))


def _streams(streams: Mapping[str, Any]) -> Rows:
    rows = []
    for count, run in streams.items():
        if isinstance(run, dict) and "feeds" in run:
            lost = sum(sum(feed["lost"].values()) for feed in run["feeds"])
            medians = [feed["capture_to_publish"]["p50"] for feed in run["feeds"]]
            rows.append((count, f"{max(medians):.2f}", f"{run['worst p99']:.2f}", str(lost)))
    columns = ("feeds", "worst p50 ms", "worst p99 ms (target 33)", "lost")
    return Rows(title="1080p30 feeds on one GPU", columns=columns, rows=tuple(rows))


def _preprocess(preprocess: Mapping[str, Any]) -> Rows:
    """Views made on the CPU and on the GPU; `preprocess = true` is for machines where the GPU won."""
    rows = []
    for name, run in preprocess.items():
        if isinstance(run, dict) and "won" in run:
            apart = ", ".join(f"{size}: {level:.2f}" for size, level in run["grey_levels"].items())
            for way in ("cpu", "gpu"):
                views = "; ".join(f"{size}: {_three(each)}" for size, each in run[f"{way}_resize"].items())
                said = run["won"] + (f" ({run['told'][0]})" if run["told"] else "")
                rows.append((name, way, _three(run[way]["capture_to_publish"]), views, apart, said))
    columns = ("set", "views by", "capture to publish", "one view", "grey levels apart (target 1)", "won")
    return Rows(title="Preprocessing at 1080p60, ms p50 / p99 / max", columns=columns, rows=tuple(rows))


def _decode(decode: Mapping[str, Any]) -> Rows:
    rows = []
    for name, run in decode.items():
        if isinstance(run, dict) and "nvdec" in run:
            same = "same" if run["cpu"]["pictures"] == run["nvdec"]["pictures"] else "DIFFERENT"
            for way in ("cpu", "nvdec"):
                each = run[way]
                alone, whole = each["frames"] / each["decode_s"], each["frames"] / each["run_s"]
                cpu_ms = 1e3 * each["run_cpu_s"] / max(each["frames"], 1)
                said = ", ".join(each["told"]) or same
                rows.append((name, way, f"{alone:.0f}", f"{whole:.0f}", f"{cpu_ms:.2f}", said))
    columns = (
        "encoder",
        "decoded by",
        "decoding frames/s",
        "run in bulk frames/s",
        "CPU ms a frame",
        "pictures",
    )
    return Rows(title="1080p recordings in bulk, one decoding thread", columns=columns, rows=tuple(rows))


def _switch(switch: Mapping[str, Any]) -> Rows:
    rows = []
    for name, run in switch.items():
        if isinstance(run, dict) and "by_runtime" in run:
            said = ", ".join(f"{runtime} {count}" for runtime, count in run["by_runtime"].items())
            at_s = "-" if run["first_gpu_s"] is None else f"{run['first_gpu_s']:.1f}"
            lost = sum(run["lost"].values())
            rows.append((name, said, at_s, str(lost), _ms(run["worst_ms_around"]), _ms(run["worst_ms_else"])))
    columns = ("bundle", "frames judged by", "GPU from s", "lost", "slowest within 1 s of it", "slowest else")
    return Rows(title="Background build and change during a live run", columns=columns, rows=tuple(rows))


def _torch(torch: Mapping[str, Any]) -> Rows:
    rows = []
    for name, figures in torch.get("rows", {}).items():
        rows.append((name, figures.get("failed") or _three(figures)))
    title = f"PyTorch {torch.get('torch', '')}, host to host, batch 1"
    return Rows(title=title, columns=("network: how", "ms p50 / p99 / max"), rows=tuple(rows))


def _three(figures: Mapping[str, float | None]) -> str:
    return " / ".join(_ms(figures[key]) for key in ("p50", "p99", "max"))


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main() -> None:
    """Write both files."""
    state, out = StateFolder(Path(sys.argv[1])), Path(sys.argv[2])
    rehearsal = "--rehearse" in sys.argv
    commit = os.environ.get("SCOPELINE_PROOF_COMMIT", "unknown")
    date = datetime.now(UTC)
    place = out / f"{date:%Y-%m-%d}-{commit}-gpu{'-rehearsal' if rehearsal else ''}"
    place.mkdir(parents=True, exist_ok=True)
    found = state.found()
    texts = {name: _text(state.root / name) for name in ("env.txt", "tests.txt")}
    content = {"date": f"{date:%Y-%m-%dT%H:%M:%SZ}", "commit": commit, "rehearsal": rehearsal}
    encoded = msgspec.json.encode(content | texts | {"found": found})
    (place / "gpu.json").write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")
    note = "**A rehearsal without a GPU: the figures are of ONNX Runtime on a CPU.**\n\n" if rehearsal else ""
    parts = [table.markdown() for table in tables(found)]
    environment = f"```\n{texts['env.txt'].strip()}\n```"
    (place / "gpu.md").write_text(f"# gpu\n\n{note}{environment}\n\n" + "\n\n".join(parts) + "\n", "utf-8")
    print(f"wrote {place}")


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.is_file() else ""


if __name__ == "__main__":
    main()
