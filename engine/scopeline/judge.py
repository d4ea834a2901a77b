"""Judge: runs the networks on prepared frames, each head when it is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scopeline.bundle import Bundle, Head
from scopeline.config import HeadRule
from scopeline.errors import ConfigError
from scopeline.picture import Pixels
from scopeline.ports import Backend, Eager
from scopeline.prediction import MaskProbabilities, Prediction, Probabilities, Reason
from scopeline.prepare import Prepared
from scopeline.proof import heads_hash, proof_word
from scopeline.quality import QualityFeatures, name_fault


@dataclass(frozen=True, slots=True)
class Model:
    """A bundle in its runtime."""

    bundle: Bundle
    backend: Backend
    view: int
    """Which of the prepared views the network is shown."""

    @property
    def fingerprint(self) -> str:
        """What produced an answer: `sha256:<12 digits of the weights>+<8 of the heads>/<runtime>/<precision>`. Whatever
        is not the reference also says how the parity gate went here: `/proven:<8 digits>`, `/refused:<8>`, `/unproven`.
        """
        name, precision = self.backend.name, self.backend.precision
        proof = proof_word(self.bundle, backend=name, precision=precision)
        weights = f"sha256:{self.bundle.network.sha256[:12]}+{heads_hash(self.bundle)}"
        return "/".join([weights, name, precision, *([proof] if proof else [])])


@dataclass(slots=True)
class _Gate:
    """When one head is asked."""

    head: Head
    rule: HeadRule
    last_s: float = -np.inf

    def is_due(self, time_s: float) -> bool:
        # Half a millisecond of grace: stream times are rounded to the stream's own clock.
        return (time_s - self.last_s) * 1e3 >= self.rule.every_ms - 0.5

    def admits(self, scores: Mapping[str, Probabilities], labels: Mapping[str, Sequence[str]]) -> bool:
        """Whether the condition holds; a condition on a head that was not asked does not."""
        when = self.rule.when
        if when is None:
            return True
        if when.head not in scores:
            return False
        return when.at_least <= float(scores[when.head][labels[when.head].index(when.label)]) <= when.at_most


@dataclass(slots=True)
class _Verdict:
    """One frame's scores while the networks are being asked."""

    prepared: Prepared
    scores: dict[str, Probabilities] = field(default_factory=dict)
    masks: dict[str, MaskProbabilities] = field(default_factory=dict)


class Judge:
    """Asks the models about frames, in the order of the pipeline file.

    Args:
        models: Bundles in their runtimes.
        rules: When which head is asked; heads without a rule always are.
        usable_at: Frames with a lower quality probability get a reason instead of scores.

    Raises:
        ConfigError: a rule names a head or label that no bundle has, or two bundles share a head's name.
    """

    def __init__(self, models: Sequence[Model], rules: Mapping[str, HeadRule], *, usable_at: float) -> None:
        self.models = tuple(models)
        self._usable_at = usable_at
        heads = [head for model in models for head in model.bundle.heads]
        self.labels = {head.name: head.labels for head in heads}
        _check_rules(heads, rules)
        self._gates = [
            [_Gate(head, rules.get(head.name, HeadRule())) for head in model.bundle.heads] for model in models
        ]
        quality = next((head for head in heads if head.role == "quality"), None)
        self._quality = (quality.name, quality.labels.index("good")) if quality else None
        # Asked once: asking an object for its form takes longer than all else that is done per frame here.
        self._eager = [model.backend if isinstance(model.backend, Eager) else None for model in models]
        self._alone = [
            eager is not None and _stands_alone(gates)
            for eager, gates in zip(self._eager, self._gates, strict=True)
        ]
        self._judged_by: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}

    def last_asked(self) -> dict[str, float]:
        """When heads that are not asked on every frame were asked last, stream time in seconds."""
        return {
            gate.head.name: gate.last_s for gates in self._gates for gate in gates if gate.rule.every_ms > 0
        }

    def restore(self, last_asked: Mapping[str, float]) -> None:
        """Go on from where another judge of the same models was."""
        for gates in self._gates:
            for gate in gates:
                gate.last_s = last_asked.get(gate.head.name, gate.last_s)

    def judge(self, prepared: Sequence[Prepared]) -> list[Prediction]:
        """One prediction per prepared frame, in the same order."""
        verdicts = [_Verdict(frame) for frame in prepared]
        usable = [verdict for verdict in verdicts if verdict.prepared.reason is None]
        # Networks that nobody's answer decides about are at work together, where the runtime can be left alone.
        begun = {place: self._begin(place, usable) for place, alone in enumerate(self._alone) if alone}
        for place in range(len(self.models)):
            finish = begun.get(place) or self._begin(place, usable)
            finish()
        judged_by = self._fingerprints() if usable else {}
        return [self._conclude(verdict, judged_by) for verdict in verdicts]

    def _begin(self, place: int, verdicts: Sequence[_Verdict]) -> Callable[[], None]:
        """Ask a model about the frames that are due; what is returned hears its answer."""
        model, gates, eager = self.models[place], self._gates[place], self._eager[place]
        asked: list[tuple[_Verdict, list[_Gate]]] = []
        own = {gate.head.name for gate in gates}
        for verdict in verdicts:
            due = [
                gate
                for gate in gates
                if gate.is_due(verdict.prepared.time_s) and self._could(gate, verdict, own)
            ]
            if due:
                asked.append((verdict, due))
                for gate in due:
                    gate.last_s = verdict.prepared.time_s
        if not asked:
            return _nothing
        pixels = _stack([verdict.prepared.views[model.view] for verdict, _ in asked])
        if eager is not None:
            take = eager.begin(pixels)
            return lambda: self._hear(take(), asked)
        return lambda: self._hear(model.backend.infer(pixels), asked)

    def _hear(
        self, logits: Mapping[str, NDArray[np.float32]], asked: Sequence[tuple[_Verdict, list[_Gate]]]
    ) -> None:
        # One call for all frames of a batch: on so few numbers the call is what costs.
        heads = {gate.head.name: gate.head for _, due in asked for gate in due}
        said = {name: head.probabilities(logits[name]) for name, head in heads.items() if head.role != "mask"}
        for row, (verdict, due) in enumerate(asked):
            # A condition on a head of the same network is known only now; heads are told in the bundle's order.
            for gate in due:
                if not gate.admits(verdict.scores, self.labels):
                    continue
                head = gate.head
                if head.role == "mask":
                    verdict.masks[head.name] = head.mask(logits[head.name][row])
                else:
                    verdict.scores[head.name] = said[head.name][row]

    def _could(self, gate: _Gate, verdict: _Verdict, own: set[str]) -> bool:
        """Whether the head's condition holds, or can only be known by running this very network."""
        when = gate.rule.when
        return when is None or when.head in own or gate.admits(verdict.scores, self.labels)

    def _fingerprints(self) -> Mapping[str, str]:
        """What gave the latest answers, by bundle. Kept per combination of runtimes: a fingerprint reads files."""
        serving = tuple((model.backend.name, model.backend.precision) for model in self.models)
        if serving not in self._judged_by:
            self._judged_by[serving] = {model.bundle.name: model.fingerprint for model in self.models}
        return self._judged_by[serving]

    def _conclude(self, verdict: _Verdict, judged_by: Mapping[str, str]) -> Prediction:
        frame, scores, masks = verdict.prepared, verdict.scores, verdict.masks
        reason, quality = frame.reason, None
        if reason is None and self._quality is not None and self._quality[0] in scores:
            quality = float(scores[self._quality[0]][self._quality[1]])
            if quality < self._usable_at:
                # The head says that it is bad; the features say why. Measured only here: most frames are good.
                reason = name_fault(QualityFeatures(frame.views[0]))
        if reason is None and not scores and not masks:
            reason = Reason.NOT_DUE
        if reason is not None:
            scores, masks = {}, {}
        return Prediction(
            frame.seq, frame.captured_ns, frame.time_s, scores, reason, quality, masks, judged_by
        )

    def close(self) -> None:
        for model in self.models:
            model.backend.close()


def _stands_alone(gates: Sequence[_Gate]) -> bool:
    """Whether no other network's answer decides if this one is asked."""
    own = {gate.head.name for gate in gates}
    return all(gate.rule.when is None or gate.rule.when.head in own for gate in gates)


def _nothing() -> None:
    """Nobody was asked."""


def _stack(views: Sequence[Pixels]) -> Pixels:
    return views[0][None] if len(views) == 1 else np.stack(views)


def _check_rules(heads: Sequence[Head], rules: Mapping[str, HeadRule]) -> None:
    names = [head.name for head in heads]
    labels = {head.name: head.labels for head in heads if head.role != "mask"}
    if len(set(names)) != len(names):
        raise ConfigError(f"two bundles of a pipeline cannot share a head's name, got {names}")
    for name, rule in rules.items():
        if name not in names:
            raise ConfigError(f"[heads.{name}]: no bundle has such a head; there are {names}")
        when = rule.when
        if when is None:
            continue
        if when.head not in labels or when.label not in labels[when.head]:
            raise ConfigError(
                f"[heads.{name}]: when = {when.head!r} {when.label!r}: there are the heads and labels "
                f"{ {head: list(entries) for head, entries in labels.items()} }"
            )
        if names.index(when.head) >= names.index(name):
            raise ConfigError(
                f"[heads.{name}]: {when.head!r} must come before {name!r} in the order of the bundles"
            )
