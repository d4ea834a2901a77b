"""DICOM objects: a structured report of the procedure (SR TID 1500), its key frames, and masks on them (SEG).

For research archives that speak DICOM. There is no patient in the objects: the patient's number is a hash of the file's
path and says nothing about anybody; whoever imports them puts them where they belong. Made with highdicom (Bridge et
al., J Digit Imaging 2022, doi 10.1007/s10278-022-00683-y). Locations are coded in SNOMED CT where it has the word.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import cv2
import highdicom as hd
import numpy as np
from highdicom import sr
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from scopeline.contact_sheet import Cutout
from scopeline.outputs.findings import Findings
from scopeline.outputs.report_facts import STATEMENT
from scopeline.replace_file import cannot_write
from scopeline.wire import FrameMessage, SegmentMessage

DICOM: Final = "dicom"
_ORIENTATION: Final = ("L", "P")
"""A secondary capture must say one; of a picture through a scope it means nothing."""
_OURS: Final = "99SCOPELINE"
_SPACE: Final = uuid.UUID("5f5c1b7e-3a0e-4a52-9d0c-8d1f6f3f0a11")
"""Identifiers are made of this and of what they name: the same recording gets the same ones again."""
_PLACES: Final = {
    "colon": Code("71854001", "SCT", "Colon"),
    "rectum": Code("34402009", "SCT", "Rectum"),
    "sigmoid": Code("60184004", "SCT", "Sigmoid colon"),
    "descending": Code("32622004", "SCT", "Descending colon"),
    "transverse": Code("485005", "SCT", "Transverse colon"),
    "ascending": Code("9040008", "SCT", "Ascending colon"),
    "caecum": Code("32713005", "SCT", "Cecum"),
    "ileum": Code("34516001", "SCT", "Ileum"),
    "stomach": Code("69695003", "SCT", "Stomach"),
    "ear": Code("117590005", "SCT", "Ear"),
    "nose": Code("45206002", "SCT", "Nose"),
    "vocal_folds": Code("23708003", "SCT", "Vocal cord"),
}
_FINDINGS: Final = {"polyp": Code("41329004", "SCT", "Polyp")}
_MES: Final = Code("mes-worst", _OURS, "Mayo endoscopic sub-score, worst sustained")
_DOMINANT: Final = Code("mes-dominant", _OURS, "Mayo endoscopic sub-score, dominant")
_INFORMATIVE: Final = Code("informative", _OURS, "Time that could be judged")
_CONFIDENCE: Final = Code("confidence", _OURS, "Confidence in the location")
_ASSESSABLE: Final = Code("assessable", _OURS, "Assessable")


@dataclass(frozen=True, slots=True)
class _Study:
    """What every object of a recording has in common."""

    findings: Findings
    now: datetime

    def uid(self, what: str) -> hd.UID:
        recording = self.findings.summary.recording
        place = recording.place if recording else self.findings.name
        return hd.UID.from_uuid(str(uuid.uuid5(_SPACE, f"{place} {self.findings.summary.config} {what}")))

    @property
    def patient(self) -> str:
        recording = self.findings.summary.recording
        return f"ANON-{recording.place if recording else 'LIVE'}"

    @property
    def version(self) -> str:
        return self.findings.summary.version or "0"


def write_dicom(findings: Findings) -> Path:
    """dicom/: keyframe-N.dcm and, where something is marked on it, mask-N.dcm by segment; report.dcm over all.

    Without key frames (no pictures wanted, or none that may be shown) the report stands alone.

    Raises:
        SourceError: the run's frames cannot be read.
        SinkError: the folder cannot be written.
    """
    folder = findings.folder / DICOM
    study = _Study(findings, datetime.now())
    frames = findings.facts().key_frames
    try:
        folder.mkdir(exist_ok=True)
        images: dict[int, Dataset] = {}
        for segment in findings.tally.segments:
            cutout = findings.cutouts.get(segment.number)
            if cutout is None or segment.key_frame is None:
                continue
            image = _still(
                study, segment.number, cutout, f"key frame, number {segment.key_frame} of the recording"
            )
            image.save_as(folder / f"keyframe-{segment.number}.dcm")
            images[segment.number] = image
            masks = _marked(frames[segment.key_frame], findings, cutout)
            if masks:
                _segmentation(study, segment, image, masks).save_as(folder / f"mask-{segment.number}.dcm")
        evidence = list(images.values())
        if not evidence:  # a report must refer to something: a black picture that says why
            nothing = Cutout(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8))
            evidence = [_still(study, 0, nothing, "no picture may be shown")]
            evidence[0].save_as(folder / "nothing-shown.dcm")
        _report(study, images, evidence).save_as(folder / "report.dcm")
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def _still(study: _Study, number: int, cutout: Cutout, what: str) -> Dataset:
    image = hd.sc.SCImage(
        pixel_array=cutout.pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=_ORIENTATION,
        study_instance_uid=study.uid("study"),
        series_instance_uid=study.uid("key frames"),
        series_number=1,
        sop_instance_uid=study.uid(f"still {number}"),
        instance_number=number + 1,
        manufacturer="Scopeline",
        patient_id=study.patient,
        patient_name="",
        patient_birth_date="",
        patient_sex="O",
        accession_number="",
        study_id="1",
        study_date=study.now.date(),
        study_time=study.now.time(),
        referring_physician_name="",
    )
    image.Laterality = ""  # may be unknown, may not be missing
    image.ImageComments = f"{what}; cut to the field of view. {STATEMENT}"
    return image


def _marked(frame: FrameMessage, findings: Findings, cutout: Cutout) -> dict[str, NDArray[np.uint8]]:
    """By mask head's label: (H, W) of the cutout, 1 where the head marks."""
    field = findings.tally.field(frame.field)
    found = {}
    for mask in frame.masks.values():
        if field is None or not mask.contours:
            continue
        drawn = np.zeros(cutout.mask.shape, np.uint8)
        corner = np.array([field.box[0], field.box[1]])
        outlines = [np.round(np.asarray(each) - corner).astype(np.int32) for each in mask.contours]
        cv2.fillPoly(drawn, outlines, 1)
        found[mask.label] = drawn
    return found


def _segmentation(
    study: _Study, segment: SegmentMessage, image: Dataset, masks: dict[str, NDArray[np.uint8]]
) -> Dataset:
    algorithm = hd.AlgorithmIdentificationSequence(
        name="Scopeline", version=study.version, family=codes.cid7162.ArtificialIntelligence
    )
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=_FINDINGS.get(label, Code(label, _OURS, label)),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for number, label in enumerate(masks, start=1)
    ]
    stacked = np.stack(list(masks.values()), axis=-1)[None]
    found = hd.seg.Segmentation(
        source_images=[image],
        pixel_array=stacked,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=study.uid("masks"),
        series_number=2,
        sop_instance_uid=study.uid(f"mask {segment.number}"),
        instance_number=segment.number,
        manufacturer="Scopeline",
        manufacturer_model_name="Scopeline",
        software_versions=study.version,
        device_serial_number="0",
        content_label="RESEARCH_ONLY",
    )
    found.PatientOrientation = list(_ORIENTATION)  # General Image asks for what the key frame says
    return found


def _report(study: _Study, images: dict[int, Dataset], evidence: Sequence[Dataset]) -> Dataset:
    context = sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
                uid=study.uid("device"),
                name="Scopeline",
                manufacturer_name="Scopeline",
                model_name=study.version,
            ),
        )
    )
    groups = [_group(study, segment, images.get(segment.number)) for segment in study.findings.tally.segments]
    content = sr.MeasurementReport(
        observation_context=context,
        procedure_reported=Code("423827005", "SCT", "Endoscopy"),
        title=codes.DCM.ImagingMeasurementReport,
        imaging_measurements=groups or None,
    )
    return sr.ComprehensiveSR(
        evidence=evidence,
        content=content[0],
        series_instance_uid=study.uid("report"),
        series_number=3,
        sop_instance_uid=study.uid("report of the procedure"),
        instance_number=1,
        manufacturer="Scopeline",
        is_complete=study.findings.summary.complete,
        is_final=False,
        is_verified=False,
        series_description="Research use only",
    )


def _group(study: _Study, segment: SegmentMessage, image: Dataset | None) -> Any:
    place = segment.location or "unknown"
    site = _PLACES.get(place, Code(place.replace(" ", "-"), _OURS, place))
    said = [
        sr.QualitativeEvaluation(_ASSESSABLE, codes.SCT.Yes if segment.assessable else codes.SCT.No),
    ]
    for name, grade in ((_MES, segment.mes_worst), (_DOMINANT, segment.mes_dominant)):
        if segment.assessable and grade is not None:
            said.append(sr.QualitativeEvaluation(name, Code(f"mes-{grade}", _OURS, f"MES {grade}")))
    measured = [sr.Measurement(name=_INFORMATIVE, value=segment.informative_s, unit=codes.UCUM.Second)]
    if segment.confidence is not None:
        measured.append(sr.Measurement(name=_CONFIDENCE, value=segment.confidence, unit=codes.UCUM.NoUnits))
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=study.uid(f"segment {segment.number}"),
            identifier=f"segment {segment.number}, {segment.start_s:.1f} to {segment.end_s:.1f} s",
        ),
        source_images=[sr.SourceImageForMeasurementGroup.from_source_image(image)]
        if image is not None
        else None,
        finding_sites=[sr.FindingSite(anatomic_location=site)],
        measurements=measured,
        qualitative_evaluations=said,
    )
