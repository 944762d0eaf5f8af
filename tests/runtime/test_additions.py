"""What a device adds to a signed bundle is listed apart: the maker's signature still holds, and covers none of it."""

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from signing import make_signed

import edgelm.runtime
from edgelm.bundles import edit
from edgelm.bundles.sign import sign
from edgelm.errors import BundleError, OutputExistsError, SignatureError, UsageError
from edgelm.files.output import check_output
from edgelm.files.output_kinds import BUNDLE
from edgelm.profile.tune import _knobs as find_knobs
from edgelm.profile.tune import tune
from edgelm.runtime import open_bundle
from edgelm.runtime.archive import pack
from edgelm.runtime.loading import UnsignedWarning
from edgelm.runtime.session import optimizer
from edgelm.runtime.trust import Trust
from edgelm.runtime.verify import verify

pytest.importorskip("cryptography", reason="signatures are checked by the extra `sign`")
SETTINGS = {"intra_op_num_threads": 1, "arena": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_signed(tmp_path_factory.mktemp("signed"))


@pytest.fixture(params=["folder", "file"])
def bundle(made, tmp_path, request):
    folder = made.copy(tmp_path)
    if request.param == "folder":
        return folder
    pack(folder, tmp_path / "b.edgelm")
    return tmp_path / "b.edgelm"


def set_settings(path, settings=SETTINGS, *, optimized=False):
    """As `tune` does it, without measuring."""
    opened = open_bundle(path)
    with edit.open_draft(opened) as draft:
        if optimized:
            edit.add_optimized_graph(draft, settings)
            settings = settings | {"optimized_by": optimizer()}
        edit.save_settings(opened, draft, settings)


def add_engine(path, name="x", data=b"engine"):
    opened = open_bundle(path)
    edit.add_files(opened, {f"engines/{name}.engine": data}, opened.manifest)


def session(path, **keys):
    return open_bundle(path, trust=Trust.by(**keys)).manifest.session


def test_what_was_added_is_used_where_nobody_asks_who_made_it_and_the_manifest_stays(made, bundle):
    before = open_bundle(bundle).text
    set_settings(bundle)
    add_engine(bundle)
    opened = open_bundle(bundle)
    assert (opened.text, opened.manifest.session, opened.has("engines/x.engine")) == (before, SETTINGS, True)
    assert opened.read("engines/x.engine") == b"engine"
    assert verify(bundle).ok
    checks = {check.name: check.detail for check in verify(bundle, trust=Trust.by(made.maker.public)).checks}
    assert "engines/x.engine" in checks
    assert checks["device.json"] == (
        "added on this device, not signed by the maker, not used: engines/x.engine, session settings of model"
    )


def test_who_asks_for_the_makers_signature_gets_nothing_of_it_and_is_told(made, bundle):
    key = made.maker.public
    set_settings(bundle)
    with pytest.warns(UnsignedWarning, match="not used: session settings of model; it was added on this device"):
        model = edgelm.runtime.load(bundle, key=key)
    assert model.manifest.session == {}
    assert edgelm.runtime.load(bundle, key=key, unsigned_additions=True).manifest.session == SETTINGS


def test_a_key_of_the_device_signs_what_was_added(made, bundle):
    key, device = made.maker.public, made.other
    with pytest.raises(UsageError, match="nothing was added"):
        sign(bundle, key=device.private, device=True)
    set_settings(bundle)
    with pytest.raises(SignatureError, match=r"device\.json is not signed"):
        session(bundle, key=key, device_key=device.public)
    assert sign(bundle, key=device.private, device=True).signed == "device.json"
    assert edgelm.runtime.load(bundle, key=key, device_key=device.public).manifest.session == SETTINGS
    assert verify(bundle, trust=Trust.by(key, device_key=device.public)).ok
    with pytest.raises(SignatureError, match="another key"):
        session(bundle, key=key, device_key=made.maker.public)
    add_engine(bundle)  # which the signature does not know of
    with pytest.raises(SignatureError, match=r"device\.json is not signed"):
        session(bundle, key=key, device_key=device.public)


def test_the_signature_of_the_one_list_is_none_of_the_other(made, bundle):
    """A maker's signature of a manifest does not make it a device's list, or the other way round."""
    if bundle.is_file():
        pytest.skip("lists are exchanged by hand, in a folder")
    set_settings(bundle)
    sign(bundle, key=made.maker.private, device=True)
    for name, other in (("manifest", "device"), ("device", "manifest")):
        broken = Path(shutil.copytree(bundle, bundle.with_name(f"as-{name}")))
        shutil.copy(bundle / f"{other}.json", broken / f"{name}.json")
        signature = {"manifest": "signature.json", "device": "device-signature.json"}
        shutil.copy(bundle / signature[other], broken / signature[name])
        with pytest.raises(BundleError, match=f"{name}.json: "):
            session(broken, key=made.maker.public, device_key=made.maker.public)


def test_tune_changes_a_signed_bundle_and_the_signature_holds(made, tmp_path, threads_alone, warm_workers):
    bundle = made.copy(tmp_path)
    tune(bundle)
    tuned = session(bundle)["tuned"]
    assert tuned["machine"]
    assert verify(bundle, trust=Trust.by(made.maker.public)).ok
    set_settings(bundle, {})  # as it was made: nothing is left of it
    assert open_bundle(bundle).additions is None
    assert edgelm.runtime.load(bundle, key=made.maker.public)


def test_an_optimized_graph_is_listed_apart_and_used(made, tmp_path):
    bundle = made.copy(tmp_path)
    set_settings(bundle, {}, optimized=True)
    assert [entry.path for entry in open_bundle(bundle).additions.files] == ["optimized.onnx"]
    assert verify(bundle).ok
    with pytest.warns(UnsignedWarning, match=r"optimized\.onnx"):
        plain = edgelm.runtime.load(bundle, key=made.maker.public)
    faster = edgelm.runtime.load(bundle, key=made.maker.public, unsigned_additions=True)
    np.testing.assert_allclose(*(model("a good film")["score"] for model in (plain, faster)), atol=1e-5)
    (bundle / "optimized.onnx").write_bytes(b"")
    assert not verify(bundle, replay=False, trust=Trust.by(made.maker.public)).ok
    with pytest.raises(BundleError, match=r"optimized\.onnx"):
        edgelm.runtime.load(bundle, key=made.maker.public, unsigned_additions=True)
    set_settings(bundle, {})
    assert not (bundle / "optimized.onnx").exists()
    assert verify(bundle).ok


def test_what_the_maker_signed_is_not_replaced(made, tmp_path):
    bundle = made.copy(tmp_path)
    (bundle / "signature.json").unlink()
    add_engine(bundle)
    set_settings(bundle, {}, optimized=True)
    sign(bundle, key=made.maker.private)
    before = {file: file.read_bytes() for file in (bundle / "optimized.onnx", bundle / "engines" / "x.engine")}
    with pytest.raises(BundleError, match=r"engines/x\.engine is part of the signed bundle"):
        add_engine(bundle, data=b"another")
    set_settings(bundle)
    assert {file: file.read_bytes() for file in before} == before
    assert verify(bundle, trust=Trust.by(made.maker.public)).ok
    opened = open_bundle(bundle)
    with edit.open_draft(opened) as draft:
        edit.add_optimized_graph(draft, {"disabled_optimizers": ["SkipLayerNormFusion"]})
        with (draft / "optimized.onnx").open("ab") as file:
            file.write(b"\0")  # whatever another onnxruntime makes of it
        with pytest.raises(BundleError, match=r"optimized\.onnx"):
            edit.save_settings(opened, draft, {"optimized_by": optimizer()})
    assert "optimized graph" not in [knob for knob, _ in find_knobs(opened)]  # so `tune` never tries
    assert {file: file.read_bytes() for file in before} == before
    assert verify(bundle, trust=Trust.by(made.maker.public)).ok


def forge(name, value):
    return lambda values: values | {name: value}


ENTRY = {"path": "engines/x.engine", "size": 1, "sha256": "0" * 64}
SESSION = {"model": {"session": {"entries": {"a": "b"}}, "plan": None, "engines": []}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (forge("manifest", "0" * 64), "added to another bundle"),
        (forge("schema", 2), "not as this edgelm writes it"),
        (forge("more", 2), "not a list"),
        (forge("files", [ENTRY | {"path": "../x.engine"}]), "no device adds"),
        (forge("files", [ENTRY | {"path": "engines/../../x.engine"}]), "no device adds"),
        (forge("files", [ENTRY | {"path": "numpy.py"}]), "no device adds"),
        (forge("files", [ENTRY, ENTRY]), "no device adds"),
        (forge("files", [ENTRY | {"path": "model.onnx"}]), "no device adds"),
        (forge("files", [ENTRY | {"sha256": "x"}]), "not those of a file"),
        (forge("files", 1), "is not a list"),
        (forge("graphs", {"other": SESSION["model"]}), "there is no graph 'other'"),
        (forge("graphs", {"model": {"session": {}}}), "a device says session, plan, engines"),
        (forge("graphs", {"model": SESSION["model"] | {"file": "x.onnx"}}), "a device says session, plan, engines"),
        (forge("graphs", SESSION), "entries: a"),
        (forge("graphs", {"model": 1}), "is not an object"),
    ],
)
def test_a_forged_list_is_refused(made, tmp_path, change, words):
    bundle = made.copy(tmp_path)
    set_settings(bundle)
    values = json.loads((bundle / "device.json").read_text())
    (bundle / "device.json").write_text(json.dumps(change(values), indent=2) + "\n")
    for key in (None, made.maker.public):
        with pytest.raises(BundleError, match=words):
            edgelm.runtime.load(bundle, key=key)


@pytest.mark.parametrize("name", ["unlink", "replace"])
@pytest.mark.parametrize("step", range(1, 5))
def test_a_cut_while_it_is_added_leaves_a_bundle_that_loads(made, tmp_path, monkeypatch, name, step):
    bundle, count, change = made.copy(tmp_path), 0, getattr(Path, name)
    set_settings(bundle, {}, optimized=True)
    opened = open_bundle(bundle)

    def cut_off(path, *values, **options):
        nonlocal count
        count += bundle in (path.parent, *(Path(value).parent for value in values))
        if count == step:
            raise KeyboardInterrupt
        return change(path, *values, **options)

    with contextlib.suppress(KeyboardInterrupt), edit.open_draft(opened) as draft:
        edit.add_optimized_graph(draft, {"disabled_optimizers": ["SkipLayerNormFusion"]})
        monkeypatch.setattr(Path, name, cut_off)
        edit.save_settings(opened, draft, {"optimized_by": optimizer(), "disabled_optimizers": ["SkipLayerNormFusion"]})
    monkeypatch.undo()
    assert edgelm.runtime.load(bundle)("a good film")["label"] == "positive"
    edit.remove_leftover(open_bundle(bundle))
    assert verify(bundle, trust=Trust.by(made.maker.public)).ok


def test_a_bundle_without_a_signature_is_changed_in_its_manifest_as_ever(made, tmp_path):
    bundle = made.copy(tmp_path)
    (bundle / "signature.json").unlink()
    set_settings(bundle)
    assert json.loads((bundle / "manifest.json").read_text())["graphs"][0]["session"] == SETTINGS
    assert not (bundle / "device.json").exists()


def test_what_is_signed_is_checked_first_and_signed_once(made, tmp_path):
    bundle = made.copy(tmp_path)
    before = (bundle / "signature.json").read_bytes()
    sign(bundle, key=made.maker.private)  # the same bytes
    with pytest.raises(OutputExistsError, match="another signature"):
        sign(bundle, key=made.other.private)
    assert (bundle / "signature.json").read_bytes() == before
    sign(bundle, key=made.other.private, overwrite=True)
    assert edgelm.runtime.load(bundle, key=made.other.public)
    (bundle / "golden.json").write_text("{}")
    with pytest.raises(BundleError, match=r"is not signed: golden\.json"):
        sign(bundle, key=made.maker.private, overwrite=True)


def test_a_signed_bundle_with_additions_is_one_that_overwrite_may_replace(made, tmp_path):
    bundle = made.copy(tmp_path)
    add_engine(bundle)
    set_settings(bundle)
    sign(bundle, key=made.other.private, device=True)
    check_output(bundle, overwrite=True, kind=BUNDLE)
    (bundle / "mine.txt").write_text("x")
    with pytest.raises(OutputExistsError, match=r"mine\.txt"):
        check_output(bundle, overwrite=True, kind=BUNDLE)


def test_the_additions_of_a_manifest_lead_to_it(made, tmp_path):
    from edgelm.runtime.additions import Additions

    opened = open_bundle(made.folder)
    graph = replace(opened.manifest.graph(), session=SETTINGS)
    wanted = opened.manifest.with_graph(graph)
    found = Additions.between(opened.text, wanted)
    assert Additions.from_json(found.to_json(), opened.text).applied(opened.manifest) == wanted
