"""Token merging: fewer tokens at self-attention, since neighbours often say the same.

Source: Bolya and Hoffman 2023 (arXiv:2303.17604), after Bolya et al. 2022
(arXiv:2210.09461); the library is tomesd.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from labkit import checks

# One token in each square of two by two stays: it is what the others merge into.
LARGEST = 0.75


class Matching(NamedTuple):
    """Which tokens merge into which, as indices into the T tokens of each image.

    The numbers of `destinations`, `kept` and `merged` add up to T.
    """

    destinations: torch.Tensor  #: (D,), the upper left of each square
    kept: torch.Tensor  #: (N, K), left as they are
    merged: torch.Tensor  #: (N, R), gone after merging
    into: torch.Tensor  #: (N, R), indices into `destinations`

    def merge(self, x: torch.Tensor) -> torch.Tensor:
        """(N, T, C) to (N, K + D, C): a destination becomes the mean of its own."""
        into = _expand(self.into, x)
        destinations = x[:, self.destinations].scatter_reduce(
            1, into, _gather(x, self.merged), reduce="mean"
        )
        return torch.cat([_gather(x, self.kept), destinations], dim=1)

    def unmerge(self, x: torch.Tensor) -> torch.Tensor:
        """(N, K + D, C) to (N, T, C): what was merged gets its destination's values."""
        kept, destinations = x.tensor_split([self.kept.shape[1]], dim=1)
        tokens = x.shape[1] + self.merged.shape[1]
        out = x.new_empty(len(x), tokens, x.shape[2])
        out[:, self.destinations] = destinations
        out.scatter_(1, _expand(self.kept, x), kept)
        return out.scatter_(
            1, _expand(self.merged, x), _gather(destinations, self.into)
        )


def _expand(index: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return index[..., None].expand(-1, -1, x.shape[2])


def _gather(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return x.gather(1, _expand(index, x))


def match(x: torch.Tensor, height: int, width: int, ratio: float) -> Matching:
    """Bipartite soft matching of the tokens of images, by cosine similarity.

    One round: each token that is no destination looks for the most similar destination,
    and the most similar pairs of all merge. tomesd picks a destination at random in
    each square if told to; here it is the upper left.

    Args:
        x: (N, height times width, C), row by row.
        height: of the images, in tokens.
        width: of the images, in tokens.
        ratio: share of the tokens to merge, 0 to 0.75.

    Raises:
        ValueError: the ratio is out of its range, the number of tokens is another, or
            tokens are not finite.

    >>> x = torch.randn(1, 16, 8)
    >>> matching = match(x, 4, 4, ratio=0.5)
    >>> matching.merge(x).shape, matching.unmerge(matching.merge(x)).shape
    (torch.Size([1, 8, 8]), torch.Size([1, 16, 8]))
    """
    check_ratio(ratio)
    tokens = x.shape[1]
    if tokens != height * width or min(height, width) < 2:
        raise ValueError(
            f"{tokens} tokens are no image of {height} by {width}, each two or more"
        )
    position = torch.arange(tokens, device=x.device)
    row, column = position // width, position % width
    corner = (row % 2 == 0) & (column % 2 == 0)
    corner &= (row < height // 2 * 2) & (column < width // 2 * 2)
    destinations, others = corner.nonzero()[:, 0], (~corner).nonzero()[:, 0]
    direction = F.normalize(checks.finite(x.detach(), "numbers of x"), dim=-1)
    similarity = direction[:, others] @ direction[:, destinations].mT
    closest, into = similarity.max(dim=-1)
    order = closest.argsort(dim=-1, descending=True)
    count = min(int(tokens * ratio), len(others))
    first, rest = order[:, :count], order[:, count:]
    return Matching(destinations, others[rest], others[first], into.gather(1, first))


def check_ratio(ratio: float) -> None:
    """Refuse a share of tokens that cannot be merged.

    Raises:
        ValueError: it is not in the range from 0 to 0.75.
    """
    if not 0 <= ratio <= LARGEST:
        raise ValueError(
            f"the ratio is {ratio}; one token of each four is what the others merge "
            f"into and stays, so it must lie between 0 and {LARGEST}"
        )


def merge_tokens_(pipeline: Any, ratio: float) -> int:
    """Let tomesd merge tokens of a pipeline's U-Net, in place; 0 undoes it.

    Of the blocks that are patched, those merge that see as many tokens as there are
    latents. tomesd picks destinations at random, from a state that it takes from
    PyTorch's when it merges first: `torch.manual_seed` repeats them.

    Returns:
        How many transformer blocks were patched.

    Raises:
        ValueError: the ratio is out of its range, or tomesd has nothing to patch: it
            would say nothing, and change nothing.
    """
    import tomesd

    check_ratio(ratio)
    if getattr(pipeline, "unet", None) is None:
        raise ValueError(
            f"{type(pipeline).__name__} has no U-Net, and tomesd would patch nothing "
            "without a word; it knows the U-Nets of Stable Diffusion"
        )
    tomesd.remove_patch(pipeline)
    if ratio == 0:
        return 0
    tomesd.apply_patch(pipeline, ratio=ratio)
    blocks = [m for m in pipeline.unet.modules() if type(m).__name__ == "ToMeBlock"]
    if not blocks:
        tomesd.remove_patch(pipeline)
        raise ValueError(
            f"{type(pipeline.unet).__name__} has no BasicTransformerBlock, and tomesd "
            "patched nothing; it knows the U-Nets of Stable Diffusion"
        )
    return len(blocks)


@torch.no_grad()
def tokens_seen(unet: nn.Module, *inputs: torch.Tensor) -> dict[str, int]:
    """Tokens that each self-attention is given, counted there, by name of the layer.

    Count before and after merging: what was not patched sees as many as before.

    Args:
        unet: called once.
        inputs: of one evaluation: (N, channels, height, width), a time, (N, words,
            width).
    """
    seen: dict[str, int] = {}

    def remember(name: str, given: torch.Tensor) -> None:
        seen[name] = given.shape[1]

    hooks = [
        layer.register_forward_pre_hook(
            lambda _, given, name=name: remember(name, given[0])
        )
        for name, layer in unet.named_modules()
        if name.endswith("attn1")
    ]
    try:
        unet(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


@torch.no_grad()
def tokens_compared(unet: nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
    """The tokens by which `merge_tokens_` finds its pairs, (N, T, C): of the first
    block with self-attention over as many tokens as there are latents.

    Args:
        unet: called once; tokens are not merged in it.
        inputs: of one evaluation: (N, channels, height, width), a time, (N, words,
            width).

    Raises:
        ValueError: it has no such block.
    """
    found: list[torch.Tensor] = []
    blocks = [m for m in unet.modules() if hasattr(m, "attn1")]
    hooks = [
        block.register_forward_pre_hook(lambda _, given: found.append(given[0]))
        for block in blocks
    ]
    try:
        unet(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    tokens = inputs[0].shape[-2] * inputs[0].shape[-1]
    for x in found:
        if x.shape[1] == tokens:
            return x
    raise ValueError(f"no block of this U-Net has self-attention over {tokens} tokens")
