"""A video frame by frame: sound, timestamps, frame rate and colour tags are kept, and any interruption is resumed.

The frames of every second or two become a segment in a hidden folder beside the output, whole or not at all; when the
last is there, they are joined with the other streams of the source. A run that is started again decodes what is done,
but restores only what is not. Only a process of its own opens the source (``decoder.py``). Needs PyAV (the extra
``video``).
"""

from msrn.images.video.formats import CONTAINERS, SUFFIXES, SUFFIXES_IN_FOLDERS
from msrn.images.video.reader import VideoReader
from msrn.images.video.restore import restore_video

__all__ = ["CONTAINERS", "SUFFIXES", "SUFFIXES_IN_FOLDERS", "VideoReader", "restore_video"]
