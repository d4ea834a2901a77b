"""`scopeline bench compare`: Scopeline beside its peers, on one machine, in one hour, in turn."""

from __future__ import annotations

from collections.abc import Callable
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
from scopeline_bench.compare_page import compare_filed
from scopeline_bench.compared import FLOOR, OURS, Compared, ComparePlan
from scopeline_bench.contenders import Job, bare_decode, bare_inference, bare_resize, find_box, scopeline
from scopeline_bench.live_run import WARM_UP_S, LivePlan, measure_live
from scopeline_bench.machine import load, this_machine
from scopeline_bench.networks import float_twin
from scopeline_bench.own_process import measured, on_one_core
from scopeline_bench.peer_order import Order
from scopeline_bench.peers import PEERS, Peer, PeerLive, python_of, run_live, run_recording, version_of
from scopeline_bench.spent import Spent
from scopeline_bench.stage import bundle_folder, drawn_clip, progress_bar

_CUT: Final = 4
_PIPELINE, _BUNDLE = "colonoscopy", "colon"


def main(plan: ComparePlan, environments: Path | None, *, page: Path | None, out: Path | None) -> bool:
    """Measure, print, save; whether every target was reached and every frame accounted for."""
    console, machine = Console(), this_machine()
    with progress_bar(console) as progress:
        compared = Comparison(plan, environments, progress).measure(progress)
    compare_filed(compared, machine).file(console, out, page)
    return compared.is_as_wanted


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
            curve=run.whole_curve,
        )
        self._unaccounted += run.unaccounted
        self._live.setdefault(OURS, []).append(figures)

    def _our_recording(self) -> None:
        with on_one_core():
            self._recording.setdefault(OURS, []).append(measured(scopeline, self._job))

    def _floor(self) -> None:
        with on_one_core():
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
        with on_one_core():
            counted = run_recording(self._pythons[peer.name], peer, self._order)
        wanted = [number % self._loop for number in range(self._plan.frames)]
        # The clip is cut in the order of decoding: its last pictures may be later ones that no other needs.
        if len(counted.numbers) != len(wanted) or counted.numbers[:-_CUT] != wanted[:-_CUT]:
            self._wrong[peer.name] = (
                f"judged {len(counted.numbers)} of {len(wanted)} pictures, or not in their order"
            )
        self._recording.setdefault(peer.name, []).append(counted.spent)
