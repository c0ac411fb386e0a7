"""The exported page in Chromium: it computes what the package does, offline, in threads, and people can use it."""

import base64
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.networks import random_weights
from tests.helpers.static import served

import msrn
from msrn.errors import UsageError
from msrn.network.config import MSRNConfig
from msrn.network.weights import load
from msrn.restoration.export import export, parity, web
from msrn.restoration.restorer import Restorer

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).parents[2]
RESTORE = """async ([data, height, width, side, halo, scale]) => {
    const [{ open }, { restore, enlarged }, { copy }, about] = await Promise.all([import("./engine.js"),
        import("./picture.js"), import("./tiles.js"), fetch("model.json").then((answer) => answer.json())]);
    window.engine ??= await open();
    about.halo = halo ?? about.halo;
    const image = new Float32Array(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
    const area = height * width, rgb = [0, 1, 2].map((c) => image.slice(c * area, (c + 1) * area));
    const [high, wide] = [height, width].map((side) => enlarged(side, scale));
    const out = new Float32Array(3 * high * wide);
    const emit = (part) => part?.rgb.forEach((plane, c) => copy(plane, part.width, 0, 0,
        out.subarray(c * high * wide), wide, part.top, part.left, part.height, part.width));
    await restore(window.engine.run, rgb, height, width, about, scale, side, emit);
    let text = "";
    for (const byte of new Uint8Array(out.buffer)) text += String.fromCharCode(byte);
    return [high, wide, btoa(text)];
}"""


@pytest.fixture(scope="session")
def runtime(pytestconfig):
    """npm's package of onnxruntime-web: ``$MSRN_ONNXRUNTIME_WEB``, or fetched once and kept in pytest's cache."""
    given = os.environ.get("MSRN_ONNXRUNTIME_WEB")
    if given:
        return Path(given)
    folder = pytestconfig.cache.mkdir("onnxruntime-web")
    path = folder / f"onnxruntime-web-{web.TESTED_RUNTIME}.tgz"
    if not path.is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("no onnxruntime-web: npm is not installed, and MSRN_ONNXRUNTIME_WEB names no file")
        command = [npm, "pack", f"onnxruntime-web@{web.TESTED_RUNTIME}", "--pack-destination", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        if done.returncode:
            path.unlink(missing_ok=True)
            pytest.skip(f"no onnxruntime-web: {done.stderr.strip()[-300:]}")
    return path


@pytest.fixture(scope="module")
def folder(runtime, tmp_path_factory):
    """The page with the package's weights for super-resolution, ×2."""
    path = tmp_path_factory.mktemp("web") / "page"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "_SIZES", 3)
        export(load("sr"), path, "web", runtime=runtime)
    return path


def in_browser(page, image, side=1024, halo=None, scale=1):
    """A picture, (3, H, W) of 0 to 1, restored by the page's own modules in tiles."""
    data = base64.b64encode(np.ascontiguousarray(image, np.float32).tobytes()).decode()
    height, width, made = page.evaluate(RESTORE, [data, *image.shape[1:], side, halo, scale])
    return np.frombuffer(base64.b64decode(made), np.float32).reshape(3, height, width)


@pytest.fixture
def opened(browser):
    """Opens an address; whatever the page complains of, or asks another computer for, fails the test."""
    context = browser.new_context(viewport={"width": 380, "height": 800})
    complaints: list[str] = []

    def open_page(address):
        page = context.new_page()
        page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda one: one.url.startswith((address, "blob:", "data:")) or complaints.append(one.url))
        page.goto(address)
        page.wait_for_selector("body[data-computes]", timeout=60_000)
        return page

    yield open_page
    context.close()
    assert set(complaints) <= {"No available adapters."}  # Chromium's own remark where there is no GPU


def test_twenty_sizes_in_tiles_are_what_the_package_makes(folder, opened):
    restorer = Restorer("sr", device="cpu", backend="openvino", precision="fp32")
    with served(folder) as address:
        page = opened(address)
        assert page.evaluate("crossOriginIsolated")  # by the page's own worker: the server adds no headers
        rng = np.random.default_rng(2)
        for number, (height, width) in enumerate(parity.sizes()):
            image, scale = rng.random((3, height, width), dtype=np.float32), (2, 1.5, 3, 1)[number % 4]
            expected = restorer(msrn.Picture(image), scale=scale).pixels
            made = in_browser(page, image, 48 if number % 2 else 1024, scale=scale)
            assert made.shape == expected.shape
            assert float(np.abs(made - expected).max()) <= parity.TOLERANCE, (height, width, scale)


def test_a_person_restores_and_keeps_a_photograph(folder, opened, tmp_path, screenshots):
    photo = Image.open(ROOT / "demo" / "photographs" / "chelsea.png").convert("RGB").crop((100, 50, 196, 122))
    photo.save(tmp_path / "cat.png")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with served(folder) as address:
        page = opened(address)
        page.get_by_label("Choose a photograph").set_input_files(tmp_path / "cat.png")
        save = page.get_by_role("link", name="Save as PNG")
        save.wait_for(timeout=60_000)
        with page.expect_download() as download:
            save.click()
        kept = np.asarray(Image.open(download.value.path()).convert("RGB"), np.int16)
        page.screenshot(path=screenshots / "web-380.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        found = axe.run(page).response["violations"]
        assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
        expected = msrn.Restorer("sr", device="cpu", backend="openvino", precision="fp32")
        expected = expected(msrn.read(tmp_path / "cat.png"), scale=2).to_array()
        assert download.value.suggested_filename == "cat_restored.png"
        assert int(np.abs(kept - expected.astype(np.int16)).max()) <= 1
    # The server is gone; what was loaded once still answers.
    page.reload()
    page.wait_for_selector("body[data-computes]", timeout=60_000)


CASES = [
    ("denoise", MSRNConfig(2, 1, 4, 1)),
    ("jpeg", MSRNConfig(1, 1, 4, unshuffle=2)),
    ("photo", MSRNConfig(1, 1, 4, 3)),
]


@pytest.mark.parametrize(("task", "config"), CASES)
def test_tiles_with_the_colour_rule_are_what_the_package_makes(task, config, runtime, opened, tmp_path, monkeypatch):
    """Odd sides, where chroma at half size is not half as large; and with no halo it shows."""
    monkeypatch.setattr(parity, "_SIZES", 1)
    weights = random_weights(task, config)
    export(weights, tmp_path / "page", "web", runtime=runtime)
    image = np.random.default_rng(0).random((3, 59, 61), dtype=np.float32)
    expected = Restorer(weights, device="cpu", backend="openvino", precision="fp32")(msrn.Picture(image)).pixels
    with served(tmp_path / "page") as address:
        page = opened(address)
        np.testing.assert_allclose(in_browser(page, image, 20), expected, atol=parity.TOLERANCE)
        assert float(np.abs(in_browser(page, image, 20, halo=0) - expected).max()) > 100 * parity.TOLERANCE


def test_what_is_missing_is_said(tmp_path):
    weights = random_weights("sr", MSRNConfig(1, 1, 2))
    with tarfile.open(tmp_path / "other.tgz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("package/package.json"), io.BytesIO())
    (tmp_path / "damaged.tgz").write_bytes(b"no archive")
    (tmp_path / "file").touch()
    for options, message in [
        ({}, "npm pack onnxruntime-web@"),
        ({"scale": 5, "runtime": tmp_path}, "by 1 to 4"),
        ({"runtime": tmp_path / "absent.tgz"}, "cannot read onnxruntime-web"),
        ({"runtime": tmp_path / "damaged.tgz"}, "cannot read onnxruntime-web"),
        ({"runtime": tmp_path / "other.tgz"}, "it has no dist/ort-wasm"),
    ]:
        with pytest.raises(UsageError, match=message):
            export(weights, tmp_path / "page", "web", **options)
    with pytest.raises(UsageError, match="is a file"):
        export(weights, tmp_path / "file", "web", runtime=tmp_path)
    with pytest.raises(UsageError, match="is for web"):
        export(weights, tmp_path / "x.onnx", runtime=tmp_path)
    assert not (tmp_path / "page").exists()
