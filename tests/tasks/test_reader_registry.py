"""The reader of a child that users get."""

from pathlib import Path

from stylealign.params import load_params
from tasks.reader_registry import save_reader
from tasks.verdicts import write_verdicts

EVALUATE = load_params(Path(__file__).parents[2] / "params.yaml").evaluate


def test_a_child_in_which_no_label_comes_through_has_no_reader_and_that_is_said(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_verdicts({}, tmp_path)

    assert save_reader.fn(EVALUATE, "cats", tmp_path, 1) is None

    assert "no label comes through" in capsys.readouterr().err
    assert not (tmp_path / "artifacts/evaluate/cats/reader").exists()
