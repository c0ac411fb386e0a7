"""A process that decodes strangers' files may end at any time, by any hand; tested with the one for pictures."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.albums import album

from msrn import images
from msrn.errors import ImageError
from msrn.images.isolated import Decoder
from msrn.system.guarded_process import start_ahead


@pytest.fixture
def data(tmp_path):
    return (album(tmp_path, "x.png") / "x.png").read_bytes()


def test_a_decoder_that_was_ended_between_two_files_costs_none(data):
    with closing(Decoder(module="tests.helpers.hostile_pictures")) as decoder:
        decoder.decode(data, Path("last.png"))
        time.sleep(1)
        assert decoder.decode(data, Path("x.png")).width == 9


def test_processes_are_used_again_and_close_ends_them_all(data):
    with closing(Decoder(module="tests.helpers.hostile_pictures")) as decoder, ThreadPoolExecutor(2) as threads:
        decoder.decode(data, Path("x.png"))
        hanging = [threads.submit(decoder.decode, data, Path("hang.png")) for _ in range(2)]
        time.sleep(1)
        assert not any(future.done() for future in hanging)
        decoder.close()
        for future in hanging:
            with pytest.raises(ImageError, match=r"hang\.png"):
                future.result(10)


def test_too_little_memory_for_what_was_decoded_does_not_confuse_the_next_answer(data, tmp_path, monkeypatch):
    def empty(*arguments):
        raise MemoryError

    with closing(Decoder()) as decoder:
        with monkeypatch.context() as patched:
            patched.setattr(np, "empty", empty)
            with pytest.raises(MemoryError):
                decoder.decode(data, Path("x.png"))
        other = (album(tmp_path, "y.png") / "y.png").read_bytes()
        decoded = decoder.decode(other, Path("y.png"))
        assert np.array_equal(decoded.pixels, images.decode(other, Path("y.png")).pixels)


def test_a_process_that_was_started_ahead_answers_first_and_a_dead_one_is_replaced(data, monkeypatch):
    module, started, popen = "tests.helpers.hostile_pictures", [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    start_ahead(module)
    with closing(Decoder(module=module)) as decoder:
        assert decoder.decode(data, Path("x.png")).width == 9
        assert len(started) == 1
    start_ahead(module)
    started[-1].kill()
    started[-1].wait()
    with closing(Decoder(module=module)) as decoder:
        assert decoder.decode(data, Path("x.png")).width == 9
        assert len(started) == 3
