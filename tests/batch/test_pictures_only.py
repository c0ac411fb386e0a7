"""What is for pictures alone is refused of videos and rasters, and nothing is made before."""

import pytest
from tests.helpers.albums import album

from msrn.batch import Settings, claim, plan_outputs, restore_files
from msrn.errors import UsageError


@pytest.mark.parametrize(
    ("settings", "deadline", "words"),
    [
        (Settings(consistent=True), 0, "consistent is for pictures, and .*a.mp4 is a video: leave it out"),
        (Settings(confidence=True), 0, "confidence is for pictures, and .*a.mp4 is a video: leave it out"),
        (Settings(), 2.0, "deadline is for pictures, and .*a.mp4 is a video: give effort instead"),
    ],
    ids=["consistent", "confidence", "deadline"],
)
def test_a_video_is_refused(tmp_path, denoiser, settings, deadline, words):
    folder = album(tmp_path / "in", "a.png")
    (folder / "a.mp4").touch()
    plan = plan_outputs([folder], tmp_path / "out", videos=True, full_names=True)
    with claim(plan) as claimed, pytest.raises(UsageError, match=f"^{words}$"):
        restore_files(plan.jobs, claimed, denoiser, settings, deadline=deadline)
    assert not (tmp_path / "out" / "a.png").exists()
