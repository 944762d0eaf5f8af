"""What an export holds in memory: the weights of a generator once, in whatever shape they are needed next."""

from __future__ import annotations

from dataclasses import replace

import onnx

from edgelm.anatomy import load_reference
from edgelm.export.draft import Draft
from edgelm.files.output import disk_errors
from edgelm.graph.external_data import save_graphs
from edgelm.graph.session import make_file_session
from edgelm.precision import precision_of
from edgelm.runtime.manifest import WEIGHTS_FILE


def store(draft: Draft) -> Draft:
    """The graphs as files, as the bundle will have them: a session maps their constants from there. The weights of the
    model that they were made of are let go before, where `by_transformers` loads it anew."""
    if draft.work is None:
        raise ValueError("the draft has no folder for its files")
    if _is_plain(draft):
        draft.source.model.to("meta")  # in place: whoever called this step still holds the draft
    folder = draft.work / "graphs"
    with disk_errors(folder):
        folder.mkdir()
        save_graphs({graph.spec.file: graph.model for graph in draft.graphs}, folder, WEIGHTS_FILE)
    graphs = tuple(
        replace(graph, model=onnx.load(folder / graph.spec.file, load_external_data=False)) for graph in draft.graphs
    )
    return replace(draft, graphs=graphs, stored=folder)


def open_graphs(draft: Draft) -> Draft:
    """The draft with sessions of its stored graphs."""
    if draft.stored is None:
        raise ValueError("the draft's graphs are in no files")
    # Kernels of floats give the same without a copy of the matrices in their own layout.
    packed = precision_of(draft.settings.precision).conversion != "none"
    sessions = (make_file_session(draft.stored / graph.spec.file, prepack=packed) for graph in draft.graphs)
    graphs = (replace(graph, session=session) for graph, session in zip(draft.graphs, sessions, strict=True))
    return replace(draft, graphs=tuple(graphs))


def by_transformers(draft: Draft) -> Draft:
    """The draft with the model as plain transformers loads it, which graphs are compared with; it also takes the place
    of the one that they were made of, where that one's weights were let go."""
    model = load_reference(draft.checkpoint, allow_pickle=draft.settings.allow_pickle)
    source = replace(draft.source, model=model) if model is not None and _is_plain(draft) else draft.source
    return replace(draft, source=source, reference=model or source.model)


def release(draft: Draft) -> Draft:
    """The draft without sessions and weights, of which the bundle is written: it is checked by sessions of its own."""
    draft.source.model.to("meta")
    return replace(draft, reference=None, graphs=tuple(replace(graph, session=None) for graph in draft.graphs))


def _is_plain(draft: Draft) -> bool:
    """Whether transformers loads the same model from the folder: no layers of shapes of their own, which it cannot
    build, and no adapter, whose layers it leaves beside the others."""
    return not draft.checkpoint.record.layers and draft.checkpoint.base is None
