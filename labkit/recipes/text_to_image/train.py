"""Train a text-to-image model that ships with labkit, from scratch, on coloured Fashion-MNIST.

    python -m labkit.recipes.text_to_image judge autoencoder unet lcm small score --out DIR   # as shipped: one GPU

To rehearse, add `--toy --device cpu`.

The stages, in the order in which they need one another:

judge        the classifier that scores pictures (`labkit.zoo.models.judges.Judge`), and the moments of the features of
the
             10,000 test pictures, from which every Fréchet distance is measured
autoencoder  AutoencoderKL, 64x64 pixels to 32x32 latents of four channels
unet         UNet2DConditionModel with its CLIPTextModel, together: DIR is then a StableDiffusionPipeline
lcm          a LoRA for few steps: latent consistency distillation (Luo et al. 2023, arXiv:2310.04378 and 2311.05556)
small        a U-Net with blocks removed, distilled from the whole one (BK-SDM; Kim et al. 2023, arXiv:2305.15798)
score        prompt accuracy and Fréchet distance for a list of samplers, and the judge's own limits

A stage that was cut off goes on from its checkpoint when it is called again; one whose `scores.json` is there is
skipped. Every stage writes its folder in DIR: what it made, in the format of its library and in fp16, `log.csv` and
`scores.json` with the command.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import diffusers
import peft
import torch
import torch.nn.functional as F
import transformers
from diffusers import AutoencoderKL, LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

from labkit.recipes.log import write_rows
from labkit.recipes.text_to_image.diffusion import (
    Diffusion,
    Velocity,
    boundary_loss,
    consistency_loss,
    consistency_sample,
    frozen,
    guided,
    sampler,
    velocity_of,
)
from labkit.recipes.text_to_image.loop import Draw, train
from labkit.recipes.text_to_image.networks import new_autoencoder, new_small_unet, new_text_encoder, new_unet
from labkit.recipes.text_to_image.score import (
    Scorer,
    load_pipeline,
    real_rows,
    sampled_row,
    save_judge,
    save_reference,
)
from labkit.zoo import fashion_mnist
from labkit.zoo.data.coloured import (
    PROMPTS,
    coloured_fashion_mnist,
    prompt_index,
    random_labels,
    render,
    save_tokenizer,
    to_float,
)
from labkit.zoo.models.judges import Judge

EMPTY = len(PROMPTS)  # the index of the empty prompt, which guidance needs, behind those of all others
DROPOUT = 0.1  # share of prompts that training replaces by it
# As LCM-LoRA: attention, feed-forward and convolutions, and where the time comes in.
ADAPTED = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    "conv1",
    "conv2",
    "conv_shortcut",
    "downsamplers.0.conv",
    "upsamplers.0.conv",
    "time_emb_proj",
)
ADAPTER = "pytorch_lora_weights.safetensors"
FOLDERS = {
    "judge": "judge",
    "autoencoder": "vae",
    "unet": "unet",
    "lcm": "lcm_lora",
    "small": "small",
    "score": "score",
}
SECONDS = {"judge": 15, "autoencoder": 45, "unet": 270, "lcm": 120, "small": 120}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m labkit.recipes.text_to_image",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stages", nargs="+", choices=FOLDERS, metavar="STAGE", help=", ".join(FOLDERS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, help=f"of training, for each stage named; default: {SECONDS}")
    parser.add_argument("--latents", type=int, default=300_000, help="pictures encoded before the U-Net is trained")
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 128, 128], help="of the U-Net's levels")
    parser.add_argument("--batch", type=int, default=256, help="lcm takes half of it")
    parser.add_argument("--guidance", type=float, default=1.5, help="lcm: of the teacher; score: of the guided rows")
    parser.add_argument("--rank", type=int, default=16, help="lcm: of the LoRA")
    parser.add_argument("--lcm-lr", type=float, default=2e-4)
    parser.add_argument("--stride", type=int, default=120, help="lcm: times, of 1,000, that the teacher leads back")
    parser.add_argument("--substeps", type=int, default=3, help="lcm: steps in which it does so")
    parser.add_argument("--decay", type=float, default=0.95, help="lcm: of the target's moving average")
    parser.add_argument("--images", type=int, default=2000, help="score: of each row")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="score: one row for each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--toy", action="store_true", help="tiny sizes, for a rehearsal of every stage")
    parser.add_argument("--graph", action=argparse.BooleanOptionalAction, default=True, help="record a step on the GPU")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    args.device = torch.device(args.device)
    if args.toy:
        args.latents = 64
        args.channels = [32, 32, 32]
        args.batch = 8
        args.images = 4
    return args


def main() -> None:
    args = arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(min(8, torch.get_num_threads()))  # more of them wait for one another in small matrices
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    if len(fashion_mnist("train").images) != 60_000 and not args.toy:
        sys.exit("this needs the official archives of Fashion-MNIST, not the part that ships: run `labkit fetch` first")
    for stage in args.stages:
        folder = args.out / FOLDERS[stage]
        if (folder / "scores.json").exists():
            print(f"{stage} is done: {folder / 'scores.json'}")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        scores = STAGES[stage](args, folder)
        command = " ".join(["python", "-m", "labkit.recipes.text_to_image", *sys.argv[1:]])
        scores |= {
            "seed": args.seed,
            "command": command.replace(str(args.out), "DIR"),
            "device": torch.cuda.get_device_name() if args.device.type == "cuda" else "cpu",
            "wall_seconds": round(time.perf_counter() - start, 1),
            **{module.__name__: module.__version__ for module in (torch, diffusers, transformers, peft)},
        }
        (folder / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        for file in args.out.rglob("*.safetensors"):
            file.chmod(0o644)  # safetensors makes files that only their owner may read
        print(stage, json.dumps({k: v for k, v in scores.items() if k != "rows"}), flush=True)


def settings(args: argparse.Namespace, stage: str) -> dict:
    """What `train` takes from the command line, and the generator of the stage's batches."""
    generator = torch.Generator(args.device).manual_seed(args.seed)
    seconds = args.seconds or (1.0 if args.toy else SECONDS[stage])
    return {"seconds": seconds, "generator": generator, "graph": args.graph}


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def shuffled(args: argparse.Namespace, generator: torch.Generator) -> Draw:
    """Batches (pictures float (N, 3, 64, 64) in [0, 1], labels (N, 3)) of the training split in random colours."""
    train_set = fashion_mnist("train")
    greys, items = train_set.images.to(args.device), train_set.labels.to(args.device)

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        index = torch.randint(len(items), (args.batch,), generator=generator, device=args.device)
        labels = random_labels(items[index], generator)
        return to_float(render(greys[index], labels)), labels

    return draw


def train_judge(args: argparse.Namespace, folder: Path) -> dict:
    options = settings(args, "judge")
    judge, coloured = Judge().to(args.device), shuffled(args, options["generator"])

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = coloured()
        mirrored = torch.rand(len(images), 1, 1, 1, generator=options["generator"], device=args.device) < 0.5
        return torch.where(mirrored, images.flip(3), images), labels

    def loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return sum(F.cross_entropy(logits, wanted) for logits, wanted in zip(judge(images), labels.unbind(1)))

    done = train(folder, loss, draw, judge, lr=3e-3, weight_decay=0.05, **options)
    save_judge(folder, judge)
    test = coloured_fashion_mnist("test", 100 if args.toy else None, args.seed)
    save_reference(folder, test, args.device)
    scores = Scorer(folder, args.device)(to_float(test.images.to(args.device)), test.labels)
    del scores["distance"]  # of the reference from itself
    return done | {"parameters": parameters(judge), "test_images": len(test.images)} | scores


def train_autoencoder(args: argparse.Namespace, folder: Path) -> dict:
    options = settings(args, "autoencoder")
    model = new_autoencoder((16, 16) if args.toy else (32, 64)).to(args.device)
    average, coloured = copy.deepcopy(model), shuffled(args, options["generator"])

    def loss(images: torch.Tensor) -> torch.Tensor:
        wanted = 2 * images - 1
        with torch.autocast(args.device.type, torch.bfloat16, enabled=images.is_cuda, cache_enabled=False):
            latents = model.encode(wanted).latent_dist
            error = (model.decode(latents.sample()).sample.float() - wanted).abs().mean()
        # A trace of the divergence keeps the latents from growing without bound (Rombach et al. 2022).
        return error + 1e-6 * latents.kl().float().mean() / wanted[0].numel()

    def draw() -> tuple[torch.Tensor]:
        return coloured()[:1]

    done = train(folder, loss, draw, model, average=average, lr=2e-3, weight_decay=0.0, **options)
    with torch.no_grad():
        images = torch.cat([draw()[0] for _ in range(10_000 // args.batch if not args.toy else 1)])
        z = torch.cat([average.encode(2 * part - 1).latent_dist.mode() for part in images.split(args.batch)])
    average.register_to_config(scaling_factor=1 / z.std().item())  # so that noise of variance 1 suits the latents
    average.half().save_pretrained(folder)
    return done | {"parameters": parameters(model), "scaling_factor": average.config.scaling_factor}


@cache  # the stages of one call share them
def encoded(autoencoder: Path, n: int, seed: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents, scaled, float16 (n, 4, 32, 32), of the training split in random colours, and indices of their prompts.

    Every grey picture comes equally often, or once more. In memory, 8 kB each: made anew in a second call.
    """
    vae = AutoencoderKL.from_pretrained(autoencoder, torch_dtype=torch.float32).to(device)
    train_set, generator = fashion_mnist("train"), torch.Generator().manual_seed(seed)
    index = torch.arange(n) % len(train_set.images)
    labels = random_labels(train_set.labels[index], generator)
    parts = []
    for rows in torch.arange(n).split(1000):
        images = to_float(render(train_set.images[index[rows]].to(device), labels[rows].to(device)))
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=images.is_cuda):
            parts.append(vae.encode(2 * images - 1).latent_dist.mode().mul(vae.config.scaling_factor).half())
    return torch.cat(parts), prompt_index(labels).to(device)


def noised(args: argparse.Namespace, generator: torch.Generator, batch: int, dropout: float = DROPOUT) -> Draw:
    """Batches (latents, noise, both (N, 4, 32, 32); times (N,); indices of prompts (N,), some of them EMPTY)."""
    latents, prompts = encoded(args.out / FOLDERS["autoencoder"], args.latents, args.seed, args.device)

    def draw() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        index = torch.randint(len(latents), (batch,), generator=generator, device=args.device)
        z = latents[index].float()
        noise = torch.randn(z.shape, generator=generator, device=args.device)
        time = torch.randint(1000, (batch,), generator=generator, device=args.device)
        dropped = torch.rand(batch, generator=generator, device=args.device) < dropout
        return z, noise, time, prompts[index].masked_fill(dropped, EMPTY)

    return draw


def tokens(tokenizer: CLIPTokenizer, device: torch.device) -> torch.Tensor:
    """Token ids of all prompts and the empty one, (321, 8)."""
    texts = [*PROMPTS, ""]
    return tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(device)


def train_unet(args: argparse.Namespace, folder: Path) -> dict:
    options = settings(args, "unet")
    tokenizer = save_tokenizer(args.out / "tokenizer")
    table, diffusion = tokens(tokenizer, args.device), Diffusion.on(args.device)
    both = torch.nn.ModuleDict({"unet": new_unet(tuple(args.channels)), "text": new_text_encoder(tokenizer)})
    both, average = both.to(args.device), copy.deepcopy(both).to(args.device)
    model = velocity_of(both["unet"])

    def loss(z: torch.Tensor, noise: torch.Tensor, time: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        context = both["text"](table[prompts])[0]  # (N, 8, 64)
        predicted = model(diffusion.add_noise(z, noise, time), time, context)
        return F.mse_loss(predicted, diffusion.velocity(z, noise, time))

    draw = noised(args, options["generator"], args.batch)
    done = train(folder, loss, draw, both, average=average, lr=6e-4, **options)
    text = average["text"]
    vae = AutoencoderKL.from_pretrained(args.out / FOLDERS["autoencoder"], torch_dtype=torch.float16)
    vae.register_to_config(_name_or_path="")  # it would be the path on this machine
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=average["unet"].half(),
        scheduler=sampler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(args.out)
    # In fp16, too, but marked as float32 like the others, which transformers 5 would otherwise not widen; and under the
    # names that transformers 4 looks for: it would start from random weights, with no more than a warning.
    weights = {f"text_model.{k.removeprefix('text_model.')}": v.half().cpu() for k, v in text.state_dict().items()}
    save_file(weights, args.out / "text_encoder" / "model.safetensors", metadata={"format": "pt"})
    return done | {"parameters": parameters(both["unet"]), "text_encoder_parameters": parameters(both["text"])}


def shipped(args: argparse.Namespace) -> tuple[UNet2DConditionModel, torch.Tensor]:
    """The U-Net that ships, float32, without gradients, and the contexts of all prompts and the empty one."""
    unet = UNet2DConditionModel.from_pretrained(args.out / FOLDERS["unet"], torch_dtype=torch.float32)
    text = CLIPTextModel.from_pretrained(args.out / "text_encoder", dtype=torch.float32).to(args.device)
    with torch.no_grad():
        contexts = text(tokens(CLIPTokenizer.from_pretrained(args.out / "tokenizer"), args.device))[0]
    return unet.to(args.device).requires_grad_(False), contexts


def train_lcm(args: argparse.Namespace, folder: Path) -> dict:
    options = settings(args, "lcm")
    diffusion, (unet, contexts) = Diffusion.on(args.device), shipped(args)
    empty = contexts[EMPTY:]
    teacher = guided(frozen(unet), args.guidance, empty)
    # With alpha equal to the rank the product of the two matrices is added as it is.
    unet.add_adapter(LoraConfig(r=args.rank, lora_alpha=args.rank, target_modules=list(ADAPTED)))
    target, student = copy.deepcopy(unet), velocity_of(unet)
    slow = velocity_of(target)

    def loss(z: torch.Tensor, noise: torch.Tensor, time: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        return consistency_loss(
            diffusion, student, slow, teacher, z, noise, time, contexts[prompts], args.stride, args.substeps
        )

    # Times of the 50 that LCMScheduler chooses its steps from: 19, 39, ..., 999.
    grid = torch.arange(19, 1000, 20, device=args.device)
    noisy = noised(args, options["generator"], max(1, args.batch // 2), dropout=0)  # the student gets no guidance

    def draw() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        z, noise, time, prompts = noisy()
        return z, noise, grid[time // 20], prompts

    z, _, _, prompts = draw()
    boundary = boundary_loss(diffusion, student, z, contexts[prompts])
    if boundary != 0:
        raise RuntimeError(f"the consistency function moves a picture at time 0 by {boundary}; it must not")

    evaluate = four_steps(args, diffusion, slow, contexts)
    done = train(
        folder,
        loss,
        draw,
        unet,
        average=target,
        decay=args.decay,
        lr=args.lcm_lr,
        weight_decay=0.0,
        evaluate=evaluate,
        interval=20,
        **options,
    )
    adapter = save_adapter(args, folder, target)
    count = sum(weight.numel() for weight in adapter.values())
    used = {name: getattr(args, name) for name in ("guidance", "rank", "lcm_lr", "stride", "substeps", "decay")}
    return done | {"parameters": count, "boundary_loss": boundary} | used | {k: float(v) for k, v in evaluate().items()}


def save_adapter(args: argparse.Namespace, folder: Path, unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """Write the LoRA as `load_lora_weights` reads it, fp16, and return it. Raises RuntimeError if that reads another.

    The names stay those of peft. diffusers' own converter renames the attention's alone; its reader looks at the first
    name only, and would then drop the attention's part with a warning.
    """
    adapter = {name: weight.half().cpu() for name, weight in get_peft_model_state_dict(unet).items()}
    StableDiffusionPipeline.save_lora_weights(folder, adapter)
    pipeline = load_pipeline(args.out, torch.device("cpu"))
    pipeline.load_lora_weights(folder, weight_name=ADAPTER)
    read = get_peft_model_state_dict(pipeline.unet, adapter_name=pipeline.get_active_adapters()[0])
    wrong = [*adapter.keys() ^ read.keys()]
    wrong += [name for name in adapter.keys() & read.keys() if not torch.equal(adapter[name], read[name].half())]
    if wrong:
        raise RuntimeError(f"{folder}: {len(wrong)} of {len(adapter)} matrices read back differ, such as {wrong[0]}")
    return adapter


def four_steps(
    args: argparse.Namespace, diffusion: Diffusion, model: Velocity, contexts: torch.Tensor
) -> Callable[[], dict[str, str]]:
    """A function that scores pictures from four consistency steps, so that the log shows a distillation gone wrong."""
    n = 8 if args.toy else 2000
    scorer = Scorer(args.out / FOLDERS["judge"], args.device)
    vae = AutoencoderKL.from_pretrained(args.out / FOLDERS["autoencoder"], torch_dtype=torch.float32).to(args.device)
    labels = coloured_fashion_mnist("test", n, args.seed + 1).labels
    scheduler = LCMScheduler.from_config(sampler().config)
    scheduler.set_timesteps(4)
    generator = torch.Generator().manual_seed(args.seed + 1)
    noise = torch.randn(4, n, 4, 32, 32, generator=generator).to(args.device)
    context = contexts[prompt_index(labels).to(args.device)]

    @torch.no_grad()
    def evaluate() -> dict[str, str]:
        z = consistency_sample(diffusion, model, noise, context, scheduler.timesteps.tolist())
        images = vae.decode(z / vae.config.scaling_factor).sample.clamp(-1, 1) / 2 + 0.5
        return {name: f"{score:.3f}" for name, score in scorer(images, labels).items()}

    return evaluate


def train_small(args: argparse.Namespace, folder: Path) -> dict:
    options = settings(args, "small")
    diffusion, (unet, contexts) = Diffusion.on(args.device), shipped(args)
    small = new_small_unet(unet)
    average = copy.deepcopy(small)
    model, teacher = velocity_of(small), velocity_of(unet)
    # Where both have a block of the same place and shape: after the first level down, and after both levels up.
    mine = record_outputs([small.down_blocks[0], *small.up_blocks])
    theirs = record_outputs([unet.down_blocks[0], *unet.up_blocks[-2:]])

    def loss(z: torch.Tensor, noise: torch.Tensor, time: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        x, context = diffusion.add_noise(z, noise, time), contexts[prompts]
        predicted = model(x, time, context)
        with torch.no_grad():
            wanted = teacher(x, time, context)
        features = sum(F.mse_loss(a.float(), b.float()) for a, b in zip(mine, theirs, strict=True))
        return F.mse_loss(predicted, diffusion.velocity(z, noise, time)) + F.mse_loss(predicted, wanted) + features

    draw = noised(args, options["generator"], args.batch)
    done = train(folder, loss, draw, small, average=average, lr=6e-4, **options)
    average.half().save_pretrained(folder)
    return done | {"parameters": parameters(small)}


def record_outputs(blocks: list[torch.nn.Module]) -> list[torch.Tensor]:
    """A list whose entries are, after every forward pass, the outputs of these blocks."""
    outputs = [torch.empty(0)] * len(blocks)

    def keep(i: int, output) -> None:
        outputs[i] = output[0] if isinstance(output, tuple) else output  # blocks on the way down give skips, too

    for i, block in enumerate(blocks):
        block.register_forward_hook(lambda module, inputs, output, i=i: keep(i, output))
    return outputs


def score(args: argparse.Namespace, folder: Path) -> dict:
    """Rows of scores, one for each sampler and seed; those that are there already are kept."""
    pipeline, scorer = load_pipeline(args.out, args.device), Scorer(args.out / FOLDERS["judge"], args.device)
    unet, dpm = pipeline.unet, pipeline.scheduler
    lcm = LCMScheduler.from_config(dpm.config)
    g = args.guidance
    many, few = (3 if args.toy else 25), (8, 4, 2, 1)
    # Each model with its sampler, and (steps, guidance, share of tokens merged).
    plan = [("DPM-Solver++", unet, dpm, [*((many, w, 0.0) for w in sorted({1.0, g, 2.0})), (many, g, 0.5)])]
    plan += [("DPM-Solver++", unet, dpm, [(n, w, 0.0) for n in few for w in (1.0, g)])]
    plan += [("LCM without adapter", unet, lcm, [(4, 1.0, 0.0), (4, g, 0.0)])]
    if (args.out / FOLDERS["small"] / "scores.json").exists():
        small = UNet2DConditionModel.from_pretrained(args.out / FOLDERS["small"], torch_dtype=pipeline.dtype)
        plan += [("small, DPM-Solver++", small.to(args.device), dpm, [(many, g, 0.0), (4, g, 0.0), (4, 1.0, 0.0)])]
    if (args.out / FOLDERS["lcm"] / "scores.json").exists():
        adapted = copy.deepcopy(unet)
        triples = [*((n, 1.0, 0.0) for n in few), *((4, w, 0.0) for w in (1.25, 1.5, 2.0))]
        plan += [("LCM-LoRA", adapted, lcm, [*triples, *((4, 1.0, share) for share in (0.25, 0.5, 0.75))])]

    part = folder / "rows.json"
    rows = json.loads(part.read_text()) if part.exists() else []
    keys = ("name", "steps", "guidance", "merged", "seed")
    have = {tuple(row.get(key) for key in keys) for row in rows}

    def add(row: dict) -> None:
        rows.append(row)
        part.write_text(json.dumps(rows, indent=1))
        print(*row.values(), flush=True)

    for seed in args.seeds:
        if ("test pictures", None, None, None, seed) not in have:
            for row in [*real_rows(pipeline, scorer, args.images, seed)]:
                add(row)
        for name, model, scheduler, triples in plan:
            pipeline.unet, pipeline.scheduler = model, scheduler
            if name == "LCM-LoRA" and not getattr(model, "peft_config", None):
                pipeline.load_lora_weights(args.out / FOLDERS["lcm"], weight_name=ADAPTER)
                pipeline.fuse_lora()
            for triple in triples:
                if (name, *triple, seed) not in have:
                    add(sampled_row(pipeline, scorer, name, *triple, args.images, seed))
    columns = dict.fromkeys(key for row in rows for key in row)
    write_rows(folder / "log.csv", [{key: row.get(key, "") for key in columns} for row in rows])
    part.unlink()
    return {"rows": rows}


STAGES = {
    "judge": train_judge,
    "autoencoder": train_autoencoder,
    "unet": train_unet,
    "lcm": train_lcm,
    "small": train_small,
    "score": score,
}


if __name__ == "__main__":
    main()
