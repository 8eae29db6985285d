"""Principal components of the latent over a corpus: what the fidelity parameter chooses from (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.autoencoder import Autoencoder


@dataclass(frozen=True)
class Principal:
    """mean (size,), components (size, size) one a row and strongest first, variances (size,) of each."""

    mean: Tensor
    components: Tensor
    variances: Tensor

    @property
    def fidelity_curve(self) -> list[float]:
        """Share of the variance that the first 1, 2, ... components hold."""
        total = self.variances.sum().clamp_min(1e-12)
        return [float(v) for v in self.variances.cumsum(0) / total]

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "components": self.components, "variances": self.variances}


@torch.no_grad()
def principal_components(net: Autoencoder, crops: Iterable[Tensor]) -> Principal:
    """From audio crops (B, channels, T); any amount of audio will do, a corpus of seconds included.

    The first frames of a crop stand for a hop that began in silence and count like the others.
    """
    size = net.latent.size
    count, total, products = 0, torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
    for x in crops:
        z = net.latent.centre(net.encoder(net.analysis(x))).double().cpu()
        z = z.transpose(0, 1).flatten(1)  # (size, frames)
        count += z.shape[1]
        total += z.sum(1)
        products += z @ z.T
    if count == 0:
        raise ValueError("principal_components: no audio")
    mean = total / count
    covariance = products / count - torch.outer(mean, mean)
    variances, vectors = torch.linalg.eigh(covariance)
    components = vectors.flip(1).T
    # a sign of its own would flip a performer's faders between two exports of one run
    largest = components.abs().argmax(1, keepdim=True)
    components = components * components.gather(1, largest).sign()
    return Principal(mean.float(), components.contiguous().float(), variances.flip(0).clamp_min(0).float())
