"""The tasks of models that write: text that goes on, translations, summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from edgelm.errors import UsageError
from edgelm.tasks.task import Per, Task, TaskKind

MOST_NEW = 1 << 20  # tokens that are written at once
_MOST_BEAMS = 1024
_MOST_FOLLOWED = 1 << 24  # tokens of all beams of a text
_MOST_STOPS = 10_000
_STRONGEST = 10.0  # power of a length that 64-bit floats hold
_HOTTEST = 1e6
_LARGEST_ID = 1 << 31
_IDS = ("pad_id", "decoder_start_id", "forced_bos_id", "forced_eos_id")
_ID_LISTS = ("eos_ids", "bad_ids")


@dataclass(frozen=True)
class GenerationSettings:
    """How the next tokens are chosen, and when to stop; the names are those of transformers where it has them.

    Attributes:
        max_new_tokens, min_new_tokens: how many tokens are written at most and at least.
        num_beams: texts that beam search follows at once; 1: none, the likeliest token is taken.
        length_penalty: power of its length that a beam's score is divided by.
        early_stopping: whether beam search ends once there are as many whole texts as beams.
        do_sample: whether tokens are drawn at random by their probabilities.
        temperature: what logits are divided by before that.
        top_k: tokens that may be drawn, the likeliest; 0: all.
        top_p: share of the probability that those tokens must make up, the likeliest first (Holtzman et al. 2020).
        min_p: least probability of a drawn token, as a share of the likeliest one's.
        repetition_penalty: what makes tokens less likely that are there already (Keskar et al. 2019); 1: nothing.
        no_repeat_ngram_size: so many tokens never follow each other twice in the same way; 0: no such rule.
        seed: of the random numbers; None: others each time.
        eos_ids: tokens that end a text.
        pad_id: what fills up a batch; None: any token will do, since padding is masked.
        decoder_start_id: the first token that the decoder of an encoder-decoder reads.
        forced_bos_id: the token that is always written first, such as a language; None: any.
        forced_eos_id: the token that is always written last, where a text has as many tokens as it may have.
        bad_ids: tokens that are never written, such as Marian's padding.
        stop: texts that end what is written; they are left out of it.

    Raises:
        UsageError: an impossible value, by its name.
    """

    max_new_tokens: int = 128
    min_new_tokens: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool = False
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    seed: int | None = None
    eos_ids: tuple[int, ...] = ()
    pad_id: int | None = None
    decoder_start_id: int | None = None
    forced_bos_id: int | None = None
    forced_eos_id: int | None = None
    bad_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ranges = {
            "max_new_tokens": (1 <= self.max_new_tokens <= MOST_NEW, f"from 1 to {MOST_NEW:,}"),
            "min_new_tokens": (0 <= self.min_new_tokens <= self.max_new_tokens, "between 0 and max_new_tokens"),
            "num_beams": (1 <= self.num_beams <= _MOST_BEAMS, f"from 1 to {_MOST_BEAMS:,}"),
            "num_beams times max_new_tokens": (
                self.num_beams == 1 or self.num_beams * self.max_new_tokens <= _MOST_FOLLOWED,
                f"at most {_MOST_FOLLOWED:,}",
            ),
            "length_penalty": (-_STRONGEST <= self.length_penalty <= _STRONGEST, f"within {_STRONGEST:g} of 0"),
            "temperature": (
                1 / _HOTTEST <= self.temperature <= _HOTTEST,
                f"above 0, from {1 / _HOTTEST:g} to {_HOTTEST:g}; for the likeliest tokens leave sampling out",
            ),
            "top_k": (0 <= self.top_k < _LARGEST_ID, "0 or a number of tokens"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "min_p": (0 <= self.min_p <= 1, "between 0 and 1"),
            "repetition_penalty": (
                1 / _HOTTEST <= self.repetition_penalty <= _HOTTEST,
                f"above 0, from {1 / _HOTTEST:g} to {_HOTTEST:g}",
            ),
            "no_repeat_ngram_size": (0 <= self.no_repeat_ngram_size <= MOST_NEW, "0 or a number of tokens"),
            "seed": (self.seed is None or 0 <= self.seed < 1 << 64, "a whole number from 0 to 2^64 - 1"),
            "stop": (len(self.stop) <= _MOST_STOPS, f"at most {_MOST_STOPS:,} texts"),
        }
        for name in (*_IDS, *_ID_LISTS):
            ids = getattr(self, name)
            each = ids if name in _ID_LISTS else () if ids is None else (ids,)
            ranges[name] = (all(0 <= token < _LARGEST_ID for token in each), "tokens, from 0 on")
        for name, (fits, words) in ranges.items():
            if not fits:
                given = " x ".join(repr(getattr(self, part)) for part in name.split(" times "))
                raise UsageError(f"{name} is {given:.60}.", hint=f"It must be {words}.")
        if self.do_sample and self.num_beams > 1:
            raise UsageError("sampling and beam search exclude each other.", hint="Leave num_beams at 1.")

    def check_vocabulary(self, size: int) -> None:
        """Refuse tokens that a model of so many tokens cannot write: logits are looked up by them.

        Raises:
            UsageError: one is none, by the setting's name.
        """
        for name in ("eos_ids", "bad_ids", "forced_bos_id", "forced_eos_id"):
            ids = getattr(self, name)
            strange = [token for token in (ids if isinstance(ids, tuple) else (ids,)) if token and token >= size]
            if strange:
                raise UsageError(
                    f"{name} has the token {strange[0]:,}; the model has {size:,}.",
                    hint="Give tokens of its vocabulary.",
                )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationSettings:
        """The settings that JSON has; keys that are none of them are left out."""
        known = [field.name for field in fields(cls) if field.name in values]
        lists = {name: tuple(values[name]) for name in known if isinstance(values[name], list)}
        return cls(**{name: values[name] for name in known} | lists)


@dataclass(frozen=True)
class Generation(Task):
    """A model that writes tokens one after the other. The rows that count are its logits where a token of the target
    comes next: of a text every token, of an answer those of the answer alone.

    Attributes:
        settings: how it writes where nothing else is asked for.
    """

    per: ClassVar[Per] = "token"
    generates: ClassVar[bool] = True

    settings: GenerationSettings = GenerationSettings()

    @property
    def selection(self) -> str:
        """The mean logarithm of the probability of a target token, given those before it."""
        return "log_likelihood"


@dataclass(frozen=True)
class TextGeneration(Generation):
    """A text that goes on: a decoder alone, which reads a prompt or a conversation and writes what comes next. Texts
    are their own targets.

    Attributes:
        chat_template: how a conversation becomes a text, in Jinja as tokenizers have it; empty: the model has none.
        context: the longest text, prompt and answer together, in tokens; 0: not limited.
    """

    kind: ClassVar[TaskKind] = "text-generation"
    architecture: ClassVar[str] = "ForCausalLM"
    schema: ClassVar[str] = "prompts"
    own_targets: ClassVar[bool] = True

    chat_template: str = ""
    context: int = 0

    @property
    def metric(self) -> str:
        """As training's; the perplexity is its negative's exponential."""
        return self.selection


@dataclass(frozen=True)
class Rewriting(Generation):
    """A text for a text: an encoder reads the source, a decoder writes the target.

    Attributes:
        prefix: what stands before every source, such as `summarize: `.
    """

    architecture: ClassVar[str] = "ForSeq2SeqLM"
    schema: ClassVar[str] = "targets"

    prefix: str = ""

    def prompted(self, texts: Sequence[Any]) -> list[Any]:
        """Sources behind the prefix."""
        return [self.prefix + text for text in texts]


@dataclass(frozen=True)
class Translation(Rewriting):
    """A text in another language.

    Attributes:
        source_language, target_language: as the model names them, such as `en` and `de`; empty: not known.
    """

    kind: ClassVar[TaskKind] = "translation"

    source_language: str = ""
    target_language: str = ""

    @property
    def metric(self) -> str:
        """BLEU as sacreBLEU has it (Post 2018), between 0 and 100."""
        return "bleu"


@dataclass(frozen=True)
class Summarization(Rewriting):
    """A short text that says what a long one does."""

    kind: ClassVar[TaskKind] = "summarization"

    @property
    def metric(self) -> str:
        """F1 of the longest common subsequence of words (ROUGE-L, Lin 2004), of the best of several references."""
        return "rougeL"
