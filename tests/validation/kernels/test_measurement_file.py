"""The one file of a measurement: the same measurement again, in whole or without its large arrays."""

import json

import numpy as np
import pytest
from ntkflow_validation.config.settings import QUANTITIES
from ntkflow_validation.kernels import load_measurement, measure
from ntkflow_validation.kernels.measurement_file import LARGE, TENSORS, read, read_details
from ntkflow_validation.kernels.methods import shape

from ntkflow.errors import InputError
from ntkflow.problem.kernels import kernel_files
from ntkflow.runs import files
from tests.cli import damage
from tests.validation.kernels.nets import inputs, mlp, parameters

LABELS = np.array([2, 0, 1, 0, 2, 2, 0, 1, 0, 2])
HEAD = np.random.default_rng(3).normal(size=(3, 4)), np.zeros(3)


def measured(quantities=QUANTITIES, **options):
    return measure(mlp, parameters(mlp), inputs(LABELS), LABELS, quantities=quantities, **options)


@pytest.mark.parametrize(
    ("options", "quantities"),
    [
        ({"head": HEAD, "probes": 4}, QUANTITIES),
        ({"head": (HEAD[0], None), "per_class": 2, "neurons": [3, 1]}, ("outputs", "pair-norms")),
        ({"head": HEAD, "method": "probes", "probes": 2}, ("outputs", "rayleigh")),
        ({"head": HEAD, "probes": 4}, ("pair-norms", "output-pair-norms")),
        ({"per_class": 1}, ()),
    ],
    ids=["all", "part", "probes", "pairs", "one a class"],
)
def test_a_measurement_comes_back_as_it_was(options, quantities, tmp_path):
    found = measured(quantities, **options)
    found.save(str(tmp_path / "found.npz"), step=3)
    back = load_measurement(str(tmp_path / "found.npz"))
    assert json.dumps(back.to_dict()) == json.dumps(found.to_dict()).replace("NaN", "null")
    arrays = back.arrays()
    assert arrays.keys() == found.arrays().keys()
    for name, values in found.arrays().items():
        np.testing.assert_array_equal(arrays[name], values, err_msg=name, strict=True)
    assert repr(back) == repr(found)
    assert read_details(tmp_path / "found.npz") == {"step": 3}
    if found.pairs is not None:
        assert back.pairs.share_error == found.pairs.share_error


def test_without_its_large_arrays_it_says_the_same_numbers(tmp_path):
    found = measured(head=HEAD, probes=4)
    found.save(tmp_path / "found.npz")
    small, _ = read(tmp_path / "found.npz", LARGE)
    assert set(found.arrays()) - set(small.arrays()) == set(LARGE)
    middle, _ = read(tmp_path / "found.npz", TENSORS)
    assert set(found.arrays()) - set(middle.arrays()) == set(TENSORS)
    assert small.row() == found.row()
    theta, K = found.full.values, found.features.mean
    isotropic = np.einsum("pq,ij->piqj", np.eye(len(theta)), K)
    assert small.shape.iso == pytest.approx(np.linalg.norm(theta - isotropic) / np.linalg.norm(theta))
    # Weighted by W: of the tensor itself.
    W = HEAD[0]
    kernel = np.einsum("pq,piqj->ij", W.T @ W, theta) / np.sum(W**2)
    same = found.labels[:, None] == found.labels
    for name, pairs in (
        ("d", np.eye(len(K), dtype=bool)),
        ("c", same & ~np.eye(len(K), dtype=bool)),
        ("n", ~same),
    ):
        assert small.weighted[name] == pytest.approx(kernel[pairs].mean(), rel=1e-4), name
    block = small.block("weighted")
    assert (block.kappa_d, block.kappa_n) == pytest.approx((small.weighted["d"], small.weighted["n"]))
    assert small.shape.leak == pytest.approx(shape.leak(K, found.labels))
    assert small.outputs.alignment == found.outputs.alignment
    assert (small.features.mean, small.full) == (None, None)


def test_a_tensor_left_in_its_file_leaves_what_neurons_share(tmp_path):
    found = measured(("tensor", "output-tensor"), head=HEAD)
    found.save(tmp_path / "found.npz")
    small, _ = read(tmp_path / "found.npz", TENSORS)
    assert (small.full, small.full_outputs) == (None, None)
    assert small.shape.iso == found.shape.iso is not None
    np.testing.assert_allclose(small.pairs.norms, found.full.norms, rtol=1e-12)
    np.testing.assert_allclose(small.class_pairs.norms, found.full_outputs.norms, rtol=1e-12)
    assert small.row() == found.row()


def test_it_is_a_state_file_with_its_kernel(tmp_path):
    found = measured((), head=HEAD)
    found.save(tmp_path / "found.npz")
    state, problem = files.read_state(tmp_path / "found.npz"), found.problem()
    np.testing.assert_array_equal(state.state.H, problem.state.H)
    assert state.kernel == problem.kernel
    np.testing.assert_array_equal(state.arrays["K"], found.sample(order="class").K)
    with np.load(tmp_path / "found.npz") as file:
        arrays = dict(file)
    # What is beside state and kernel is known, and no reason to warn.
    assert set(kernel_files.checked(arrays, "found.npz")) == {"K", "kappa_d", "kappa_c", "kappa_n"}


@pytest.mark.parametrize("name", ["H", "K", "labels", "measured.features.sums.means"])
def test_a_damaged_file_is_refused_by_name(name, tmp_path):
    measured(("outputs",), head=HEAD).save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as file:
        arrays = dict(file)
    path, said = tmp_path / "found.npz", []
    for _, content in damage.archives(arrays, name):
        path.write_bytes(content)
        try:
            load_measurement(path)
        except InputError as error:
            said.append(str(error))
    assert len(said) > 5
    assert [text for text in said if "found.npz" not in text] == []


def test_numbers_of_another_shape_are_refused(tmp_path):
    found = measured(("outputs",), head=HEAD)
    said = found.to_dict()
    broken = [
        {**said, "features": None},
        {**said, "features": {**said["features"], "kappa_d": 1.0}},
        {**said, "features": {**said["features"], "mu_single": {"value": 1.0}}},
        {**said, "neurons_in_all": "4"},
        {**said, "neurons_in_all": 5},
        {**said, "outputs": {"alignment": 1.0}},
        {name: value for name, value in said.items() if name != "method"},
    ]
    for numbers in broken:
        files.write_arrays(tmp_path / "found.npz", found.arrays(), {"measurement": numbers})
        with pytest.raises(InputError, match=r"found\.npz"):
            load_measurement(tmp_path / "found.npz")
    files.write_arrays(tmp_path / "found.npz", found.arrays())
    with pytest.raises(InputError, match="lacks measurement"):
        load_measurement(tmp_path / "found.npz")
