"""Rasters among the files of a batch: each keeps its coordinates, is recorded, and is gone on with."""

import json
from functools import partial

import numpy as np
import pytest
from tests.helpers.albums import album, run, targets, tree
from tests.helpers.networks import identity_weights, random_weights
from tests.helpers.scenes import scene, zarr

from msrn.batch import Settings, forecast_batch, plan, plan_outputs, work
from msrn.errors import OutputError, UsageError
from msrn.images import raster_check
from msrn.network.config import MSRNConfig
from msrn.restoration.restorer import Restorer

rasterio = pytest.importorskip("rasterio")
HOW = {"device": "cpu", "backend": "eager", "precision": "fp32"}


@pytest.fixture(scope="module")
def nothing():
    return Restorer(identity_weights("denoise"), **HOW)


def mixed(folder):
    """Two pictures and two rasters, of which one is a folder."""
    album(folder, "a.png", "plain.tif")
    scene(folder / "deep" / "scene.TIF")
    zarr(folder / "store.zarr")
    return folder


def test_rasters_in_a_folder_keep_their_coordinates_and_are_made_once(nothing, tmp_path):
    source, out = mixed(tmp_path / "in"), tmp_path / "out"
    made = run(source, out, nothing)
    assert [outcome.error for outcome in made] == [None] * 4
    assert sorted(tree(out)) == ["a.png", "deep/scene.TIF", "plain.tif", "store.tif"]
    with rasterio.open(out / "deep" / "scene.TIF") as file:
        assert file.crs.to_epsg() == 32633
    sizes = {outcome.job.source.name: outcome.size for outcome in made}
    assert (sizes["scene.TIF"], sizes["store.zarr"]) == ((130, 150), (50, 60))
    before = tree(out)
    assert [outcome.skipped for outcome in run(source, out, nothing)] == ["done before"] * 4
    (source / "store.zarr" / "0.0").write_bytes(bytes(6000))
    with pytest.raises(OutputError, match=r"store\.tif exists"):
        run(source, out, nothing)
    assert tree(out) == before


def test_a_raster_that_fails_costs_no_other(nothing, tmp_path):
    source, out = mixed(tmp_path / "in"), tmp_path / "out"
    with rasterio.open(source / "deep" / "scene.TIF", "r+") as file:
        file.write_colormap(1, {0: (1, 2, 3)})
    failed = [outcome for outcome in run(source, out, nothing) if outcome.error]
    assert [(outcome.job.source.name, "palette" in str(outcome.error)) for outcome in failed] == [("scene.TIF", True)]
    assert json.loads((out / "failures.jsonl").read_text())["input"] == str(failed[0].job.source)
    assert sorted(tree(out)) == ["a.png", "plain.tif", "store.tif"]


@pytest.mark.parametrize(("how", "said"), [("ABRT", "crash"), ("ALRM", "takes more than")])
def test_a_raster_that_gdal_crashes_or_hangs_on_costs_no_other(nothing, tmp_path, monkeypatch, how, said):
    (tmp_path / "hostile_raster.py").write_text(
        "import os, signal\n"
        "from msrn.images import raster, raster_check\n"
        "read = raster.Scene.read\n"
        "def ended(self, *what):\n"
        f"    return os.kill(os.getpid(), signal.SIG{how}) if self.path.stem == 'scene' else read(self, *what)\n"
        "raster.Scene.read = ended\n"
        "main = raster_check.main\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(work, "check_raster", partial(raster_check.check_raster, module="hostile_raster"))
    source, out = mixed(tmp_path / "in"), tmp_path / "out"
    failed = [outcome for outcome in run(source, out, nothing) if outcome.error]
    assert [(outcome.job.source.name, said in str(outcome.error)) for outcome in failed] == [("scene.TIF", True)]
    assert sorted(tree(out)) == ["a.png", "plain.tif", "store.tif"]


def test_an_interrupted_batch_goes_on_within_a_raster(tmp_path, monkeypatch):
    from msrn.batch.raster import restore

    monkeypatch.setitem(restore.restore_raster.__kwdefaults__, "window", 32)
    restorer = Restorer(random_weights("denoise", MSRNConfig(1, 1, 4)), **HOW)
    album(tmp_path / "in", "a.png")
    scene(tmp_path / "in" / "b.tif")

    def stop(job, share):
        if job.is_raster and share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "in", tmp_path / "out", restorer, progress=stop)
    assert sorted(name for name in tree(tmp_path / "out") if not name.startswith(".")) == ["a.png"]
    first, second = run(tmp_path / "in", tmp_path / "out", restorer)
    assert first.skipped == "done before"
    assert second.note.endswith("13 of 25 windows made before")
    assert sorted(tree(tmp_path / "out")) == ["a.png", "b.tif"]


def test_extensions_and_pages_are_for_pictures(tmp_path):
    source, out = mixed(tmp_path / "in"), tmp_path / "out"
    named = targets(plan_outputs([source], out, recursive=True, extension="webp"), out)
    assert named == ["store.tif", "a.webp", "plain.webp", "deep/scene.TIF"]
    (paged,) = plan_outputs([source / "deep"], out, frame=1).jobs
    assert paged.is_picture
    (whole,) = plan_outputs([source / "store.zarr"], out).jobs
    assert whole.is_raster
    with pytest.raises(UsageError, match=r"cannot be written as \.png, but as \.tif"):
        plan_outputs([source / "deep" / "scene.TIF"], tmp_path / "x.png")
    with pytest.raises(UsageError, match="a raster cannot be written to standard output"):
        plan_outputs([source / "deep" / "scene.TIF"], plan.STDIO)


def test_without_what_reads_rasters_lost_coordinates_are_told(tmp_path, monkeypatch):
    source, out = mixed(tmp_path / "in"), tmp_path / "out"
    monkeypatch.setattr(plan, "installed_version", lambda package: None)
    found = plan_outputs([source], out, recursive=True)
    assert found.without_coordinates == [source / "deep" / "scene.TIF"]
    assert found.not_read == [source / "store.zarr"]
    assert all(job.is_picture for job in found.jobs)
    with pytest.raises(UsageError, match="needs rasterio"):
        plan_outputs([source / "store.zarr"], out)


def test_a_forecast_of_a_raster_is_that_of_its_pixels(tmp_path):
    restorer = Restorer(random_weights("sr", MSRNConfig(1, 1, 4)), **HOW)
    scene(tmp_path / "in" / "gray.tif")
    scene(tmp_path / "in" / "seven.tif", 7, "uint16", 0, 9000)
    large = {"driver": "GTiff", "height": 520, "width": 2000, "count": 1, "dtype": "uint8"}
    large["transform"] = rasterio.Affine(2, 0, 5e5, 0, -2, 6e6)
    with rasterio.open(tmp_path / "in" / "wide.tif", "w", **large) as file:  # larger than what is looked at
        file.write(np.full((1, 520, 2000), 9, np.uint8))
    jobs = plan_outputs([tmp_path / "in"], tmp_path / "out").jobs
    gray, seven, wide = forecast_batch(jobs, restorer, Settings(scale=2))
    assert gray.error is seven.error is wide.error is None
    assert wide.seconds > 20 * gray.seconds  # it has 53 times the pixels; seconds are timed, so they scatter
    assert seven.seconds == pytest.approx(7 * gray.seconds)
    larger = next(iter(forecast_batch(jobs, restorer, Settings(scale=4))))
    assert larger.seconds > 1.5 * gray.seconds > 0  # four times the pixels
