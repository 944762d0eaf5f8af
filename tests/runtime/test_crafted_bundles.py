"""No bundle that an attacker made is taken for a sound one, and none reads or writes outside of itself."""

import shutil
import sys

import pytest
from bundles import make_bundle, move_weights_out, reseal
from crafted import cases, forged_archives, make
from fuzzing import hold

import edgelm.runtime
from edgelm.errors import BundleError, EdgelmError
from edgelm.runtime.archive import pack
from edgelm.runtime.verify import verify

CASES = list(cases())
FEW = 8  # one of so many in the usual run


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = move_weights_out(make_bundle(tmp_path_factory.mktemp("sound") / "b"))
    shutil.rmtree(folder / "runtime")
    return reseal(folder)


@pytest.fixture(scope="module")
def opened():
    """Every file that this process opens."""
    found, watching = [], []

    def watch(event, arguments):
        if watching and event == "open":
            found.append(str(arguments[0]))

    sys.addaudithook(watch)
    watching.append(True)
    yield found
    watching.clear()


def judge(path, place, opened):
    """Whether verify and load let a bundle through; nothing outside of its place may have been opened or made."""
    before = sorted(place.parent.iterdir())
    del opened[:]
    checked = hold(lambda: verify(path))
    loaded = hold(lambda: edgelm.runtime.load(path)("a good film"))
    assert sorted(place.parent.iterdir()) == before
    assert not [name for name in opened if name.endswith(("secret", "passwd", "environ", "zero"))]
    return not isinstance(checked, EdgelmError) and checked.ok, isinstance(loaded, dict)


def test_the_sound_bundle_is_taken(sound, tmp_path, opened):
    assert judge(sound, tmp_path, opened) == (True, True)
    pack(sound, tmp_path / "b.edgelm")
    assert judge(tmp_path / "b.edgelm", tmp_path, opened) == (True, True)


def refuse(chosen, sound, tmp_path, opened):
    accepted = []
    for case in chosen:
        place = tmp_path / "case"
        place.mkdir()
        (tmp_path / "secret").write_bytes(b"secret")
        try:
            path = make(case, sound, place)
        except (ValueError, OSError):  # it cannot even be made
            path = None
        if path is not None and judge(path, place, opened)[0]:
            accepted.append(case.name)
        shutil.rmtree(place)
    assert accepted == []


def test_crafted_bundles_are_refused(sound, tmp_path, opened):
    refuse(CASES[::FEW], sound, tmp_path, opened)


@pytest.mark.slow
def test_all_crafted_bundles_are_refused(sound, tmp_path, opened):
    assert len(CASES) >= 500
    refuse(CASES, sound, tmp_path, opened)


def test_archives_that_no_packer_makes_are_refused(sound, tmp_path, opened):
    (tmp_path / "made").mkdir()
    with pytest.warns(UserWarning, match="Duplicate name"):
        made = list(forged_archives(sound, tmp_path / "made"))
    assert [name for name, path in made if judge(path, tmp_path, opened)[0]] == []


def test_an_archive_of_too_many_members_is_refused_at_once(tmp_path, monkeypatch):
    import zipfile

    with zipfile.ZipFile(tmp_path / "b.edgelm", "w") as archive:
        for number in range(200):
            archive.writestr(f"{number}", b"")
    monkeypatch.setenv("EDGELM_MAX_FILES", "100")
    with pytest.raises(BundleError, match=r"200 files; up to 100 are read(.|\n)*EDGELM_MAX_FILES=200"):
        edgelm.runtime.open_bundle(tmp_path / "b.edgelm")


def changed_bytes(sound, every):
    for file in sorted(path for path in sound.iterdir() if path.name != "manifest.json"):
        data = file.read_bytes()
        for place in range(
            0, len(data), 1 if every and len(data) < 20_000 else max(1, len(data) // (2000 if every else 40))
        ):
            yield file.name, data, place


def find(sound, tmp_path, every):
    shutil.copytree(sound, tmp_path / "b")
    loadable = ("model.onnx", "weights.bin", "tokenizer.json")
    count = 0
    for name, data, place in changed_bytes(sound, every):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        (tmp_path / "b" / name).write_bytes(damaged)
        assert not verify(tmp_path / "b", replay=False).ok, (name, place)
        if name in loadable:
            with pytest.raises(BundleError):
                edgelm.runtime.load(tmp_path / "b")
        (tmp_path / "b" / name).write_bytes(data)
        count += 1
    return count


def test_a_changed_byte_is_found_and_refused(sound, tmp_path):
    assert find(sound, tmp_path, every=False) > 80


@pytest.mark.slow
def test_every_changed_byte_is_found_and_refused(sound, tmp_path):
    assert find(sound, tmp_path, every=True) > 5000
