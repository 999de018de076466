"""Noise, velocity, guidance and consistency, as the losses of the stages need them.

Shapes: latents, noise and velocities (N, 4, 32, 32); times (N,), 0 to 999; contexts (N, tokens, width).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import DPMSolverMultistepScheduler, LCMScheduler
from torch import nn

from labkit.techniques.diffusion.lcm import boundary

Velocity = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]  # (noisy, time, context) → velocity

# The noise of Stable Diffusion, stretched until nothing is left of the picture at the last of the 1,000 times, and
# velocities, which are learnt there as well as anywhere (Lin et al. 2023, arXiv:2305.08891). Without this, the last
# step leaks the mean of the picture; and a flat colour is all mean.
NOISE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def sampler() -> DPMSolverMultistepScheduler:
    """DPM-Solver++ of second order (Lu et al. 2022, arXiv:2211.01095) on this noise."""
    return DPMSolverMultistepScheduler(**NOISE, steps_offset=1)  # the pipeline warns about any other offset


@dataclass(frozen=True, eq=False)
class Diffusion:
    """x = a z + b noise, with a² + b² = 1 at each time, and the velocity a noise - b z (Salimans and Ho 2022)."""

    a: torch.Tensor  # (1000,)
    b: torch.Tensor
    skip: torch.Tensor  # c_skip and c_out of the consistency function, (1000,)
    out: torch.Tensor

    @classmethod
    def on(cls, device: torch.device) -> "Diffusion":
        scheduler = LCMScheduler.from_config(sampler().config)
        kept = scheduler.alphas_cumprod.double()  # share of the picture's variance
        tables = (kept.sqrt(), (1 - kept).sqrt(), *boundary(torch.arange(1000.0).double()))
        return cls(*(table.float().to(device) for table in tables))

    def add_noise(self, z: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return _at(self.a, time) * z + _at(self.b, time) * noise

    def velocity(self, z: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return _at(self.a, time) * noise - _at(self.b, time) * z

    def picture(self, x: torch.Tensor, velocity: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """The z that the velocity points to."""
        return _at(self.a, time) * x - _at(self.b, time) * velocity

    def ddim(self, x: torch.Tensor, velocity: torch.Tensor, time: torch.Tensor, earlier: torch.Tensor) -> torch.Tensor:
        """One deterministic step towards the picture (Song, Meng and Ermon 2021, arXiv:2010.02502)."""
        noise = _at(self.a, time) * velocity + _at(self.b, time) * x
        return self.add_noise(self.picture(x, velocity, time), noise, earlier)

    def consistency(self, model: Velocity, x: torch.Tensor, time: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Where the path through x ends, as the model says; at time 0, x itself whatever the model says."""
        picture = self.picture(x, model(x, time, context), time)
        return _at(self.skip, time) * x + _at(self.out, time) * picture


def _at(table: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    return table[time][:, None, None, None]


def velocity_of(unet: nn.Module) -> Velocity:
    """The U-Net as a function of float32 to float32: in bfloat16 inside on a GPU, as it is on a CPU."""

    def call(x: torch.Tensor, time: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        # Weights change with every step: their copies in bfloat16 must not be kept from one to the next.
        mixed = torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda, cache_enabled=False)
        with mixed:
            return unet(x, time, context, return_dict=False)[0].float()

    return call


def frozen(unet: nn.Module) -> Velocity:
    """A copy of the U-Net that is never trained; on a GPU its weights are held in bfloat16."""
    lean = copy.deepcopy(unet).eval().requires_grad_(False)
    lean.to(torch.bfloat16 if lean.device.type == "cuda" else torch.float32)

    @torch.no_grad()
    def call(x: torch.Tensor, time: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return lean(x.to(lean.dtype), time, context.to(lean.dtype), return_dict=False)[0].float()

    return call


def guided(model: Velocity, scale: float, empty: torch.Tensor) -> Velocity:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598); `empty` is the context "", (1, tokens, width).

    A scale of 1 is none, as in diffusers; Luo et al. 2023 count from 0.
    """

    def call(x: torch.Tensor, time: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        contexts = torch.cat([empty.expand_as(context), context])
        without, with_ = model(torch.cat([x, x]), torch.cat([time, time]), contexts).chunk(2)
        return without + scale * (with_ - without)

    return call


def consistency_loss(
    diffusion: Diffusion,
    student: Velocity,
    target: Velocity,
    teacher: Velocity,
    z: torch.Tensor,
    noise: torch.Tensor,
    time: torch.Tensor,
    context: torch.Tensor,
    stride: int,
    substeps: int = 1,
) -> torch.Tensor:
    """Latent consistency distillation (Luo et al. 2023, arXiv:2310.04378): two points of one path end in one picture.

    The teacher, guided, leads from `time` to `stride` earlier, in `substeps` equal steps, or to time 0 where that is
    nearer. What the target, a slow copy of the student, says there is what the student should say here. The distance is
    pseudo-Huber.
    """
    x = diffusion.add_noise(z, noise, time)
    with torch.no_grad():
        point, now = x, time
        for i in range(1, substeps + 1):
            earlier = (time - stride * i // substeps).clamp(min=0)
            point, now = diffusion.ddim(point, teacher(point, now, context), now, earlier), earlier
        goal = diffusion.consistency(target, point, now, context)
    error = diffusion.consistency(student, x, time, context) - goal
    return ((error.square() + 0.001**2).sqrt() - 0.001).mean()


def boundary_loss(diffusion: Diffusion, student: Velocity, z: torch.Tensor, context: torch.Tensor) -> float:
    """How far the student's consistency function is from the identity at time 0: it must be 0."""
    with torch.no_grad():
        ends = diffusion.consistency(student, z, torch.zeros(len(z), dtype=torch.long, device=z.device), context)
    return (ends - z).abs().max().item()


@torch.no_grad()
def consistency_sample(
    diffusion: Diffusion, model: Velocity, noise: torch.Tensor, context: torch.Tensor, times: list[int]
) -> torch.Tensor:
    """Latents (N, 4, 32, 32) by multistep consistency sampling: to the end, back by fresh noise, to the end again.

    `noise` is (steps, N, 4, 32, 32): the start, and what each later step adds.
    """
    x = noise[0]
    for i, time in enumerate(times):
        t = torch.full((len(x),), time, device=x.device)
        if i:
            x = diffusion.add_noise(x, noise[i], t)
        x = diffusion.consistency(model, x, t, context)
    return x
