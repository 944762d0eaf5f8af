"""The tasks of models that write: text that goes on, translations, summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from edgelm.errors import UsageError
from edgelm.tasks.task import Per, Task, TaskKind


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
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "min_new_tokens": (0 <= self.min_new_tokens <= self.max_new_tokens, "between 0 and max_new_tokens"),
            "num_beams": (self.num_beams >= 1, "at least 1"),
            "temperature": (self.temperature > 0, "above 0; for the likeliest tokens leave sampling out"),
            "top_k": (self.top_k >= 0, "0 or a number of tokens"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "min_p": (0 <= self.min_p <= 1, "between 0 and 1"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
            "no_repeat_ngram_size": (self.no_repeat_ngram_size >= 0, "0 or a number of tokens"),
        }
        for name, (fits, words) in ranges.items():
            if not fits:
                raise UsageError(f"{name} is {getattr(self, name)!r}.", hint=f"It must be {words}.")
        if self.do_sample and self.num_beams > 1:
            raise UsageError("sampling and beam search exclude each other.", hint="Leave num_beams at 1.")

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
