"""The losses that a phase can name: each registers its fields with their defaults, and what it needs and remembers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from vreid_jax.errors import InputError
from vreid_jax.losses.batch_hard_triplet import (
    METRICS,
    REDUCTIONS,
    batch_hard_triplet,
    batch_hard_triplet_from_distances,
)
from vreid_jax.losses.center import CenterMemory, center
from vreid_jax.losses.circle import circle
from vreid_jax.losses.cosines import unit_rows
from vreid_jax.losses.oim import OIMMemory, oim
from vreid_jax.losses.softmax_cross_entropy import softmax_cross_entropy
from vreid_jax.losses.supervised_contrastive import supervised_contrastive
from vreid_jax.settings import BELOW_ONE, FROM_0_TO_1, NOT_NEGATIVE, POSITIVE, Number, Settings, group, one_of


@dataclasses.dataclass(frozen=True)
class Term(Settings):
    """A loss of a phase: its fields are what a configuration sets, calling it gives its value.

    Attributes:
      weight: of the term in the phase's loss; 0 leaves it out.
      needs: the output of the model that it reads, and what to say of a model without it.
      contrasts: whether it compares clips of one identity and of others, so that a microbatch must hold both.
      takes_unlabelled: whether it takes tracklets without an identity (pid -1), to learn from them or to leave them out.
      remembers: whether it has a memory, which moves by the features of every step.
    """

    needs: ClassVar[tuple[str, str]] = ("feature", "this loss needs a model whose outputs have a feature")
    contrasts: ClassVar[bool] = False
    takes_unlabelled: ClassVar[bool] = False
    remembers: ClassVar[bool] = False

    weight: Annotated[Number, NOT_NEGATIVE] = 0.0

    def __call__(self, outputs: Mapping[str, Any], batch: Mapping[str, Any], memory: Any, key: Any) -> Any:
        """Return the unweighted loss, a float32 scalar.

        Args:
          outputs: of the model for the batch.
          batch: `label`, int32 [B], and whatever else a batch holds.
          memory: what the term remembers, None unless it `remembers`.
          key: for a term that draws.
        """
        raise NotImplementedError

    def new_memory(self, feature_size: int, num_identities: int, unlabelled: bool) -> Any:
        """Return what a term that remembers starts with.

        It is a pytree with a method `after(features [B, D], labels [B])`, which gives what it is after a batch.
        `unlabelled` says whether the training split holds tracklets of pid -1.
        """
        raise NotImplementedError


TERMS: dict[str, type[Term]] = {}


def register(name: str) -> Callable[[type[Term]], type[Term]]:
    """Make a term known under the name that configurations use; a name that is taken is a `ValueError`."""

    def add(term: type[Term]) -> type[Term]:
        if name in TERMS:
            raise ValueError(
                f"loss {name!r} is registered twice: a configuration file, which may be run more than once, does so only "
                f"if {name!r} is not in vreid_jax.losses.TERMS"
            )
        TERMS[name] = term
        return term

    return add


def default_fields() -> dict[str, dict[str, Any]]:
    """Return the fields of every term with their defaults, as a phase's configuration holds them."""
    return {name: {field.name: field.default for field in dataclasses.fields(term)} for name, term in TERMS.items()}


def parse_terms(values: Any, where: str) -> dict[str, Term]:
    """Read the terms of a phase that have a weight, in the order of the configuration.

    Raises:
      InputError: for a term that does not exist, a wrong value, or when every weight is 0.
    """
    terms: dict[str, Term] = {}
    for name, fields in group(values, where).items():
        if name not in TERMS:
            raise InputError(f"{where}.{name} does not exist; the terms are {', '.join(TERMS)}")
        terms[name] = TERMS[name].parse(fields, f"{where}.{name}")
    used = {name: term for name, term in terms.items() if term.weight}
    if not used:
        raise InputError(f"every loss of {where} has weight 0")
    return used


@register("softmax")
@dataclasses.dataclass(frozen=True)
class Softmax(Term):
    """Cross-entropy over the identities, with label smoothing."""

    needs = ("logits", "the softmax loss needs a model with a classifier")
    weight: Annotated[Number, NOT_NEGATIVE] = 1.0
    smoothing: Annotated[Number, BELOW_ONE] = 0.0

    def __call__(self, outputs: Mapping[str, Any], batch: Mapping[str, Any], memory: Any, key: Any) -> Any:
        """Return the loss; see `Term`."""
        return softmax_cross_entropy(outputs["logits"], batch["label"], smoothing=self.smoothing)


@register("triplet")
@dataclasses.dataclass(frozen=True)
class Triplet(Term):
    """Batch-hard triplet loss of the features."""

    contrasts = True
    margin: Number = 0.3
    distance: Annotated[str, one_of(METRICS)] = "euclidean"
    reduction: Annotated[str, one_of(REDUCTIONS)] = "mean"

    def __call__(self, outputs: Mapping[str, Any], batch: Mapping[str, Any], memory: Any, key: Any) -> Any:
        """Return the loss; see `Term`."""
        return batch_hard_triplet(
            outputs["feature"], batch["label"], margin=self.margin, distance=self.distance, reduction=self.reduction
        )


@register("clip_triplet")
@dataclasses.dataclass(frozen=True)
class ClipTriplet(Term):
    """Batch-hard triplet loss of the negated similarities of sets of clips."""

    needs = ("similarity", "the clip_triplet loss needs a model that compares sets of clips, as clip_similarity does")
    contrasts = True
    margin: Number = 1.0
    reduction: Annotated[str, one_of(REDUCTIONS)] = "mean"

    def __call__(self, outputs: Mapping[str, Any], batch: Mapping[str, Any], memory: Any, key: Any) -> Any:
        """Return the loss; see `Term`."""
        return batch_hard_triplet_from_distances(
            -outputs["similarity"], batch["label"], margin=self.margin, reduction=self.reduction
        )


@register("oim")
@dataclasses.dataclass(frozen=True)
class OIM(Term):
    """Online instance matching of the features at length 1 against a table of the identities and a queue of those without.

    The queue has a length only where the training split has tracklets of pid -1.
    """

    takes_unlabelled = True
    remembers = True
    temperature: Annotated[Number, POSITIVE] = 0.1
    momentum: Annotated[Number, BELOW_ONE] = 0.5
    queue: Annotated[int, NOT_NEGATIVE] = 5000
    subsample: Annotated[int, NOT_NEGATIVE] = 0

    def __call__(self, outputs: Mapping[str, Any], batch: Mapping[str, Any], memory: Any, key: Any) -> Any:
        """Return the loss; see `Term`."""
        return oim(
            unit_rows(outputs["feature"]),
            batch["label"],
            memory.table,
            memory.queue,
            temperature=self.temperature,
            subsample=self.subsample,
            key=key,
        )

    def new_memory(self, feature_size: int, num_identities: int, unlabelled: bool) -> Any:
        """Return an empty table and queue."""
        return OIMMemory.empty(num_identities, feature_size, self.queue if unlabelled else 0, self.momentum)


@register("contrastive")
@dataclasses.dataclass(frozen=True)
class Contrastive(Term):
    """Supervised contrastive loss of the features at length 1; rows of pid -1 are left out."""

    contrasts = True
    takes_unlabelled = True
    temperature: Annotated[Number, POSITIVE] = 0.1

    def __call__(self, outputs: Mapping[str, Any], batch: Mapping[str, Any], memory: Any, key: Any) -> Any:
        """Return the loss; see `Term`."""
        return supervised_contrastive(
            outputs["feature"], batch["label"], temperature=self.temperature, valid=batch["label"] >= 0
        )


@register("circle")
@dataclasses.dataclass(frozen=True)
class Circle(Term):
    """Circle loss of the cosines of all pairs; rows of pid -1 are left out."""

    contrasts = True
    takes_unlabelled = True
    margin: Annotated[Number, BELOW_ONE] = 0.25
    scale: Annotated[Number, POSITIVE] = 80.0

    def __call__(self, outputs: Mapping[str, Any], batch: Mapping[str, Any], memory: Any, key: Any) -> Any:
        """Return the loss; see `Term`."""
        return circle(
            outputs["feature"],
            batch["label"],
            margin=self.margin,
            scale=self.scale,
            valid=batch["label"] >= 0,
        )


@register("center")
@dataclasses.dataclass(frozen=True)
class Center(Term):
    """Half the squared distance of the features to the centres of their identities; rows of pid -1 are left out."""

    takes_unlabelled = True
    remembers = True
    rate: Annotated[Number, FROM_0_TO_1] = 0.5
    reduction: Annotated[str, one_of(REDUCTIONS)] = "mean"

    def __call__(self, outputs: Mapping[str, Any], batch: Mapping[str, Any], memory: Any, key: Any) -> Any:
        """Return the loss; see `Term`."""
        return center(outputs["feature"], batch["label"], memory.centers, reduction=self.reduction)

    def new_memory(self, feature_size: int, num_identities: int, unlabelled: bool) -> Any:
        """Return centres at the origin."""
        return CenterMemory.empty(num_identities, feature_size, self.rate)
