"""One quantized model in a process of its own: it answers rows and times calls when told to, for `quantization.py`.

Run by the Python of an environment that has onnxruntime, optimum-onnx, or openvino with nncf; edgelm need not be there.

`rivals.py optimum CHECKPOINT OUTPUT`: the export and dynamic INT8 (AVX512-VNNI settings) of Optimum, as its guide has
them. `rivals.py nncf MODEL.onnx ROWS.json OUTPUT`: NNCF's post-training INT8 for transformers, of an ONNX graph,
calibrated on rows. `rivals.py serve MODEL ROWS.json PART`: for each line `answer` or `time COUNT` on stdin, one line of
JSON; answers are of the part `test`, times of PART. Where all texts of PART are equally long, OpenVINO gets the model
reshaped to that length: it is much faster so.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Feed = dict[str, Any]
THREADS = 2


def make_optimum(checkpoint: str, output: str) -> None:
    """ORTQuantizer with its own settings for this kind of CPU."""
    from optimum.onnxruntime import ORTModelForSequenceClassification, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    model = ORTModelForSequenceClassification.from_pretrained(
        checkpoint, export=True
    )  # its graph lies on disk as long as it lives
    quantizer = ORTQuantizer.from_pretrained(model)
    quantizer.quantize(
        save_dir=output, quantization_config=AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
    )


def make_nncf(model: str, rows: str, output: str) -> None:
    """nncf.quantize for transformers, all its defaults besides."""
    import nncf
    import openvino

    feeds = load_feeds(rows, "calibration")
    quantized = nncf.quantize(
        openvino.convert_model(model),
        nncf.Dataset(feeds),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(feeds),
    )
    openvino.save_model(quantized, output)


def load_feeds(rows: str, part: str) -> list[Feed]:
    """Single texts as the graph's inputs."""
    return [{name: np.array([ids]) for name, ids in row.items()} for row in json.loads(Path(rows).read_text())[part]]


def start(model: str, shapes: set[tuple[int, ...]]) -> Callable[[Feed], np.ndarray]:
    """Load a model that will read these shapes; what it returns takes inputs and gives logits."""
    if model.endswith(".xml"):
        import openvino

        core = openvino.Core()
        options = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"}
        loaded = core.read_model(model)
        if len(shapes) == 1:
            loaded.reshape({name: next(iter(shapes)) for value in loaded.inputs for name in value.names})
        request = core.compile_model(loaded, "CPU", options).create_infer_request()
        return lambda feed: next(iter(request.infer(feed, share_inputs=True).values()))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    manifest = Path(model).with_name("manifest.json")  # a bundle of edgelm names the optimizers that it goes without
    graphs = json.loads(manifest.read_text())["graphs"] if manifest.is_file() else [{"session": {}}]
    disabled = graphs[0]["session"].get("disabled_optimizers", [])
    session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
    )
    names = [value.name for value in session.get_inputs()]
    return lambda feed: session.run(None, {name: feed[name] for name in names})[0]


def serve(model: str, rows: str, part: str) -> None:
    """Answer the lines of stdin."""
    feeds, at = load_feeds(rows, part), 0
    answer = start(model, {value.shape for feed in feeds for value in feed.values()})
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order, *count = line.split()
        if order == "answer":
            print(json.dumps([np.asarray(answer(feed))[0].tolist() for feed in load_feeds(rows, "test")]), flush=True)
            continue
        samples = []
        for number in range(3 + int(count[0])):  # the first three wake the threads
            feed = feeds[at % len(feeds)]
            began = time.perf_counter()
            answer(feed)
            if number >= 3:
                samples.append((time.perf_counter() - began) * 1000)
                at += 1
        print(json.dumps(samples), flush=True)


if __name__ == "__main__":
    {"optimum": make_optimum, "nncf": make_nncf, "serve": serve}[sys.argv[1]](*sys.argv[2:])
