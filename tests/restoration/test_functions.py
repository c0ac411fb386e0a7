"""`msrn.upscale`, `denoise`, `dejpeg` and `restore`: whatever kind of image goes in comes out."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tests.helpers.files import rng
from tests.helpers.networks import identity_weights

import msrn
from msrn.errors import UsageError
from msrn.images.picture import Picture
from msrn.network.weights import save

KINDS = ["uint8", "uint16", ">u2", "float16", "float32", "float64"]


@pytest.fixture(scope="module")
def how(tmp_path_factory):
    """Weights that return their input, by task, and how to compute them."""
    folder = tmp_path_factory.mktemp("weights")
    files = {task: save(identity_weights(task), folder, task) for task in ("sr", "denoise", "jpeg")}
    return lambda task: {"weights": files[task], "device": "cpu", "backend": "openvino", "precision": "fp32"}


def samples(dtype, *shape):
    kind = np.dtype(dtype)
    values = rng().random(shape) if kind.kind == "f" else rng().integers(0, np.iinfo(kind).max, shape, endpoint=True)
    return values.astype(kind)


def close(made, array, kind):
    """Equal but for what the way to YCbCr and back rounds."""
    levels = 1 if kind.kind == "f" else np.iinfo(kind).max
    return np.allclose(made.astype(float) / levels, array.astype(float) / levels, atol=2e-3)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 2), (6, 8, 3), (6, 8, 4), (2, 6, 8, 3)])
def test_arrays(how, dtype, shape):
    array = samples(dtype, *shape)
    kept = array.copy()
    made = msrn.denoise(array, **how("denoise"))
    assert (made.dtype, made.shape) == (array.dtype, array.shape)
    assert close(made, array, array.dtype)
    assert np.array_equal(array, kept)
    larger = msrn.upscale(array, 2, **how("sr"))
    rows = 1 if len(shape) == 4 else 0
    assert larger.shape == (*shape[:rows], 12, 16, *shape[rows + 2 :])
    assert larger.dtype == array.dtype


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 6, 8), (3, 6, 8), (4, 6, 8), (2, 3, 6, 8)])
def test_tensors(how, dtype, shape):
    torch = pytest.importorskip("torch")
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    tensor = (values * 255).to(torch.uint8) if dtype == "uint8" else values.to(getattr(torch, dtype))
    made = msrn.dejpeg(tensor, **how("jpeg"))
    assert (made.dtype, made.shape, made.device) == (tensor.dtype, tensor.shape, tensor.device)
    assert torch.allclose(made.double(), tensor.double(), atol=1 if dtype == "uint8" else 1e-2)
    assert msrn.upscale(tensor.requires_grad_(dtype != "uint8"), 1.5, **how("sr")).shape == (*shape[:-2], 9, 12)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_images_of_pil(how, mode):
    source = samples("uint16", 6, 8) if mode == "I;16" else samples("uint8", 6, 8, 4)
    image = Image.fromarray(source)
    image = image if mode == "I;16" else image.convert("RGB").convert(mode) if mode in "1P" else image.convert(mode)
    image.info["exif"] = b"Exif\0\0about"
    made = msrn.upscale(image, size=(12, None), **how("sr"))
    assert isinstance(made, Image.Image)
    assert (made.mode, made.size) == ({"1": "L", "P": "RGB"}.get(mode, mode), (16, 12))
    assert made.info["exif"] == b"Exif\0\0about"


def test_paths_pictures_and_lists(how, tmp_path):
    array = samples("uint8", 6, 8, 3)
    path = tmp_path / "photo.png"
    msrn.write(Picture.from_array(array), path)
    for image in (path, str(path), msrn.read(path)):
        made = msrn.denoise(image, **how("denoise"))
        assert isinstance(made, Picture)
        assert close(made.to_array(), array, array.dtype)
        assert made.metadata.source == str(path)
    first, second = msrn.denoise([array, array[:5]], **how("denoise"))
    assert (first.shape, second.shape) == ((6, 8, 3), (5, 8, 3))


def test_restore_finds_out_what_is_needed(how):
    array = np.full((40, 40, 3), 128, np.uint8)
    assert np.array_equal(msrn.restore(array), array)  # nothing is


def test_weights_are_loaded_once(how, monkeypatch):
    msrn.denoise(samples("uint8", 6, 8), **how("denoise"))
    monkeypatch.setattr("msrn.restoration.restorer.load", None)  # it would fail now
    assert msrn.denoise(samples("uint8", 7, 8), **how("denoise")).shape == (7, 8)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((2, 6, 8), np.uint8), r"\(H, W\) or \(H, W, 1 to 4\), got \(2, 6, 8\)"),
        (np.zeros((0, 6, 8, 3), np.uint8), "no image in the batch"),
        (np.zeros((6, 8), np.int64), "int64"),
        (np.full((6, 8), 255.0), "outside"),
        ("nowhere.png", "nowhere.png"),
        (7, r"got \(\)"),
        (Image.new("CMYK", (8, 6)), "CMYK must be converted"),
    ],
)
def test_what_is_no_image_is_refused(how, image, words):
    with pytest.raises(msrn.MSRNError, match=words):
        msrn.denoise(image, **how("denoise"))


def test_tensors_of_other_shapes_and_weights_of_another_task_are_refused(how):
    torch = pytest.importorskip("torch")
    with pytest.raises(UsageError, match=r"\(C, H, W\) or \(N, C, H, W\), got \(6, 8\)"):
        msrn.denoise(torch.zeros(6, 8), **how("denoise"))
    with pytest.raises(UsageError, match="are for 'jpeg', not for 'denoise'"):
        msrn.denoise(samples("uint8", 6, 8), **how("jpeg"))


@pytest.fixture
def jpeg(tmp_path):
    """A JPEG file of 40×56 pixels in colours."""
    rows, columns = np.mgrid[0:40, 0:56]
    pixels = np.stack([rows * 6, columns * 4, (rows * columns) % 256], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", quality=30)
    return tmp_path / "photo.jpg"


def test_what_is_consistent_passes_the_check(how, jpeg):
    plain, certified = (msrn.dejpeg(jpeg, consistent=wanted, **how("jpeg")) for wanted in (False, True))
    assert not msrn.verify(jpeg, plain).consistent  # or the other would show nothing
    assert msrn.verify(jpeg, certified).consistent
    assert msrn.verify(jpeg, certified.to_array()).consistent
    (listed,) = msrn.dejpeg([jpeg], consistent=True, **how("jpeg"))
    assert np.array_equal(listed.pixels, certified.pixels)
    small = (np.indices((12, 16)).sum(axis=0)[..., None] * (3, 4, 5) + 50).astype(np.uint8)
    large = msrn.upscale(small, 2, consistent=True, **how("sr"))
    assert msrn.verify(small, large).consistent
    assert not msrn.verify(small, 255 - large).consistent


def test_what_nothing_bounds_is_refused(how, jpeg):
    with pytest.raises(UsageError, match="noise was removed, and noise has no bounds"):
        msrn.denoise(jpeg, consistent=True, **how("denoise"))
    with pytest.raises(UsageError, match="no JPEG file and the result is as large"):
        msrn.dejpeg(samples("uint8", 6, 8), consistent=True, **how("jpeg"))
    frames = msrn.Frames.of([msrn.read(jpeg)] * 2)
    with pytest.raises(UsageError, match="results are certified for single ones"):
        msrn.dejpeg(frames, consistent=True, **how("jpeg"))
    with pytest.raises(UsageError, match="one input: give them one after the other"):
        msrn.verify([jpeg], jpeg)


def test_a_deadline_takes_fewer_memory_blocks(jpeg):
    whole, least = (
        {"device": "cpu", "backend": "openvino", "precision": "fp32"} | each for each in ({}, {"effort": 1})
    )
    hurried = msrn.dejpeg(jpeg, deadline=1e-9, **whole)
    assert np.array_equal(hurried.pixels, msrn.dejpeg(jpeg, **least).pixels)
    assert not np.array_equal(hurried.pixels, msrn.dejpeg(jpeg, deadline=1e9, **whole).pixels)


@pytest.mark.parametrize("name", ["upscale", "denoise", "dejpeg", "restore"])
def test_what_does_not_go_together_is_refused(name):
    image = samples("uint8", 6, 8)
    with pytest.raises(UsageError, match=r"^give effort or deadline, not both$"):
        getattr(msrn, name)(image, effort=1, deadline=2.0)
    with pytest.raises(UsageError, match=r"^deadline is in seconds from 0"):
        getattr(msrn, name)(image, deadline=-1.0)
    for given in ({"effort": 1}, {"strength": 0.5}):
        with pytest.raises(UsageError, match=r"results in full: leave out effort, deadline and strength$"):
            msrn.with_confidence(image, name, **given)
    with pytest.raises(UsageError, match=r"confidence is for one pass, .*: leave out tta$"):
        msrn.with_confidence(image, name, tta=True)


def test_neither_naming_nor_using_them_imports_torch():
    code = (
        "import sys, numpy, msrn; msrn.denoise, msrn.upscale\n"
        "made = msrn.denoise(numpy.zeros((8, 8), numpy.uint8), device='cpu', backend='openvino')\n"
        "assert made.shape == (8, 8) and 'torch' not in sys.modules"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
