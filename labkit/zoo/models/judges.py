"""What judges generated pictures: classifiers that read them, and the Fréchet distance of their features."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from labkit import checks
from labkit.zoo.data.coloured import BACKGROUNDS, COLOURS, ITEMS

if TYPE_CHECKING:  # slow to import
    from transformers import CLIPModel, PreTrainedTokenizerBase


class Judge(nn.Module):
    """Reads item, colour and background off pictures: float (N, 3, 64, 64) in [0, 1] to three tensors of logits."""

    FEATURES = 64

    def __init__(self) -> None:
        super().__init__()
        layers, channels = [], 3
        for wider in (24, 48, 96, 96):  # 64 → 32 → 16 → 8 → 4 pixels
            layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(wider), nn.ReLU()]
            channels = wider
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, self.FEATURES), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(self.FEATURES, len(names)) for names in (ITEMS, COLOURS, BACKGROUNDS))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the last layer sees, (N, 64): the space of the Fréchet distance."""
        return self.body(2 * images - 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = self.features(images)
        return tuple(head(features) for head in self.heads)

    @torch.no_grad()
    def read(self, images: torch.Tensor, batch: int = 500) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels as read, int64 (N, 3), and features, (N, 64). The judge is called as it is: put it in eval mode."""
        labels, features = [], []
        for part in images.split(batch):
            features.append(self.features(part))
            checks.finite(features[-1], "features")  # of NaN, argmax makes a label like any other
            labels.append(torch.stack([head(features[-1]).argmax(1) for head in self.heads], dim=1))
        return torch.cat(labels), torch.cat(features)


class Moments(NamedTuple):
    """Mean (D,) and covariance (D, D) of features, float64."""

    mean: torch.Tensor
    covariance: torch.Tensor


def moments(features: torch.Tensor) -> Moments:
    """Moments of features (N, D).

    Raises:
        ValueError: there are fewer than two: they have no covariance.
    """
    if features.dim() != 2 or len(features) < 2:
        raise ValueError(f"features are (N, D) with N of two or more, got {tuple(features.shape)}")
    return Moments(features.double().mean(0), features.double().T.cov())


def frechet_distance(a: Moments, b: Moments) -> float:
    """Distance of two normal distributions: `|m - n|² + tr(A + B - 2 (A B)^½)` (Dowson and Landau 1982).

    On the features of a classifier it compares sets of pictures (Heusel et al. 2017, arXiv:1706.08500). Small sets
    lie farther apart than large ones of the same kind: compare only distances from equally many pictures.
    """
    root = _square_root(a.covariance)
    # (A B)^½ has the trace of (A^½ B A^½)^½, whose argument is symmetric: real eigenvalues, and no complex root.
    shared = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt().sum()
    trace = a.covariance.trace() + b.covariance.trace() - 2 * shared
    # Rounding may leave the distance of a set from itself just below zero.
    return max(0.0, ((a.mean - b.mean).square().sum() + trace).item())


def _square_root(covariance: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


class ClipJudge(nn.Module):
    """Reads item, colour and background off pictures by CLIP, zero-shot (Radford et al. 2021, arXiv:2103.00020).

    Of each list of names, the label is the one whose text lies closest to the picture in the space that CLIP has for
    both. Unlike `Judge`, it was never trained for these labels.
    """

    TEXTS = (("a photo of a {}", ITEMS), ("something {}", COLOURS), ("something on a {} background", BACKGROUNDS))

    def __init__(self, clip: "CLIPModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.tensor(OPENAI_CLIP_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(OPENAI_CLIP_STD).view(3, 1, 1))
        texts = [template.format(name) for template, names in self.TEXTS for name in names]
        self.register_buffer("texts", self._embedded_texts(tokenizer(texts, padding=True, return_tensors="pt")))

    @torch.no_grad()
    def _embedded_texts(self, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """One row for each item, colour and background, of length 1: (22, D)."""
        # By the parts of the model: what its get_text_features returns depends on the version of transformers.
        pooled = self.clip.text_model(tokens["input_ids"], tokens["attention_mask"]).pooler_output
        return F.normalize(self.clip.text_projection(pooled))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings (N, D) of length 1 of pictures, float (N, 3, H, W) in [0, 1]; what is not square is squeezed."""
        size = [self.clip.config.vision_config.image_size] * 2
        resized = F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)  # bicubic overshoots
        pooled = self.clip.vision_model((resized - self.mean) / self.std).pooler_output
        return F.normalize(self.clip.visual_projection(pooled))

    @torch.no_grad()
    def read(self, images: torch.Tensor, batch: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels as read, int64 (N, 3), and features, (N, D), of pictures, float (N, 3, H, W) in [0, 1]."""
        features = torch.cat([self.features(part) for part in images.split(batch)])
        checks.finite(features, "features")
        cosines = (features @ self.texts.T).split([len(names) for _, names in self.TEXTS], dim=1)
        return torch.stack([part.argmax(1) for part in cosines], dim=1), features
