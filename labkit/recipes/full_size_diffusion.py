"""Time Stable Diffusion 1.5 and BK-SDM-Small at full size with random weights on a GPU: what a
generation takes depends on the architecture, not on the weights.

    python -m labkit.recipes.full_size_diffusion --out labs/04_lcm_token_merging/recorded/gpu/GPU.json

A block is one session: all of its contestants are timed in turn, the baseline twice in every round, and the
figures of a row come from one session. Every block is saved when it is done; a run that finds its file
goes on with it, so that blocks can be measured one by one on the same card. After `--seconds` nothing more
is prepared.
`--toy --device cpu` rehearses everything in small.
"""

import argparse
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from itertools import product
from pathlib import Path

import tomesd
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DPMSolverMultistepScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from diffusers.utils.logging import set_verbosity_error
from torch import nn
from torch._dynamo.utils import counters
from transformers import CLIPTextConfig, CLIPTextModel

from labkit import runs
from labkit.estimate.product import Product
from labkit.measure import Measurement, Timings, flops, parameters, quartiles, time_in_turn
from labkit.recipes.cuda_graph import CudaGraph, Function
from labkit.record import Record
from labkit.techniques.diffusion.token_merging import tokens_seen

SEED = 0
GUIDANCE = 7.5
RATIO = 0.5  # of the tokens that are merged
INTERVAL = 3  # steps from one whole evaluation of DeepCache to the next
NOISE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
SAMPLERS = {25: DPMSolverMultistepScheduler, 4: LCMScheduler}
# BK-SDM (Kim and others 2023): one layer a block instead of two, and no block in the middle.
UNETS = {"SD 1.5": {}, "Small": dict(layers_per_block=1, mid_block_type=None)}
PARAMETERS = {"SD 1.5": 859.5, "Small": 482.3}  # millions
ATTENTION = {"plain": AttnProcessor, "fused": AttnProcessor2_0}
PIXELS = (512, 768, 1024)


@dataclass(frozen=True)
class Sizes:
    pixels: int
    unet: dict
    autoencoder: dict
    tiny: dict
    text: dict

    @property
    def factor(self) -> int:
        """Pixels to a side of one latent."""
        return 2 ** (len(self.autoencoder["block_out_channels"]) - 1)


FULL = Sizes(
    512,
    dict(block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=768, attention_head_dim=8),
    dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2),
    {},
    dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12),
)
TOY = Sizes(
    128,
    dict(block_out_channels=(32, 32, 64, 64), cross_attention_dim=32, attention_head_dim=4),
    dict(block_out_channels=(32, 32, 32, 32), layers_per_block=1),
    dict(encoder_block_out_channels=(16,) * 4, decoder_block_out_channels=(16,) * 4),
    dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2),
)


@dataclass(frozen=True)
class Configuration:
    """One way to generate; every field is one change from the eager baseline."""

    steps: int = 25  # 25 by DPM-Solver++ (Lu and others 2022), 4 by LCM (Luo and others 2023)
    guided: bool = True
    unet: str = "SD 1.5"
    merged: bool = False
    cached: bool = False
    decoder: str = "KL"
    run: str = "eager"  # or a CUDA graph of each network's kernels: eager "graph", or "compiled"
    batch: int = 1

    @property
    def techniques(self) -> tuple[str, ...]:
        done = {
            "LCM": self.steps == 4,
            "no guidance": not self.guided,
            "BK-SDM-Small": self.unet == "Small",
            "token merging": self.merged,
            "DeepCache": self.cached,
            "tiny decoder": self.decoder == "tiny",
            "torch.compile": self.run == "compiled",
            "CUDA graphs": self.run != "eager",
        }
        return tuple(name for name, used in done.items() if used)

    def __str__(self) -> str:
        words = [f"{self.steps} steps", "guided" if self.guided else "unguided"]
        words += [t for t in self.techniques if t in ("BK-SDM-Small", "token merging", "DeepCache", "tiny decoder")]
        words.append(self.run)
        if self.batch > 1:
            words.append(f"batch {self.batch}")
        return ", ".join(words)

    @property
    def rows(self) -> int:
        """Latents in one evaluation of the network: guidance needs each with and without its prompt."""
        return self.batch * (2 if self.guided else 1)

    def parts(self, base: "Configuration") -> list["Configuration"]:
        """What differs from the baseline, each difference alone."""
        names = [f.name for f in fields(self) if getattr(self, f.name) != getattr(base, f.name)]
        return [replace(base, **{name: getattr(self, name)}) for name in names]


BASE = Configuration()
LCM = replace(BASE, steps=4, guided=False)
LCM_SMALL = replace(LCM, unet="Small")
EAGER = [
    BASE,
    replace(BASE, guided=False),
    replace(BASE, steps=4),
    LCM,
    replace(BASE, unet="Small"),
    replace(BASE, merged=True),
    replace(BASE, cached=True),
    LCM_SMALL,
    replace(LCM, merged=True),
    replace(LCM_SMALL, merged=True),
    replace(BASE, unet="Small", cached=True),
]
GRAPHS = [BASE] + [replace(c, run="graph") for c in EAGER]
COMPILED = [BASE] + [
    replace(c, run="compiled")
    for c in (  # what shares a compiled network stands together, the most telling first
        BASE,
        replace(BASE, steps=4),
        LCM,
        replace(BASE, guided=False),
        LCM_SMALL,
        replace(LCM_SMALL, decoder="tiny"),
        replace(BASE, cached=True),
        replace(LCM_SMALL, merged=True),
        replace(LCM, merged=True),
        replace(BASE, unet="Small"),
    )
]
EIGHT = [replace(c, batch=8) for c in EAGER[:-1]]
EIGHT_COMPILED = [replace(BASE, batch=8)] + [
    replace(c, run="compiled", batch=8)
    for c in (BASE, replace(BASE, steps=4), LCM_SMALL, LCM, replace(BASE, guided=False))
]
SHARES = [BASE, LCM] + [c for c in COMPILED if not c.cached and c.run == "compiled"]


class Bench:
    """Networks of one size on one device, and the functions made of them, each made once."""

    def __init__(self, sizes: Sizes, device: str) -> None:
        self.sizes, self.device = sizes, device
        self.dtype = torch.float16 if device == "cuda" else torch.float32
        self.text_model = self.made(lambda: CLIPTextModel(CLIPTextConfig(**sizes.text)))
        self.autoencoders = {
            "KL": self.made(
                lambda: AutoencoderKL(
                    latent_channels=4,
                    sample_size=sizes.pixels,
                    **sizes.autoencoder,
                    down_block_types=("DownEncoderBlock2D",) * 4,
                    up_block_types=("UpDecoderBlock2D",) * 4,
                )
            ),
            "tiny": self.made(lambda: AutoencoderTiny(**sizes.tiny)),
        }

    def made(self, build: Callable[[], nn.Module]) -> nn.Module:
        torch.manual_seed(SEED)
        with torch.device(self.device):
            return build().to(self.dtype).eval()

    def tokens(self, rows: int) -> torch.Tensor:
        return torch.randint(1000, (rows, 77), device=self.device)

    def latents(self, rows: int, pixels: int | None = None) -> torch.Tensor:
        side = (pixels or self.sizes.pixels) // self.sizes.factor
        return torch.randn(rows, 4, side, side, device=self.device, dtype=self.dtype)

    def inputs(self, rows: int, pixels: int | None = None) -> tuple[torch.Tensor, ...]:
        """Of one evaluation: latents, time step, embedded prompts."""
        context = torch.randn(rows, 77, self.sizes.text["hidden_size"], device=self.device, dtype=self.dtype)
        return self.latents(rows, pixels), torch.tensor(500, device=self.device), context

    @cache
    def network(self, unet: str, merged: bool, attention: str) -> UNet2DConditionModel:
        """A U-Net that remembers what its last layer was given, for DeepCache."""
        model = self.made(lambda: UNet2DConditionModel(sample_size=64, **self.sizes.unet, **UNETS[unet]))
        count = round(parameters(model).value / 1e6, 1)
        if self.sizes is FULL and count != PARAMETERS[unet]:
            raise ValueError(f"{unet} has {count} M parameters, expected {PARAMETERS[unet]} M: check its configuration")
        model.set_attn_processor(ATTENTION[attention]())
        if merged:  # without chance, since a graph cannot capture tomesd's own generator
            tomesd.apply_patch(model, ratio=RATIO, use_rand=False)
            model._tome_info["hooks"].clear()  # handles to unpatch by, which the compiler cannot trace
        model.up_blocks[-1].resnets[-1].register_forward_pre_hook(lambda _, args: setattr(model, "given_last", args[0]))
        return model

    @cache
    def evaluation(self, unet: str, merged: bool, run: str, rows: int) -> Function:
        """(latents, time step, context) → noise, and what DeepCache keeps: the input of the last layer."""
        model = self.network(unet, merged, "fused")
        count_tokens(model, self.inputs(rows), merged)
        skip = model.conv_in.out_channels  # what comes past all blocks is made anew at each step

        def evaluate(sample: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            noise = model(sample, t, context, return_dict=False)[0]
            return noise, model.given_last[:, :-skip]

        return self.ready(evaluate, self.inputs(rows), run)

    @cache
    def shallow(self, unet: str, run: str, rows: int) -> Function:
        """The evaluation that reuses what the last whole one kept (Ma and others 2023, branch 0)."""
        model = self.network(unet, False, "fused")
        last = model.up_blocks[-1]

        def evaluate(sample: torch.Tensor, t: torch.Tensor, context: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
            hidden = torch.cat([kept, model.conv_in(sample)], 1)
            hidden = last.resnets[-1](hidden, model.time_embedding(model.get_time_embed(sample, t)))
            hidden = last.attentions[-1](hidden, encoder_hidden_states=context, return_dict=False)[0]
            return model.conv_out(model.conv_act(model.conv_norm_out(hidden)))

        channels = last.resnets[-1].in_channels - model.conv_in.out_channels
        inputs = self.inputs(rows)
        kept = torch.randn(rows, channels, *inputs[0].shape[2:], device=self.device, dtype=self.dtype)
        return self.ready(evaluate, (*inputs, kept), run)

    @cache
    def text(self, run: str, rows: int) -> Function:
        run = "eager" if run == "eager" else "graph"  # one short run a generation is not worth a compiler's time
        return self.ready(lambda tokens: self.text_model(tokens)[0], (self.tokens(rows),), run)

    @cache
    def decoder(self, name: str, run: str, rows: int) -> Function:
        model = self.autoencoders[name]

        def decode(latents: torch.Tensor) -> torch.Tensor:
            image = model.decode(latents / model.config.scaling_factor, return_dict=False)[0]
            return (image / 2 + 0.5).clamp(0, 1)

        return self.ready(decode, (self.latents(rows),), run)

    def ready(self, function: Function, inputs: tuple[torch.Tensor, ...], run: str) -> Function:
        """The function eager, captured, or compiled and captured; checked against itself eager."""
        if run == "eager":
            return function
        start, expected = time.perf_counter(), first(function(*inputs)).clone()
        made, graphs = function, counters["stats"]["unique_graphs"]
        if run == "compiled":
            backend = "inductor" if self.device == "cuda" else "eager"  # the rehearsal only traces
            made = torch.compile(function, dynamic=False, backend=backend)
        made = CudaGraph(made, inputs)
        difference = (first(made(*inputs)) - expected).float().norm() / expected.float().norm()
        graphs = counters["stats"]["unique_graphs"] - graphs  # more than one: the compiler broke off in between
        print(f"    {run} in {time.perf_counter() - start:.1f} s, {graphs} traced, off by {difference:.1e}", flush=True)
        if not difference < 0.1:
            raise RuntimeError(f"{run}, a network gives another result than eager: off by {difference:.1e} of its norm")
        return made

    def functions(self, c: Configuration) -> dict[str, Function | None]:
        return {
            "text": self.text(c.run, c.rows),
            "network": self.evaluation(c.unet, c.merged, c.run, c.rows),
            "shallow": self.shallow(c.unet, c.run, c.rows) if c.cached else None,
            "decoder": self.decoder(c.decoder, c.run, c.batch),
        }

    def generation(self, c: Configuration, **instead: Function) -> Callable[[], torch.Tensor]:
        """A whole generation from tokens to pictures, as a function without arguments."""
        functions = self.functions(c) | instead
        scheduler = SAMPLERS[c.steps](**NOISE)
        tokens, latents = self.tokens(c.rows), self.latents(c.batch)
        return lambda: generate(**functions, scheduler=scheduler, tokens=tokens, latents=latents, steps=c.steps)


def first(outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    return outputs[0] if isinstance(outputs, tuple) else outputs


def noise(model: UNet2DConditionModel, *inputs: torch.Tensor) -> torch.Tensor:
    return model(*inputs, return_dict=False)[0]  # by position: tomesd reads the size from the first


def generate(
    text: Function,
    network: Function,
    shallow: Function | None,
    decoder: Function,
    scheduler: DPMSolverMultistepScheduler | LCMScheduler,
    tokens: torch.Tensor,
    latents: torch.Tensor,
    steps: int,
) -> torch.Tensor:
    """The loop of StableDiffusionPipeline with the network's evaluations open to change.

    Guided if there are two prompts to each of the latents.
    """
    context, kept = text(tokens), None
    guided = len(tokens) > len(latents)
    scheduler.set_timesteps(steps, device=latents.device)
    for i, t in enumerate(scheduler.timesteps):
        sample = scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, t)
        if shallow and i % INTERVAL:
            noise = shallow(sample, t, context, kept)
        else:
            noise, kept = network(sample, t, context)
        if guided:
            without, towards = noise.chunk(2)
            noise = without + GUIDANCE * (towards - without)
        latents = scheduler.step(noise, t, latents, return_dict=False)[0]
    return decoder(latents)


def check_loop(bench: Bench) -> None:
    """The baseline must be the real one: the pipeline gives the same picture from the same noise."""
    scheduler = DPMSolverMultistepScheduler(**NOISE)
    latents, tokens = bench.latents(1), bench.tokens(2)
    functions, unet = bench.functions(BASE), bench.network("SD 1.5", False, "fused")
    pipe = StableDiffusionPipeline(
        bench.autoencoders["KL"],
        bench.text_model,
        None,
        unet,
        DPMSolverMultistepScheduler(**NOISE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    without, prompt = functions["text"](tokens).chunk(2)
    expected = pipe(
        prompt_embeds=prompt,
        negative_prompt_embeds=without,
        latents=latents,
        num_inference_steps=3,
        guidance_scale=GUIDANCE,
        output_type="pt",
    ).images
    image = generate(**functions, scheduler=scheduler, tokens=tokens, latents=latents, steps=3)
    torch.testing.assert_close(image, expected, atol=0.02, rtol=0)  # less than it takes to see; fp16 sums differ


def count_tokens(model: UNet2DConditionModel, inputs: tuple[torch.Tensor, ...], merged: bool) -> int:
    """Tokens at the largest self-attention, counted there. Raises ValueError unless as many as expected."""
    seen = max(tokens_seen(model, *inputs).values())
    expected = inputs[0].shape[2] * inputs[0].shape[3]
    if merged:
        expected -= int(expected * RATIO)
    if seen != expected:
        raise ValueError(f"the largest attention sees {seen} tokens, expected {expected}: tomesd patched nothing")
    return seen


class Run:
    """The record and the blocks that fill it."""

    def __init__(self, bench: Bench, record: Record, deadline: float) -> None:
        self.bench, self.record = bench, record
        self.deadline = deadline  # by time.perf_counter
        self.done: set[Configuration] = set()

    def time(self, functions: dict[str, Callable[[], object]], rounds: int) -> Timings:
        if self.bench.sizes is not FULL:
            return time_in_turn(functions, rounds=1, warmup=0)
        return time_in_turn(functions, rounds, warmup=1)

    def attempt(self, name: str, build: Callable[[], Function]) -> Function | None:
        """What is built, or None if time or the compiler does not allow it: one row is lost, not the run."""
        if time.perf_counter() > self.deadline:
            print(f"  {name}: left out, the time is up", flush=True)
            return None
        try:
            return build()
        except RuntimeError as error:
            print(f"  {name}: left out, {type(error).__name__}: {str(error)[:500]}", flush=True)
            return None

    def prepared(self, configurations: list[Configuration]) -> dict[Configuration, Function]:
        made = {c: self.attempt(str(c), partial(self.bench.generation, c)) for c in configurations}
        made = {c: generation for c, generation in made.items() if generation}
        self.done |= made.keys()
        return made

    def generations(self, block: str, configurations: list[Configuration], rounds: int) -> None:
        """Latency of whole generations, in turn with the eager baseline, which comes first."""
        functions = self.prepared(configurations)
        base = configurations[0]
        if base not in functions:
            return
        timings = self.time({str(c): f for c, f in functions.items()}, rounds)
        self.record.find(f"{block.replace(' ', '_')}_aa", timings.against_itself)
        own = all(c.run == base.run for c in configurations)  # else the baseline has a session of its own
        for c in functions:
            if c == base and not own:
                continue
            name, like = str(c), replace(base, run=c.run)
            self.record.add(
                name,
                c.techniques,
                latency=timings.latency(name),
                speedup=timings.ratio(str(base), name),
                per_picture=quartiles(timings[name] * 1e3 / c.batch, "ms"),
            )
            if c.run != base.run and like in functions:
                self.record.add(name, **{f"over_{c.run}": timings.ratio(str(like), name)})
            self.confront(timings, c, like)
        self.find_fastest(base.batch)
        print(f"the baseline against itself: {timings.against_itself}", flush=True)
        print(self.record.table("latency", "speedup", "per_picture"), flush=True)
        print(self.record.table("speedup", "predicted", "measured / predicted"), flush=True)

    def confront(self, timings: Timings, c: Configuration, base: Configuration) -> None:
        """Set the product of the parts against the whole, where all were timed in this session and run alike."""
        parts = {str(part): str(part) for part in c.parts(base)}
        if len(parts) > 1 and {str(base), *parts} <= timings.keys():
            stack = Product.of_times(timings, str(base), parts, str(c))
            self.record.add(str(c), **{"predicted": stack.predicted, "measured / predicted": stack.share})

    def find_fastest(self, batch: int) -> None:
        """The fastest with Stable Diffusion's own decoder, and with any."""
        for decoder in ("KL", "tiny"):
            rows = [
                self.record.rows[str(c)]
                for c in {*EAGER, *GRAPHS, *COMPILED, *EIGHT, *EIGHT_COMPILED}
                if c.batch == batch and c.decoder in ("KL", decoder) and str(c) in self.record.rows
            ]
            rows = [row for row in rows if "speedup" in row.measurements]
            best = max(rows, key=lambda row: row.measurements["speedup"].value)
            key = f"fastest_batch_{batch}"
            if decoder == "tiny":
                key += "_any_decoder"
            for metric in ("latency", "speedup", "over_compiled", "predicted", "measured / predicted"):
                name = f"{key}_{metric.replace(' / ', '_over_')}"
                self.record.findings.pop(name, None)  # of what was the fastest before
                if metric in best.measurements:
                    self.record.find(name, best.measurements[metric])
            if key == "fastest_batch_1":
                self.record.headline = f"{best.name}: {{{key}_speedup}} as fast as the eager baseline"

    def shares(self) -> None:
        """Where a generation's time goes. The loop is the sampler's arithmetic and what the CPU does for it."""
        made = self.prepared([c for c in SHARES if c.run == "eager" or c in self.done])
        for c in made:
            functions, inputs = self.bench.functions(c), self.bench.inputs(c.rows)
            tokens, latents = self.bench.tokens(c.rows), self.bench.latents(c.batch)
            outputs = functions["network"](*inputs)
            parts = {
                "network": lambda: functions["network"](*inputs),
                "text": lambda: functions["text"](tokens),
                "decoder": lambda: functions["decoder"](latents),
                "loop": self.bench.generation(
                    c, text=lambda _: inputs[2], network=lambda *_: outputs, decoder=lambda image: image
                ),
                "whole": made[c],
            }
            timings = self.time(parts, rounds=7)
            times = {part: timings[part] * (c.steps if part == "network" else 1) for part in parts}
            whole = times.pop("whole")
            total = sum(times.values())
            named = {f"{part} share": quartiles(100 * of / total, "%") for part, of in times.items()}
            named |= {"evaluation": timings.latency("network"), "sum of parts / whole": quartiles(total / whole, "×")}
            self.record.add(str(c), c.techniques, **named)
        shares = [f"{part} share" for part in ("network", "text", "decoder", "loop")]
        print(self.record.table("evaluation", *shares, "sum of parts / whole"), flush=True)

    def attention(self) -> None:
        """One evaluation, with tokens merged or not, under plain and under fused attention."""
        for pixels in PIXELS if self.bench.sizes is FULL else (128, 192):
            inputs, functions = self.bench.inputs(1, pixels), {}
            for attention, merged in product(ATTENTION, (False, True)):
                model = self.bench.network("SD 1.5", merged, attention)
                tokens = Measurement.exact(count_tokens(model, inputs, merged), "tokens")
                count = dict(tokens=tokens, operations=flops(model, *inputs))
                title, techniques = f"one evaluation, {pixels} pixels, {attention}", ()
                if merged:
                    title, techniques = f"{title}, merged", ("token merging",)
                for run in ("eager", "graph"):
                    name = f"{title}, {run}"
                    made = self.attempt(name, partial(self.bench.ready, partial(noise, model), inputs, run))
                    if made:
                        functions[name] = partial(made, *inputs)
                        self.record.add(name, techniques, **count)
            timings = self.time(functions, rounds=9)
            for name in timings:
                self.record.add(name, latency=timings.latency(name))
                unmerged = name.replace(", merged", "")
                if name != unmerged and unmerged in timings:
                    gain = timings.ratio(unmerged, name)
                    self.record.add(name, **{"gain of merging": gain})
                    if name.endswith("graph"):
                        self.record.find(f"merging_{'plain' if 'plain' in name else 'fused'}_{pixels}", gain)
            print(self.record.table("tokens", "operations", "latency"), flush=True)
            print(self.record.table("gain of merging"), flush=True)
            functions.clear()
            made = None  # the last of the graphs, which hold gigabytes
            gc.collect()
            if self.bench.device == "cuda":
                torch.cuda.empty_cache()


BLOCKS = {
    "eager": lambda run: run.generations("eager", EAGER, rounds=7),
    "compiled": lambda run: run.generations("compiled", COMPILED, rounds=9),
    "shares": Run.shares,
    "attention": Run.attention,
    "eight": lambda run: run.generations("eight", EIGHT, rounds=6),
    "graphs": lambda run: run.generations("graphs", GRAPHS, rounds=6),
    "eight compiled": lambda run: run.generations("eight compiled", EIGHT_COMPILED, rounds=6),
}


def opened(path: Path, toy: bool, device: str) -> Record:
    """The record of that file to go on with, or a new one."""
    if not path.exists():
        return Record("04_lcm_token_merging", "", SEED, device, settings={"toy": toy})
    run = runs.load(path)
    before = run.environment["gpu"], run.record.settings["toy"]
    now = torch.cuda.get_device_name() if device == "cuda" else None, toy
    if before != now:
        raise SystemExit(
            f"{path} is of {before[0]}, toy {before[1]}; this is {now[0]}, toy {now[1]}: give another --out"
        )
    return run.record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--toy", action="store_true", help="tiny networks, to rehearse")
    parser.add_argument("--seconds", type=float, default=250, help="prepare nothing more after so many")
    parser.add_argument("--blocks", nargs="+", choices=BLOCKS, default=list(BLOCKS), metavar="BLOCK")
    given = parser.parse_args()
    start = time.perf_counter()
    torch.set_grad_enabled(False)
    set_verbosity_error()  # it advises on half precision at each of the networks
    torch._dynamo.config.recompile_limit = 64  # every shape is compiled for itself, out of the same code
    record = opened(given.out, given.toy, given.device)
    bench = Bench(TOY if given.toy else FULL, given.device)
    run = Run(bench, record, start + given.seconds)
    check_loop(bench)
    print(f"the loop gives what the pipeline gives, after {time.perf_counter() - start:.0f} s", flush=True)
    for block in given.blocks:
        if time.perf_counter() > run.deadline:
            print(f"{block}: left out, the time is up")
            continue
        try:
            BLOCKS[block](run)
        except RuntimeError as error:  # such as memory that is not there: the next block may do with less
            print(f"{block}: broken off, {type(error).__name__}: {str(error)[:500]}", flush=True)
        runs.save(record, given.out, "python -m labkit.recipes.full_size_diffusion --out FILE")
        print(f"{block}: saved after {time.perf_counter() - start:.0f} s", flush=True)
    print(record.headline and record.summary, given.out, sep="\n")


if __name__ == "__main__":
    main()
