"""Settings of writing that would fill the memory or never end are refused by name, in a call as in a manifest."""

import pytest

from edgelm.errors import UsageError
from edgelm.tasks.generation import GenerationSettings

IMPOSSIBLE = [
    {"max_new_tokens": 10**18},
    {"num_beams": 10**9},
    {"num_beams": 1024, "max_new_tokens": 1 << 20},
    {"temperature": float("nan")},
    {"temperature": 1e-320},
    {"temperature": 10**400},
    {"length_penalty": 1e308},
    {"length_penalty": float("-inf")},
    {"repetition_penalty": float("inf")},
    {"top_k": 10**30},
    {"no_repeat_ngram_size": 10**30},
    {"seed": -1},
    {"eos_ids": (1, -4)},
    {"bad_ids": (1 << 31,)},
    {"pad_id": 10**19},
    {"decoder_start_id": -1},
    {"stop": ("a",) * 10_001},
]


@pytest.mark.parametrize("values", IMPOSSIBLE, ids=[next(iter(values)) + str(n) for n, values in enumerate(IMPOSSIBLE)])
def test_an_impossible_setting_is_refused_by_its_name(values):
    with pytest.raises(UsageError, match=next(iter(values))):
        GenerationSettings(**values)


def test_tokens_that_the_model_does_not_have_are_refused():
    for name, value in {"eos_ids": (9,), "bad_ids": (9,), "forced_bos_id": 9, "forced_eos_id": 9}.items():
        settings = GenerationSettings(**{name: value})
        settings.check_vocabulary(10)
        with pytest.raises(UsageError, match=f"{name} has the token 9; the model has 9"):
            settings.check_vocabulary(9)
