"""The two-phase loop: representation learning, then adversarial fine-tuning of the decoder with the encoder frozen."""

from __future__ import annotations

import copy
import json
import math
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ..model.autoencoder import Autoencoder
from ..model.condition import one_hot
from ..model.config import Config, TrainingConfig
from ..runs import Run
from . import checkpoint
from .augment import Augmentation
from .corpus import Corpus
from .crops import Crops
from .discriminators import build_discriminator
from .losses import feature_matching, hinge_discriminator, hinge_generator
from .objective import Objective, Reconstruction
from .pca import Principal, principal_components
from .report import Report
from .validation import Validation

AUTO_PHASE_1_SHARE = 0.75  # `--phase-1 auto` ends phase 1 here at the latest
PATIENCE, GAIN = 5, 0.995  # so many validations, none 0.5 % better than the best before, count as "stopped improving"
LOG_EVERY = 20  # steps between reading losses back, which waits for the device


@dataclass
class Progress:
    """Where a run stands; all of it is in the checkpoint."""

    step: int = 0
    phase: int = 1
    seconds: float = 0.0
    phase_1_end: float = 0.0  # share of the run at which phase 1 ended
    best: float = math.inf
    best_step: int = 0
    validated: dict[str, float] = field(default_factory=dict)
    temperature: float = 0.0


class Trainer:
    """Trains one run. `fit` ends when the steps or the budget are used up, or with Ctrl-C, always with a checkpoint."""

    def __init__(self, fabric: Fabric, run: Run, config: Config, corpus: Corpus, resume: dict[str, Any] | None) -> None:
        self.fabric, self.run, self.config, self.corpus = fabric, run, config, corpus
        t = config.training
        self.progress = Progress(**resume["progress"]) if resume else Progress()
        torch.manual_seed(t.seed)
        self.net = Autoencoder(config.model)
        self.discriminator = build_discriminator(t.discriminators, config.model.channels, t.discriminator_capacity)
        self.ema = copy.deepcopy(self.net).eval().requires_grad_(False)
        if resume:
            self.net.load_state_dict(resume["net"])
            self.ema.load_state_dict(resume["ema"])
            self.discriminator.load_state_dict(resume["discriminator"])
        self.net.to(fabric.device)
        self.ema.to(fabric.device)
        self.discriminator.to(fabric.device)
        self.bf16 = wants_bf16(t.precision, fabric.device)
        self.objective = Objective(self.net, t, self.bf16).to(fabric.device)
        if t.compile:
            self.net.encoder.compile()
            self.net.decoder.compile()
        self.crops = Crops(corpus.train, t.crop_samples, t.seed, augmentation(t))
        self.validation = Validation(corpus, self.ema, t, fabric.device)
        self.principal = Principal(**resume["principal"]) if resume else None
        self._prepare_phase()
        if resume:
            self.generator_optimiser.load_state_dict(resume["generator_optimiser"])
            self.discriminator_optimiser.load_state_dict(resume["discriminator_optimiser"])

    # -- the run ------------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """Train to the end of the steps or the budget."""
        t, p = self.config.training, self.progress
        report = Report(self.run, self.config, self.fabric.is_global_zero)
        began = time.monotonic() - p.seconds
        seen: defaultdict[str, list[Tensor]] = defaultdict(list)
        with report, Interrupt() as interrupt:
            for x, labels in self._batches():
                if self._share() >= 1.0 or self._agreed(interrupt.asked):
                    break
                if p.phase == 1 and self._phase_1_is_over():
                    self._begin_phase_2()
                    report.say(f"phase 2 from step {p.step}: encoder frozen, adversarial fine-tuning")
                for name, value in self.train_step(x, labels).items():
                    seen[name].append(value)
                p.step += 1
                p.seconds = self._agreed(time.monotonic() - began)
                if p.step % LOG_EVERY == 0:
                    means = {name: float(torch.stack(values).mean()) for name, values in seen.items()}
                    seen.clear()
                    report.step(p.step, p.phase, p.seconds, means, self._share(), self.learning_rate())
                if p.step % t.validate_every == 0:
                    self._validate(report)
            if p.step % t.validate_every or not self.run.last.exists():
                self._validate(report)
            if interrupt.asked:
                report.say(f"stopped at step {p.step}: `ravel train --name {self.run.name}` goes on from here")
                raise KeyboardInterrupt

    def _agreed(self, value: Any) -> Any:
        """The first process's word: all must end, and change phase, at the same step."""
        return self.fabric.broadcast(value) if self.fabric.world_size > 1 else value

    def _batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Crops for this process and weights of their labels, where there are any; loaded a step ahead. Item numbers
        follow the step, so nothing needs to be stored."""
        count, world, rank = self.config.training.batch, self.fabric.world_size, self.fabric.global_rank

        def load(step: int) -> tuple[Tensor, Tensor]:
            return self.crops.labelled((step * world + rank) * count, count)

        with ThreadPoolExecutor(1) as pool:
            ahead: Future[tuple[Tensor, Tensor]] = pool.submit(load, self.progress.step)
            step = self.progress.step
            while True:
                batch, labels = ahead.result()
                step += 1
                ahead = pool.submit(load, step)
                weights = one_hot(labels, len(self.corpus.labels)) if self.corpus.labels else None
                yield self._here(batch), None if weights is None else self._here(weights)

    def _here(self, x: Tensor) -> Tensor:
        return x.to(self.fabric.device, non_blocking=True)

    def _share(self) -> float:
        """How much of the run is done, 0..1."""
        t = self.config.training
        return self.progress.seconds / t.budget_s if t.budget_s else self.progress.step / max(1, t.steps)

    def _phase_1_share(self) -> float:
        phase_1 = self.config.training.phase_1
        return AUTO_PHASE_1_SHARE if phase_1 == "auto" else float(phase_1)

    def _phase_1_is_over(self) -> bool:
        t, p = self.config.training, self.progress
        stalled = t.phase_1 == "auto" and p.step - p.best_step >= PATIENCE * t.validate_every and p.best < math.inf
        return self._share() >= self._phase_1_share() or stalled

    # -- one step -----------------------------------------------------------------------------------------------

    def train_step(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """One optimiser step on x (B, channels, T) of these labels; returns the terms as they were minimised."""
        self._set_learning_rates()
        eps = self._gaussians(x)
        if self.progress.phase == 1:
            return self._generator_step(
                self.objective_ddp(x, eps, self.beta(), noise_seed=self.progress.step, labels=labels)
            )
        if self.progress.step % self.config.training.discriminator_every == 0:
            return self._discriminator_step(*self.objective.reconstruct(x, eps, self.progress.step, labels))
        reconstruction = self.objective_ddp(
            x, eps, 0.0, encoder_frozen=True, noise_seed=self.progress.step, labels=labels
        )
        reconstruction.terms |= self._adversarial(reconstruction)
        return self._generator_step(reconstruction)

    def _generator_step(self, reconstruction: Reconstruction) -> dict[str, Tensor]:
        terms = reconstruction.terms
        self._optimise(torch.stack(list(terms.values())).sum(), self.generator_optimiser, self.trained)
        self._update_ema()
        return {name: value.detach() for name, value in terms.items()} | self.net.latent.measures()

    def _discriminator_step(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        with self._autocast():
            features: list[list[Tensor]] = self.discriminator_ddp(torch.cat([real, fake]))
        half = real.shape[0]
        loss = hinge_discriminator([[f[-1][:half]] for f in features], [[f[-1][half:]] for f in features])
        self._optimise(loss, self.discriminator_optimiser, list(self.discriminator.parameters()))
        return {"discriminator": loss.detach()}

    def _adversarial(self, reconstruction: Reconstruction) -> dict[str, Tensor]:
        """The discriminator's view of the fake; its own weights get no gradient, the real features none at all."""
        t = self.config.training
        self.discriminator.requires_grad_(False)
        try:
            with self._autocast():
                with torch.no_grad():
                    real = self.discriminator(reconstruction.real)
                fake = self.discriminator(reconstruction.fake)
        finally:
            self.discriminator.requires_grad_(True)
        return {
            "adversarial": t.adversarial_weight * hinge_generator(fake),
            "features": t.feature_weight * feature_matching(real, fake, t.feature_relative),
        }

    def _optimise(self, loss: Tensor, optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
        optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        if self.config.training.gradient_clip:
            nn.utils.clip_grad_norm_(parameters, self.config.training.gradient_clip)
        optimiser.step()

    def _gaussians(self, x: Tensor) -> Tensor:
        """N(0, 1) for the posterior, a pure function of (seed, step) and, across processes, of the item."""
        t, world, rank = self.config.training, self.fabric.world_size, self.fabric.global_rank
        generator = torch.Generator(x.device).manual_seed((t.seed << 32) + self.progress.step)
        shape = (world * x.shape[0], self.net.latent.size, x.shape[2] // self.net.hop_samples)
        return torch.randn(shape, generator=generator, device=x.device)[rank * x.shape[0] : (rank + 1) * x.shape[0]]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.fabric.device.type, torch.bfloat16, enabled=self.bf16)

    @torch.no_grad()
    def _update_ema(self) -> None:
        """Exponential average of the weights, a plain one at first so that the random start is soon forgotten."""
        decay = min(self.config.training.ema, (1 + self.progress.step) / (10 + self.progress.step))
        averages: list[Tensor] = list(self.ema.parameters())
        values: list[Tensor] = list(self.net.parameters())
        torch._foreach_lerp_(averages, values, 1 - decay)
        for average, value in zip(self.ema.buffers(), self.net.buffers(), strict=True):
            average.copy_(value)
        self.ema.latent.adopt(self.net.latent)

    # -- schedules ----------------------------------------------------------------------------------------------

    def beta(self) -> float:
        """Weight of the latent's cost, warmed up linearly."""
        t = self.config.training
        return t.beta * min(1.0, (self.progress.step + 1) / max(1, t.beta_warmup_steps))

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine down to 5 % over each phase."""
        t, p = self.config.training, self.progress
        peak = t.learning_rate if p.phase == 1 else t.phase_2_learning_rate
        first, last = (0.0, self._phase_1_share()) if p.phase == 1 else (p.phase_1_end, 1.0)
        along = min(1.0, (self._share() - first) / max(1e-9, last - first))
        warm = min(1.0, (p.step + 1) / max(1, t.warmup_steps))
        return peak * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * along)))

    def _set_learning_rates(self) -> None:
        for group in self.generator_optimiser.param_groups:
            group["lr"] = self.learning_rate()
        t = self.config.training
        for group in self.discriminator_optimiser.param_groups:
            group["lr"] = t.discriminator_learning_rate * self.learning_rate() / t.phase_2_learning_rate

    # -- phases -------------------------------------------------------------------------------------------------

    def _prepare_phase(self) -> None:
        """Optimisers and gradient synchronisation for what learns in this phase."""
        t = self.config.training
        if self.progress.phase == 2:
            for part in (self.net.encoder, self.net.latent):
                part.requires_grad_(False).eval()
        self.trained = [p for p in self.net.parameters() if p.requires_grad]
        fused = self.fabric.device.type in ("cuda", "cpu")
        betas = t.adam_betas if self.progress.phase == 1 else t.adversarial_adam_betas
        self.generator_optimiser = torch.optim.Adam(self.trained, t.learning_rate, betas, fused=fused)
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminator.parameters(), t.discriminator_learning_rate, t.adversarial_adam_betas, fused=fused
        )
        self.objective_ddp = self._distributed(self.objective)
        self.discriminator_ddp = self._distributed(self.discriminator)

    def _distributed(self, module: nn.Module) -> nn.Module:
        if self.fabric.world_size == 1:
            return module
        ids = [self.fabric.device.index] if self.fabric.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)

    def _begin_phase_2(self) -> None:
        """The encoder and the codes become their average, for good; the decoder goes on from where it is."""
        p = self.progress
        self.net.encoder.load_state_dict(self.ema.encoder.state_dict())
        self.net.latent.load_state_dict(self.ema.latent.state_dict())
        p.phase, p.phase_1_end = 2, self._share()
        p.best, p.best_step = math.inf, p.step
        self.principal = None  # the encoder has moved since the last validation
        self._prepare_phase()

    # -- validation and checkpoints -----------------------------------------------------------------------------

    def _validate(self, report: Report) -> None:
        """Score the held-out files with the weights that would be exported, analyse the latent, save."""
        p = self.progress
        if self.fabric.is_global_zero:
            if p.phase == 1 or self.principal is None:
                self.principal = principal_components(self.ema, self.validation.analysis_crops(self.crops))
            result = self.validation.run(p.phase)
            p.validated, p.temperature = result.scores, result.temperature
            report.validation(p.step, p.phase, p.seconds, result, self.principal)
            better = result.scores["distance"] < p.best
            if result.scores["distance"] < GAIN * p.best:
                p.best_step = p.step
            if better:
                p.best = result.scores["distance"]
            content = self.state()
            checkpoint.save(self.run.last, content)
            # adversarial training raises the distance while it sharpens the sound: in phase 2 the latest is the best
            if better or p.phase == 2:
                checkpoint.save(self.run.best, content)
            with self.run.history.open("a") as history:
                row = {"step": p.step, "phase": p.phase, "seconds": round(p.seconds, 1), "train": report.latest}
                history.write(json.dumps(row | {"validation": result.scores, "temperature": result.temperature}) + "\n")
        self.fabric.barrier()
        p.best, p.best_step = self.fabric.broadcast((p.best, p.best_step))

    def state(self) -> dict[str, Any]:
        """Everything that `resume` and export need, as plain tensors and numbers."""
        assert self.principal is not None
        p = self.progress
        summary = {
            "steps": p.step,
            "phase": p.phase,
            "seconds": p.seconds,
            "temperature": p.temperature,
            "validation": p.validated,
            "corpus": {
                "recordings": self.corpus.report.kept,
                "seconds": self.corpus.report.seconds,
                "held_out_seconds": self.corpus.report.validation_seconds,
                "labels": self.corpus.report.labels,
            },
        }
        return {
            "config": self.config.to_dict(),
            "progress": dict(vars(p)),
            "net": self.net.state_dict(),
            "ema": self.ema.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
            "principal": self.principal.state(),
            "summary": summary,
        }


def wants_bf16(precision: str, device: torch.device) -> bool:
    """bf16 where the hardware multiplies it: CUDA from Ampere on, CPUs with AVX-512 BF16 or AMX."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def augmentation(t: TrainingConfig) -> Augmentation:
    """The augmentations of the configuration; those of probability 0 cost nothing."""
    return Augmentation(
        gain_probability=t.augment_gain,
        phase_probability=t.augment_phase,
        compress_probability=t.augment_compress,
        mute_probability=t.augment_mute,
        dither_probability=t.augment_dither,
        rate_probability=t.augment_rate,
    )


class Interrupt:
    """Ctrl-C lets the step in hand finish, so that what is saved is exact; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interrupt:
        self.previous = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *error: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self.previous)
