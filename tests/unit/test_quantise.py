"""Codes: the nearest one, what is paid and learned, how books begin and stay in use, and playing their numbers."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from python.errors import RavelError
from python.model.config import TrainingConfig, preset
from python.model.quantise import Quantised, VectorQuantised, kmeans, perplexity

SIZE, CODES = 6, 16
ROOT = Path(__file__).parents[2]


def frames(count: int = 40, streams: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(streams, SIZE, count, generator=torch.Generator().manual_seed(seed))


def latent(quantisers: int = 3, kind: type[Quantised] = Quantised, **learning: float) -> Quantised:
    torch.manual_seed(1)
    made = kind(SIZE, quantisers, CODES)
    made.learn_with(TrainingConfig(quantiser_dropout=0.0, **learning))  # type: ignore[arg-type]
    return made


def no_dropout(h: Tensor) -> Tensor:
    return torch.zeros(h.shape[0], SIZE, h.shape[2])


# -- which code --------------------------------------------------------------


def test_each_code_is_the_nearest_to_what_is_left() -> None:
    it, h = latent(), frames()
    codes, rest = it.codes_of(h), h.transpose(1, 2).double()
    for i, book in enumerate(it.codebooks.detach().double()):
        apart = (rest[:, :, None] - book).square().sum(3)
        assert torch.equal(codes[:, i], apart.argmin(2))
        rest = rest - book[codes[:, i]]
    torch.testing.assert_close(h.transpose(1, 2) - it(h).transpose(1, 2), rest.float(), rtol=1e-4, atol=1e-5)


def test_of_equal_codes_the_first_is_taken() -> None:
    it = latent(1)
    with torch.no_grad():
        it.codebooks[0, 9] = it.codebooks[0, 4]
    codes = it.codes_of(it.codebooks[0, [4, 9]].detach().T[None])
    assert codes.tolist() == [[[4, 4]]]


def test_the_margin_is_the_distance_at_which_a_code_changes() -> None:
    it = latent(1)
    with torch.no_grad():
        it.codebooks.fill_(9.0)
        it.codebooks[0, 0] = 0.0
        it.codebooks[0, 1] = torch.eye(SIZE)[0] * 2
    h = torch.zeros(1, SIZE, 2)
    h[0, 0] = torch.tensor([0.9, -4.0])  # 0.1 from the middle of the two
    assert it.margin(h) == pytest.approx(0.1 / 4, rel=1e-4)
    assert it.codes_of(h).flatten().tolist() == [0, 0]
    assert it.codes_of(h + torch.eye(SIZE)[0][None, :, None] * 0.101).flatten().tolist() == [1, 0]


# -- what is paid, and the gradient ------------------------------------------


def test_cost_and_gradients_are_those_of_the_vq_vae() -> None:
    """|sg(h) - e|^2 + commitment |h - sg(e)|^2, and the decoder's gradient passes straight through."""
    it, h = latent(1, VectorQuantised, commitment=0.3), frames().requires_grad_()
    it.eval()
    z, cost = it.draw(h, no_dropout(h))
    code = it.vectors(it.codes_of(h)).detach()
    torch.testing.assert_close(z, code)
    square = (h.detach() - code).square()
    torch.testing.assert_close(cost, 1.3 * square.mean((0, 2)) / SIZE)
    of_h, of_codes = torch.autograd.grad(cost.sum(), (h, it.codebooks), retain_graph=True)
    torch.testing.assert_close(of_h, 0.3 * 2 * (h - code).detach() / h.numel())
    want = torch.zeros(CODES, SIZE).index_add_(
        0, it.codes_of(h).flatten(), (2 * (code - h.detach()) / h.numel()).transpose(1, 2).flatten(0, 1)
    )
    torch.testing.assert_close(of_codes[0], want)
    through = torch.randn_like(z)
    assert torch.equal(torch.autograd.grad((z * through).sum(), h)[0], through)


def test_averaged_books_get_no_gradient() -> None:
    it, h = latent(), frames().requires_grad_()
    _, cost = it.draw(h, no_dropout(h))
    cost.sum().backward()
    assert it.codebooks.grad is None
    assert (h.grad != 0).any()


def test_more_quantisers_leave_less() -> None:
    it, h = latent(4), frames(400)
    it.draw(h, no_dropout(h))
    left = []
    for kept in range(1, 5):
        it.kept = kept
        left.append(float((h - it(h)).square().mean()))
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.3 * left[0]


def test_an_item_hears_its_first_quantisers() -> None:
    it, h = latent(4), frames(30, 4).requires_grad_()
    it.eval()
    it.dropout = 0.5
    eps = torch.zeros(4, SIZE, 30)
    eps[:, 0, 0] = torch.special.ndtri(torch.tensor([0.01, 0.2, 0.49, 0.51]))  # below a half: dropout
    z, _ = it.draw(h, eps)
    codes = it.codes_of(h)
    for item, heard in enumerate((1, 2, 4, 4)):
        torch.testing.assert_close(z[item], it.vectors(codes[item : item + 1, :heard])[0].detach())
    drawn = it._heard(torch.randn(20000, 1, 1, generator=torch.Generator().manual_seed(0)))
    share = torch.bincount(drawn, minlength=5)[1:] / 20000
    assert (share - torch.tensor([0.125, 0.125, 0.125, 0.625])).abs().max() < 0.01


# -- how books begin, follow and stay in use ---------------------------------


def clusters(count: int, each: int = 50) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    centres = 10 * torch.randn(count, SIZE, generator=generator)
    return centres, (centres[:, None] + 0.1 * torch.randn(count, each, SIZE, generator=generator)).flatten(0, 1)


def test_k_means_rests_where_every_centre_is_the_mean_of_its_own() -> None:
    _, x = clusters(5)
    found = kmeans(x, 5, 1)
    nearest = torch.cdist(x, found).argmin(1)
    means = torch.stack([x[nearest == i].mean(0) for i in range(5)])
    torch.testing.assert_close(found, means, rtol=1e-4, atol=1e-4)


def test_k_means_of_fewer_frames_than_codes() -> None:
    x = torch.randn(3, SIZE)
    found = kmeans(x, CODES)
    assert found.shape == (CODES, SIZE)
    assert torch.cdist(x, found).min(1).values.max() < 1e-3
    assert torch.isfinite(found).all()


def test_averaged_codes_become_the_means_of_their_frames() -> None:
    it = latent(1, code_revival=0.0)
    centres, x = clusters(CODES)
    h = x.T[None].contiguous()
    it.draw(h, no_dropout(h))
    with torch.no_grad():
        it.codebooks[0] = centres + 0.5
        it.sums.copy_(it.codebooks * it.usage[..., None])
    start = (it.codebooks[0] - centres).norm(dim=1).mean()
    for _ in range(300):
        it.draw(h, no_dropout(h))
    means = x.view(CODES, -1, SIZE).mean(1)
    apart = (it.codebooks[0].detach() - means).norm(dim=1)
    assert apart.max() < 0.06 * start  # 0.99^300


@pytest.mark.parametrize("kind", [Quantised, VectorQuantised])
def test_dead_codes_come_back(kind: type[Quantised]) -> None:
    used = {}
    for revival in (0.1, 0.0):
        it, h = latent(1, kind, code_revival=revival), frames(400)
        it.draw(h, no_dropout(h))
        with torch.no_grad():
            it.codebooks[0, 1:] = 100.0
            it.sums.copy_(it.codebooks * it.usage[..., None])
        for step in range(400):
            h = frames(400, seed=step)
            it.draw(h, no_dropout(h))
        used[revival] = float(perplexity(it.usage)[0])
        assert torch.isfinite(it.codebooks).all()
    assert used[0.1] > CODES / 2
    assert used[0.0] < 1.5, "without revival the test would have failed"


def test_playing_and_frozen_books_learn_nothing() -> None:
    it, h = latent(), frames()
    it.draw(h, no_dropout(h))
    it.eval()
    before = copy.deepcopy(it.state_dict())
    it.draw(h, no_dropout(h))
    it(h)
    assert all(torch.equal(v, before[k]) for k, v in it.state_dict().items())


def test_a_copy_goes_on_bit_for_bit() -> None:
    it = latent()
    for step in range(3):
        it.draw(frames(seed=step), no_dropout(frames()))
    other = latent()
    other.load_state_dict(it.state_dict())
    for step in range(3, 120):  # codes are replaced on the way
        it.draw(frames(seed=step % 5), no_dropout(frames()))
        other.draw(frames(seed=step % 5), no_dropout(frames()))
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in it.state_dict().items())


def test_an_averaged_copy_takes_replaced_codes_as_they_are() -> None:
    it = latent()
    average = copy.deepcopy(it)
    it.draw(frames(), no_dropout(frames()))
    assert it.fresh.all()
    average.adopt(it)
    assert torch.equal(average.codebooks, it.codebooks)
    it.draw(frames(), no_dropout(frames()))
    assert not it.fresh.all()
    before = average.codebooks.clone()
    average.adopt(it)
    assert torch.equal(average.codebooks[~it.fresh], before[~it.fresh])


def learned_by(rank: int, world: int) -> Quantised:
    """Books after some batches of which this process has its share."""
    it = latent(code_revival=0.3)
    it.dropout = 0.5
    for step in range(150):
        h, eps = frames(20, 4, seed=step % 7), frames(20, 4, seed=100 + step)
        mine = slice(rank * 4 // world, (rank + 1) * 4 // world)
        it.draw(h[mine], eps[mine])
    return it


DISTRIBUTED = """
import sys, torch
from tests.unit import test_quantise
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
torch.save(test_quantise.learned_by(rank, 2).state_dict(), f"{folder}/{rank}.pt")
torch.distributed.barrier()  # who leaves early takes the connection with it, and the other dies of that
torch.distributed.destroy_process_group()
"""


def test_processes_learn_the_books_of_the_joined_batch(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [[sys.executable, "-c", DISTRIBUTED, str(rank), str(tmp_path)] for rank in (0, 1)]
    running = [subprocess.Popen(each, cwd=ROOT, env=environment) for each in words]
    alone = learned_by(0, 1).state_dict()
    assert [process.wait(120) for process in running] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
        torch.testing.assert_close(value, alone[key], rtol=1e-4, atol=1e-4)


# -- perplexity --------------------------------------------------------------


def test_perplexity_counts_the_codes_in_use() -> None:
    counts = torch.tensor([[5.0, 5, 5, 5], [7, 0, 0, 0], [1, 1, 0, 0]])
    torch.testing.assert_close(perplexity(counts), torch.tensor([4.0, 1.0, 2.0]))
    assert torch.isfinite(perplexity(torch.zeros(2, 4))).all()


# -- what cannot be built ----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("low-discrete", {"quantisers": 0}, "quantisers: 1 to 64 with latent_kind rvq, got 0"),
        ("low-discrete", {"quantisers": 65}, "quantisers: 1 to 64"),
        ("low-discrete", {"codes": 1}, "codes: 2 to 65536, got 1"),
        ("low-discrete", {"latent_kind": "vq"}, "quantisers: 1 with latent_kind vq, got 8"),
        ("low", {"quantisers": 4}, "quantisers: latent_kind variational has none; choose a discrete preset"),
        ("low", {"latent_kind": "vqvae"}, "latent_kind: variational or"),
    ],
)
def test_what_cannot_be_built_is_one_clear_line(name: str, overrides: dict[str, object], message: str) -> None:
    with pytest.raises(RavelError, match=message):
        preset(name, **overrides)
