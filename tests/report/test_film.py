"""Films: the time of a frame, and pictures that are left out."""

import numpy as np
import pytest
from PIL import Image

from mbrl.errors import BadInput
from mbrl.report.film import Film


@pytest.mark.parametrize(
    ("seconds", "every", "milliseconds"),
    [(0.05, 1, 50), (0.02, 1, 20), (0.008, 3, 20), (0.002, 10, 20), (1 / 30, 1, 30)],
)
def test_a_film_lasts_as_long_as_what_it_shows(tmp_path, seconds, every, milliseconds):
    film = Film(seconds)
    assert film.every == every
    for shade in (0, 100, 200):
        film.add(np.full((8, 10, 3), shade, np.uint8))
    film.write(tmp_path / "film.gif")
    made = Image.open(tmp_path / "film.gif")
    assert made.n_frames == 3 and made.size == (10, 8) and made.info["duration"] == milliseconds
    made.seek(2)
    assert abs(int(np.asarray(made.convert("RGB"))[0, 0, 0]) - 200) < 5


def test_a_film_takes_the_place_of_no_link(tmp_path):
    (tmp_path / "film.gif").symlink_to(tmp_path / "other")
    film = Film(0.05)
    film.add(np.zeros((8, 10, 3), np.uint8))
    with pytest.raises(BadInput, match="film.gif"):
        film.write(tmp_path / "film.gif")
    with pytest.raises(BadInput, match="seconds=0: should be above 0"):
        Film(0)
