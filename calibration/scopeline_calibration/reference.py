"""Reference: the bundle's network in FP32, one frame at a time, as it is written and not as a runtime rearranges it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from scopeline.bundle import Bundle, check_outputs
from scopeline.errors import BackendError


class ReferenceBackend:
    """ONNX Runtime with every optimisation of the graph off.

    What a user runs is compared with this, so that a wrong fusion of the reference runtime itself, or an answer that
    depends on the company in a batch, is found as well.
    """

    name = "onnxruntime"
    precision = "fp32"

    def __init__(self, bundle: Bundle) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                str(bundle.onnx_path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's own exception types are not public
            raise BackendError(
                f"{bundle.onnx_path}: ONNX Runtime {ort.__version__} refused the network: {error}"
            ) from error
        outputs = self._session.get_outputs()
        self._input, self._heads = self._session.get_inputs()[0].name, [output.name for output in outputs]
        check_outputs(bundle, {output.name: output.shape[1:] for output in outputs})
        self._seen: dict[bytes, list[NDArray[np.float32]]] = {}

    def infer(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """(N, H, W, 3) uint8 RGB -> logits per head, (N, K) float32, or (N, 1, H, W) of a mask.

        Answers are kept: a gate asks about the same frames at every batch size and in every trial of a search.
        """
        rows = [self._one(frame) for frame in pixels]
        return {head: np.stack([row[place] for row in rows]) for place, head in enumerate(self._heads)}

    def _one(self, frame: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        key = hashlib.blake2b(frame.tobytes(), digest_size=16).digest()
        if key not in self._seen:
            answers = self._session.run(self._heads, {self._input: frame[None]})
            self._seen[key] = [answer[0] for answer in answers]
        return self._seen[key]

    def close(self) -> None:
        self._seen.clear()
