"""The architectures: Stable Diffusion's own classes at small size."""

from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from labkit.zoo.data.coloured import LENGTH, SIZE

WIDTH = 64  # of the text encoder, and so of what the U-Net's cross-attention reads


def new_autoencoder(channels: tuple[int, int] = (32, 64)) -> AutoencoderKL:
    """(N, 3, 64, 64) to latents (N, 4, 32, 32) and back. Without attention, so that all tokens are the U-Net's."""
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE,
        mid_block_add_attention=False,
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Token ids (N, 8) to contexts (N, 8, 64)."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def new_unet(channels: tuple[int, ...]) -> UNet2DConditionModel:
    """Latents (N, 4, 32, 32); 1,024 tokens at the highest attention, and none below the second level."""
    deeper = len(channels) - 2
    return UNet2DConditionModel(
        **_common(channels),
        down_block_types=("CrossAttnDownBlock2D",) * 2 + ("DownBlock2D",) * deeper,
        up_block_types=("UpBlock2D",) * deeper + ("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
    )


def new_small_unet(teacher: UNet2DConditionModel) -> UNet2DConditionModel:
    """What is left of a U-Net when blocks are removed, as in BK-SDM-Tiny (Kim et al. 2023, arXiv:2305.15798).

    Gone are the middle, the levels below the second, and at the first the pair of residual block and attention on the
    way down and one of the two on the way up. What stays begins with the teacher's weights wherever these fit.
    """
    small = UNet2DConditionModel(
        **_common(tuple(teacher.config.block_out_channels[:2])),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        mid_block_type=None,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=(0, 1),
    )
    theirs = teacher.state_dict()
    shift = len(teacher.up_blocks) - 2  # the way up is counted from the lowest level
    fitting = {}
    for name, mine in small.state_dict().items():
        parts = name.split(".")
        if parts[0] == "up_blocks":
            parts[1] = str(int(parts[1]) + shift)
        weight = theirs.get(".".join(parts))
        if weight is not None and weight.shape == mine.shape:
            fitting[name] = weight
    small.load_state_dict(fitting, strict=False)
    return small.to(teacher.device)


def _common(channels: tuple[int, ...]) -> dict[str, Any]:
    return {
        "sample_size": SIZE // 2,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": channels,
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 4,  # the number of heads, in spite of its name
    }
