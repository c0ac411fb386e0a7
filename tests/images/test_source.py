"""Files, pipes and standard input become bytes."""

import io

import pytest

from msrn import images
from msrn.errors import ImageError


class Growing(io.FileIO):
    """A file that somebody is still writing."""

    def read(self, size=-1):
        data = super().read(size)
        with open(self.name, "ab") as other:  # noqa: PTH123
            other.write(b"more")
        return data


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(b"first")
    with Growing(tmp_path / "x.png") as file, pytest.raises(ImageError, match="changed while it was read"):
        images.read_stream(file, tmp_path / "x.png")
