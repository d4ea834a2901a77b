"""One file per runtime. A backend is chosen by name and opened from a bundle."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from scopeline.bundle import Bundle
from scopeline.errors import ConfigError
from scopeline.ports import Backend

BACKENDS = {
    "onnxruntime": "scopeline.backends.onnx_runtime:OnnxRuntimeBackend",
    "openvino": "scopeline.backends.openvino_runtime:OpenVinoBackend",
    "tensorrt": "scopeline.backends.tensorrt_runtime:TensorRtBackend",
}
"""Name -> where the class is; a runtime is imported only when it is asked for."""


def open_backend(name: str, bundle: Bundle, *, threads: int, precision: str) -> Backend:
    """A backend by name, with the bundle's network loaded.

    Args:
        name: One of `BACKENDS`, or `package.module:Class` for one of your own.
        threads: Threads the runtime may use for one call.
        precision: `fp32`, or what else the runtime offers; never chosen silently.

    Raises:
        ConfigError: there is no such backend.
        BackendError: its package is not installed, or it refuses the network or the precision.
    """
    place = BACKENDS.get(name, name)
    module, _, attribute = place.partition(":")
    if not attribute:
        raise ConfigError(f"backend must be one of {sorted(BACKENDS)} or 'module:Class', got {name!r}")
    try:
        factory: Callable[..., Backend] = getattr(import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        if name in BACKENDS:
            raise
        raise ConfigError(f"backend {name!r} cannot be imported: {error}") from error
    return factory(bundle, threads=threads, precision=precision)
