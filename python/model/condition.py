"""Conditioning: one network for several instruments, told by weights of their labels which one to play."""

import torch
from torch import Tensor, nn

from .layers import Layer, Spec, State

INITIAL_DEVIATION = 0.5  # of an embedding, near to what latents of unit variance bring through a new convolution


class Condition(Layer):
    """Adds a weighted sum of embeddings, one a label, to every frame: the same as joining it to the latent at the
    convolution before. A blend of labels is linear here.

    The weights travel with the state, rows (B, 1, labels), a stream its own; from silence the first label plays.
    """

    state_shapes: list[list[int]]

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__(channels, channels)
        self.labels = labels
        self.table = nn.Parameter(INITIAL_DEVIATION * torch.randn(labels, channels))
        self.state_shapes = [[labels, 1]]

    def initial_state(self, x: Tensor) -> State:
        weights = torch.zeros([x.size(0), 1, self.labels], dtype=self.table.dtype, device=x.device)
        weights[:, :, 0] = 1.0
        return [weights]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return x + torch.matmul(state[0], self.table).transpose(1, 2).to(x.dtype), state

    def spec(self) -> Spec:
        return self.describe("condition", labels=self.labels, table=self.table)


def one_hot(index: Tensor, labels: int) -> Tensor:
    """Numbers of labels (B,) to weights (B, labels)."""
    return nn.functional.one_hot(index, labels).float()


__all__ = ["Condition", "one_hot"]
