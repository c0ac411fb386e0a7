"""Each picture gets what it needs, and the reason is said."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.helpers.command import msrn
from tests.helpers.networks import identity_weights

from msrn import images
from msrn.batch import claim, plan_outputs, restore_files
from msrn.errors import UsageError
from msrn.evaluation.metrics import psnr
from msrn.images.decode import decode
from msrn.images.degradations import GaussianNoise, Jpeg
from msrn.images.picture import Picture, to_uint8
from msrn.images.resize import resize
from msrn.restoration import rules
from msrn.restoration.automatic import USUAL, Automatic, Enlarging
from msrn.restoration.chain import Chain
from msrn.restoration.diagnosis import Diagnosis
from msrn.restoration.memory import Needs
from msrn.restoration.restorer import Restorer
from msrn.restoration.rules import tasks_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def loaded():
    return []


@pytest.fixture
def chooser(loaded):
    def load(task):
        loaded.append(task)
        return Restorer(identity_weights(task) if task == "sr" else task, device="cpu")

    return Automatic(load, better={})


@pytest.mark.parametrize(
    ("sigma", "quality", "noisy", "in_colours", "gray"),
    [
        (20, None, False, [], []),
        (6, None, True, ["photo"], ["denoise"]),
        (0, 92, False, ["jpeg"], ["jpeg"]),
        (0, 93, False, [], []),
        (1, 50, True, ["photo"], ["denoise", "jpeg"]),
        (6, 95, True, ["photo"], ["denoise"]),
    ],
)
def test_the_rules(sigma, quality, noisy, in_colours, gray):
    assert tasks_for(Diagnosis(sigma, quality), noisy, photo=True) == in_colours
    assert tasks_for(Diagnosis(sigma, quality), noisy, photo=False) == gray


def test_pictures_get_what_they_need(chooser, loaded, clean):
    noisy = GaussianNoise().apply(clean, 25, np.random.default_rng(0))
    for pixels, tasks, note in (
        (clean, [], r"no JPEG artifacts found; too little noise to remove \(σ [01]\..\)"),
        (noisy, ["photo"], r"no JPEG artifacts found; removed noise \(σ 2.\)"),
        (Jpeg().apply(clean, 15), ["jpeg"], r"removed JPEG artifacts \(quality 15, judged.*\); no noise found"),
        (Jpeg().apply(noisy.clip(0, 1), 85), ["photo"], r"removed JPEG artifacts \(.*\); removed the noise under"),
    ):
        picture = Picture(pixels)
        chain = chooser.settled(picture, None, None)
        assert [step.weights.card.task for step in chain.steps] == tasks
        assert re.match(note, chain.note)
        assert chain(picture).pixels.shape == pixels.shape
        bigger = chooser.settled(picture, 1.5, None)
        assert bigger.note.endswith("enlarged")
        shares = []
        made = bigger(picture, scale=1.5, progress=shares.append)
        assert (made.height, made.width) == bigger.result_size(picture, 1.5) == (240, 300)
        assert shares == sorted(shares)
        assert shares[-1] == 1
        assert bigger.forecast(picture, 1.5)[0] > 0
    assert sorted(loaded) == ["jpeg", "photo", "sr"]  # once each


@pytest.mark.parametrize(("sigma", "quality"), [(8, 90), (12, 80), (20, 40), (30, 60)])
def test_noise_under_a_jpeg_is_found_and_none_where_there_is_none(sigma, quality):
    with Image.open(ROOT / "demo" / "photographs" / "coffee.png") as image:
        clean = np.moveaxis(np.asarray(image.convert("RGB").crop((120, 60, 344, 284)), np.float32) / 255, -1, 0)
    noisy = GaussianNoise().apply(clean, sigma, np.random.default_rng(1)).clip(0, 1)
    choose = Automatic(better={})
    for pixels, tasks in (noisy, ["photo"]), (clean, ["jpeg"]):
        file = BytesIO()
        Picture(np.ascontiguousarray(pixels)).to_pil().save(file, "JPEG", quality=quality)
        picture = decode(file.getvalue(), Path("picture"))
        assert [step.weights.card.task for step in choose.settled(picture, None, None).steps] == tasks


@pytest.mark.parametrize(
    ("quality", "planes", "tasks"),
    [(92, 3, ["jpeg", "sr"]), (60, 1, ["jpeg", "sr"]), (93, 3, ["sr"]), (None, 3, ["sr"])],
)
def test_artifacts_are_removed_before_enlarging_as_the_file_says(clean, quality, planes, tasks):
    file = BytesIO()
    Picture(clean[:planes]).to_pil().save(file, "PNG" if quality is None else "JPEG", quality=quality or 0)
    picture = decode(file.getvalue(), Path("picture"))
    made = Enlarging(lambda task: Restorer(identity_weights(task), device="cpu")).settled(picture, 2, None)
    assert [step.weights.card.task for step in made.steps] == tasks
    assert ("removed JPEG artifacts" in made.note) == ("jpeg" in tasks)


def test_enlarging_a_jpeg_is_better_than_interpolating_it(clean):
    file = BytesIO()
    Picture(resize(clean, 0.5).clip(0, 1)).to_pil().save(file, "JPEG", quality=50)
    small = decode(file.getvalue(), Path("picture"))
    scores = [
        psnr(to_uint8(each), to_uint8(clean)) for each in (resize(small.pixels, 2), Enlarging()(small, scale=2).pixels)
    ]
    assert scores[1] > scores[0] + 0.2


@pytest.mark.parametrize(
    ("tasks", "gray", "chosen"),
    [
        (USUAL, False, ["jpeg", "sr"]),
        ((*USUAL, "photo-sr"), False, ["photo-sr"]),
        ((*USUAL, "photo-sr"), True, ["jpeg", "sr"]),
    ],
)
def test_artifacts_are_removed_while_enlarging_where_there_is_a_network_for_it(clean, tasks, gray, chosen):
    restore = Automatic(lambda task: Restorer(task if task in ("photo", "jpeg") else identity_weights(task)), tasks, {})
    made = restore.settled(Picture(Jpeg().apply(clean[:1] if gray else clean, 40)), 2, None)
    assert [step.weights.card.task for step in made.steps] == chosen


def test_what_one_step_keeps_is_there_while_the_next_computes():
    class Step:
        def __init__(self, *needs):
            self.forecast = lambda *arguments: Needs(*needs)

    def step(name, seconds, peak, kept):
        return Step(seconds, peak, {name: kept})

    picture = Picture(np.zeros((1, 1, 1), np.float32))
    assert Chain([step("a", 1.0, 100, 40), step("b", 2.0, 90, 50)], "").forecast(picture) == (
        3.0,
        150,
        {"a": 40, "b": 50},
    )
    assert Chain([], "").forecast(picture) == (0, 3 * picture.pixels.nbytes, {})


def test_fine_texture_is_left_alone(chooser, clean):
    rng = np.random.default_rng(0)
    dots = np.where(rng.random(clean.shape) < 0.05, rng.normal(0, 60 / 255, clean.shape), 0)
    picture = Picture((clean + dots).clip(0, 1).astype(np.float32))
    chain = chooser.settled(picture, None, None)
    assert chain.note.endswith("fine texture left, no noise")
    assert chain.steps == ()


def test_gray_pictures_lose_noise_before_jpeg_artifacts(chooser, clean):
    noisy = GaussianNoise().apply(clean[:1], 25, np.random.default_rng(0)).clip(0, 1)
    chain = chooser.settled(Picture(Jpeg().apply(noisy, 85)), None, None)
    assert [step.weights.card.task for step in chain.steps] == ["denoise", "jpeg"]


def test_weak_noise_removal_is_judged_by_what_it_would_remove_in_full(clean):
    noisy = Picture(GaussianNoise().apply(clean, 25, np.random.default_rng(0)).clip(0, 1))
    weak = Automatic(lambda task: Restorer(task, device="cpu", strength=0.2))
    assert "removed noise" in weak.settled(noisy, None, None).note


def test_nothing_to_do_returns_the_picture_itself(chooser, clean):
    picture = Picture(clean)
    assert chooser.settled(picture, None, None)(picture) is picture


def test_the_identity_names_all_that_decides(chooser, monkeypatch):
    before = chooser.identity
    assert {"jpeg.weights", "denoise.computing", "sr.tta"} <= set(before)
    monkeypatch.setattr(rules, "JPEG_QUALITY", 50)
    assert chooser.identity != before


def test_the_command_explains_itself(tmp_path, clean):
    noisy = GaussianNoise().apply(clean, 25, np.random.default_rng(0)).clip(0, 1)
    images.write(Picture(noisy), tmp_path / "in" / "noisy.png")
    images.write(Picture(clean), tmp_path / "in" / "clean.png")
    command = ("restore", tmp_path / "in", "-o", tmp_path / "out")
    planned = msrn(*command, "--dry-run")
    assert "removed" in planned.stdout.splitlines()[1]
    assert not (tmp_path / "out").exists()
    process = msrn(*command, "--json")
    assert process.returncode == 0, process.stderr
    rows = json.loads(process.stdout)
    assert "too little noise" in rows[0]["note"]
    assert "removed noise" in rows[1]["note"]
    assert "noisy.png  (no JPEG artifacts found; removed noise (σ" in process.stderr
    before, after = images.read(tmp_path / "in" / "clean.png"), images.read(tmp_path / "out" / "clean.png")
    assert np.array_equal(before.pixels, after.pixels)
    assert "done before" in msrn(*command).stderr
    assert msrn(*command[:2], "-o", tmp_path / "big", "-s", "2").returncode == 0
    assert images.read(tmp_path / "big" / "noisy.png").width == 400


def test_a_size_alone_enlarges():
    plain = Automatic(lambda task: Restorer(identity_weights(task), device="cpu"), better={})
    picture = Picture(np.full((3, 60, 50), 0.5, np.float32))
    made = plain.settled(picture, None, (120, 100))(picture, size=(120, 100))
    assert (made.height, made.width) == (120, 100)


def test_a_chain_takes_as_many_pictures_at_once_as_its_narrowest_step():
    assert Chain([SimpleNamespace(at_once=number) for number in (4, 1)], "").at_once == 1


def test_the_choices_of_all_tasks_are_named():
    chooser = Automatic(lambda task: SimpleNamespace(choices={task: "eager fp32"}), better={})
    assert set(chooser.choices) == {"jpeg", "denoise", "photo", "sr"}


def test_in_python_it_is_called_like_a_restorer(chooser, clean):
    shares = []
    compressed = Picture(Jpeg().apply(clean, 20))
    chooser(compressed)
    made = chooser(compressed, scale=1.5, progress=shares.append)
    assert made.pixels.shape == (clean.shape[0], *(round(1.5 * side) for side in clean.shape[1:]))
    assert shares[-1] == 1
    with pytest.raises(UsageError, match="expected a Picture, got str"):
        chooser("photo.jpg")
    with pytest.raises(UsageError, match="to the smaller"):
        chooser(compressed, size=(4, 4))


def test_only_what_is_needed_is_loaded(chooser, loaded, clean, tmp_path):
    images.write(Picture(clean), tmp_path / "in.png")
    plan = plan_outputs([tmp_path / "in.png"], tmp_path / "out.png")
    with claim(plan) as output:
        assert restore_files(plan.jobs, output, chooser)[0].error is None
    assert loaded == []
    without = Automatic(lambda task: Restorer(identity_weights(task), device="cpu"), ("jpeg", "denoise", "photo"), {})
    assert not any(key.startswith("sr.") for key in without.identity)
    with pytest.raises(UsageError, match="does not enlarge"):
        without(Picture(clean), scale=2)


def test_threads_share_what_is_loaded(loaded, clean):
    def load(task):
        loaded.append(task)
        time.sleep(0.1)
        return Restorer(identity_weights(task), device="cpu", backend="eager", precision="fp32")

    several, picture = Automatic(load, better={}), Picture(Jpeg().apply(clean, 20))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(several, [picture] * 3))
    assert loaded == ["photo", "jpeg"]


def test_weights_are_taken_for_their_tasks(tmp_path, clean):
    gray = Picture(Jpeg().apply(clean, 15)[:1])
    images.write(gray, tmp_path / "gray.png")
    images.write(Picture(np.repeat(gray.pixels, 3, axis=0)), tmp_path / "colours.png")
    command = ("restore", "-v", "-o", tmp_path / "out", "-w", "msrn-m6r1s2-jpeg", "--overwrite")
    assert "M6R1C96S2_jpeg" in msrn(*command, tmp_path / "gray.png").stderr
    assert "M4R1C64S2_jpeg-color" in msrn(*command, tmp_path / "colours.png").stderr
    for more, words in ((("-w", "jpeg"), "both for 'jpeg'"), (("-w", "sr"), "--scale or --to")):
        refused = msrn(*command, tmp_path / "gray.png", *more)
        assert (refused.returncode, words in refused.stderr) == (2, True)
    assert msrn("restore", tmp_path / "gray.png", "-o", tmp_path / "x.png", "-g", "nonsense").returncode == 2


def test_a_step_on_more_pixels_is_more_of_the_whole():
    denoiser, enlarger = (Restorer(identity_weights(task), device="cpu") for task in ("denoise", "sr"))
    shares = []
    Chain([denoiser, enlarger], "")(Picture(np.full((1, 8, 8), 0.5, np.float32)), scale=3, progress=shares.append)
    assert shares == pytest.approx([1 / 10, 1])
