"""Plans: the `[data]` table of a recipe, one struct per layout of a data set on disk. Unknown keys are refused."""

from __future__ import annotations

from typing import Literal

import msgspec


class Layout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every layout has."""

    root: str = "."
    """Folder of the data set. A relative one is sought beside the recipe, then below the data folder."""
    head: str = "class"
    """What the labels answer; the name of the network's head."""
    labels: tuple[str, ...] = ()
    """Labels to use, in the order of their numbers; all that are found, in alphabetical order, if empty."""
    description: str = ""
    """One sentence for the report; made from the folder's name if empty."""


class ClassFolders(Layout, frozen=True, kw_only=True, tag="class_folders"):
    """`root/LABEL/*.jpg`, or `root/{train,val,test}/LABEL/*.jpg`."""


class Sheet(Layout, frozen=True, kw_only=True, tag="sheet"):
    """A CSV or XLSX sheet with one row per picture; `Sheet.columns` names what each known thing is called there.

    Known: path, second, mask, split, patient, camera, round, quality. Heads are read from columns of their names.
    """

    sheet: str = "labels.csv"
    """File below the root."""
    heads: tuple[str, ...] = ()
    """Columns that hold labels, if more than one; `labels` then belongs to the first."""
    columns: dict[str, str] = {}
    """Known thing -> column name, where they differ."""


class FilePrefix(Layout, frozen=True, kw_only=True, tag="file_prefix"):
    """`root/{train,val,test}/**/NORMAL-12345-1.jpeg`: the label stands before the first dash, the patient behind it."""

    labels: tuple[str, ...] = ("NORMAL", "CNV", "DME", "DRUSEN")
    separator: str = "-"
    patient_is_second: bool = True
    """Whether what stands between the first and the second separator names the patient, as in Kermany's files."""


class MaskPairs(Layout, frozen=True, kw_only=True, tag="mask_pairs"):
    """`root/images/NAME.*` and `root/masks/NAME.*`. The mask is the answer; there are no class labels."""

    head: str = "lesion"
    images: str = "images"
    masks: str = "masks"
    clear: tuple[str, ...] = ()
    """Folders, told from the root, of pictures in which there is nothing to mark: their masks are empty. They are split
    apart from the others, whose split they leave as it is."""


class Limuc(Layout, frozen=True, kw_only=True, tag="limuc"):
    """LIMUC: `root/{train_and_validation_sets,test_set}/Mayo N/PATIENT_NUMBER.bmp`, or `root/PATIENT/Mayo N/*`."""

    head: str = "mes"
    labels: tuple[str, ...] = ("0", "1", "2", "3")
    fold: int | None = None
    """One of the paper's ten folds becomes the train and val split; no split of the rest if None."""
    folds: str = "10_fold_cross_validation"
    """Folder of `fold_N/{train,val}.json` below the root."""


class HyperKvasir(Layout, frozen=True, kw_only=True, tag="hyperkvasir"):
    """A HyperKvasir CSV: `ID,label`, or its own `Video file,Organ,Finding,Classification` sheet of labelled images."""

    sheet: str = "image-labels.csv"
    rename: dict[str, str] = {}
    """Label in the sheet -> label of the head, as {"ulcerative-colitis-grade-1" = "1"}."""


class Manifest(Layout, frozen=True, kw_only=True, tag="manifest"):
    """The project's own `manifest.csv`: rows of one task, by label and licence."""

    task: str
    licences: tuple[str, ...] = ()
    """Licences that a file may have; any if empty."""
    one_recording: tuple[str, ...] = ()
    """Labels whose pictures all come from one recording and so form one group."""
    recording: str = ""
    """Regular expression: what it finds in a path names the recording, and so the group; none is sought if empty."""
    rename: dict[str, str] = {}
    """Label in the manifest -> label of the head, as {"larynx" = "vocal-folds"}."""


class StandIn(Layout, frozen=True, kw_only=True, tag="stand_in"):
    """A generated set with the form of one that cannot be at hand. Synthetic: its figures say nothing of patients."""

    set: Literal["oct", "kvasir"]
    """Which set it stands for."""
    per_label: int = 60
    patients_per_label: int = 20
    size: int = 160
    """Pixels."""
    seed: int = 7


DataPlan = ClassFolders | Sheet | FilePrefix | MaskPairs | Limuc | HyperKvasir | Manifest | StandIn
"""The `[data]` table, told apart by `kind`."""
