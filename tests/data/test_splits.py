"""Which split is read, and rows that are in two of them."""

import pytest

from edgelm.cli.inputs import read_train_and_eval
from edgelm.data.dataset import Dataset, load_dataset
from edgelm.data.reading import warn_of_shared
from edgelm.data.sources import Source, parse_source
from edgelm.errors import DataError, DataWarning


def save(folder, **splits):
    import datasets

    made = {name: datasets.Dataset.from_dict({"text": texts, "label": ["x", "y"]}) for name, texts in splits.items()}
    datasets.DatasetDict(made).save_to_disk(folder)
    return str(folder)


def test_training_rows_are_never_taken_for_another_split(tmp_path):
    source = save(tmp_path / "saved", train=["a", "b"], test=["c", "d"])
    assert load_dataset(source).texts == ("a", "b")
    assert load_dataset(f"{source}@test", split="validation").texts == ("c", "d")
    with pytest.raises(
        DataError, match=r"no split validation or dev or valid or val; there are: train, test"
    ) as caught:
        load_dataset(source, split="validation")
    assert "@train" in caught.value.hint
    with pytest.raises(DataError, match="no split tests"):
        load_dataset(f"{source}@tests")


@pytest.mark.parametrize("name", ["validation", "dev", "valid", "val"])
def test_the_usual_names_of_a_validation_split_are_known(tmp_path, name):
    assert load_dataset(save(tmp_path / "saved", train=["a", "b"], **{name: ["c", "d"]}), split="validation").texts == (
        "c",
        "d",
    )


def test_what_a_source_names(tmp_path):
    assert parse_source("glue:mrpc@validation") == Source("glue", "mrpc", "validation")
    assert parse_source("org/set@test") == Source("org/set", None, "test")
    assert parse_source("C:\\rows\\a.csv") == Source("C:\\rows\\a.csv")
    file = tmp_path / "rows@home.csv"
    file.write_text("text,label\na,x\nb,y\n")
    assert load_dataset(file).texts == ("a", "b")
    with pytest.raises(DataError, match="a file has no splits"):
        load_dataset(f"{file}@test")


def test_shared_rows_are_counted_whatever_the_white_space(tmp_path):
    train, dev = tmp_path / "train.csv", tmp_path / "dev.csv"
    train.write_text("text,label\nthe film,x\nb,y\n")
    dev.write_text("text,label\n the  film,x\nc,y\n")
    with pytest.warns(DataWarning, match=r"1 of 2 rows \(50.0%\)"):
        read_train_and_eval(str(train), str(dev))
    with pytest.warns(DataWarning, match="are the same rows"):
        read_train_and_eval(str(train), str(train))


def test_unlabelled_texts_are_compared_with_the_rows_that_judge_them():
    texts = Dataset("more.txt", ("the film", "c"))
    with pytest.warns(DataWarning, match=r"1 of 1 rows \(100.0%\) of dev.csv are in more.txt too"):
        warn_of_shared(texts, Dataset("dev.csv", (" the  film",)), option="--unlabelled")


def test_a_missing_file_with_an_at_sign_is_no_data_set():
    with pytest.raises(DataError, match=r"missing@x\.csv: no such file"):
        load_dataset("missing@x.csv")


def test_lists_of_a_feature_of_classes_are_their_numbers(tmp_path):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.Sequence(datasets.ClassLabel(names=["x", "y", "z"]))}
    )
    datasets.Dataset.from_dict({"text": ["a", "b"], "labels": [[0, 1], [1, 0]]}, features=features).save_to_disk(
        tmp_path / "saved"
    )
    rows = load_dataset(tmp_path / "saved")
    assert (rows.label_names, rows.labels) == (("x", "y", "z"), ((1, 1, 0), (1, 1, 0)))
