"""`scopeline bench compare`: Scopeline beside its peers, on one machine, in one hour, in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import Progress

from scopeline.bundle import load_bundle
from scopeline.errors import SourceError
from scopeline_bench.clip import FULL_HD, cache_folder
from scopeline_bench.contenders import Job, bare_decode, bare_inference, bare_resize, find_box, scopeline
from scopeline_bench.live_run import WARM_UP_S, LivePlan, measure_live
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.networks import float_twin
from scopeline_bench.own_process import measured
from scopeline_bench.peer_order import Order
from scopeline_bench.peers import (
    NEWEST,
    PEERS,
    ROBOFLOW,
    Peer,
    PeerLive,
    python_of,
    run_live,
    run_recording,
    version_of,
)
from scopeline_bench.report import Rows, Spread, describe, publish, spread
from scopeline_bench.spent import Spent
from scopeline_bench.stage import bundle_folder, drawn_clip, progress_bar

OURS: Final = "Scopeline"
FLOOR: Final = "floor"
AGAINST_NEWEST, AGAINST_ROBOFLOW, AGAINST_CHEAPEST, AGAINST_FLOOR = 1.0, 0.7, 0.8, 1.1
_CUT: Final = 4
_PIPELINE, _BUNDLE = "colonoscopy", "colon"


class ComparePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    rounds: int
    seconds: float
    fps: int
    frames: int


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One ratio that is wanted."""

    what: str
    limit: float
    found: Spread

    @property
    def is_reached(self) -> bool:
        return self.found.median <= self.limit


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured, by name and round."""

    plan: ComparePlan
    recording: dict[str, list[Spent]]
    live: dict[str, list[PeerLive]]
    versions: dict[str, str]
    missing: dict[str, str]
    """Peers that could not be run, with why."""
    wrong: dict[str, str]
    """Peers that did not judge every picture of the recording once and in order."""
    unaccounted: int
    """Frames of Scopeline's own live runs for which nobody answers."""
    loads: list[float]

    def cpu(self, name: str) -> list[float]:
        return [spent.cpu_s_per_1000 for spent in self.recording[name]]

    def p99(self, name: str) -> list[float]:
        return [run.made_to_received.p99 for run in self.live[name]]

    @property
    def cheapest(self) -> str | None:
        """The peer that took the least processor time for a recording, by its median."""
        peers = [name for name in self.recording if name not in (OURS, FLOOR) and name not in self.wrong]
        return min(peers, key=lambda name: spread(self.cpu(name)).median, default=None)

    def targets(self) -> list[Target]:
        """What is wanted and what was found, each round with itself."""
        found = []
        if self.live.get(OURS):
            for peer, limit in ((NEWEST, AGAINST_NEWEST), (ROBOFLOW, AGAINST_ROBOFLOW)):
                if self.live.get(peer):
                    ratio = ratios(self.p99(OURS), self.p99(peer))
                    found.append(Target(what=f"live, p99 age / {peer}", limit=limit, found=ratio))
        if self.recording.get(OURS):
            if self.cheapest is not None:
                ratio = ratios(self.cpu(OURS), self.cpu(self.cheapest))
                what = f"recording, processor time / {self.cheapest}, the cheapest peer"
                found.append(Target(what=what, limit=AGAINST_CHEAPEST, found=ratio))
            ratio = ratios(self.cpu(OURS), self.cpu(FLOOR))
            found.append(Target(what="recording, processor time / floor", limit=AGAINST_FLOOR, found=ratio))
        return found


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Each round with itself; a round that only one of them finished is left out."""
    return spread([a / b for a, b in zip(ours, theirs, strict=False)])


def main(plan: ComparePlan, environments: Path | None, *, out: Path | None) -> bool:
    """Measure, print, save; whether every target was reached and every frame accounted for."""
    console, machine = Console(), this_machine()
    with progress_bar(console) as progress:
        compared = Comparison(plan, environments, progress).measure(progress)
    tables = [live_table(compared), recording_table(compared), target_table(compared)]
    publish("compare", console, out, machine, tables, _notes(compared, machine), compared)
    return all(target.is_reached for target in compared.targets()) and not compared.unaccounted


class Comparison:
    """Scopeline and every peer that is installed, live and over a recording, once per round and in turn.

    Args:
        plan: How much is measured.
        environments: Folder that `bench/peers/make.py` filled; without one only what needs none is run.
        progress: For the time that the clip is drawn.
    """

    def __init__(self, plan: ComparePlan, environments: Path | None, progress: Progress) -> None:
        card = replace(FULL_HD, frames=plan.frames, fps=30, mbit_s=8.0, is_numbered=True)
        clip, bundle = drawn_clip(card, progress), bundle_folder(_BUNDLE)
        self._plan, self._loop = plan, card.loop
        box = measured(find_box, str(clip), str(bundle))
        self._job = Job(clip=str(clip), bundle=str(bundle), box=box)
        network = load_bundle(bundle).onnx_path
        self._order = Order(
            live=False,
            source=str(clip),
            size_px=(card.width_px, card.height_px),
            fps=plan.fps,
            network=str(network),
            floats=str(float_twin(network, cache_folder() / "twins").path),
            box=box,
        )
        self._recording: dict[str, list[Spent]] = {}
        self._live: dict[str, list[PeerLive]] = {}
        self._missing: dict[str, str] = {}
        self._wrong: dict[str, str] = {}
        self._versions = {OURS: this_machine().versions["scopeline"]}
        self._unaccounted = 0
        self._pythons: dict[str, Path] = {}
        for peer in PEERS:
            python = python_of(environments, peer.environment)
            if python is None:
                self._missing[peer.name] = (
                    f"not installed (python bench/peers/make.py FOLDER {peer.environment})"
                )
            else:
                self._pythons[peer.name] = python
                self._versions[peer.name] = f"{peer.package} {version_of(python, peer.package)}"

    def measure(self, progress: Progress) -> Compared:
        """All rounds."""
        works, loads = self._works(), []
        task = progress.add_task("comparing", total=self._plan.rounds * len(works))
        for turn in range(self._plan.rounds):
            start = turn * 3 % len(works)
            for name, work in works[start:] + works[:start]:
                progress.update(task, description=f"round {turn + 1}, {name}")
                if name not in self._missing:
                    try:
                        work()
                    except SourceError as error:
                        self._missing[name] = str(error)
                progress.advance(task)
            loads.append(load())
        return Compared(
            plan=self._plan,
            recording=self._recording,
            live=self._live,
            versions=self._versions,
            missing=self._missing,
            wrong=self._wrong,
            unaccounted=self._unaccounted,
            loads=loads,
        )

    def _works(self) -> list[tuple[str, Callable[[], None]]]:
        works: list[tuple[str, Callable[[], None]]] = [
            (OURS, self._our_live),
            (OURS, self._our_recording),
            (FLOOR, self._floor),
        ]
        for peer in PEERS:
            if peer.name in self._pythons and peer.live:
                works.append((peer.name, partial(self._peer_live, peer)))
            if peer.name in self._pythons and peer.recording:
                works.append((peer.name, partial(self._peer_recording, peer)))
        return works

    def _our_live(self) -> None:
        run = measure_live(LivePlan(fps=self._plan.fps, seconds=self._plan.seconds, pipeline=_PIPELINE))
        assert run.whole is not None
        assert run.account is not None
        figures = PeerLive(
            made_to_received=run.whole,
            results_s=round(run.results_s, 2),
            made=run.ages.count + run.given_up,
            without_result=run.given_up + run.account.never_captured,
        )
        self._unaccounted += run.unaccounted
        self._live.setdefault(OURS, []).append(figures)

    def _our_recording(self) -> None:
        self._recording.setdefault(OURS, []).append(measured(scopeline, self._job))

    def _floor(self) -> None:
        parts = (
            measured(bare_decode, self._job),
            measured(bare_resize, self._job),
            measured(bare_inference, self._job, 500),
        )
        frames = parts[0].frames
        whole = Spent(
            frames=frames,
            user_s=sum(part.cpu_s_per_1000 for part in parts) * frames / 1000,
            system_s=0,
            wall_s=0,
            switches=0,
            judged=0,
        )
        self._recording.setdefault(FLOOR, []).append(whole)

    def _peer_live(self, peer: Peer) -> None:
        order = msgspec.structs.replace(self._order, live=True)
        python, seconds = self._pythons[peer.name], self._plan.seconds
        run = run_live(python, peer, order, seconds=seconds, warm_up_s=WARM_UP_S)
        self._live.setdefault(peer.name, []).append(run)

    def _peer_recording(self, peer: Peer) -> None:
        counted = run_recording(self._pythons[peer.name], peer, self._order)
        wanted = [number % self._loop for number in range(self._plan.frames)]
        # The clip is cut in the order of decoding: its last pictures may be later ones that no other needs.
        if len(counted.numbers) != len(wanted) or counted.numbers[:-_CUT] != wanted[:-_CUT]:
            self._wrong[peer.name] = (
                f"judged {len(counted.numbers)} of {len(wanted)} pictures, or not in their order"
            )
        self._recording.setdefault(peer.name, []).append(counted.spent)


def live_table(compared: Compared) -> Rows:
    """Best first by p99."""
    names = sorted(compared.live, key=lambda name: spread(compared.p99(name)).median)
    rows = []
    for name in names:
        runs = compared.live[name]
        ages = [
            spread([getattr(run.made_to_received, share) for run in runs])
            for share in ("p50", "p95", "p99", "max")
        ]
        fps = spread([run.results_s for run in runs])
        absent = f"{sum(run.without_result for run in runs)} of {sum(run.made for run in runs)}"
        rows.append(
            (
                name,
                *(f"{age.median:.1f} ({age.lowest:.1f}-{age.highest:.1f})" for age in ages),
                str(fps),
                absent,
            )
        )
    return Rows(
        title=f"live, 1080p{compared.plan.fps} raw pipe: picture made to result received, ms, median of rounds (range)",
        columns=("who", "p50", "p95", "p99", "max", "results/s", "pictures without result"),
        rows=tuple(rows),
    )


def recording_table(compared: Compared) -> Rows:
    """Cheapest first."""
    names = sorted(compared.recording, key=lambda name: spread(compared.cpu(name)).median)
    rows = []
    for name in names:
        runs = compared.recording[name]
        speed = "" if name == FLOOR else f"{spread([run.frames / run.wall_s for run in runs]).median:.0f}"
        rows.append(
            (name, str(spread(compared.cpu(name))), speed, compared.wrong.get(name, "every picture once"))
        )
    return Rows(
        title="recording, 1080p H.264 at 8 Mbit/s: processor seconds per 1000 frames, median of rounds (range)",
        columns=("who", "CPU s / 1000", "frames/s", "read from the bar codes"),
        rows=tuple(row if row[0] != FLOOR else (*row[:3], "") for row in rows),
    )


def target_table(compared: Compared) -> Rows:
    rows = []
    for target in compared.targets():
        found = target.found
        verdict = "reached" if target.is_reached else f"missed by {found.median - target.limit:.2f}"
        rows.append((target.what, str(found), f"<= {target.limit:g}", verdict))
    rows.append(
        (
            "frames for which nobody answers",
            f"{compared.unaccounted}",
            "0",
            "missed" if compared.unaccounted else "reached",
        )
    )
    return Rows(
        title="Scopeline against each, every round with itself",
        columns=("ratio", "median (lowest-highest)", "target", ""),
        rows=tuple(rows),
    )


def _notes(compared: Compared, machine: Machine) -> list[str]:
    wins = [
        f"{name} is better than Scopeline here."
        for name in compared.live
        if name != OURS
        and OURS in compared.live
        and spread(compared.p99(name)).median < spread(compared.p99(OURS)).median
    ]
    return [
        f"{compared.plan.rounds} rounds in turn; live {compared.plan.seconds:g} s after {WARM_UP_S:g} s of warm-up.",
        "All: one process makes the pictures, one judges, one receives over ZeroMQ; the bundle's own ONNX, ONNX "
        "Runtime with one thread that does not spin, the same cut, shrunk by area; pictures known by their numbers. "
        "Scopeline does all else that it does besides: field of view, quality, smoothing, segments, journal, ledger.",
        "OpenCV's decoder takes one thread where a peer lets us say so (the OpenCV loop), else as many as it likes.",
        *(f"live p99: {win}" for win in wins),
        *(f"{name}: {version}." for name, version in compared.versions.items()),
        *(f"{peer.name}: {peer.note}." for peer in PEERS if peer.note and peer.name not in compared.missing),
        *(f"{name}: NOT RUN, {why}" for name, why in compared.missing.items()),
        f"Load average after each round: {', '.join(f'{each:.1f}' for each in compared.loads)}.",
        describe(machine, load()),
    ]
