"""The table of ladders is read from the texts of `ntkflow validate frontier`."""

from pathlib import Path

import pytest

from tools.ladder_table import HEAD, read, rows, table, written_into

RESULTS = Path(__file__).parents[3] / "validation" / "results"
TEXT = """early: steps 0 to {last}, loss 9 to 1, class residual 4 to 0.1, train accuracy 0.1 to 0.99; cheapest with skill 0.8: none
  rung                 constants     cos dM     err dM    skill M         +-   skill Fc   skill Rc   skill H2
  constant-velocity        28800          -          -      -3250         46     -9.5e+03   -7.7e+03  -9.57e+03
  frozen-features              0          -          -  -1.11e-16          0          0          0          0
  no-class-structure           2          -          -      0.326    0.00427      0.578      0.609      0.203
  block                        3      0.359       0.94      0.699    0.00467      0.683      0.838      0.182
 *block                        3      0.359       0.94      {skill}    0.00716      0.688       0.82      0.248  discrete step, decay
  block                        3      0.359       0.94     -0.148     0.0303      0.393      0.186      0.307  nominal rate
  class-block                 65      0.799      0.604      0.845    0.00325      0.743       0.94      0.181
  krylov-1: refused, too much memory
  skill on M until |Rc|^2 is at 1/2 (step 32): block 0.524, no-class-structure 0.0566
  skill on M until |Rc|^2 is at 1/30 (step 228): block 0.699, no-class-structure 0.326
step 28: steps 28 to 308, loss 280 to 27, class residual 184 to 6, train accuracy 0.378 to 0.997; cheapest with skill 0.8: block
  rung                 constants     cos dM     err dM    skill M         +-   skill Fc   skill Rc   skill H2
  block                        3      0.419       1.05      0.999     0.0115      0.651      0.756      0.205
cos dM, err dM: direction and relative error of the predicted motion
"""  # noqa: E501


def test_what_is_read_of_a_window():
    found = read(TEXT.format(last=228, skill=0.667))
    assert list(found) == ["early", "step 28"]
    early = found["early"]
    assert (early.steps, early.accuracy, early.until) == ((0, 228), (0.1, 0.99), "1/30")
    # Of the flow, and with all that is known of the training; at no other clock.
    assert early.skill["flow"]["block"] == {"M": 0.699, "H2": 0.182}
    assert early.skill["as trained"] == {"block": {"M": 0.667, "H2": 0.248}}
    nulls = {"constant-velocity", "frozen-features", "no-class-structure"}
    assert set(early.skill["flow"]) == nulls | {"block", "class-block"}


def test_seeds_share_a_row_and_networks_do_not(tmp_path):
    for name, last, skill in (("net", 228, 0.667), ("net-seed1", 300, 0.5), ("other", 1, -3.0)):
        (tmp_path / f"{name}.txt").write_text(TEXT.format(last=last, skill=skill))
    short = TEXT.format(last=9, skill=0.9).replace("at 1/30", "at 1/10")
    (tmp_path / "net-seed2.txt").write_text(short)
    (tmp_path / "other-seed1.txt").write_text(TEXT.format(last=1, skill=1).replace("block  ", "blokk  "))
    found = [dict(zip(HEAD, row, strict=True)) for row in rows(tmp_path)]
    # Nor do seeds whose windows end at other shares of the class residual.
    ends = [(row["seeds"], row["window"]) for row in found if row["network"] == "net"]
    assert ends == [("2", "early, to 1/30")] * 4 + [("1", "early, to 1/10")] * 4
    found = [row for row in found if row["window"] != "early, to 1/10"]
    assert [(row["network"], row["seeds"], row["skill on"], row["of"]) for row in found] == [
        ("net", "2", "M", "flow"), ("net", "2", "M", "as trained"),
        ("net", "2", "H2", "flow"), ("net", "2", "H2", "as trained"),
        ("other", "2", "M", "flow"), ("other", "2", "H2", "flow"),
    ]  # fmt: skip
    first, trained = found[:2]
    assert (first["window"], first["steps"]) == ("early, to 1/30", "0 to 228 .. 300")
    assert first["accuracy"] == "0.1 to 0.99"
    assert (first["three constants"], trained["three constants"]) == ("0.699", "0.5 .. 0.667")
    assert (first["frozen features"], first["constant velocity"]) == ("0", "-3250")
    # What one seed lacks is not told of the others.
    assert (first["traced kernel"], found[4]["three constants"]) == ("-", "-")
    assert trained["no class structure"] == "-"


@pytest.mark.parametrize("path", sorted((RESULTS / "ladders").glob("*.txt")), ids=lambda path: path.stem)
def test_a_kept_ladder_is_of_a_kept_training(path):
    assert (RESULTS / f"{path.stem}.json").exists()
    assert {"early", "late"} <= set(read(path.read_text()))


def test_the_page_has_the_table_of_the_kept_ladders():
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert table(RESULTS / "ladders") in page
    assert written_into(page, RESULTS) == page
