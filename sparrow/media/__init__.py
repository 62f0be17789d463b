"""What a run sees: frames of videos and pages of rendered text, as uint8 arrays."""

from typing import TYPE_CHECKING

from sparrow.core.lazy import exports

if TYPE_CHECKING:
    from sparrow.media.frames import read_frames
    from sparrow.media.pages import render_text
    from sparrow.media.settings import FramePolicy, TextStyle

__all__ = ["FramePolicy", "TextStyle", "read_frames", "render_text"]

__getattr__ = exports(__name__, FramePolicy="settings", TextStyle="settings", read_frames="frames", render_text="pages")
