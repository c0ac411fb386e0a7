"""Restorers and engines: contract at the door, colour rule, sizes, precision and memory."""

import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import pytest
import torch
from tests.helpers.networks import identity_weights, random_weights

from msrn.errors import MSRNError, UsageError
from msrn.images.color import rgb_to_ycbcr
from msrn.images.picture import Picture
from msrn.images.resize import resize
from msrn.network.config import MSRNConfig
from msrn.network.weights import Weights, load
from msrn.restoration import device, memory, tile_plan
from msrn.restoration.autotune import Tuned
from msrn.restoration.backends import Choice, Processor, create
from msrn.restoration.backends.pytorch import choose_device
from msrn.restoration.engine import Engine, Options
from msrn.restoration.guidance import slopes
from msrn.restoration.restorer import Restorer
from msrn.restoration.tile_plan import TilePlanner


def picture(channels: int = 3, height: int = 21, width: int = 17, alpha: bool = False) -> Picture:
    rng = np.random.default_rng(0)
    pixels = rng.random((channels, height, width), dtype=np.float32)
    return Picture(pixels, rng.random((1, height, width), dtype=np.float32) if alpha else None)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 1.5, 2, 2.37, 3, 4])
def test_enlarging_by_a_network_that_returns_its_input_is_bicubic(channels, scale):
    image = picture(channels)
    result = Restorer(identity_weights("sr"), device="cpu")(image, scale=scale)
    expected = resize(image.pixels, scale)
    assert (result.height, result.width) == (int(np.ceil(21 * scale - 1e-9)), int(np.ceil(17 * scale - 1e-9)))
    np.testing.assert_allclose(result.pixels, expected, atol=2e-5)


def test_an_exact_size_is_met_exactly():
    result = Restorer(identity_weights("sr"), device="cpu")(picture(), size=(50, 39))
    assert result.pixels.shape == (3, 50, 39)


@pytest.mark.parametrize("task", ["denoise", "jpeg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_restoring_in_place_by_a_network_that_returns_its_input_changes_nothing(task, channels):
    image = picture(channels, alpha=True)
    result = Restorer(identity_weights(task), device="cpu")(image)
    np.testing.assert_allclose(result.pixels, image.pixels, atol=2e-6)
    assert result.alpha is image.alpha


def test_super_resolution_restores_luminance_which_chroma_follows():
    image = picture()
    restorer = Restorer(random_weights("sr", MSRNConfig(1, 1, 4)), device="cpu")
    ycbcr = rgb_to_ycbcr(restorer(image, scale=2).pixels)
    enlarged = resize(rgb_to_ycbcr(image.pixels), 2)
    np.testing.assert_allclose(ycbcr[:1], restorer.restore_planes(enlarged[None, :1])[0], atol=2e-5)
    for k in (1, 2):
        following = resize(slopes(image.pixels, k), 2) * (ycbcr[:1] - enlarged[:1])
        np.testing.assert_allclose(ycbcr[k], enlarged[k] + following[0], atol=2e-5)


def test_denoising_treats_all_three_planes():
    image = picture()
    restorer = Restorer(random_weights("denoise", MSRNConfig(1, 1, 4)), device="cpu")
    planes = rgb_to_ycbcr(image.pixels, "full")
    expected = np.concatenate([restorer.restore_planes(plane[None, None])[0] for plane in planes])
    np.testing.assert_allclose(rgb_to_ycbcr(restorer(image).pixels, "full"), expected, atol=2e-5)


def test_deblocking_restores_chroma_at_half_resolution():
    image = picture()
    restorer = Restorer(random_weights("jpeg", MSRNConfig(1, 1, 4)), device="cpu")
    planes = rgb_to_ycbcr(image.pixels, "full")
    expected = [restorer.restore_planes(planes[None, :1])[0]]
    for plane in planes[1:]:
        small = resize(plane[None], 0.5)
        change = restorer.restore_planes(small[None])[0] - small
        expected.append(plane[None] + resize(change, size=(image.height, image.width)))
    shares: list[float] = []
    result = restorer(image, progress=shares.append)
    np.testing.assert_allclose(rgb_to_ycbcr(result.pixels, "full"), np.concatenate(expected), atol=2e-5)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_three_channel_network_sees_rgb_and_gray_stays_gray():
    restorer = Restorer(random_weights("denoise", MSRNConfig(1, 1, 4, in_channels=3)), device="cpu")
    image = picture()
    np.testing.assert_array_equal(restorer(image).pixels, restorer.restore_planes(image.pixels[None])[0])
    assert restorer(picture(1)).pixels.shape == (1, 21, 17)


def test_alpha_is_enlarged_and_stays_in_range():
    result = Restorer(identity_weights("sr"), device="cpu")(picture(alpha=True), scale=3)
    assert result.alpha is not None
    assert result.alpha.shape == (1, 63, 51)
    assert 0 <= result.alpha.min() <= result.alpha.max() <= 1


def test_self_ensemble_is_the_mean_over_the_eight_symmetries():
    restorer = Restorer(random_weights("sr", MSRNConfig(1, 1, 4)), device="cpu", tta=True)
    planes = picture(1).pixels[None]
    result = restorer.restore_planes(planes)
    # A mean over the whole group commutes with every member of it.
    np.testing.assert_allclose(
        restorer.restore_planes(np.ascontiguousarray(np.rot90(planes, axes=(2, 3)))),
        np.rot90(result, axes=(2, 3)),
        atol=1e-6,
    )
    plain = Restorer(restorer.weights, device="cpu").restore_planes(planes)
    assert np.abs(plain - result).max() > 1e-4


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((3, 4, 4)), "float32"),
        (np.zeros((4, 4, 3), np.float32), "channels come first"),
        (np.zeros((2, 4, 4), np.float32), "shape"),
        (np.zeros((1, 0, 4), np.float32), "shape"),
        (torch.zeros(3, 4, 4), "numpy array"),
    ],
)
def test_pixels_that_break_the_contract_are_named(pixels, words):
    with pytest.raises(UsageError, match=words):
        Picture(pixels)


@pytest.mark.parametrize(
    "how", [{"scale": 0.5}, {"scale": float("nan")}, {"size": (10, 10)}, {"scale": 2, "size": (50, 50)}]
)
def test_enlargements_that_do_not_fit_are_refused(how):
    with pytest.raises(UsageError):
        Restorer(identity_weights("sr"), device="cpu")(picture(), **how)


def test_scale_is_refused_where_it_means_nothing():
    with pytest.raises(UsageError, match="super-resolution"):
        Restorer(identity_weights("jpeg"), device="cpu")(picture(), scale=2)


def test_output_that_is_not_finite_is_an_error():
    image = picture(1)
    image.pixels[0, 3, 3] = np.nan
    with pytest.raises(MSRNError, match="finite"):
        Restorer(identity_weights("jpeg"), device="cpu")(image)


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "vulkan", ""])
def test_unusable_devices_are_named(name):
    with pytest.raises(UsageError, match="device"):
        choose_device(name)


def test_bf16_stays_near_fp32():
    weights = random_weights("sr", MSRNConfig(1, 2, 8))
    planes = picture(1).pixels[None]
    exact = Restorer(weights, device="cpu", precision="fp32").restore_planes(planes)
    rough = Restorer(weights, device="cpu", precision="bf16").restore_planes(planes)
    assert rough.dtype == np.float32
    assert 0 < np.abs(exact - rough).max() < 0.05


@pytest.mark.parametrize("precision", ["int8", "int8-bf16"])
def test_8_bit_needs_ranges(precision):
    weights = random_weights("sr", MSRNConfig(1, 1, 4))
    with pytest.raises(UsageError, match="8-bit ranges"):
        Restorer(weights, device="cpu", backend="openvino", precision=precision)


def dim_weights() -> Weights:
    """Weights whose result is about as bright as the input."""
    weights = random_weights("sr", MSRNConfig(1, 1, 4))
    return replace(weights, arrays={**weights.arrays, "reconstruct.weight": weights.arrays["reconstruct.weight"] / 10})


def engine_that(spoil, weights, precision="bf16", **options):
    """An engine whose backend's residuals go through a function, except in fp32, and the engine in fp32."""

    def make(choice, *how):
        backend = create(choice, *how)
        return backend if choice.precision == "fp32" else lambda x: spoil(backend(x))

    how = Options(device="cpu", backend="eager", precision=precision, **options)
    return Engine(weights, how, make=make), Engine(weights, Options("cpu", "eager", "fp32"))


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "not finite"), (-5.0, "black"), (-0.45, "black"), (0.0, "as it came")]
)
def test_a_tile_that_a_backend_spoils_is_repeated_in_fp32(value, words, caplog):
    planes, calls = picture(1, 40, 40).pixels[None], []

    def spoil_the_second(residual):
        calls.append(residual)
        return residual if len(calls) != 2 else np.full_like(residual, value)

    engine, exact = engine_that(spoil_the_second, dim_weights(), tile=20)
    expected, result = exact.restore(planes), engine.restore(planes)
    np.testing.assert_allclose(result[..., :20, 20:], expected[..., :20, 20:], atol=1e-6)
    assert np.abs(result - expected).max() > 1e-4  # the other tiles stay bf16
    assert [words in record.getMessage() for record in caplog.records] == [True]


def test_only_the_spoilt_one_of_tiles_that_are_computed_together_is_repeated(caplog, monkeypatch):
    monkeypatch.setattr(device, "free_memory", lambda: 1 << 30)
    planes, calls = picture(1, 20, 20).pixels[None], []

    def spoil_the_third(residual):
        calls.append(len(residual))
        if len(calls) == 1:
            residual[2] = -5.0
        return residual

    engine, exact = engine_that(spoil_the_third, dim_weights(), tile=5)
    engine.device = Accelerator()  # which gets four tiles at a time
    expected, result = exact.restore(planes), engine.restore(planes)
    assert calls == [4, 4, 4, 4]
    np.testing.assert_allclose(result[..., :5, 10:15], expected[..., :5, 10:15], atol=1e-6)
    assert all(np.abs(result - expected)[..., :5, left : left + 5].max() > 1e-5 for left in (0, 5, 15))
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        RuntimeError("Exception from src/inference/src/cpp/core.cpp:\nstd::bad_alloc"),
        MemoryError("Unable to allocate 1 GiB for an array"),
    ],
)
def test_out_of_memory_halves_the_tile_and_goes_on(error):
    seen = []

    def make(*arguments):
        backend = create(*arguments)

        def tight(x):
            seen.append(x.shape[-1])
            if x.shape[-1] > 80:
                raise error
            return backend(x)

        return tight

    weights = random_weights("sr", MSRNConfig(1, 1, 4))
    planes = np.random.default_rng(0).random((1, 1, 130, 130), dtype=np.float32)
    expected = Engine(weights, Options("cpu", tile=64)).restore(planes)
    result = Engine(weights, Options("cpu", "eager", "fp32", tile=130), make=make).restore(planes)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert max(seen) > 80 >= seen[-1]


def test_a_result_larger_than_what_is_free_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr("msrn.restoration.memory.free_memory", lambda: 6_000_000)
    restorer = Restorer("sr", device="cpu", tile=64)
    with pytest.raises(MemoryError, match=r"0\.1 GB of memory to be restored, of which 0\.0 are free"):
        restorer(Picture(np.zeros((3, 1000, 1000), np.float32)))
    assert restorer(Picture(np.zeros((3, 99, 99), np.float32))).width == 198


def test_other_runtime_errors_are_not_taken_for_lack_of_memory():
    def make(*arguments):
        def broken(x):
            raise RuntimeError("something else")

        return broken

    engine = Engine(identity_weights("sr"), Options("cpu", "eager", "fp32"), make=make)
    with pytest.raises(RuntimeError, match="something else"):
        engine.restore(np.zeros((1, 1, 8, 8), np.float32))


def test_progress_runs_to_one():
    shares: list[float] = []
    Restorer(identity_weights("sr"), device="cpu", tile=16)(picture(), scale=2, progress=shares.append)
    assert shares == sorted(shares)
    assert len(shares) > 3
    assert shares[-1] == 1


class Accelerator(NamedTuple):
    """What the engine takes for a GPU; torch computes on the processor all the same."""

    type: str = "mps"

    def __str__(self) -> str:
        return "cpu"


@pytest.mark.parametrize("unshuffle", [1, 2])
@pytest.mark.parametrize(("free", "most"), [(1 << 30, 21), (1 << 16, 1)])
def test_a_gpu_gets_tiles_of_one_size_together(monkeypatch, unshuffle, free, most):
    weights, seen = random_weights("denoise", MSRNConfig(1, 1, 4, unshuffle=unshuffle)), []

    def make(*arguments):
        backend = create(*arguments)
        return lambda x: seen.append(x.shape) or backend(x)

    planes = np.random.default_rng(0).random((3, 1, 130, 131), dtype=np.float32)
    expected = Engine(weights, Options("cpu", "eager", "fp32", tile=200)).restore(planes)
    engine = Engine(weights, Options("cpu", "eager", "fp32", tile=16), make=make)
    engine.device = Accelerator()
    monkeypatch.setattr(device, "free_memory", lambda: free)
    np.testing.assert_allclose(engine.restore(planes), expected, atol=1e-5)
    assert max(shape[0] for shape in seen) == most
    assert len({shape[2:] for shape in seen}) <= 2  # where squares do not fit the image, its last tiles are smaller


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_the_processor_gives():
    weights = random_weights("denoise", MSRNConfig(2, 2, 16))
    planes = np.random.default_rng(0).random((3, 1, 130, 131), dtype=np.float32)
    expected = Restorer(weights, device="cpu", precision="fp32").restore_planes(planes)
    for backend, precision, off in (("eager", "fp32", 1e-4), ("compiled", "fp32", 1e-4), ("eager", "bf16", 0.05)):
        restorer = Restorer(weights, device="cuda", backend=backend, precision=precision, tile=32)
        np.testing.assert_allclose(restorer.restore_planes(planes), expected, atol=off)


@pytest.mark.skipif(not find_spec("openvino"), reason="shares out the cores")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "int8-bf16"])
def test_side_by_side_and_alone_give_the_same_to_the_bit(precision, monkeypatch):
    monkeypatch.setattr(tile_plan, "cores", lambda: 2)
    restorer = Restorer("sr", device="cpu", backend="openvino", precision=precision)
    assert restorer.at_once == 2
    rng = np.random.default_rng(0)
    for side in (8, 61, 128):
        small = Picture(picture(1, side, side).pixels * 0.2 + rng.random((1, 1, 1), np.float32) * 0.7)
        np.testing.assert_array_equal(restorer(small, at_once=2).pixels, restorer(small).pixels)


def test_few_pictures_at_once_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(tile_plan, "cores", lambda: 16)

    def most_at_once(backend):
        return TilePlanner(MSRNConfig(), Processor(), Tuned(Choice(backend, "fp32"))).pictures_at_once()

    each = memory.pass_bytes(MSRNConfig(), 256, Choice("openvino", "fp32"))
    for free, most in ((each, 1), (20 * each, 5), (1000 * each, 16)):
        monkeypatch.setattr(device, "free_memory", lambda free=free: free)
        assert most_at_once("openvino") == most
    assert most_at_once("eager") == 1


def test_alpha_is_enlarged_by_the_same_factor_as_the_colours():
    alpha = (0.2 + 0.6 * np.random.default_rng(0).random((1, 21, 17))).astype(np.float32)
    result = Restorer(identity_weights("sr"), device="cpu")(Picture(np.repeat(alpha, 3, axis=0), alpha), scale=1.37)
    np.testing.assert_allclose(result.alpha, resize(alpha, 1.37).clip(0, 1), atol=1e-6)


@pytest.mark.parametrize("task", ["sr", "denoise", "jpeg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_strength_is_the_share_of_the_changes(task, channels):
    weights = random_weights(task, MSRNConfig(1, 1, 4))
    noisy = Picture(np.random.default_rng(0).random((channels, 20, 24), np.float32))
    none, half, all_of_it = (
        Restorer(weights, device="cpu", tile=16, strength=strength)(noisy).pixels for strength in (0.0, 0.5, 1.0)
    )
    before = Restorer(identity_weights(task), device="cpu")(noisy).pixels  # for sr, bicubic
    np.testing.assert_allclose(none, before, atol=1e-5)
    assert np.abs(all_of_it - before).max() > 1e-3
    np.testing.assert_allclose(half, (none + all_of_it) / 2, atol=1e-5)


def test_strength_decides_the_result_and_says_so():
    whole, half = (Restorer(identity_weights("denoise"), device="cpu", strength=strength) for strength in (1, 0.5))
    assert half.identity == whole.identity | {"strength": "0.5"}
    assert "strength 0.5" in str(half)
    assert Restorer("denoise", device="cpu", strength=0.5).identity["color.strength"] == "0.5"
    assert "strength" not in str(whole)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strength_is_a_share(strength):
    with pytest.raises(UsageError, match="strength must be between 0 and 1"):
        Restorer(identity_weights("denoise"), device="cpu", strength=strength)


def test_planes_must_be_in_single_precision():
    with pytest.raises(UsageError, match="float32"):
        Restorer(identity_weights("denoise"), device="cpu").restore_planes(np.zeros((1, 1, 8, 8)))


def test_threads_share_one_backend():
    made = []

    def slow(*arguments):
        made.append(arguments)
        time.sleep(0.2)
        return lambda x: 0 * x

    engine = Engine(identity_weights("denoise"), Options("cpu", "eager", "fp32"), make=slow)
    planes = np.full((1, 1, 8, 8), 0.5, np.float32)
    threads = [threading.Thread(target=engine.restore, args=(planes,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_a_task_has_one_engine_for_gray_and_one_for_colours():
    restorer = Restorer("denoise", device="cpu")
    gray, color = restorer.engines
    assert (gray.config.in_channels, color.config.in_channels) == (1, 3)
    assert restorer.engine_for(picture(1)) is gray
    assert restorer.engine_for(picture(3)) is color
    assert Restorer("msrn-m4r1s2-denoise", device="cpu").engine_for(picture(3)).config.in_channels == 1
    assert load("sr").card.task == "sr"
    assert len(Restorer("sr", device="cpu").engines) == 1


def test_a_network_that_changes_nothing_is_taken_at_its_word(caplog):
    weights = identity_weights("denoise")
    planes = picture(1, 20, 20).pixels[None]
    result = Restorer(weights, device="cpu", backend="eager", precision="bf16").restore_planes(planes)
    assert np.array_equal(result, planes)
    assert not caplog.records


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 40)])
def test_thin_pictures_of_one_colour_do_not_drift(shape):
    restorer = Restorer("denoise", device="cpu")
    for value in (0.0, 0.5, 1.0):
        for channels in (1, 3):
            plain = Picture(np.full((channels, *shape), value, np.float32))
            assert np.abs(restorer(plain).pixels - value).max() * 255 < 1.5
