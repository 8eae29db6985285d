"""Teaches a prior: the numbers of a corpus, windows of their delay pattern, the steps, and the Markov chain to beat."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.alphabet import Alphabet
from ..model.autoencoder import Autoencoder
from ..model.prior import NO_CODE, Prior, PriorConfig, delayed
from .corpus import Recording
from .loop import Interrupt
from .pca import Principal

ENCODE_SAMPLES = 1 << 19  # of a recording in one call
LISTEN_FRAMES = 1 << 14  # compared with all levels in one call
VALIDATION_FRAMES = 24000  # of held-out codes, one minute and more at the hop of `low`
SCORE_ROWS = 1024  # logits of 8 x 1024 codes take 32 kB a row
LENGTHS = ((0.7, 1), (0.9, 2), (1.0, 8))  # up to which share of a training, how many times `rows` an item has
PRIORS_WEIGHTS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)  # of the coarser distribution in the Markov chain


@dataclass(frozen=True)
class PriorTraining:
    """Everything that a training of a prior decides besides its network."""

    steps: int = 20000
    budget_s: float = 0.0  # wall-clock limit; 0 = by steps
    batch: int = 16
    rows: int = 32  # of the pattern, in an item of a batch; at the end of a training items are fewer and longer
    learning_rate: float = 5e-3
    weight_decay: float = 0.03
    dropout: float = 0.1  # share of the items that have only their first numbers, as a smaller export or file has
    gradient_clip: float = 1.0
    warmup_steps: int = 50
    validate_every: int = 100
    seed: int = 0


# -- codes --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def encoded(net: Autoencoder, principal: Principal, count: int, recording: Recording) -> Tensor:
    """A recording as the `count` first latents, or all codes (channels, frames): its end filled up to a whole hop."""
    mean, components = principal.mean, principal.components[:count]
    hop, late = net.hop_samples, net.latent.delay
    frames = -(-recording.frames // hop)
    block = max(1, ENCODE_SAMPLES // hop) * hop
    state: list[list[Tensor]] = []
    found = []
    for start in range(0, (frames + late) * hop, block):
        length = min(block, (frames + late) * hop - start)
        read = min(max(0, recording.frames - start), length)
        x = torch.from_numpy(recording.read(start, read) if read else np.zeros((recording.channels, 0), np.float32))
        h = F.pad(x, (0, length - read))[None]
        parts = (net.analysis, net.encoder)
        state = state or [part.initial_state(h) for part in parts]
        for i, part in enumerate(parts):
            h, state[i] = part.step(h, state[i])
        found.append(net.latent.encoded(h, mean, components)[0])
    return torch.cat(found, 1)[:, late:]


def numbers_of(alphabet: Alphabet, recording: Tensor) -> Tensor:
    """What `encoded` gives, in numbers (quantisers, frames), int64."""
    return torch.cat([alphabet.listen(part[None])[0] for part in recording.split(LISTEN_FRAMES, 1)], 1).long()


def rows_of(codes: Sequence[Tensor]) -> Tensor:
    """Recordings one after another as one pattern (quantisers, rows) of int16, a row without codes before each."""
    parts = [F.pad(delayed(c[None].float())[0], (1, 0), value=NO_CODE) for c in codes]
    return torch.cat(parts, 1).to(torch.int32)


# -- what it is measured by ---------------------------------------------------------------------------------------


@torch.no_grad()
def bits_per_frame(prior: Prior, codes: Sequence[Tensor]) -> Tensor:
    """What each quantiser's codes (quantisers, frames) cost the prior, in bits a frame, each recording from silence."""
    device = prior.offset.device
    total, frames = torch.zeros(prior.quantisers, dtype=torch.float64), 0
    for recording in codes:
        pattern = rows_of([recording]).to(device)[None]
        state = prior.initial_state(pattern.float())
        for start in range(0, pattern.shape[2] - 1, SCORE_ROWS):
            x = pattern[:, :, start : start + SCORE_ROWS + 1]
            logits, state = prior.step(x[:, :, :-1].float(), state)
            total += losses(logits, x[:, :, 1:], prior).sum((0, 2)).double().cpu() / math.log(2)
        frames += recording.shape[1]
    return total / frames


def losses(logits: Tensor, rows: Tensor, prior: Prior) -> Tensor:
    """-log p of every code (B, quantisers, T), nats; 0 where a row has none."""
    streams, _, count = rows.shape
    each = logits.transpose(1, 2).reshape(-1, prior.codes).float()
    wanted = rows.transpose(1, 2).reshape(-1).long()
    cost = F.cross_entropy(each, wanted, ignore_index=int(NO_CODE), reduction="none")
    return cost.view(streams, count, prior.quantisers).transpose(1, 2)


def markov_bits(train: Sequence[Tensor], held_out: Sequence[Tensor], codes: int) -> Tensor:
    """Bits a frame of each quantiser under a Markov chain of order 1 over its own codes.

    A transition is counted on the training part and smoothed towards how often the code comes at all, that towards even
    odds. The two weights of smoothing are the ones that suit the held-out part best, which favours the chain.
    """
    return torch.tensor([_chain_bits(q, train, held_out, codes) for q in range(train[0].shape[0])], dtype=torch.float64)


def _chain_bits(q: int, train: Sequence[Tensor], held_out: Sequence[Tensor], codes: int) -> float:
    start = codes  # stands before the first code
    pairs = torch.cat([F.pad(c[q], (1, 0), value=start).unfold(0, 2, 1) for c in train])
    asked = torch.cat([F.pad(c[q], (1, 0), value=start).unfold(0, 2, 1) for c in held_out])
    counts = torch.bincount(pairs[:, 1], minlength=codes).double()
    number = torch.bincount(pairs[:, 0] * codes + pairs[:, 1], minlength=(codes + 1) * codes).double()
    together = number[asked[:, 0] * codes + asked[:, 1]]
    before = torch.bincount(pairs[:, 0], minlength=codes + 1).double()[asked[:, 0]]
    best = math.inf
    for even in PRIORS_WEIGHTS:
        alone = (counts + even / codes) / (counts.sum() + even)
        for weight in PRIORS_WEIGHTS:
            share = (together + weight * alone[asked[:, 1]]) / (before + weight)
            best = min(best, float(-share.log2().mean()))
    return best


# -- learning -----------------------------------------------------------------------------------------------------


@dataclass
class PriorProgress:
    """Where a training stands; all of it is in the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    best: float = math.inf  # bits a frame of the held-out codes
    best_step: int = 0
    quantisers: list[float] = field(default_factory=list)  # of those bits


class PriorTrainer:
    """Trains one prior on `train`, lists of codes (quantisers, frames); `fit` ends with its steps or budget.

    The weights that cost the held-out codes fewest bits are kept in `best`.
    """

    def __init__(
        self,
        config: PriorConfig,
        training: PriorTraining,
        train: Sequence[Tensor],
        held_out: Sequence[Tensor],
        device: torch.device | str = "cpu",
        resume: dict[str, Any] | None = None,
    ) -> None:
        self.training, self.device = training, torch.device(device)
        self.pattern = rows_of(train)
        self.held_out = _first(held_out, VALIDATION_FRAMES)
        self.progress = PriorProgress(**resume["progress"]) if resume else PriorProgress()
        torch.manual_seed(training.seed)
        self.prior = Prior(config)
        self._start_at_frequencies(train)
        self.best = {k: v.detach().clone() for k, v in self.prior.state_dict().items()}
        self.prior.to(self.device)
        self.optimiser = torch.optim.AdamW(self._groups(), training.learning_rate, (0.9, 0.98))
        if resume:
            self.prior.load_state_dict(resume["prior"])
            self.best = resume["best"]
            self.optimiser.load_state_dict(resume["optimiser"])

    def fit(self, save: Callable[[PriorTrainer], None], say: Callable[[str], None], live: bool = False) -> None:
        """Train to the end of the steps or the budget, saving at every validation and after Ctrl-C."""
        t, p = self.training, self.progress
        here = time.monotonic()
        began, first = here - p.seconds, self.share()
        with Interrupt() as interrupt:
            while self.share() < 1.0 and not interrupt.asked:
                cost = self.step()
                p.step += 1
                p.seconds = time.monotonic() - began
                if live and p.step % 5 == 0:
                    done = self.share()
                    left = (time.monotonic() - here) / max(done - first, 1e-9) * (1 - done)
                    say(
                        f"\rstep {p.step}  {100 * done:.1f} %  {float(cost):.2f} bits a frame  "
                        f"{clock(p.seconds)} spent, {clock(left)} left\033[K"
                    )
                if p.step % t.validate_every == 0:
                    self._validate(save, say)
            if p.step % t.validate_every or not p.step:
                self._validate(save, say)
            if interrupt.asked:
                raise KeyboardInterrupt

    def share(self) -> float:
        """How much of the training is done, 0..1."""
        t, p = self.training, self.progress
        return min(1.0, p.seconds / t.budget_s if t.budget_s else p.step / max(1, t.steps))

    def step(self) -> Tensor:
        """One optimiser step; the cost of its items, bits a frame."""
        t = self.training
        for group in self.optimiser.param_groups:
            along = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * self.share()))
            group["lr"] = t.learning_rate * along * min(1.0, (self.progress.step + 1) / t.warmup_steps)
        rows = self.batch(self.progress.step).to(self.device)
        wanted = rows[:, :, 1:]
        logits = self.prior(rows[:, :, :-1].float())
        each = losses(logits, wanted, self.prior)
        cost = each.sum() / (wanted >= 0).sum().clamp_min(1) * self.prior.quantisers / math.log(2)
        self.optimiser.zero_grad(set_to_none=True)
        cost.backward()
        torch.nn.utils.clip_grad_norm_(self.prior.parameters(), t.gradient_clip)
        self.optimiser.step()
        return cost.detach()

    def batch(self, step: int) -> Tensor:
        """Windows of the pattern (items, quantisers, rows + 1), a pure function of seed, step and share.

        Many short items teach fastest; the last, long ones let the far taps of the network learn.
        """
        t, share = self.training, self.share()
        times = next(times for until, times in LENGTHS if share <= until)
        length = min(times * t.rows + 1, self.pattern.shape[1])
        items = max(1, t.batch // times)
        starts = np.random.default_rng([t.seed, step]).integers(self.pattern.shape[1] - length + 1, size=items)
        rows = torch.stack([self.pattern[:, s : s + length] for s in starts.tolist()])
        return rows.masked_fill(self._missing(step, items), int(NO_CODE))

    def _missing(self, step: int, items: int) -> Tensor:
        """Which numbers of which items (items, quantisers, 1) are left out, in all of their rows.

        Not single numbers: that taught the network to mend what it hears, so that it held a tone for ever.
        """
        count, draw = self.prior.quantisers, np.random.default_rng([self.training.seed, step, 1])
        first = np.where(draw.random(items) < self.training.dropout, draw.integers(1, max(2, count), items), count)
        return torch.arange(count)[None, :, None] >= torch.from_numpy(first)[:, None, None]

    def state(self) -> dict[str, Any]:
        """Everything that resuming and playing need, as plain tensors and numbers."""
        return {
            "prior_config": asdict(self.prior.config),
            "prior_training": asdict(self.training),
            "progress": dict(vars(self.progress)),
            "prior": self.prior.state_dict(),
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
        }

    def _validate(self, save: Callable[[PriorTrainer], None], say: Callable[[str], None]) -> None:
        p = self.progress
        self.prior.eval()
        bits = bits_per_frame(self.prior, self.held_out)
        self.prior.train()
        total = float(bits.sum())
        if total < p.best:
            p.best, p.best_step, p.quantisers = total, p.step, [float(b) for b in bits]
            self.best = {k: v.detach().cpu().clone() for k, v in self.prior.state_dict().items()}
        say(f"step {p.step}  {clock(p.seconds)}  held out: {total:.2f} bits a frame\n")
        save(self)

    @torch.no_grad()
    def _start_at_frequencies(self, train: Sequence[Tensor]) -> None:
        """The first logits are the logarithms of how often each code comes: what context says is learned on top."""
        codes = self.prior.codes
        counts = torch.stack([torch.bincount(c, minlength=codes) for c in torch.cat(list(train), 1)])
        assert self.prior.last.bias is not None
        self.prior.last.bias.copy_(torch.log((counts + 1.0) / (counts.sum(1, keepdim=True) + codes)).flatten())
        self.prior.last.weight.mul_(0.3)

    def _groups(self) -> list[dict[str, Any]]:
        """Weights decay, embeddings too; what is added does not."""
        named = list(self.prior.named_parameters())
        plain = [p for name, p in named if name.endswith(("bias", "offset"))]
        decaying = [p for name, p in named if not name.endswith(("bias", "offset"))]
        return [
            {"params": decaying, "weight_decay": self.training.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]


def _first(codes: Sequence[Tensor], frames: int) -> list[Tensor]:
    """The same share of every recording, so that all together have at most so many frames."""
    share = min(1.0, frames / max(1, sum(c.shape[1] for c in codes)))
    return [c[:, : max(1, int(share * c.shape[1]))] for c in codes]


def clock(seconds: float) -> str:
    """m:ss"""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
