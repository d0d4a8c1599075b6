"""The core agreements once more, on CUDA in every number format. They run on the CPU too, so that they stay awake."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.layers.attention import attention, attention_weights, fused_attention
from course_lib.layers.cache import KeyValueCache
from course_lib.layers.masks import causal_mask, document_mask, padding_mask, sliding_window_mask
from tests.layers.helpers import SCHEMES, WIDTH, B, Layer, S, T, attention_by_loops, randn, random_mask

CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
)
on_each_device = pytest.mark.parametrize("device", ["cpu", CUDA])
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
in_each_format = pytest.mark.parametrize("dtype", DTYPES)

H = 3
# As in test_attention.py. On a GPU, products of float32 may be rounded like TF32 where somebody allows it; nobody does.
TOLERANCE = {dtype: max(24 * torch.finfo(dtype).eps / 2, 1e-12) for dtype in DTYPES}


def assert_same(result: Tensor, expected: Tensor, dtype: torch.dtype, times: float = 1) -> None:
    assert result.dtype == dtype
    torch.testing.assert_close(result.cpu().double(), expected.cpu().double(), rtol=0, atol=times * TOLERANCE[dtype])


def made(device: str, dtype: torch.dtype, groups: int = H, width: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    sizes = ((B, H, T, width), (B, groups, S, width), (B, groups, S, width))
    q, k, v = (randn(*size, seed=seed, dtype=dtype).to(device) for seed, size in enumerate(sizes))
    return q, k, v


@on_each_device
@in_each_format
@pytest.mark.parametrize("groups", [H, 1])
@pytest.mark.parametrize("bias", ["no bias", "a bias", "a learned bias"])
@pytest.mark.parametrize("mask", ["none", "causal", "(B, 1, 1, S)", "rows that see nothing"])
def test_attention_agrees_with_loops_and_its_gradients_are_finite(device, dtype, groups, bias, mask):
    q, k, v = (part.requires_grad_() for part in made(device, dtype, groups))
    added = None if bias == "no bias" else randn(H, T, S, seed=4, dtype=dtype).to(device)
    if bias == "a learned bias" and added is not None:
        added.requires_grad_()
    allowed = {
        "none": None,
        "causal": causal_mask(T, S),
        "(B, 1, 1, S)": random_mask(B, 1, 1, S),
        "rows that see nothing": random_mask(B, 1, T, S) & (torch.arange(T) % 3 != 1)[:, None],
    }[mask]
    expected, weights = attention_by_loops(q.cpu(), k.cpu(), v.cpu(), allowed, None if added is None else added.cpu())
    here = None if allowed is None else allowed.to(device)
    all_k, all_v = (part.repeat_interleave(H // groups, dim=1) for part in (k, v))
    assert_same(attention_weights(q, all_k, here, added), weights, dtype)
    inputs = [part for part in (q, k, v, added) if part is not None and part.requires_grad]
    wanted = randn(B, H, T, 8, seed=9, dtype=dtype).to(device)
    gradients = []
    for out in (attention(q, all_k, all_v, here, added), fused_attention(q, k, v, here, added)):
        assert_same(out, expected, dtype)
        gradients.append(torch.autograd.grad((out * wanted).sum(), inputs, retain_graph=True))
    for ours, fused in zip(*gradients, strict=True):
        assert ours.isfinite().all()
        # A gradient sums over rows, or heads, what is rounded as the output is: up to 30 times.
        assert_same(fused, ours, dtype, times=10)
    if mask == "rows that see nothing":
        for gradient in gradients:
            assert not gradient[0][:, :, [1, 4]].any()


@on_each_device
@in_each_format
@pytest.mark.parametrize("groups", [H, 1])
def test_causal_alone_is_the_causal_mask_and_pytorchs_own(device, dtype, groups):
    q, k, v = made(device, dtype, groups)
    k, v = k[:, :, :T].contiguous(), v[:, :, :T].contiguous()
    expected, _ = attention_by_loops(q.cpu(), k.cpu(), v.cpu(), causal=True)
    assert_same(fused_attention(q, k, v, causal=True), expected, dtype)
    assert_same(fused_attention(q, k, v, causal_mask(T, device=device)), expected, dtype)
    theirs = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=groups != H)
    assert_same(fused_attention(q, k, v, causal=True), theirs, dtype)


@on_each_device
@in_each_format
@pytest.mark.parametrize("name", SCHEMES)
def test_a_layer_with_each_scheme_and_a_cache(device, dtype, name):
    layer = Layer(name).to(dtype)
    exact = Layer(name)
    exact.load_state_dict({key: value.double() for key, value in layer.state_dict().items()})
    layer.to(device)
    x = randn(B, T, WIDTH, dtype=dtype)
    real = torch.arange(T) >= torch.tensor([[0], [2]])
    positions = (real.cumsum(dim=-1) - 1).clamp(min=0)
    mask = causal_mask(T) & padding_mask(real)
    expected = exact(x.double(), mask=mask, positions=positions)
    x, mask, positions = x.to(device), mask.to(device), positions.to(device)
    # Outputs are below 20, and three matrix products and the scheme stand one behind the other.
    assert_same(layer(x, mask=mask, positions=positions), expected, dtype, times=15)
    cache = KeyValueCache()
    with torch.no_grad():
        for start, end in [(0, 2), (2, 4), (4, 5)]:
            here = layer(x[:, start:end], mask=mask[:, start:end, :end], positions=positions[:, start:end], cache=cache)
            assert_same(here, expected[:, start:end], dtype, times=15)
        cache.truncate(3)
        cache.select(torch.tensor([1, 0], device=device))
        again = layer(x.flip(0)[:, 3:], mask=mask.flip(0)[:, 3:], positions=positions.flip(0)[:, 3:], cache=cache)
        assert_same(again, expected.flip(0)[:, 3:], dtype, times=15)
    assert cache.keys.device.type == device
    weights = layer.attention.weights(x, mask=mask, positions=positions)
    assert weights.shape == (B, 6, T, T)


@on_each_device
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SCHEMES)
def test_autocast(device, dtype, name):
    layer = Layer(name).to(device)
    x = randn(B, T, WIDTH).to(device)
    expected = layer(x, causal=True)
    layer = layer.float()
    with torch.autocast(device, dtype):
        out = layer(x.float(), causal=True)
    assert_same(out, expected, dtype, times=15)
    out.float().sum().backward()
    assert all(part.grad is not None and part.grad.isfinite().all() for part in layer.parameters())


@on_each_device
def test_masks_are_the_same_on_each_device(device):
    ids = torch.tensor([[0, 0, 1], [2, 3, 3]])
    for make in (
        lambda device: causal_mask(2, 3, device=device),
        lambda device: sliding_window_mask(3, 2, device=device),
        lambda device: document_mask(ids.to(device)) & causal_mask(3, device=device),
    ):
        assert make(device).device.type == device
        assert torch.equal(make(device).cpu(), make("cpu"))


@on_each_device
def test_the_mean_of_dropout_is_attention_without_it(device):
    torch.manual_seed(0)
    q, k, v = made(device, torch.float32)
    mean = torch.stack([fused_attention(q, k, v, dropout=0.5) for _ in range(2000)]).mean(dim=0)
    # A standard deviation below 3 each, so below 0.07 for the mean of 2000.
    torch.testing.assert_close(mean, attention(q, k, v), rtol=0, atol=0.35)
