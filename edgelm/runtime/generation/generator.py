"""A loaded bundle that writes: a prompt in, text out."""

from __future__ import annotations

from collections.abc import Generator as Pieces
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelm.errors import DataError, UsageError
from edgelm.runtime.generation.chat import Messages
from edgelm.runtime.generation.decoder import DECODER, ENCODER
from edgelm.runtime.generation.prompts import Prompt, PromptReader
from edgelm.runtime.generation.reading import Reading, write_rows
from edgelm.runtime.generation.rows import STOP, Row
from edgelm.runtime.generation.speculation import Drafter, DraftModel, PromptLookup, write_speculating
from edgelm.runtime.generation.streaming import TextStream
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.provider import Opened
from edgelm.tasks.generation import Generation, GenerationSettings

if TYPE_CHECKING:
    from edgelm.runtime.answers.table import Answer

_MOST_ROWS = 16  # texts, or beams of texts, that are written at once


class Generator:
    """A bundle that is ready to write.

    One text is written at a time, or several beside each other; while a stream is open, another call ends it.

    What was read for one prompt stays in the cache: a next prompt that begins alike, as that of a conversation does,
    is read from where it differs.

    Args:
        reading: reads tokens.
        reader: makes tokens of prompts.

    Attributes:
        settings: of the model, where a call does not say otherwise.
    """

    def __init__(
        self,
        manifest: Manifest,
        task: Generation,
        opened: Opened,
        reading: Reading,
        reader: PromptReader,
    ) -> None:
        self.manifest, self.task, self.opened = manifest, task, opened
        self.reading, self.reader = reading, reader
        self.tokenizer = reader.tokenizer
        self.settings = task.settings

    @property
    def sessions(self) -> dict[str, Any]:
        """The sessions of its graphs, by their names in the manifest."""
        encoder = self.reading.encoder
        return {DECODER: self.reading.decoder.session} | ({ENCODER: encoder.session} if encoder else {})

    def __call__(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        truncate: bool = False,
        draft: Generator | Drafter | str | None = None,
        **settings: Any,
    ) -> Any:
        """Write what comes after a prompt, or after each of several.

        Args:
            prompts: a text, a conversation (a list of messages with role and content), or a list of these.
            truncate: cut a prompt that is too long, on the left, with a warning; else it is refused.
            draft: guess tokens and read several in one step: "lookup" guesses by the prompt (see
                `edgelm.runtime.generation.speculation`), a generator of the same vocabulary by itself. Nothing else is
                written then.
            settings: in the place of the model's, see `edgelm.tasks.generation.GenerationSettings`.

        Returns:
            for each prompt {"text": ..., "tokens": how many were written, "finish": "stop" or "length",
            "prompt_tokens": how many were read}, with a draft also how many were "drafted" and "accepted".

        Raises:
            UsageError: a setting that is none, or prompts of another kind.
            DataError: a prompt that is empty or too long; a role that is not known.
            BundleError: the graph fails.
        """
        chosen = self.settings_with(settings)
        if not isinstance(prompts, (str, list, tuple)):
            raise UsageError(f"{prompts!r:.60} is no prompt.", hint="Give a text, a conversation, or a list of these.")
        single = isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], Mapping))
        several: list[Any] = [prompts] if single else list(prompts)
        ids = [self.reader(prompt, room=chosen.max_new_tokens, truncate=truncate) for prompt in several]
        chats = [not isinstance(prompt, str) for prompt in several]
        most = min(_MOST_ROWS, self.reading.decoder.most_rows or _MOST_ROWS)
        at_once = 1 if draft is not None else max(1, most // chosen.num_beams)
        answers: list[Answer] = []
        for begin in range(0, len(ids), at_once):
            part = slice(begin, begin + at_once)
            answers += self._answer(ids[part], chats[part], chosen, draft, first=begin)
        return answers[0] if single else answers

    def chat(self, messages: Messages, **options: Any) -> Answer:
        """Answer a conversation; options as those of a call."""
        found: Answer = self([*messages], **options)
        return found

    def stream(
        self,
        prompt: Prompt,
        *,
        truncate: bool = False,
        draft: Generator | Drafter | str | None = None,
        **settings: Any,
    ) -> Pieces[str, None, Answer]:
        """As a call for one prompt, but its text piece by piece: whole characters, nothing of a stop string.

        Whoever has enough closes the iterator, or lets go of it; the generator then is as before.

        Returns:
            the pieces; what a call returns is their iterator's own result (`StopIteration.value`).

        Raises:
            UsageError: beams, which are not known before the end; or another call was made meanwhile.
        """
        chosen = self.settings_with(settings)
        if chosen.num_beams > 1:
            raise UsageError("beam search knows no text before its end.", hint="Stream with num_beams=1.")
        ids = self.reader(prompt, room=chosen.max_new_tokens, truncate=truncate)
        return self._stream(ids, isinstance(prompt, str), chosen, draft)

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        settings: GenerationSettings | None = None,
        *,
        draft: Generator | Drafter | str | None = None,
    ) -> list[Row]:
        """Write behind prompts of tokens, of an encoder-decoder for sources of tokens; stop strings are not looked for.

        Raises:
            BundleError: the graph fails.
        """
        chosen = settings or self.settings
        rows, logits = self.reading(prompts, chosen)
        for _ in self._write(rows, logits, chosen, self._drafter(draft, prompts)):
            pass
        return rows

    def forget(self) -> None:
        """Read the next prompt from its beginning, whatever stands in the cache: for who writes for several people, of
        whom none is to learn by the time that it takes what another has asked."""
        if self.reading.encoder is None:
            self.reading.begin(1)

    def score(self, text: str, target: str | None = None) -> dict[str, Any]:
        """How likely the model finds a text or, for an encoder-decoder, a target for a source.

        Returns:
            {"tokens": how many were judged, "log_likelihood": the sum, "perplexity": ..., "token_log_likelihoods":
            [...]}, natural logarithms.

        Raises:
            UsageError: a target for a decoder alone, or none for an encoder-decoder.
            DataError: a text that has no token behind another, or is too long.
        """
        if (target is None) != (self.reading.encoder is None):
            raise UsageError(
                "an encoder-decoder judges a target for a text, a decoder alone a text.",
                hint="score(text, target) or score(text).",
            )
        ids = self.reader(text)
        if target is None:
            found = self.reading.score(ids)
        else:
            found = self.reading.score([self.reading.start_id, *self.tokenizer.encode(target).ids], source=ids)
        if not len(found):
            raise DataError("a text of one token has none to judge.", hint="Give a longer one.")
        return {
            "tokens": len(found),
            "log_likelihood": float(found.sum()),
            "perplexity": float(np.exp(-found.mean())),
            "token_log_likelihoods": found.tolist(),
        }

    def first_logits(self, prompt: Sequence[int]) -> np.ndarray:
        """The logits of what may come behind a prompt of tokens (of an encoder-decoder: first, for a source),
        (vocabulary,) float32.

        Raises:
            BundleError: the graph fails.
        """
        _, logits = self.reading([prompt], self.settings)
        first: np.ndarray = logits[0, -1].copy()
        return first

    def settings_with(self, changes: Mapping[str, Any]) -> GenerationSettings:
        """The model's settings with changes.

        Raises:
            UsageError: a name that is none, or an impossible value.
        """
        known = {field.name for field in fields(GenerationSettings)}
        if unknown := sorted(changes.keys() - known):
            raise UsageError(
                f"there is no setting {', '.join(unknown)}.", hint=f"Settings: {', '.join(sorted(known))}."
            )
        listed = {
            name: (value,) if isinstance(value, (str, int)) else tuple(value)
            for name, value in changes.items()
            if name in ("stop", "eos_ids", "bad_ids")
        }
        if "max_new_tokens" in changes and "min_new_tokens" not in changes:
            least = min(self.settings.min_new_tokens, changes["max_new_tokens"])
            listed["min_new_tokens"] = least
        chosen = replace(self.settings, **{**changes, **listed})
        chosen.check_vocabulary(self.reading.decoder.vocabulary)
        return chosen

    def _answer(
        self,
        ids: Sequence[Sequence[int]],
        chats: Sequence[bool],
        settings: GenerationSettings,
        draft: Generator | Drafter | str | None,
        *,
        first: int,
    ) -> list[Answer]:
        rows, logits = self.reading(ids, settings, first=first)
        before = [self._before(row, chat=chat) for row, chat in zip(rows, chats, strict=True)]
        streams = [TextStream(self.tokenizer, stop=settings.stop, prompt=tokens) for tokens in before]
        watched = bool(settings.stop) and settings.num_beams == 1
        pieces: list[list[str]] = [[] for _ in rows]
        for row in self._write(rows, logits, settings, self._drafter(draft, ids)):
            if watched:
                place = row.index - first
                pieces[place].append(streams[place].push(row.last))
                row.finish = STOP if streams[place].stopped else row.finish
        answers = []
        for row, stream, said, prompt in zip(rows, streams, pieces, ids, strict=True):
            if not watched:
                said += [stream.push(token) for token in row.written]
            text = "".join([*said, stream.finish()])
            answers.append(_as_answer(row, text, stream, len(prompt), drafted=draft is not None))
        return answers

    def _stream(
        self,
        ids: list[int],
        plain: bool,
        settings: GenerationSettings,
        draft: Generator | Drafter | str | None,
    ) -> Pieces[str, None, Answer]:
        rows, logits = self.reading([ids], settings)
        turn = self.reading.turn
        stream = TextStream(self.tokenizer, stop=settings.stop, prompt=self._before(rows[0], chat=not plain))
        pieces = []
        for row in self._write(rows, logits, settings, self._drafter(draft, [ids])):
            piece = stream.push(row.last)
            if stream.stopped:
                row.finish = STOP
            if piece:
                pieces.append(piece)
                yield piece
                if turn != self.reading.turn:
                    raise UsageError(
                        "another call of the generator was made while a stream was open.",
                        hint="Read a stream to its end first, or load the bundle twice.",
                    )
        if piece := stream.finish():
            pieces.append(piece)
            yield piece
        return _as_answer(rows[0], "".join(pieces), stream, len(ids), drafted=draft is not None)

    def _before(self, row: Row, *, chat: bool) -> Sequence[int]:
        """The tokens that a text follows, where it goes on where they end."""
        if chat or self.reading.encoder is not None:
            return ()
        found: list[int] = row.tokens[: row.prompt].tolist()
        return found

    def _write(
        self, rows: list[Row], logits: np.ndarray, settings: GenerationSettings, drafter: Drafter | None
    ) -> Iterator[Row]:
        if drafter is not None:
            yield from write_speculating(self.reading.decoder, rows[0], logits, settings, drafter)
        else:
            yield from write_rows(self.reading.decoder, rows, logits, settings)

    def _drafter(self, draft: Generator | Drafter | str | None, prompts: Sequence[Sequence[int]]) -> Drafter | None:
        """What guesses for one prompt.

        Raises:
            UsageError: a draft that is none, or a model of another vocabulary.
        """
        if draft == "lookup":
            draft = PromptLookup()
        if isinstance(draft, PromptLookup) and self.reading.encoder is not None:
            return draft.from_source(tuple(prompts[0]))
        if isinstance(draft, Generator):
            if draft is self or draft.reading.encoder is not None or self.reading.encoder is not None:
                raise UsageError("a draft is another decoder alone.", hint='Give a smaller model, or draft="lookup".')
            if draft.tokenizer.get_vocab() != self.tokenizer.get_vocab():
                raise UsageError("the draft has another vocabulary.", hint="Give a model with the same tokenizer.")
            draft.reading.begin(1)  # its cache is used for this
            return DraftModel(draft.reading.decoder)
        if draft is None or (callable(draft) and not isinstance(draft, str)):
            return draft
        raise UsageError(f"{draft!r} is no draft.", hint='Give "lookup", or a loaded generator.')


def _as_answer(row: Row, text: str, stream: TextStream, prompt_tokens: int, *, drafted: bool) -> Answer:
    answer: Answer = {
        "text": text,
        "tokens": row.new,
        "finish": STOP if stream.stopped else row.finish,
        "prompt_tokens": prompt_tokens,
    }
    return answer | {"drafted": row.drafted, "accepted": row.accepted} if drafted else answer
