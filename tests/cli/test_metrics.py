"""`ntkflow metrics FILE`: what is measured is what Python measures, from every kind of file; errors take one line."""

import json

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.runs import files
from tests.commands import exit_code

RNG = np.random.default_rng(0)
Y = np.repeat(np.arange(3), 5)
H = RNG.normal(size=(3, 6))[Y] + 0.2 * RNG.normal(size=(15, 6))
W, B = RNG.normal(size=(3, 6)), RNG.normal(size=3)


@pytest.fixture(autouse=True)
def wide(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def told(capsys, *words):
    assert exit_code("metrics", *words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_features_alone_a_head_and_test_features(tmp_path, capsys):
    np.savez("f.npz", H=H, y=Y)
    assert told(capsys, "f.npz")["values"] == dict(nf.metrics.collapse(H, Y))
    np.savez("g.npz", features=H.astype(np.float32), labels=Y, weight=W, bias=B)
    expected = nf.metrics.collapse(H.astype(np.float32), Y, W, B, centre="samples", test=(H, Y), ood=H[:2])
    found = (
        told(capsys, "g.npz", "--test", "f.npz", "--centre", "samples", "--ood", "o.npy")
        if np.save("o.npy", H[:2]) is None
        else {}
    )
    assert found == json.loads(json.dumps(expected.as_dict()))


def test_tables_and_labels_of_their_own(capsys):
    names = np.array(["ant", "bee", "cat"])[Y]
    rows = [",".join([label, *map(repr, row.tolist())]) for label, row in zip(names, H, strict=True)]
    with open("f.csv", "w") as handle:  # noqa: PTH123
        handle.write("\n".join(["label,a,b,c,d,e,f", *rows]))
    found = told(capsys, "f.csv")
    assert found["values"] == dict(nf.metrics.collapse(H, Y))
    assert "ant, bee, cat" in found["notes"][0]
    np.save("f.npy", H)
    np.save("y.npy", Y)
    assert told(capsys, "f.npy", "--labels", "y.npy")["values"] == found["values"]


def written(path, arrays):
    """A .safetensors file by its format: the length of a JSON header, the header, the bytes."""
    header, content = {}, b""
    for name, (kind, array) in arrays.items():
        offsets = [len(content), len(content) + array.nbytes]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
        content += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def test_safetensors(tmp_path, capsys):
    short = H.astype(np.float32)
    rest = {"labels": ("I64", Y), "head.other": ("F64", B), "weight": ("F64", W)}
    written(tmp_path / "f.safetensors", {"features": ("F32", short), **rest})
    assert told(capsys, "f.safetensors")["values"] == dict(nf.metrics.collapse(short, Y, W))
    # bfloat16 is the upper half of float32.
    upper = (short.view(np.uint32) >> 16).astype(np.uint16)
    written(tmp_path / "half.safetensors", {"features": ("BF16", upper), **rest})
    widened = (upper.astype(np.uint32) << 16).view(np.float32)
    found = told(capsys, "half.safetensors")["values"]
    assert found == pytest.approx(dict(nf.metrics.collapse(widened, Y, W)), rel=1e-6)


def test_a_state_file_of_ours_is_read_as_it_is(tmp_path, capsys):
    files.write_state("state.npz", nf.State(H.T.copy(), W, B), Y)
    assert told(capsys, "state.npz")["values"] == dict(nf.metrics.collapse(H, Y, W, B))


def test_layers(capsys):
    np.savez("f.npz", one=H.reshape(15, 2, 3), two=H[:, :2], y=Y)
    found = told(capsys, "f.npz", "--layer", "one", "--layer", "two", "--test", "f.npz")
    assert list(found) == ["one", "two"]
    assert found["two"]["values"] == dict(nf.metrics.collapse(H[:, :2], Y))
    assert exit_code("metrics", "f.npz", "--layer", "one", "--layer", "two") == 0
    text = capsys.readouterr().out
    assert "NC1_papyan" in text
    assert "needs a head" not in text


def test_the_table_says_values_reasons_and_on_demand_formulas(capsys):
    np.savez("f.npz", H=H, y=Y * 2)
    assert exit_code("metrics", "f.npz") == 0
    said = capsys.readouterr()
    assert f"{nf.metrics.collapse(H, Y)['NC1_papyan']:.4g}" in said.out
    assert "bias_Wg, bias_collapse, NC4" in said.out
    assert "needs a head: pass W" in said.out
    assert "tr(S_W S_B^+) / C" not in said.out
    assert "labels 0, 2, 4 are classes 0 to 2" in said.err
    assert exit_code("metrics", "f.npz", "--explain", "--test", "f.npz") == 0
    text = capsys.readouterr().out
    assert "tr(S_W S_B^+) / C" in text
    assert "Papyan, Han & Donoho 2020" in text


@pytest.mark.parametrize(
    ("arrays", "words", "message"),
    [
        ({"y": Y}, (), "has no features (H, features"),
        ({"H": H}, (), "has no labels"),
        ({"H": H.T, "y": Y}, (), "pass H.T"),
        ({"H": H, "y": Y}, ("--layer", "third"), "is no array of f.npz"),
        ({"H": H, "y": Y}, ("--centre", "middle"), "must be one of classes, samples"),
        ({"H": H, "y": Y}, ("--test", "none.npz"), "does not exist"),
        ({"H": H, "y": Y}, ("--labels", "f.txt"), "must end in"),
        ({"H": H * np.nan, "y": Y}, (), "NaN or infinite"),
        ({"H": H, "y": Y}, ("--layer", "H", "--ood", "f.npz"), "belongs to one layer"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_input_is_one_line(arrays, words, message, capsys):
    np.savez("f.npz", **arrays)
    assert exit_code("metrics", "f.npz", *words) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1
