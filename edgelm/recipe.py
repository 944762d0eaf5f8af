"""A Recipe: which stages a checkpoint goes through, with every setting, read from YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from edgelm.choices import TrainPrecision
from edgelm.errors import RecipeError
from edgelm.files.overrides import set_values
from edgelm.files.shipped import find_file
from edgelm.files.yaml_model import load_yaml_model, say_value
from edgelm.limits import reading
from edgelm.static_settings import StaticSettings
from edgelm.training_settings import DistillLoss, Settings, Share, TrainSettings


class StudentShape(Settings):
    """How many layers a student has, and how wide they are; None: as the model that it is cut from.

    Without `heads` the heads stay as wide as they are where that width divides `hidden`, and as many as they are where
    it does not. `samples` training rows tell which dimensions, heads and channels matter.
    """

    layers: Annotated[int, Field(gt=0)] | None = None
    hidden: Annotated[int, Field(gt=0)] | None = None
    heads: Annotated[int, Field(gt=0)] | None = None
    ffn: Annotated[int, Field(gt=0)] | None = None
    samples: Annotated[int, Field(gt=0)] = 1024


class DistillSettings(Settings):
    """Train a student.

    It is made of the teacher's layers (`layers`: how many, or which), is cut out of the teacher (`shape`), or is
    another model (`student`: a folder); with none of them it is a copy.
    """

    stage: Literal["distill"] = "distill"
    layers: Annotated[int, Field(gt=0)] | tuple[Annotated[int, Field(ge=0)], ...] | None = None
    shape: StudentShape | None = None
    student: str | None = None
    loss: DistillLoss = DistillLoss()
    train: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _one_student(self) -> DistillSettings:
        given = [name for name in ("layers", "shape", "student") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; give one of layers, shape and student")
        return self


class PruneSettings(Settings):
    """Remove attention heads and FFN channels; `keep_heads` and `keep_ffn` are shares of the whole model's."""

    stage: Literal["prune"] = "prune"
    keep_heads: Share = 1.0
    keep_ffn: Share = 1.0
    importance: Literal["fisher", "taylor"] = "fisher"
    samples: Annotated[int, Field(gt=0)] = 2048
    ffn_multiple: Annotated[int, Field(gt=0)] = 32
    max_length: Annotated[int, Field(ge=8)] = 128


class RaceSettings(Settings):
    """Cuts are trained against each other: all of them for `steps`, the better half for twice as many, until one is
    left."""

    steps: Annotated[int, Field(gt=0)] = 75
    batch_size: Annotated[int, Field(gt=0)] = 64
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 3e-4
    precision: TrainPrecision = "auto"


class FitSettings(Settings):
    """Cut to a budget: as many heads and FFN channels of each layer as it allows, by what they cost on the device and
    bring to the outputs.

    `method`: `obs` chooses by optimal brain surgeon and lets the weights that stay take over (ZipLM), on `samples`
    rows; `fisher` chooses by the Fisher information of masks (Kwon et al.); `both` takes what comes nearer to the
    teacher. `share`: how far to go from what the model costs now (0) to the budget (1), on a logarithmic scale.
    `speedup`: the goal where the command line gives none: so many times fewer operations than the original or, of a
    model that writes, weights that a token takes. `keep`: the share of the weights in layers that stays, for models
    that write. `tries`: choices whose outputs are compared with the teacher's, on `judged` rows. `reconstruct`: solve
    the output projections anew after the cut, for recipes that do not train. `new_biases`: give output projections that
    have no bias one, which takes over the means of what goes; null: those of encoders alone, since a Llama with such
    biases is none that other tools read. FFN widths are multiples of `multiple`. `race`: train what was found against
    even cuts of every number of layers for some steps, and take what learns best.
    """

    stage: Literal["fit"] = "fit"
    method: Literal["obs", "fisher", "both"] = "obs"
    share: Share = 1.0
    speedup: Annotated[float, Field(ge=1)] | None = None
    keep: Share | None = None
    samples: Annotated[int, Field(gt=0)] = 512
    judged: Annotated[int, Field(gt=0)] = 128
    tries: Annotated[int, Field(gt=0)] = 60
    reconstruct: bool = False
    new_biases: bool | None = None
    multiple: Annotated[int, Field(gt=0)] = 32
    race: RaceSettings | None = None
    max_length: Annotated[int, Field(ge=8)] = 128


class DepthSettings(Settings):
    """Remove the layers, or single attentions and feed-forward networks (`parts`: layers or sublayers), that are missed
    least.

    `score`: `loss` asks how much the whole model loses without each, on `judged` rows (of a model that writes in
    perplexity); `influence` how much a layer changes the hidden states of `samples` rows, which is quick. `drop`: how
    many go. `stack`: encoder or decoder, where only that of the two is to lose some. `again`: ask again after each.
    """

    stage: Literal["depth"] = "depth"
    parts: Literal["layers", "sublayers"] = "layers"
    score: Literal["loss", "influence"] = "loss"
    drop: Annotated[int, Field(gt=0)] = 1
    stack: Literal["encoder", "decoder"] | None = None
    again: bool = True
    samples: Annotated[int, Field(gt=0)] = 128
    judged: Annotated[int, Field(gt=0)] = 128
    max_length: Annotated[int, Field(ge=8)] = 128

    @model_validator(mode="after")
    def _score_fits_parts(self) -> DepthSettings:
        if self.score == "influence" and self.parts == "sublayers":
            raise ValueError("the influence is one of whole layers; give score loss for sublayers")
        return self


class HalveSettings(Settings):
    """Let a classifier go on with half of the tokens after some of its layers: the first one, which the head reads, and
    of each two others their mean (Funnel-Transformer's pooling, Dai et al., arXiv:2006.03236).

    `after`: after how many layers; [1, 3] leaves a quarter from the fourth on. A stage that trains comes behind it.
    """

    stage: Literal["halve"] = "halve"
    after: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)] = (1,)


class ExitsSettings(Settings):
    """Let texts leave a classifier early: a head after some of its layers, all taught together with the last one
    (DeeBERT, Xin et al., arXiv:2004.12993), and a threshold for how sure a head must be.

    `after`: after how many layers; null: after each but the last. `samples`: training rows by which
    the heads begin, with least squares. `max_drop`: points of the task's metric that leaving early may cost on the rows
    to judge by, which the threshold is chosen on; heads that hardly anybody leaves by are taken off.
    """

    stage: Literal["exits"] = "exits"
    after: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)] | None = None
    samples: Annotated[int, Field(gt=0)] = 1024
    max_drop: Annotated[float, Field(ge=0)] = 0.2
    loss: DistillLoss = DistillLoss()
    train: TrainSettings = TrainSettings()


class HiddenSettings(Settings):
    """Cut the hidden size of a model that writes: the same dimensions of its hidden states in all layers, embeddings
    and the head.

    `keep`: the share of them that stays, made a multiple of `multiple` where the heads allow it, else of its half, and
    so on. `method`: `activations` keeps the dimensions that most passes through, on `samples` rows (Minitron);
    `rotation` first turns the states so that they vary most in the dimensions that stay (SliceGPT), which loses less,
    but gives the model a head apart from its table of tokens; for Llama, Mistral and Qwen. `reconstruct`: solve the
    matrices that read the states anew by least squares, for recipes that do not train.
    """

    stage: Literal["hidden"] = "hidden"
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.875
    method: Literal["activations", "rotation"] = "activations"
    samples: Annotated[int, Field(gt=0)] = 128
    multiple: Annotated[int, Field(gt=0)] = 32
    reconstruct: bool = True
    max_length: Annotated[int, Field(ge=8)] = 128


class RecoverSettings(Settings):
    """Distil the original model's knowledge back into what pruning left."""

    stage: Literal["recover"] = "recover"
    loss: DistillLoss = DistillLoss()
    train: TrainSettings = TrainSettings()


class QuantizeSettings(Settings):
    """Quantization-aware training: weights learn to live on INT8's grid, taught by the original model; export then
    quantizes them.

    `ranges` are those of the activations, learnt on `samples` rows before training and kept. `symmetric`: as runtimes
    of GPUs read them. `wide_sums`: for a CPU that sums products in 32 bits (x86 with VNNI, Arm), whose weights use all
    of their eight bits; others, such as the device `cpu`, sum pairs in 16 bits, which their weights must leave room in.

    Models that write are trained as their weights will be in blocks of `bits` bits: 4 (exported in int4) or 8
    (int8-weights). The settings of activations do not matter to them.
    """

    stage: Literal["quantize"] = "quantize"
    bits: Literal[4, 8] = 4
    ranges: Literal["minmax", "moving-average", "percentile", "mse", "entropy"] = "minmax"
    samples: Annotated[int, Field(ge=8)] = 256
    symmetric: bool = False
    wide_sums: bool = False
    loss: DistillLoss = DistillLoss()
    train: TrainSettings = TrainSettings()


class AugmentSettings(Settings):
    """Further texts for small data sets: changed copies of the training rows, which the teacher labels.

    `noise` drops and swaps words (EDA); `neighbours` puts near words of the teacher's embeddings in their place;
    `masked-lm` asks `model`, a masked language model (TinyBERT). `share` of the words changes; None: 0.1 for noise, 0.4
    for the others, as published. A word is replaced by one of `candidates`. `seed` None: the recipe's.
    """

    copies: Annotated[int, Field(gt=0)] = 4
    method: Literal["noise", "neighbours", "masked-lm"] = "noise"
    share: Share | None = None
    candidates: Annotated[int, Field(gt=0)] = 15
    model: str | None = None
    max_length: Annotated[int, Field(ge=8)] = 128
    seed: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _model_fits_method(self) -> AugmentSettings:
        if (self.method == "masked-lm") != (self.model is not None):
            raise ValueError(
                "method masked-lm needs model, a masked language model's folder or hub id; the other methods take none"
            )
        return self


class VocabularySettings(Settings):
    """Drop the tokens that the user's texts never use, with their embeddings. What stays:

    - tokens that occur at least `min_count` times in the training rows and in `corpora` (files: plain text, or rows as
      `--data` takes them), the most frequent first, until they make up `share` of all tokens there, or there are
      `max_tokens` (None: no limit); and at least `min_tokens`, whatever the texts say: after those that occur, the
      vocabulary's first;
    - always: special and added tokens, and the alphabet or the bytes, so that any word can still be spelled; of models
      that write what a chat template, a prefix and the settings of generation name;
    - always: the safety list: the words of `keep` (a list, or a UTF-8 file with one a line), and the first `frequent`
      whole words of the vocabulary. Vocabularies stand roughly in the order of frequency, so these are the language's
      common words: text of another domain keeps most of its tokens, and only rare words fall apart into pieces.
    """

    stage: Literal["vocabulary"] = "vocabulary"
    min_count: Annotated[int, Field(gt=0)] = 1
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    min_tokens: Annotated[int, Field(ge=0)] = 0
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    frequent: Annotated[int, Field(ge=0)] = 4000
    keep: tuple[str, ...] | str = ()
    corpora: tuple[str, ...] = ()


class EmbeddingsSettings(Settings):
    """Choose in how many bits an integer bundle for a CPU keeps the embedding tables: 8, a byte a number, or 4, which
    halves them.

    The stages that train afterwards look them up rounded to 4 bits, so that the model learns to live with it.
    """

    stage: Literal["embeddings"] = "embeddings"
    bits: Literal[4, 8] = 4


Stage = Annotated[
    VocabularySettings
    | EmbeddingsSettings
    | DistillSettings
    | StaticSettings
    | PruneSettings
    | DepthSettings
    | HalveSettings
    | ExitsSettings
    | HiddenSettings
    | FitSettings
    | RecoverSettings
    | QuantizeSettings,
    Field(discriminator="stage"),
]


class Recipe(Settings):
    """Stages in order; none means: leave the weights as they are (post-training quantization only)."""

    name: Annotated[str, Field(min_length=1)]
    title: str = ""
    seed: int = 0
    augment: AugmentSettings | None = None
    stages: tuple[Stage, ...] = ()

    @property
    def embedding_bits(self) -> int | None:
        """What its `embeddings` stage chooses; None where it has none."""
        chosen = [stage.bits for stage in self.stages if isinstance(stage, EmbeddingsSettings)]
        return chosen[-1] if chosen else None


def load_recipe(name_or_path: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by shipped name or path.

    Args:
        overrides: `stage.key=value` texts, such as `prune.keep_ffn=0.5` or `recover.train.epochs=1`; `seed=1` or
            `augment={method: noise, copies: 4}` for the recipe itself.
            A stage that occurs more than once is changed everywhere; `prune[1].keep_ffn=0.5` changes the second.

    Raises:
        UsageError: no such recipe.
        RecipeError: an unknown key or an impossible value, with its place.
    """
    recipe = load_yaml_model(find_file(name_or_path, "recipes"), Recipe, RecipeError)
    return override(recipe, overrides) if overrides else recipe


def override(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe with some values changed; see `load_recipe`.

    Raises:
        RecipeError: no such stage or key, or an impossible value.
    """
    values = recipe.model_dump(mode="json")
    set_values(values, overrides)
    with reading("--set", RecipeError, "`edgelm recipes show balanced` has every setting."):
        try:
            return Recipe.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise RecipeError(
                f"--set gives an impossible value at {where}: {say_value(first)}.",
                hint="`edgelm recipes show balanced` has every setting.",
            ) from error
