"""Decoded frames as 8-bit RGB; what HDR becomes on an ordinary screen."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from sparrow.core.errors import MediaError

Hdr = Literal["refuse", "tone_map"]
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # numbers of ITU-T H.273, 8.2
_WHITE_CD = 203.0  # of paper white in HDR (ITU-R BT.2408), cd/m^2
_PEAK_CD = 1000.0  # shown as the brightest white
_BT709_OF_BT2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)  # ITU-R BT.2087


def refuse_hdr(transfer: int, hdr: Hdr) -> None:
    """Raise a `MediaError` for a transfer of high dynamic range, unless it is to be tone-mapped."""
    if transfer in _HDR_TRANSFERS and hdr == "refuse":
        raise MediaError(
            f"the video is HDR ({_HDR_TRANSFERS[transfer]}), which would look pale",
            remedy="set frames.hdr=tone_map, or convert it to BT.709",
        )


def hdr_transfer(transfer: int) -> str:
    """The name of a transfer of high dynamic range; empty for others."""
    return _HDR_TRANSFERS.get(transfer, "")


def to_rgb(frame: Any, size_px: tuple[int, int], hdr: Hdr, stated: int) -> np.ndarray:
    """A decoded frame at a width and height: uint8 RGB [height, width, 3], tone-mapped where it is HDR.

    `stated` is the transfer of the container, which counts where the frame has none of high dynamic range.
    """
    width, height = size_px
    transfer = frame.color_trc if frame.color_trc in _HDR_TRANSFERS else stated
    refuse_hdr(transfer, hdr)
    if transfer not in _HDR_TRANSFERS:
        return frame.to_ndarray(format="rgb24", width=width, height=height, threads=1)
    signal = frame.to_ndarray(format="rgb48le", width=width, height=height, threads=1).astype(np.float32) / 65535
    return tone_mapped(signal, _HDR_TRANSFERS[transfer])


def tone_mapped(signal: np.ndarray, transfer: str) -> np.ndarray:
    """An HDR signal, float [h, w, 3] from 0 to 1 in BT.2020, as uint8 RGB.

    To light (SMPTE ST 2084, or ITU-R BT.2100 at 1000 cd/m^2), the extended curve of Reinhard et al. (2002), which takes
    1000 cd/m^2 to white, on the brightest channel, to the primaries of BT.709, and to an sRGB signal (gamma 2.2).
    """
    light = (_pq_light(signal) if transfer == "PQ" else _hlg_light(signal)) / _WHITE_CD
    brightest = light.max(axis=-1, keepdims=True)
    peak = _PEAK_CD / _WHITE_CD
    light = light * (1 + brightest / peak**2) / (1 + brightest)
    linear = (light @ _BT709_OF_BT2020.T).clip(0, 1)
    return np.rint(255 * linear ** (1 / 2.2)).astype(np.uint8)


def _pq_light(signal: np.ndarray) -> np.ndarray:
    power = signal ** (1 / 78.84375)
    return 10_000 * ((power - 0.8359375).clip(0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)


def _hlg_light(signal: np.ndarray) -> np.ndarray:
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.678, 0.0593], np.float32)
    return _PEAK_CD * scene * luminance[..., None] ** 0.2
