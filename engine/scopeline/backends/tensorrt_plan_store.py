"""Plan store: a folder of TensorRT plans, each with a manifest that says what it is and that it passed the gate.

    <digest>.plan      the plan
    <digest>.json      its manifest, written last: without one there is no plan
    <digest>.lock      held by whoever builds it
    <machine>.timing   what builds on this machine measured, so that the next build of a layer chooses the same kernel

Files are named by the digest of the key, so nothing of another version, driver or device is ever in the way or deleted.
Everything is written beside its place and moved there; what is damaged is as good as absent.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from scopeline.backends.tensorrt_plan_key import PlanKey
from scopeline.errors import BackendError
from scopeline.parity import ParityVerdict

SCHEMA: Final = 1


class PlanStoreError(BackendError):
    """The folder of plans cannot be used, or has no room."""


class NoPlan(BackendError):
    """There is no plan of exactly this network, machine and version that the gate has judged for these heads."""


class RefusedPlan(BackendError):
    """There is one, and the gate refused it."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What lies beside a plan."""

    schema: int = SCHEMA
    key: PlanKey
    plan_sha256: str
    plan_bytes: int
    build_s: float
    verify_s: float
    nodes_in_half: int
    nodes_in_single: int
    weights_in_half: float
    dialect: str
    timing_cache_sha256: str
    heads: str
    """Hash of the bundle's heads at the time: other temperatures make other probabilities, which must pass anew."""
    verdict: ParityVerdict


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan that was built here for this; whether it may judge is for its manifest to say."""

    plan: bytes
    manifest: Manifest


class PlanStore:
    """Plans in one folder. Any number of processes may use it at once.

    Args:
        folder: Made when something is first kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def manifest(self, key: PlanKey) -> Manifest | None:
        """What is known of a plan of exactly this key; None when there is none, or it cannot be read."""
        try:
            content = msgspec.json.decode(self._path(key, "json").read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return content if content.schema == SCHEMA and content.key == key else None

    def find(self, key: PlanKey) -> StoredPlan | None:
        """The plan of exactly this key, whole; None otherwise."""
        manifest = self.manifest(key)
        if manifest is None:
            return None
        try:
            plan = self._path(key, "plan").read_bytes()
        except OSError:
            return None
        return (
            StoredPlan(plan, manifest) if hashlib.sha256(plan).hexdigest() == manifest.plan_sha256 else None
        )

    def keep(self, manifest: Manifest, plan: bytes) -> None:
        """Keep a plan with the verdict on it. One that did not pass is kept too: other heads may accept it.

        Raises:
            PlanStoreError: there is no room, or no right to write.
        """
        key = manifest.key
        self._write(self._path(key, "plan"), plan)
        self._write(
            self._path(key, "json"), msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
        )

    def timing_cache(self, key: PlanKey) -> bytes:
        """What builds on this machine measured so far; empty at first."""
        try:
            return (self.folder / f"{key.machine}.timing").read_bytes()
        except OSError:
            return b""

    def keep_timing_cache(self, key: PlanKey, measured: bytes) -> None:
        """Keep what a build measured beside what it was given.

        Raises:
            PlanStoreError: there is no room, or no right to write.
        """
        if measured:
            self._write(self.folder / f"{key.machine}.timing", measured)

    def seconds_expected(self, key: PlanKey, network_bytes: int) -> float | None:
        """How long a build will take by the builds that were done here: seconds per byte of network; None at first."""
        spent, size = 0.0, 0
        for path in self.folder.glob("*.json"):
            with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
                known = msgspec.json.decode(path.read_bytes(), type=Manifest)
                if known.key.machine == key.machine and known.plan_bytes:
                    spent += known.build_s + known.verify_s
                    size += known.plan_bytes
        # A plan in FP16 is about half its network.
        return spent / size * network_bytes / 2 if size else None

    def check_room(self, wanted_bytes: int) -> None:
        """Say before minutes of building that its result will have no place.

        Raises:
            PlanStoreError: there is no room, or the folder cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise _cannot_keep(self.folder, error) from error
        if free < wanted_bytes:
            raise PlanStoreError(
                f"{self.folder}: a plan wants {wanted_bytes / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; "
                "make room, or set cache under [gpu] in the pipeline"
            )

    @contextmanager
    def building(self, key: PlanKey) -> Iterator[None]:
        """Hold the right to build this plan; waits while another process does. Ends with the process at the latest.

        Raises:
            PlanStoreError: the folder cannot be written to.
        """
        import fcntl  # not on Windows, where TensorRT's offline environment is not either

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self._path(key, "lock").open("ab")
        except OSError as error:
            raise _cannot_keep(self.folder, error) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _path(self, key: PlanKey, kind: str) -> Path:
        return self.folder / f"{key.digest}.{kind}"

    def _write(self, path: Path, content: bytes) -> None:
        beside = path.with_name(f".{path.name}.{os.getpid()}.new")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            raise _cannot_keep(path, error) from error


def _cannot_keep(path: Path, error: OSError) -> PlanStoreError:
    room = "make room" if error.errno == errno.ENOSPC else "make it writable"
    return PlanStoreError(
        f"{path}: a plan cannot be kept ({error.strerror or error}); {room}, or set cache under [gpu] in the pipeline"
    )
