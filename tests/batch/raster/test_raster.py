"""A raster restored in windows is what the whole would be, says where it lies, and survives a kill."""

import base64
import signal
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import ImageCms
from tests.helpers.networks import identity_weights, random_weights
from tests.helpers.scenes import COORDINATES, SIZE, scene, zarr

from msrn import images
from msrn.batch.raster import begun_with, restore_raster
from msrn.errors import ImageError, OutputError, UsageError
from msrn.images.picture import Picture
from msrn.images.raster import is_raster, open_scene
from msrn.network.config import MSRNConfig
from msrn.restoration.chain import Chain
from msrn.restoration.restorer import Restorer

rasterio = pytest.importorskip("rasterio")
AFFINE = rasterio.Affine(*COORDINATES)
HOW = {"device": "cpu", "backend": "eager", "precision": "fp32"}


@pytest.fixture(scope="module")
def restorers():
    """One that enlarges and one that does not, and what does nothing."""
    planes = MSRNConfig(1, 1, 4, unshuffle=2)
    return {
        "sr": Restorer(random_weights("sr", planes), **HOW),
        "denoise": Restorer(random_weights("denoise", planes, 1), **HOW),
        "nothing": Restorer(identity_weights("denoise"), **HOW),
    }


def restored(path, restorer, scale, window=64):
    """What is made of a file, which says the same of its nodata."""
    target = path.with_suffix(f".{scale}-{window}.tif")
    restore_raster(path, target, restorer, window=window, scale=None if scale == 1 else scale)
    with rasterio.open(path) as before, rasterio.open(target) as after:
        assert np.array_equal(before.nodata, after.nodata, equal_nan=True)
        return after.read()


def read(path):
    with rasterio.open(path) as file:
        return file.read()


def whole(restorer, values, low=0.0, high=255.0, **how):
    """What the restorer makes of bands as a picture in memory, as bytes."""
    picture = Picture(((values - low) / (high - low)).astype(np.float32))
    return restorer(picture, **how).pixels.astype(np.float64) * (high - low) + low


@pytest.mark.parametrize(
    ("bands", "name", "how"), [(1, "denoise", {}), (3, "sr", {"scale": 1.7}), (1, "sr", {"scale": 2})]
)
def test_windows_equal_the_whole(restorers, tmp_path, bands, name, how):
    values = scene(tmp_path / "in.tif", bands, photometric="rgb" if bands == 3 else "minisblack")
    said = restore_raster(tmp_path / "in.tif", tmp_path / "out.tif", restorers[name], window=64, **how)
    assert said.windows > 4
    expected = np.floor(whole(restorers[name], values, **how) + 0.5).clip(0, 255)
    found = read(tmp_path / "out.tif").astype(float)
    assert found.shape == expected.shape
    off = np.abs(found - expected)
    assert off.max() <= 1  # where a sum in another order falls beside a half
    assert (off > 0).mean() < 1e-3


def test_more_bands_of_other_types_are_restored_each_within_its_own_range(restorers, tmp_path):
    for kind, low, high in (("uint16", 200, 4000), ("int16", -900, 900), ("float32", 250.0, 310.0)):
        values = scene(tmp_path / f"{kind}.tif", 5, kind, low, high)
        restore_raster(tmp_path / f"{kind}.tif", tmp_path / f"{kind}-out.tif", restorers["sr"], window=96, scale=2)
        found = read(tmp_path / f"{kind}-out.tif")
        assert found.dtype == kind
        for band in range(5):
            least, most = np.percentile(values[band], (0.1, 99.9))
            expected = whole(restorers["sr"], values[band : band + 1], least, most, scale=2)[0]
            if kind[0] != "f":
                limits = np.iinfo(kind)
                expected = expected.clip(limits.min, limits.max)
            assert np.abs(found[band] - expected).max() <= max(1.0, 1e-4 * (most - least))


@pytest.mark.parametrize(
    ("kind", "nothing"), [("uint8", 0), ("uint16", 65535), ("float32", -9999.0), ("float32", np.nan)]
)
def test_pixels_without_data_stay_so_and_do_not_bleed(restorers, tmp_path, kind, nothing):
    hole = slice(40, 90), slice(30, 75)
    scene(tmp_path / "in.tif", 2, kind, 100, 140, (*hole, nothing))
    scene(tmp_path / "tame.tif", 2, kind, 100, 140, (*hole, 99))
    for name, times in (("sr", 2), ("denoise", 1)):
        found, tame = (restored(path, restorers[name], times) for path in (tmp_path / "in.tif", tmp_path / "tame.tif"))
        empty = np.zeros(found.shape, bool)
        empty[:, 40 * times : 90 * times, 30 * times : 75 * times] = True
        assert np.array_equal(np.isnan(found) if np.isnan(nothing) else found == nothing, empty)
        # Whatever stands for no data; what happens to be that becomes the value beside it.
        assert np.abs(found[~empty].astype(float) - tame[~empty]).max() <= (0 if kind[0] == "f" else 1)
        at_once = restored(tmp_path / "in.tif", restorers[name], times, window=512)  # what is filled is the same
        assert np.nanmax(np.abs(at_once.astype(float) - found)) <= (1e-2 if kind[0] == "f" else 1)


def test_a_result_that_happens_to_be_nodata_is_not(restorers, tmp_path):
    values = scene(tmp_path / "in.tif", 1, "uint8", 0, 3, hole=(slice(0, 1), slice(0, 1), 0))
    restore_raster(tmp_path / "in.tif", tmp_path / "out.tif", restorers["denoise"])
    assert np.array_equal(read(tmp_path / "out.tif") == 0, values == 0)


def test_where_it_lies_and_what_it_says_of_itself_is_kept(restorers, tmp_path):
    covered = np.full(SIZE, 255, np.uint8)
    covered[:20] = 0
    scene(tmp_path / "in.tif", 4, colors=["red", "green", "blue", "undefined"], photometric="rgb", mask=covered)
    with rasterio.open(tmp_path / "in.tif", "r+") as file:
        file.descriptions = ("r", "g", "b", "near infrared")
        file.update_tags(TIFFTAG_SOFTWARE="camera", mission="one")
        file.update_tags(4, STATISTICS_MEAN="5", wavelength="0.8")
        file.build_overviews([2], rasterio.enums.Resampling.average)
    restore_raster(tmp_path / "in.tif", tmp_path / "out.tif", restorers["sr"], scale=2)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.crs == rasterio.CRS.from_epsg(32633)
        assert file.transform.almost_equals(rasterio.Affine(0.25, 0.05, 3e5, 0.05, -0.25, 5.7e6), 1e-12)
        assert [color.name for color in file.colorinterp] == ["red", "green", "blue", "undefined"]
        assert file.descriptions[3] == "near infrared"
        assert (file.tags()["mission"], file.tags()["TIFFTAG_SOFTWARE"]) == ("one", "camera")
        assert file.tags(4) == {"wavelength": "0.8"}
        assert file.profile["tiled"]
        assert file.profile["compress"] == "deflate"
        assert np.array_equal(file.read_masks(1)[:, 0] > 0, np.arange(300) >= 40)


def test_metadata_of_all_domains_and_the_colour_profile_are_kept(restorers, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    scene(tmp_path / "in.tif", 3, photometric="rgb", SOURCE_ICC_PROFILE=base64.b64encode(profile).decode())
    with rasterio.open(tmp_path / "in.tif", "r+") as file:
        file.update_tags(AREA_OR_POINT="Point", TIFFTAG_MAXSAMPLEVALUE="9", TIFFTAG_DATETIME="2026:01:01 00:00:00")
        file.update_tags(ns="IMD", satellite="one")
        file.update_tags(ns="EXIF", EXIF_Make="camera", EXIF_PixelXDimension="130")
        file.update_tags(2, ns="calibration", gain="0.5")
        file.scales, file.units = (0.1, 0.2, 0.3), ("W", "W", "W")
    restore_raster(tmp_path / "in.tif", tmp_path / "out.tif", restorers["sr"], scale=2)
    restore_raster(tmp_path / "in.tif", tmp_path / "bare.tif", restorers["sr"], scale=2, strip_metadata=True)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.tags()["AREA_OR_POINT"] == "Point"
        assert file.tags()["TIFFTAG_DATETIME"] == "2026:01:01 00:00:00"
        assert "TIFFTAG_MAXSAMPLEVALUE" not in file.tags()
        assert (file.tags(ns="IMD"), file.tags(ns="EXIF")) == ({"satellite": "one"}, {"EXIF_Make": "camera"})
        assert file.tags(2, ns="calibration") == {"gain": "0.5"}
        assert (file.scales, file.units) == ((0.1, 0.2, 0.3), ("W", "W", "W"))
        assert base64.b64decode(file.tags(ns="COLOR_PROFILE")["SOURCE_ICC_PROFILE"]) == profile
        assert file.transform.almost_equals(rasterio.Affine(0.25, 0.05, 3e5, 0.05, -0.25, 5.7e6), 1e-12)
    with rasterio.open(tmp_path / "bare.tif") as file:
        assert file.tags() == {"AREA_OR_POINT": "Point"}
        assert not {"IMD", "EXIF", "COLOR_PROFILE"} & set(file.tag_namespaces())
        assert (file.crs.to_epsg(), file.scales) == (32633, (0.1, 0.2, 0.3))


def test_a_point_of_the_ground_is_where_the_enlarged_polynomials_say(restorers, tmp_path):
    from rasterio.rpc import RPC
    from rasterio.transform import RPCTransformer

    one, across, down = ([1.0] + [0.0] * 19, [0.0, 1.0] + [0.0] * 18, [0.0, 0.0, -1.0] + [0.0] * 17)
    offsets = {"height_off": 0, "lat_off": 47.0, "long_off": 8.0, "line_off": 70.0, "samp_off": 60.0}
    scales = {"height_scale": 100, "lat_scale": 0.1, "long_scale": 0.1, "line_scale": 75.0, "samp_scale": 65.0}
    polynomials = {"line_num_coeff": down, "line_den_coeff": one, "samp_num_coeff": across, "samp_den_coeff": one}
    scene(tmp_path / "in.tif")
    with rasterio.open(tmp_path / "in.tif", "r+") as file:
        file.rpcs = RPC(**offsets, **scales, **polynomials, err_bias=None, err_rand=None)
    restore_raster(tmp_path / "in.tif", tmp_path / "out.tif", restorers["sr"], scale=2)
    places = []
    for name, factor in (("in", 1), ("out", 2)):
        with rasterio.open(tmp_path / f"{name}.tif") as file, RPCTransformer(file.rpcs) as transformer:
            places.append(transformer.xy([10 * factor, 90 * factor], [20 * factor, 110 * factor], offset="ul"))
    assert np.allclose(*places, atol=1e-9)


def test_a_source_that_is_changed_meanwhile_is_told(restorers, tmp_path):
    scene(tmp_path / "in.tif")

    def change(share):
        if share == 1:
            scene(tmp_path / "new.tif", 2)
            (tmp_path / "new.tif").replace(tmp_path / "in.tif")

    with pytest.raises(ImageError, match=r"in\.tif was changed while it was read"):
        restore_raster(tmp_path / "in.tif", tmp_path / "out.tif", restorers["nothing"], progress=change)
    assert not (tmp_path / "out.tif").exists()


def test_overviews_are_made_again_where_there_were_some(restorers, tmp_path):
    shape = {"driver": "GTiff", "height": 600, "width": 600, "count": 1, "dtype": "uint8", "transform": AFFINE}
    for name, factors in (("a", [2, 4]), ("b", [])):
        with rasterio.open(tmp_path / f"{name}.tif", "w", **shape) as file:
            file.write(np.zeros((1, 600, 600), np.uint8))
            file.build_overviews(factors, rasterio.enums.Resampling.nearest)
        restore_raster(tmp_path / f"{name}.tif", tmp_path / f"{name}-out.tif", restorers["nothing"])
        with rasterio.open(tmp_path / f"{name}-out.tif") as file:
            assert file.overviews(1) == ([2] if factors else [])


KILLED = """
import os, signal, sys
from pathlib import Path
from msrn.batch.raster import partial, restore_raster
from msrn.restoration.restorer import Restorer

partial._SECONDS = 0
write, left = partial.PartialRaster.write, [int(sys.argv[3])]
def killed(self, *what):
    write(self, *what)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
partial.PartialRaster.write = killed
restorer = Restorer(sys.argv[4], device="cpu", backend="onnx", precision="fp32")
restore_raster(sys.argv[1], sys.argv[2], restorer, window=32)
"""


def test_a_killed_run_is_gone_on_with(tmp_path):
    from msrn.network.weights import save

    weights = save(random_weights("denoise", MSRNConfig(1, 1, 4)), tmp_path, "weights")
    scene(tmp_path / "in.tif", 2)
    ends = []
    for kills in (5, 7, 0):
        arguments = [str(tmp_path / "in.tif"), str(tmp_path / "out.tif"), str(kills), str(weights)]
        ends.append(subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True).returncode)
        assert (tmp_path / "out.tif").exists() == (kills == 0)
    assert ends == [-signal.SIGKILL, -signal.SIGKILL, 0]
    restorer = Restorer(weights, device="cpu", backend="onnx", precision="fp32")
    said = restore_raster(tmp_path / "in.tif", tmp_path / "alone.tif", restorer, window=32)
    assert said.windows == 25
    assert np.array_equal(read(tmp_path / "out.tif"), read(tmp_path / "alone.tif"))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(("strength", "continued"), [(1.0, 7), (0.5, 0)])
def test_an_interrupted_run_goes_on_if_the_settings_are_the_same(restorers, tmp_path, strength, continued):
    scene(tmp_path / "in.tif")

    def stop(share):
        if share > 0.5:
            raise KeyboardInterrupt

    how = {"window": 48, "progress": stop}
    with pytest.raises(KeyboardInterrupt):
        restore_raster(tmp_path / "in.tif", tmp_path / "out.tif", restorers["denoise"], **how)
    assert begun_with(tmp_path / "out.tif") == restorers["denoise"].choices
    again = restorers["denoise"].with_options(strength=strength)
    said = restore_raster(tmp_path / "in.tif", tmp_path / "out.tif", again, window=48)
    assert (said.continued, said.windows) == (continued, 12)
    restore_raster(tmp_path / "in.tif", tmp_path / "alone.tif", again, window=48)
    assert np.array_equal(read(tmp_path / "out.tif"), read(tmp_path / "alone.tif"))


def test_what_cannot_be_restored_is_told(restorers, tmp_path):
    scene(tmp_path / "in.tif")
    (tmp_path / "there.tif").write_bytes(b"")
    scene(tmp_path / "palette.tif")
    with rasterio.open(tmp_path / "palette.tif", "r+") as file:
        file.write_colormap(1, {0: (1, 2, 3), 1: (4, 5, 6)})
    scene(tmp_path / "empty.tif", hole=(slice(None), slice(None), 7))
    shape = {"height": 9, "width": 9, "count": 1, "dtype": "complex64"}
    rasterio.open(tmp_path / "complex.tif", "w", driver="GTiff", transform=AFFINE, **shape).close()
    (tmp_path / "damaged.tif").write_bytes((tmp_path / "in.tif").read_bytes()[:300])
    leads = f'<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>\
        <SourceFilename>{tmp_path / "in.tif"}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    (tmp_path / "elsewhere.tif").write_text(leads)
    for source, target, kind, words in (
        ("in.tif", "out.png", UsageError, "written as .tif"),
        ("in.tif", "there.tif", OutputError, "there.tif exists"),
        ("palette.tif", "out.tif", ImageError, "palette"),
        ("complex.tif", "out.tif", ImageError, "complex64"),
        ("empty.tif", "out.tif", ImageError, "without data"),
        ("damaged.tif", "out.tif", ImageError, "damaged.tif cannot be read"),
        ("nowhere.tif", "out.tif", ImageError, "nowhere.tif cannot be read"),
        ("elsewhere.tif", "out.tif", ImageError, "elsewhere.tif cannot be read"),
    ):
        with pytest.raises(kind, match=words):
            restore_raster(tmp_path / source, tmp_path / target, restorers["nothing"])
        assert not (tmp_path / target).exists() or target == "there.tif"


def test_what_is_a_raster(tmp_path):
    scene(tmp_path / "geo.tif")
    shape = {"driver": "GTiff", "height": 20, "width": 20, "dtype": "uint8", "transform": AFFINE}
    plain = np.zeros((20, 20, 3), np.uint8)
    images.write(Picture.from_array(plain), tmp_path / "plain.tif")
    for name, how in (("five", {"count": 5}), ("big", {"count": 1, "BIGTIFF": "YES"})):
        rasterio.open(tmp_path / f"{name}.tif", "w", **shape, **how).close()
    tifffile.imwrite(tmp_path / "signed.tif", np.zeros((20, 20), np.int16))
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "junk.tif").write_bytes(b"II*\0junk")
    images.write(Picture.from_array(plain), tmp_path / "map.tif")
    (tmp_path / "map.tfw").write_text("1\n0\n0\n-1\n5\n9\n")
    found = {
        name: is_raster(tmp_path / name)
        for name in ("geo.tif", "five.tif", "big.tif", "a.zarr", "map.tif", "signed.tif")
    }
    assert all(found.values()), found
    assert not any(is_raster(tmp_path / name) for name in ("plain.tif", "junk.tif", "none.tif", "a.png"))


def test_a_zarr_store_is_read(restorers, tmp_path):
    values = zarr(tmp_path / "in.zarr")
    with open_scene(tmp_path / "in.zarr") as opened:
        assert (opened.height, opened.width, opened.dtype) == (60, 50, np.uint16)
    restore_raster(tmp_path / "in.zarr", tmp_path / "out.tif", restorers["nothing"])
    assert np.abs(read(tmp_path / "out.tif").astype(int) - values).max() <= 1


def test_chains_are_cut_into_windows_too(restorers, tmp_path):
    values = scene(tmp_path / "in.tif")

    class Both:
        def __init__(self):
            self.identity, self.choices = {"weights": "both"}, {}

        def settled(self, picture, scale, size, *, quick):
            return Chain([restorers["denoise"], restorers["sr"]], "both")

    said = restore_raster(tmp_path / "in.tif", tmp_path / "out.tif", Both(), scale=2, window=64)
    assert said.note == "both"
    expected = Chain([restorers["denoise"], restorers["sr"]], "")(Picture((values / 255).astype(np.float32)), scale=2)
    assert np.abs(read(tmp_path / "out.tif") - 255 * expected.pixels.clip(0, 1)).max() <= 1
