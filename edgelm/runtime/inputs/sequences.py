"""From samples to sequences of tokens, for each kind of task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgelm.errors import DataError
from edgelm.runtime.inputs.batch import Context, Tokens
from edgelm.runtime.inputs.native_reader import NativeReader
from edgelm.runtime.inputs.pairs import cut_pair
from edgelm.runtime.inputs.tokenizer_guard import tokenizer_errors
from edgelm.runtime.inputs.windows import cut_windows
from edgelm.runtime.inputs.words import WordFinder
from edgelm.runtime.manifest import Manifest
from edgelm.tasks.task import TaskKind
from edgelm.tasks.text import QuestionAnswering


class Encoder:
    """A tokenizer of the tokenizers library, and what its exceptions mean.

    Args:
        tokenizer: gives it, set up as `edgelm.runtime.inputs.text.make_encoder` does: it cuts single texts at the
            model's longest sequence, but no pairs, and pads nothing. Asked for when it is needed.
        reader: of edgelm-native, which reads what needs ids alone.
    """

    def __init__(self, manifest: Manifest, tokenizer: Callable[[], Any], reader: NativeReader | None = None) -> None:
        self.manifest, self._tokenizer, self._reader = manifest, tokenizer, reader
        self.finder = WordFinder(self.tokenizer) if manifest.task.per == "token" else None

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self._tokenizer()

    def __call__(self, texts: Sequence[Any], *, words: bool = False) -> tuple[Any, ...]:
        """One encoding a text, a pair of texts or, with `words`, a tuple of words.

        Raises:
            DataError: a text that becomes no token, among others, or that is no Unicode.
            BundleError: a tokenizer that lacks a token of its own.
        """
        return _refuse_nothing(texts, self._encode(texts, words))

    def cut(self, texts: Sequence[Any]) -> tuple[Tokens, ...]:
        """One sequence a text or pair of texts, cut at the model's longest; its tokens may lack their places in it.

        Raises:
            DataError, BundleError: as a call.
        """
        if self._reader is None:
            return _refuse_nothing(texts, self._cut(texts))
        try:
            found = [self._reader(text) for text in texts]
        except UnicodeEncodeError as error:
            raise _no_unicode() from error
        unknown = [place for place, tokens in enumerate(found) if tokens is None]
        if not unknown:
            return _refuse_nothing(texts, tuple(found))
        rest = dict(zip(unknown, self._cut([texts[place] for place in unknown]), strict=True))
        return _refuse_nothing(texts, tuple(rest.get(place, tokens) for place, tokens in enumerate(found)))

    def _cut(self, texts: Sequence[Any]) -> tuple[Tokens, ...]:
        found = self._encode(texts, words=False)
        if not self.manifest.task.pair:  # the tokenizer cuts them itself
            return found
        settings = self.manifest.tokenization
        from_left = settings.truncation_side != "left"
        return tuple(cut_pair(each, longest=settings.max_length, from_left=from_left) for each in found)

    def _encode(self, texts: Sequence[Any], words: bool) -> tuple[Any, ...]:
        try:
            with tokenizer_errors("cannot cut this text into tokens"):
                return self._encodings(texts, words)
        except TypeError as error:  # half of a surrogate pair is a str that UTF-8 does not have
            raise _no_unicode() from error

    def _encodings(self, texts: Sequence[Any], words: bool) -> tuple[Any, ...]:
        if len(texts) != 1:
            return tuple(self.tokenizer.encode_batch(list(texts), is_pretokenized=words))
        if isinstance(texts[0], tuple) and not words:
            return (self.tokenizer.encode(*texts[0]),)
        return (self.tokenizer.encode(texts[0], is_pretokenized=words),)


def _refuse_nothing(texts: Sequence[Any], found: tuple[Any, ...]) -> tuple[Any, ...]:
    """The sequences of texts, if each of several has a token.

    Raises:
        DataError: one has none: it would be nothing but padding; alone, the graph decides.
    """
    if len(texts) > 1:
        for text, tokens in zip(texts, found, strict=True):
            if not len(tokens):
                raise DataError(
                    f"{str(text)!r:.60} becomes no token, and the model cannot read nothing.",
                    hint="Leave such texts out.",
                )
    return found


def _no_unicode() -> DataError:
    return DataError("a text is no Unicode: it holds half of a surrogate pair.", hint="Read it with its real encoding.")


def make_sequences(encoder: Encoder, samples: tuple[Any, ...]) -> Context:
    """The sequences of samples that `edgelm.runtime.inputs.samples.check_sample` has seen.

    Raises:
        DataError, BundleError: as `Encoder` and `edgelm.runtime.inputs.windows.cut_windows`.
    """
    return _MAKERS.get(encoder.manifest.task.kind, _whole_texts)(encoder, samples)


def _whole_texts(encoder: Encoder, samples: tuple[Any, ...]) -> Context:
    task = encoder.manifest.task
    found = encoder.cut(samples if task.pair else task.prompted(samples))
    return Context(samples, tuple(range(len(samples))), found)


def _words(encoder: Encoder, samples: tuple[Any, ...]) -> Context:
    """Texts and lists of words in one batch: the tokenizer takes each kind for itself."""
    found: dict[int, Any] = {}
    for given in (False, True):
        places = [index for index, sample in enumerate(samples) if isinstance(sample, tuple) == given]
        if places:
            found |= zip(places, encoder([samples[index] for index in places], words=given), strict=True)
    sequences = tuple(found[index] for index in range(len(samples)))
    begins = (
        tuple(encoder.finder.begins(*pair) for pair in zip(sequences, samples, strict=True)) if encoder.finder else ()
    )
    return Context(samples, tuple(range(len(samples))), sequences, begins)


def _windows(encoder: Encoder, samples: tuple[Any, ...]) -> Context:
    task, settings = encoder.manifest.task, encoder.manifest.tokenization
    stride = task.stride if isinstance(task, QuestionAnswering) else 0
    owners: list[int] = []
    sequences: list[Tokens] = []
    for index, encoding in enumerate(encoder(samples)):
        windows = cut_windows(
            encoding,
            longest=settings.max_length,
            stride=stride,
            from_left=settings.truncation_side != "left",
        )
        owners += [index] * len(windows)
        sequences += windows
    return Context(samples, tuple(owners), tuple(sequences))


def _endings(encoder: Encoder, samples: tuple[Any, ...]) -> Context:
    owners = tuple(index for index, (_, endings) in enumerate(samples) for _ in endings)
    return Context(samples, owners, encoder.cut([(text, ending) for text, endings in samples for ending in endings]))


def _with_masks(encoder: Encoder, samples: tuple[Any, ...]) -> Context:
    return Context(samples, tuple(range(len(samples))), encoder(samples), tokenizer=encoder.tokenizer)


_MAKERS: dict[TaskKind, Callable[[Encoder, tuple[Any, ...]], Context]] = {
    "token-classification": _words,
    "question-answering": _windows,
    "multiple-choice": _endings,
    "fill-mask": _with_masks,
}
