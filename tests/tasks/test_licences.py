"""No data set enters without a licence."""

import pytest

from stylealign.errors import DataError
from tasks.data import find_licence


def test_a_listed_licence_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sources.yaml").write_text("people: {origin: ours, licence: Apache-2.0}\n")

    assert find_licence.fn("people") == "Apache-2.0"


@pytest.mark.parametrize("listed", ["", "people: {origin: ours}\n", "cats: {licence: MIT}\n"])
def test_a_set_without_licence_is_refused(tmp_path, monkeypatch, listed):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sources.yaml").write_text(listed)

    with pytest.raises(DataError, match="'people' has no licence"):
        find_licence.fn("people")
