"""Decoding video files: opened on one thread, from clean starts or from the beginning, with damage as an error."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Discard, Disposition

from sparrow.core.errors import MediaError, SparrowError
from sparrow.core.files import is_machine_fault
from sparrow.media.h264 import is_disposable
from sparrow.media.video_index import VideoIndex, packets_of

_NO_FRAME = "a frame of the video cannot be decoded"
DAMAGED = "it may be truncated or damaged: fetch it again or encode it anew"
# Only containers of their own frames: FFmpeg also reads playlists, whose files may lie outside the media root.
_CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,flv,ogg,asf,rm,mxf,nut,dv,ivf,h263,h264,hevc,obu,av1,mjpeg,"
    "jpeg_pipe,yuv4mpegpipe,apng,mp3,flac,wav"
)
_FAIL_WHEN_STRICT = {"tiff"}  # decoders that take for damage what is none
_OUTPUT_CORRUPT = 8  # FFmpeg's `AV_CODEC_FLAG_OUTPUT_CORRUPT`: what is damaged comes out, and says so


class ClockChanged(Exception):
    """Decoding showed other frames or times than the container had stated; the reader's clock is right now."""


class Disproved(Exception):
    """A decoder gave other frames than the container's index says."""


class Decoding:
    """A decoder that runs through a proved file from a clean start on; `position` is that of the packet to come."""

    def __init__(self, container: Any, stream: Any, index: VideoIndex, wanted: set[int]) -> None:
        self._container, self._stream, self._index, self._wanted = container, stream, index, wanted
        self._times = index.times
        self._num_given = 0  # of the frames shown, those before the next one
        self._packets: Iterator[Any] = container.demux(stream)
        self._found: dict[int, Any] = {}
        self._first_pts = self._last_pts = int(index.pts[0])
        self._start = self.position = 0

    def seek(self, position: int) -> None:
        """Go on from a clean start.

        The decoder sees the file's first packet before, which tells some decoders whose encoder's faults to follow.
        """
        if not self.position:
            with suppress(av.error.FFmpegError):
                next(self._packets).decode()
        pts, dts = int(self._index.pts[position]), int(self._index.dts[position])
        packets = self._packets
        for time in (pts, dts):  # some containers are sought by presentation times, some by decoding times
            if self._index.has_places:
                self._container.seek(time, stream=self._stream)
                packets = self._container.demux(self._stream)
            packet = next((p for p in packets if p.pts is None or p.pts >= pts), None)
            if packet is not None and packet.pts == pts:
                break
        else:
            raise Disproved
        self._first_pts = self._last_pts = pts
        self._num_given = int(np.searchsorted(self._times, pts))
        self._start = self.position = position
        self._stream.codec_context.flush_buffers()
        self._packets, self._found = chain([packet], packets), {}

    def frame_of(self, position: int) -> Any:
        """The frame of a wanted packet, whose time lies after those of the ones before.

        What was decoded before it and is shown later, as what it refers to, must have come out undamaged too.
        """
        pts = int(self._index.pts[position])
        latest = int(self._index.pts[self._start : position + 1].max())
        while pts not in self._found or self._last_pts < latest:
            packet = next(self._packets, None)
            if pts not in self._found and (packet is None or self._last_pts > pts):
                raise Disproved
            if packet is None:
                break
            self._decode(packet)
        return self._found.pop(pts)

    def _decode(self, packet: Any) -> None:
        codec = self._stream.codec_context
        if packet.size:
            if self.position >= len(self._index.pts) or packet.pts != self._index.pts[self.position]:
                raise Disproved
            self.position += 1
            if codec.name == "h264":
                is_needed = packet.pts in self._wanted or not is_disposable(codec, bytes(packet))
                codec.skip_frame = "DEFAULT" if is_needed else "NONREF"
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            if packet.size and packet.pts < self._first_pts:  # it may refer to what came before the start
                return
            if self._start:  # was no start, or the file is damaged: a decode from the beginning tells
                raise Disproved from None
            raise
        for frame in frames:
            if frame.pts is None:
                raise Disproved
            if frame.pts < self._first_pts:
                continue
            if frame.is_corrupt:
                raise Disproved if self._start else MediaError(_NO_FRAME, remedy=DAMAGED)
            place = int(np.searchsorted(self._times, frame.pts))
            left_out = place - self._num_given
            if place == len(self._times) or self._times[place] != frame.pts or left_out < 0:
                raise Disproved
            if (left_out and codec.name != "h264") or (frame.pts == self._first_pts and not frame.key_frame):
                raise Disproved
            self._num_given, self._last_pts = place + 1, frame.pts
            if frame.pts in self._wanted:
                self._found[frame.pts] = frame


def all_frames(container: Any, stream: Any, index: VideoIndex) -> Iterator[Any]:
    """All frames in the order in which the decoder shows them, without those that lack what was cut off before them.

    Raises:
        MediaError: If one is damaged, or there is none.
    """
    first_key, is_whole = int(np.argmax(index.is_key)), not index.begins_within
    leading = index.num_leading if is_whole else 0
    has_left_out = has_key = has_any = False
    for position, (packet, _) in enumerate(packets_of(container, stream)):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            if is_whole and (position >= leading or position == first_key):
                raise
            frames, has_left_out = [], True
        for frame in frames:
            has_key |= frame.key_frame
            is_leading = leading > 0 and not has_key
            if frame.is_corrupt and (is_leading or not is_whole):
                has_left_out = True
            elif frame.is_corrupt or (has_left_out and is_leading):
                raise MediaError(_NO_FRAME, remedy=DAMAGED)
            else:
                is_whole = has_any = True
                yield frame
    if not has_any:
        raise MediaError("no frame of the video can be decoded", remedy=DAMAGED)


@contextmanager
def open_stream(path: Path, *, is_strict: bool = True) -> Iterator[tuple[Any, Any]]:
    """A file's container and its video stream; whatever PyAV raises inside is a `MediaError`.

    A strict decoder fails at the first fault; H.264's would fail at recovery points too, whose frames come out right.
    """
    try:
        with av.open(str(path), metadata_errors="replace", options={"format_whitelist": _CONTAINERS}) as container:
            stream = container.streams.best("video")
            if stream is None or stream.disposition & Disposition.attached_pic:  # the cover of a sound file
                raise MediaError("the file has no video stream", remedy="fix the record's path")
            codec = stream.codec_context
            if codec is None:
                raise MediaError("the video's codec is not known", remedy="encode it as H.264")
            for other in container.streams:
                if other is not stream:
                    other.discard = Discard.all
            codec.thread_count = 1
            codec.flags |= _OUTPUT_CORRUPT
            if is_strict and codec.name not in _FAIL_WHEN_STRICT:
                codec.options = {"err_detect": "explode+crccheck"}
            yield container, stream
    except (SparrowError, ClockChanged, Disproved):
        raise
    except av.error.FFmpegError as error:
        if is_machine_fault(error) and error.errno != errno.EIO:  # FFmpeg gives EIO for damaged files too
            raise
        if isinstance(error, av.error.ArgumentError) and error.filename == str(path):  # of opening it
            raise MediaError(
                "the file is not in a container of videos",
                remedy="of a list of files, name the video itself; else encode it as MP4",
            ) from error
        raise MediaError("the video cannot be decoded", remedy=f"{DAMAGED} (FFmpeg: {error.strerror})") from error
    except Exception as error:  # whatever one file does, the others are read
        if is_machine_fault(error):
            raise
        raise MediaError(f"the video cannot be read ({type(error).__name__}: {error})", remedy=DAMAGED) from error
