"""The tasks of text encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from edgelm.errors import ModelError
from edgelm.tasks.task import Activation, Output, Per, Problem, Task, TaskKind

# How token vectors become one: the first, the last, the largest, the mean, the sum over the root of the length, the
# mean weighted by place.
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")

Aggregation = Literal["first", "max", "average", "simple"]
AGGREGATIONS: tuple[Aggregation, ...] = ("first", "max", "average", "simple")


@dataclass(frozen=True)
class TextClassification(Task):
    """A class, several labels, or a number for a text or a pair of texts.

    Attributes:
        problem: how labels exclude each other.
        labels: label names in the order of the logits; for regression mostly one name.
        pair: whether the model reads two texts at once (paraphrase, entailment, reranking).
        activation: what a regression's values go through at the end: "sigmoid", or nothing ("identity" where the model
            says so, else "").
    """

    kind: ClassVar[TaskKind] = "text-classification"
    architecture: ClassVar[str] = "ForSequenceClassification"

    problem: Problem = "single-label"
    labels: tuple[str, ...] = ()
    pair: bool = False
    activation: Activation = ""

    @property
    def output(self) -> Output:
        """Classes, labels that do not exclude each other, or values."""
        outputs: dict[Problem, Output] = {"single-label": "classes", "multi-label": "binary", "regression": "values"}
        return outputs[self.problem]

    @property
    def metric(self) -> str:
        """Accuracy; micro-F1 of several labels; Spearman's correlation of a regression."""
        return {"single-label": "accuracy", "multi-label": "micro_f1", "regression": "spearman"}[self.problem]


@dataclass(frozen=True)
class SentenceEmbedding(Task):
    """A vector for a text: near those of texts that mean the same.

    Attributes:
        pooling: how token vectors become one sentence vector: one of `POOLINGS`, or several joined by `+`, whose
            vectors stand side by side.
        normalize: whether sentence vectors are scaled to length one.
        head: the layers between pooling and that, in words, such as `Dense 64 to 16, Tanh`; their weights are the
            model's.
        dimensions: how many of a vector's values are kept, from the first on (Matryoshka); None: all.
        prompt: what stands before every text.
    """

    kind: ClassVar[TaskKind] = "sentence-embedding"
    output_names: ClassVar[tuple[str, ...]] = ("embedding",)

    pooling: str = "mean"
    normalize: bool = True
    head: tuple[str, ...] = ()
    dimensions: int | None = None
    prompt: str = ""

    @property
    def output(self) -> Output:
        """A vector."""
        return "vectors"

    @property
    def metric(self) -> str:
        """Spearman's correlation of cosine similarities with the labels of pairs."""
        return "spearman"

    @property
    def poolings(self) -> tuple[str, ...]:
        """The single ways of pooling, in the order of their vectors."""
        return tuple(self.pooling.split("+"))

    def prompted(self, texts: Sequence[Any]) -> list[Any]:
        """Texts behind the prompt."""
        return [self.prompt + text for text in texts] if self.prompt else list(texts)


@dataclass(frozen=True)
class TokenClassification(Task):
    """A tag for every word: names, places, slots. The tag of a word is that of its first sub-token.

    Attributes:
        labels: the tags in the order of the logits, such as O, B-PER, I-PER (BIO) or O, B-PER, I-PER, E-PER, S-PER
            (BIOES).
        aggregation: how a bundle makes spans of tags, as transformers' pipeline names it: a word's tag is that of its
            first sub-token, the largest or the mean of its sub-tokens' scores, or every sub-token stands alone
            (simple).
    """

    kind: ClassVar[TaskKind] = "token-classification"
    per: ClassVar[Per] = "token"
    architecture: ClassVar[str] = "ForTokenClassification"
    schema: ClassVar[str] = "words"

    labels: tuple[str, ...] = ()
    aggregation: Aggregation = "first"

    @property
    def metric(self) -> str:
        """F1 of whole spans (CoNLL-2003): a span counts where its type, its beginning and its end are right."""
        return "span_f1"


@dataclass(frozen=True)
class QuestionAnswering(Task):
    """The part of a text that answers a question. A long text is read in windows that overlap.

    Attributes:
        stride: tokens that a window has in common with the one before.
        max_answer_tokens: the longest answer, in tokens.
        null_answers: whether a question may have no answer in its text (SQuAD 2.0), which the first token stands for.
    """

    kind: ClassVar[TaskKind] = "question-answering"
    per: ClassVar[Per] = "position"
    architecture: ClassVar[str] = "ForQuestionAnswering"
    output_names: ClassVar[tuple[str, ...]] = ("start_logits", "end_logits")
    schema: ClassVar[str] = "answers"

    stride: int = 128
    max_answer_tokens: int = 15
    null_answers: bool = False

    @property
    def metric(self) -> str:
        """F1 of the words of the answers, as SQuAD has it."""
        return "f1"

    @property
    def pair(self) -> bool:
        """Question and text in one sequence."""
        return True


@dataclass(frozen=True)
class MultipleChoice(Task):
    """Which of some endings goes with a text. Each stands in a sequence of its own behind the text.

    Attributes:
        choices: how many endings a text has in the data.
    """

    kind: ClassVar[TaskKind] = "multiple-choice"
    architecture: ClassVar[str] = "ForMultipleChoice"
    schema: ClassVar[str] = "choices"

    choices: int = 0

    @property
    def pair(self) -> bool:
        """Text and ending in one sequence."""
        return True


@dataclass(frozen=True)
class FillMask(Task):
    """The tokens that may stand where a text has a mask, as masked language models are pretrained (BERT, Devlin et al.
    2019, arXiv:1810.04805). Texts are their own labels: some of their tokens are masked to train and to judge by.

    Attributes:
        mask_token: what stands in a text where a token is asked for.
        top: how many tokens a bundle names for a mask, the likeliest first.
    """

    kind: ClassVar[TaskKind] = "fill-mask"
    per: ClassVar[Per] = "token"
    architecture: ClassVar[str] = "ForMaskedLM"
    own_targets: ClassVar[bool] = True

    mask_token: str = "[MASK]"
    top: int = 5

    def read_by(self, tokenizer: Any) -> Task:
        """With the tokenizer's own mask.

        Raises:
            ModelError: it has none.
        """
        if tokenizer.mask_token is None:
            raise ModelError("the tokenizer has no mask token.", hint="Give a model that was trained to fill in masks.")
        return replace(self, mask_token=str(tokenizer.mask_token))
