"""Layouts: each form of a data set on disk is read as it is meant, and a wrong one is answered with what to do."""

import json
from pathlib import Path

import msgspec
import pytest

from generated_sets import scene, write_image

pytest.importorskip("torch", reason="training needs scopeline[training]")

from scopeline.errors import ConfigError
from scopeline_training.data_sets import read_catalogue
from scopeline_training.layouts.plans import (
    ClassFolders,
    DataPlan,
    FilePrefix,
    HyperKvasir,
    Limuc,
    Manifest,
    MaskPairs,
    Sheet,
    StandIn,
)


def fill(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        write_image(root / name, scene(number, 32 + 8 * number))  # of mixed sizes
    return root


def test_class_folders_are_labels_and_folders_below_them_groups(tmp_path: Path) -> None:
    fill(tmp_path, "polyp/a.jpg", "polyp/p7/b.PNG", "none/c.bmp", "none/p7/d.jpg")
    (tmp_path / "none" / "notes.txt").write_text("no picture")
    catalogue = read_catalogue(ClassFolders(root=str(tmp_path), head="finding"))
    assert catalogue.classes == {"finding": ("none", "polyp")}
    found = {name: sample.group for name, sample in zip(catalogue.names, catalogue.samples, strict=True)}
    assert found == {"none/c.bmp": None, "none/p7/d.jpg": "p7", "polyp/a.jpg": None, "polyp/p7/b.PNG": "p7"}


def test_train_val_and_test_folders_become_splits(tmp_path: Path) -> None:
    fill(tmp_path, "Train/a/1.jpg", "Train/b/2.jpg", "validation/a/3.jpg", "test/b/4.jpg")
    catalogue = read_catalogue(ClassFolders(root=str(tmp_path)))
    assert [(s.split, s.labels["class"]) for s in catalogue.samples] == [
        ("train", "a"), ("train", "b"), ("test", "b"), ("val", "a"),
    ]  # fmt: skip


def test_an_empty_class_and_a_single_class_are_refused_with_advice(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "c").mkdir()
    with pytest.raises(ConfigError, match="got none in c; fill or remove it"):
        read_catalogue(ClassFolders(root=str(tmp_path)))
    with pytest.raises(ConfigError, match="got none of 'd'"):
        read_catalogue(ClassFolders(root=str(tmp_path), labels=("a", "d")))
    with pytest.raises(ConfigError, match="two or more labels, got a"):
        read_catalogue(ClassFolders(root=str(tmp_path), labels=("a",)))


def test_a_folder_that_is_not_there_is_told_with_the_places_that_were_searched(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"it is not at {tmp_path / 'gone'}"):
        read_catalogue(ClassFolders(root="gone"), beside=tmp_path)


SHEET = """path,camera,quality,organ,round,split,patient
Ear_p_1/1.jpg,Storz,good,ear,1,train,e1
Ear_p_1/2.jpg,Storz,bad,ear,1,train,e1
Nose_p_1/3.jpg,XION,good,nose,2,test,n1
"""


def sheet_folder(root: Path) -> Path:
    return fill(root, "Ear_p_1/1.jpg", "Ear_p_1/2.jpg", "Nose_p_1/3.jpg")


def test_a_csv_sheet_tells_camera_quality_round_split_and_patient(tmp_path: Path) -> None:
    sheet_folder(tmp_path)
    (tmp_path / "labels.csv").write_text(SHEET)
    catalogue = read_catalogue(Sheet(root=str(tmp_path), heads=("organ", "quality")))
    assert catalogue.classes == {"organ": ("ear", "nose"), "quality": ("bad", "good")}
    last = catalogue.samples[2]
    assert (last.camera, last.quality, last.round, last.split, last.group) == (
        "XION",
        "good",
        2,
        "test",
        "n1",
    )


def test_an_excel_sheet_with_other_column_names_reads_as_the_csv(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    sheet_folder(tmp_path)
    (tmp_path / "labels.csv").write_text(SHEET)
    book = openpyxl.Workbook()
    for number, line in enumerate(SHEET.splitlines()):
        cells: list[str | int] = [int(each) if each.isdigit() else each for each in line.split(",")]
        book.active.append(["file" if cell == "path" else cell for cell in cells] if number == 0 else cells)
    book.save(tmp_path / "labels.xlsx")
    from_csv = read_catalogue(Sheet(root=str(tmp_path), head="organ"))
    from_excel = read_catalogue(
        Sheet(root=str(tmp_path), head="organ", sheet="labels.xlsx", columns={"path": "file"})
    )
    assert from_excel.samples == from_csv.samples


def test_a_semicolon_sheet_from_a_spreadsheet_program_is_read(tmp_path: Path) -> None:
    sheet_folder(tmp_path)
    (tmp_path / "labels.csv").write_text("\ufeff" + SHEET.replace(",", ";"), encoding="utf-8")
    assert len(read_catalogue(Sheet(root=str(tmp_path), head="organ"))) == 3


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (SHEET.replace("organ", "place"), "wanted the columns organ, got path"),
        (SHEET.replace("3.jpg", "4.jpg"), "line 4: wanted the file .*it is not there"),
        (SHEET.replace(",test,", ",holdout,"), "line 4: wanted a split"),
        (SHEET.replace("nose,2", "nose,two"), "line 4: wanted a whole number as round, got 'two'"),
        (SHEET.splitlines()[0], "at least one row"),
    ],
)
def test_a_wrong_sheet_is_told_with_its_line(tmp_path: Path, broken: str, message: str) -> None:
    sheet_folder(tmp_path)
    (tmp_path / "labels.csv").write_text(broken)
    with pytest.raises(ConfigError, match=message):
        read_catalogue(Sheet(root=str(tmp_path), head="organ"))


def test_file_prefixes_are_labels_and_the_number_behind_them_the_patient(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "train/NORMAL/NORMAL-1001-1.jpeg", "train/CNV/CNV-2002-1.jpeg", "val/DME-3003-2.jpeg", "test/drusen-4-1.jpeg",
    )  # fmt: skip
    catalogue = read_catalogue(FilePrefix(root=str(tmp_path)))
    by_name = {s.path.name: (s.labels["class"], s.group, s.split) for s in catalogue.samples}
    assert by_name["drusen-4-1.jpeg"] == ("DRUSEN", "4", "test")
    assert by_name["NORMAL-1001-1.jpeg"] == ("NORMAL", "1001", "train")
    assert catalogue.labels_of("class").max() == 3
    fill(tmp_path, "train/GLAUCOMA-5-1.jpeg")
    with pytest.raises(ConfigError, match="starts with NORMAL, CNV, DME, DRUSEN"):
        read_catalogue(FilePrefix(root=str(tmp_path)))


def test_mask_pairs_share_a_name_and_a_lonely_picture_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "images/a.jpg", "masks/a.png", "images/b.jpg", "masks/b.jpg")
    catalogue = read_catalogue(MaskPairs(root=str(tmp_path)))
    assert [(s.path.name, s.mask and s.mask.name) for s in catalogue.samples] == [
        ("a.jpg", "a.png"), ("b.jpg", "b.jpg"),
    ]  # fmt: skip
    fill(tmp_path, "images/c.jpg")
    with pytest.raises(ConfigError, match="got no mask for 'c'"):
        read_catalogue(MaskPairs(root=str(tmp_path)))


def test_limuc_is_read_by_patient_and_by_the_folds_of_its_paper(tmp_path: Path) -> None:
    by_patient = fill(tmp_path / "p", *(f"{10 + grade}/Mayo {grade}/x_{grade}.bmp" for grade in range(4)))
    samples = read_catalogue(Limuc(root=str(by_patient))).samples
    assert [(s.group, s.labels["mes"]) for s in samples] == [
        (str(10 + grade), str(grade)) for grade in range(4)
    ]
    sets = fill(
        tmp_path / "s",
        *(f"train_and_validation_sets/Mayo {grade}/UC_patient_{grade}_1.bmp" for grade in range(4)),
        "test_set/Mayo 0/UC_patient_9_4.bmp",
    )
    fold = sets / "10_fold_cross_validation" / "fold_2"
    fold.mkdir(parents=True)
    (fold / "train.json").write_text(json.dumps({f"Mayo {g}": [f"UC_patient_{g}_1.bmp"] for g in range(3)}))
    (fold / "val.json").write_text(json.dumps({"Mayo 3": ["UC_patient_3_1.bmp"]}))
    samples = read_catalogue(Limuc(root=str(sets), fold=2)).samples
    assert [s.split for s in samples] == ["train", "train", "train", "val", "test"]
    assert samples[-1].group == "UC_patient_9"
    with pytest.raises(ConfigError, match="fold 3"):
        read_catalogue(Limuc(root=str(sets), fold=3))


@pytest.mark.parametrize(
    "table",
    [
        "ID,label\nx1,0\nx2.jpg,1\n",
        "Video file,Organ,Finding,Classification\nx1,Lower GI,0,findings\nx2,Lower GI,1,findings\n",
        "file-name;class-name;split-index\nx1.jpg;0;0\nx2.jpg;1;1\n",
    ],
)
def test_hyperkvasir_sheets_of_all_three_forms_find_their_pictures(tmp_path: Path, table: str) -> None:
    fill(tmp_path, "lower-gi-tract/findings/x1.jpg", "deeper/x2.jpg")
    (tmp_path / "image-labels.csv").write_text(table)
    catalogue = read_catalogue(HyperKvasir(root=str(tmp_path), head="mes", rename={"0": "mes 0"}))
    assert [(s.path.name, s.labels["mes"]) for s in catalogue.samples] == [
        ("x1.jpg", "mes 0"),
        ("x2.jpg", "1"),
    ]


def test_a_hyperkvasir_picture_that_is_not_there_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "x1.jpg")
    (tmp_path / "image-labels.csv").write_text("ID,label\nx1,0\nx9,1\n")
    with pytest.raises(ConfigError, match="one picture named 'x9'"):
        read_catalogue(HyperKvasir(root=str(tmp_path)))


def test_the_manifest_is_filtered_by_task_label_and_licence(data_dir: Path) -> None:
    plan = Manifest(root=str(data_dir), task="mes", labels=("1", "2", "3"), licences=("CC BY 4.0",))
    assert read_catalogue(plan).counts("class") == {"1": 100, "2": 221, "3": 66}
    whole = read_catalogue(Manifest(root=str(data_dir), task="mes", labels=("0", "1"), one_recording=("0",)))
    assert {s.group for s in whole.samples if s.labels["class"] == "0"} == {"recording of 0"}


def test_the_manifest_names_recordings_by_a_pattern_and_renames_labels(tmp_path: Path) -> None:
    fill(tmp_path, "p1_seq1_01.jpg", "p1_seq2_01.jpg", "ear.jpg")
    labels = {"p1_seq1_01.jpg": "larynx", "p1_seq2_01.jpg": "larynx", "ear.jpg": "ear"}
    lines = [f"{path},organ,{label},CC BY 4.0" for path, label in labels.items()]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,task,label,licence", *lines]), "utf-8")
    plan = Manifest(
        root=str(tmp_path),
        task="organ",
        head="organ",
        rename={"larynx": "vocal-folds"},
        recording=r"p\d+_seq\d+",
    )
    catalogue = read_catalogue(plan)
    assert catalogue.counts("organ") == {"ear": 1, "vocal-folds": 2}
    assert [sample.group for sample in catalogue.samples] == ["p1_seq1", "p1_seq2", None]
    with pytest.raises(ConfigError, match="regular expression"):
        read_catalogue(msgspec.structs.replace(plan, recording="("))


def test_a_recipes_own_folder_is_not_taken_for_the_manifests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    fill(data, "a.jpg", "b.jpg")
    (data / "manifest.csv").write_text("path,task,label,licence\na.jpg,x,0,\nb.jpg,x,1,\n", "utf-8")
    (tmp_path / "recipes").mkdir()
    monkeypatch.setenv("SCOPELINE_DATA", str(data))
    assert len(read_catalogue(Manifest(task="x"), tmp_path / "recipes")) == 2


@pytest.mark.parametrize(("name", "patients"), [("oct", 4), ("kvasir", 1)])
def test_a_stand_in_is_made_once_says_it_is_synthetic_and_is_the_same_again(
    name: str, patients: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCOPELINE_CACHE", str(tmp_path / "first"))
    plan = msgspec.convert(
        {"kind": "stand_in", "set": name, "per_label": 4, "patients_per_label": patients, "size": 48}, StandIn
    )
    first = read_catalogue(plan)
    assert "SYNTHETIC" in first.description
    assert set(first.counts("class").values()) == {4}
    assert len({sample.group for sample in first.samples}) == patients * len(first.classes["class"])
    assert read_catalogue(plan).samples == first.samples
    monkeypatch.setenv("SCOPELINE_CACHE", str(tmp_path / "second"))
    assert read_catalogue(plan).sha256 == first.sha256


def test_another_seed_is_another_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPELINE_CACHE", str(tmp_path))
    plans = [StandIn(set="oct", per_label=3, patients_per_label=3, size=48, seed=seed) for seed in (7, 8)]
    assert len({read_catalogue(plan).sha256 for plan in plans}) == 2


def test_a_typo_in_the_data_table_is_refused_with_its_name() -> None:
    with pytest.raises(msgspec.ValidationError, match="sheeet"):
        msgspec.toml.decode(b'kind = "sheet"\nsheeet = "a.csv"', type=DataPlan)
