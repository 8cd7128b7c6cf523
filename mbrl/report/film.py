"""Film of an episode: pictures as the frames of an animated GIF."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mbrl.files import write_whole
from mbrl.values import Positive, checked

_SHORTEST = 0.02  # s, of a frame that is shown everywhere
_COLORS = 128


@final
class Film:
    """Frames of an animated GIF.

    Args:
        seconds: between two pictures.

    Attributes:
        every: pictures for each frame: where they follow faster than a GIF can show, some are
            left out.
    """

    @checked
    def __init__(self, seconds: Positive):
        """Start without frames."""
        self.every = max(1, math.ceil(_SHORTEST / seconds - 1e-9))
        self._milliseconds = max(20, 10 * round(100 * seconds * self.every))
        self._frames: list[Image.Image] = []

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Add a frame (height, width, 3)."""
        self._frames.append(Image.fromarray(picture).quantize(_COLORS))

    def write(self, file: Path) -> None:
        """Write the film to a file, whole.

        Raises:
            BadInput: if a link or a special file stands in its place.
            OSError: if it cannot be written; what was there stays.
        """
        content = io.BytesIO()
        first, *others = self._frames
        first.save(
            content,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=self._milliseconds,
            loop=0,
        )
        write_whole(file, content.getvalue())
