"""The words of a report, for whoever reads it without having made it."""

from __future__ import annotations

from edgelm.report.language import tr

GLOSSARY = {
    "original": "The model that it all began with, uncut and in 32-bit floats.",
    "bundle": "A folder or file with everything that runs the model on a device: graph, weights, tokenizer, proof.",
    "p50, p90, p99": "Half, nine tenths, and 99 of 100 calls took no longer than this.",
    "95 % interval": "Where the figure would lie in 95 of 100 repetitions of the same measurement; an interval that "
    "includes no change means that nothing was shown.",
    "points": "Hundredths: accuracy 0.853 is 2.3 points more than 0.830.",
    "dev": "Rows by which choices were made on the way, such as when to stop; a figure on them is a little too good.",
    "test": "Rows that played no part in making the model; the figure to believe.",
    "measured, estimated": "Measured: timed on the machine that is named. Estimated: calculated, and never in one "
    "figure with what was measured.",
    "FP32, FP16, INT8, INT4": "How weights are kept: 32-bit or 16-bit floats, 8-bit or 4-bit integers.",
    "heads, FFN channels": "The parts of a layer that pruning takes away: attention looks at other words through its "
    "heads, the feed-forward network works on each word through its channels.",
    "quantization error": "How far the outputs move when one layer's input is kept in integers, alone: the mean square "
    "of the difference from the float model's.",
    "joules, kWh": "Energy: a watt for a second, and a thousand watts for an hour (3.6 million joules).",
    "CO2e": "Carbon dioxide and what warms as much, of the power stations that make a kilowatt-hour on average.",
    "confidence": "The probability that the model gives its own answer.",
    "ECE": "Expected calibration error: how far confidence and accuracy are apart on average; 0 is as sure as right.",
    "confusion": "Which label was taken for which other.",
    "mended, broken": "Answers that were wrong and are right now; answers that were right and are wrong now.",
}


def used_terms(text: str) -> tuple[tuple[str, str], ...]:
    """The words that stand in a text, with their meanings, in the language of both."""
    lower = text.lower()
    terms = ((tr(term), tr(meaning)) for term, meaning in GLOSSARY.items())
    return tuple(
        (term, meaning) for term, meaning in terms if any(word.strip().lower() in lower for word in term.split(","))
    )
