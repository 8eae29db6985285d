"""Held-out listening by numbers: distances of what would be exported, and the temperature that sounds closest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.autoencoder import Autoencoder
from ..model.condition import one_hot
from ..model.config import TrainingConfig
from ..model.quantise import perplexity
from .corpus import Corpus
from .crops import Crops
from .losses import SpectralDistance

CHUNK_SECONDS = 4.0
ANALYSIS_SECONDS = 180.0


@dataclass(frozen=True)
class Result:
    """Scores of the held-out sound: distance = relative + log over the scales; and one pair (real, fake) to hear."""

    scores: dict[str, float]
    temperature: float
    divergence: Tensor  # KL of each latent dimension, nats
    real: Tensor
    fake: Tensor


class Validation:
    """The same stretches of the held-out recordings every time, joined end to end, in chunks of about 4 s.

    Where there are labels they follow one another, and each is heard as itself.
    """

    def __init__(self, corpus: Corpus, net: Autoencoder, config: TrainingConfig, device: torch.device) -> None:
        self.net, self.device = net, device
        hop = net.hop_samples
        self.chunk = max(hop * round(CHUNK_SECONDS * corpus.sample_rate_hz / hop), -(-(net.delay + 4096) // hop) * hop)
        budget = int(config.validation_seconds * corpus.sample_rate_hz)
        each = max(self.chunk // 4, budget // len(corpus.validation))
        chunks: list[Tensor] = []
        self.labels: list[int] = []  # of each chunk
        self.names = corpus.labels
        for label in range(max(1, len(corpus.labels))):
            sound = [torch.from_numpy(r.read(0, min(each, r.frames))) for r in corpus.validation if r.label == label]
            some = self._chunks(torch.cat(sound, 1), budget // max(1, len(corpus.labels)))
            chunks.append(some)
            self.labels += [label] * len(some)
        self.chunks = torch.cat(chunks)
        self.relative = SpectralDistance(log_floor=config.log_floor, log_weight=0.0).to(device)
        self.log = SpectralDistance(log_floor=config.log_floor, relative_weight=0.0).to(device)

    def _chunks(self, joined: Tensor, budget: int) -> Tensor:
        joined = joined[:, : max(budget, self.chunk)]
        joined = torch.nn.functional.pad(joined, (0, max(0, self.chunk - joined.shape[1])))
        count = joined.shape[1] // self.chunk
        return joined[:, : count * self.chunk].unflatten(1, (count, self.chunk)).transpose(0, 1)

    @torch.no_grad()
    def run(self, phase: int) -> Result:
        """Decode at several temperatures; the best one is kept and its scores are the result."""
        candidates = {t: self._scores(t) for t in self.net.latent.temperatures}
        best = min(candidates, key=lambda t: candidates[t][0]["distance"])
        scores, divergence, real, fake = candidates[best]
        for t in candidates if len(candidates) > 1 else ():
            scores[f"distance at temperature {t:g}"] = candidates[t][0]["distance"]
        return Result(scores, best, divergence, real, fake)

    def analysis_crops(self, crops: Crops) -> Iterator[Tensor]:
        """Training sound for the latent analysis, without augmentation: at most ANALYSIS_SECONDS of it."""
        plain = Crops(crops.recordings, crops.crop_samples, crops.seed)
        rate = crops.recordings[0].sample_rate_hz
        total = min(ANALYSIS_SECONDS * rate, sum(r.frames for r in crops.recordings))
        for i in range(max(1, int(total / crops.crop_samples))):
            yield plain.batch(i, 1).to(self.device)

    def _scores(self, temperature: float) -> tuple[dict[str, float], Tensor, Tensor, Tensor]:
        net = self.net
        kept = net.latent.temperature
        net.latent.temperature = temperature
        sums: dict[str, float] = {"relative": 0.0, "log": 0.0}
        of_label = torch.zeros(max(1, len(self.names)))
        divergence = torch.zeros(net.latent.size)
        counts = torch.zeros(0)
        pair = (torch.zeros(0), torch.zeros(0))
        try:
            for i in range(len(self.chunks)):
                x = self.chunks[i : i + 1].to(self.device)
                h = net.encoder(net.analysis(x))
                y = net.synthesis(net.decode(net.latent(h), self._weights(i)))
                real, fake = x[..., : x.shape[-1] - net.delay], y[..., net.delay :]
                found = {"relative": float(self.relative(fake, real)), "log": float(self.log(fake, real))}
                sums = {name: value + found[name] for name, value in sums.items()}
                of_label[self.labels[i]] += sum(found.values()) / self.labels.count(self.labels[i])
                _, cost = net.latent.draw(h, torch.zeros_like(net.latent.centre(h)))
                divergence += cost.cpu()
                taken = net.latent.counts(h)
                counts = counts if taken is None else taken.cpu() + (counts if i else 0)
                pair = (real[0].cpu(), fake[0].cpu()) if i == 0 else pair
        finally:
            net.latent.temperature = kept
        scores = {name: value / len(self.chunks) for name, value in sums.items()}
        if len(counts):
            each = perplexity(counts)
            scores["perplexity"] = float(each.mean())
            scores |= {f"perplexity of quantiser {i}": float(value) for i, value in enumerate(each)}
        scores |= {f"distance of {name}": float(value) for name, value in zip(self.names, of_label)}
        return {"distance": scores["relative"] + scores["log"], **scores}, divergence / len(self.chunks), *pair

    def _weights(self, chunk: int) -> Tensor | None:
        if not self.names:
            return None
        return one_hot(torch.tensor([self.labels[chunk]], device=self.device), len(self.names))
