"""A decoding process for :class:`msrn.images.video.VideoReader` that does what a video's name says."""

import os
import signal

from msrn.images.video import decoder

SHOWN_FRAMES = decoder.DecodedVideo.shown_frames


def shown_frames(self, container):
    if self.path.stem == "backwards":
        decoder.put_in_time = lambda frames: frames
    for number, frame in enumerate(SHOWN_FRAMES(self, container)):
        if number == 5 and self.path.stem == "crash":
            os.abort()
        while number == 5 and self.path.stem == "hang":
            pass
        if number == 15 and self.path.with_suffix(".kill").exists():  # by somebody else, that is
            os.kill(os.getpid(), signal.SIGTERM)
        yield frame


def main() -> None:
    decoder.DecodedVideo.shown_frames = shown_frames
    decoder.main()
