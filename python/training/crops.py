"""Training crops: windows at random places of recordings, every label as often as the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..audio import Audio
from .augment import Augmentation, change_rate
from .corpus import Recording

# Where a file ends inside a crop: 3 ms, so that a cut recording does not teach a click.
FADE_SAMPLES = 128


class Crops:
    """Windows at random places in an endless shuffle of the recordings of one label, which is drawn first.

    So an instrument of two minutes is heard as often as one of twenty. Each sample of a label is equally likely at each
    position of its crops, the first and last of a file and those of files shorter than a crop included: a crop starts
    at a random place (recordings weighted by their length), and where its recording ends, a breath of silence and
    another recording follow.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        crop_samples: int,
        seed: int,
        augment: Augmentation | None = None,
    ) -> None:
        self.recordings = list(recordings)
        self.crop_samples = crop_samples
        self.seed = seed
        self.augment = augment
        self.gap_samples = crop_samples // 16
        lengths = np.array([recording.frames + self.gap_samples for recording in self.recordings])
        labels = np.array([recording.label for recording in self.recordings])
        groups = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
        self._groups = [(label, alike, np.cumsum(lengths[alike])) for label, alike in groups.items()]

    def batch(self, index_start: int, count: int) -> torch.Tensor:
        """Items `index_start` .. `index_start + count - 1`: float32 (count, channels, crop_samples).

        Item i is a pure function of (seed, i), so resuming and distributing need no state.
        """
        return self.labelled(index_start, count)[0]

    def labelled(self, index_start: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The same items, and the label of each, int64 (count,): a crop never mixes two."""
        audio, labels = zip(*(self._item(index_start + i) for i in range(count)), strict=True)
        return torch.from_numpy(np.stack(audio)), torch.tensor(labels)

    def item(self, index: int) -> Audio:
        """One crop, (channels, crop_samples)."""
        return self._item(index)[0]

    def _item(self, index: int) -> tuple[Audio, int]:
        rng = np.random.default_rng([self.seed, index])
        if self.augment is None:
            return self._window(self.crop_samples, rng)
        ratio = self.augment.draw_rate(rng)
        audio, label = self._window(round(self.crop_samples * ratio), rng)
        if ratio != 1.0:
            audio = change_rate(audio, ratio, self.crop_samples)
        return self.augment.apply(audio, self.recordings[0].sample_rate_hz, rng), label

    def _window(self, frames: int, rng: np.random.Generator) -> tuple[Audio, int]:
        out = np.zeros((self.recordings[0].channels, frames), np.float32)
        label, alike, ends = self._groups[rng.integers(len(self._groups))]
        place = int(rng.integers(ends[-1]))
        chosen = int(np.searchsorted(ends, place, side="right"))
        start, filled = place - (int(ends[chosen - 1]) if chosen else 0), 0
        while filled < frames:
            recording = self.recordings[alike[chosen]]
            piece = recording.read(min(start, recording.frames), frames - filled)
            length = piece.shape[1]
            if filled + length < frames:  # it ends inside the crop
                fade = np.linspace(1, 0, FADE_SAMPLES, dtype=np.float32)[-length:] if length else 1.0
                piece[:, -FADE_SAMPLES:] *= fade
            out[:, filled : filled + length] = piece
            gap = self.gap_samples - max(0, start - recording.frames)
            filled += length + gap
            chosen, start = int(rng.integers(len(alike))), 0
        return out, label
