"""What Python 3.11 added to the standard library and Scopeline uses, for the 3.10 of the offline TensorRT environment.

Only there: `bench/gpu_proof.sh` puts this folder on PYTHONPATH, and Python imports `sitecustomize` at start. The
bindings of TensorRT 8.6 exist for CPython 3.10 at most; the engine itself wants 3.11.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    import ctypes
    import datetime
    import enum
    import gc
    import typing

    import tomli
    import typing_extensions

    class _StrEnum(str, enum.Enum):  # noqa: UP042
        """As `enum.StrEnum`."""

        def __str__(self) -> str:
            return str(self.value)

        def __format__(self, spec: str) -> str:
            return format(str(self.value), spec)

        @staticmethod
        def _generate_next_value_(name: str, start: int, count: int, last_values: list[str]) -> str:
            return name.lower()

    enum.StrEnum = _StrEnum
    datetime.UTC = datetime.timezone.utc  # noqa: UP017
    sys.modules["tomllib"] = tomli
    for _name in ("Self", "assert_never", "Never", "LiteralString", "NotRequired", "Required"):
        if not hasattr(typing, _name):
            setattr(typing, _name, getattr(typing_extensions, _name))

    def _add_note(self: BaseException, note: str) -> None:
        """As `BaseException.add_note`."""
        self.__notes__ = [*getattr(self, "__notes__", []), note]  # type: ignore[attr-defined]

    # A built-in type takes no new attribute by assignment.
    gc.get_referents(BaseException.__dict__)[0]["add_note"] = _add_note
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(BaseException))
