import tomllib
from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.config.presets import PRESETS, preset
from ntkflow_validation.runs.training_run import planned_kernels
from ntkflow_validation.sweep.grid import key_of
from ntkflow_validation.sweep.settings import SETTINGS, changed
from ntkflow_validation.training.steps import snapshot_steps, total_steps

from ntkflow.errors import InputError
from ntkflow.runs.files import write_toml


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_configuration_survives_a_toml_file(name, tmp_path):
    path = tmp_path / "config.toml"
    write_toml(path, preset(name).to_dict())
    assert RunConfig.from_toml(path) == preset(name)
    assert set(tomllib.loads(path.read_text())) == {"seed", "data", "model", "training", "kernels"}


@pytest.mark.parametrize(
    ("values", "argument"),
    [
        ({"trainnig": {}}, "trainnig"),
        ({"training": {"lr": 0.1}}, "training.lr"),
        ({"training": 3}, "training"),
        ({"training": {"momentum": 1.0}}, "training.momentum"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate"),
        ({"training": {"steps": 2.5}}, "training.steps"),
        ({"training": {"loss": "hinge"}}, "training.loss"),
        ({"data": {"classes": True}}, "data.classes"),
        ({"data": {"per_class": 6}, "training": {"batch_per_class": 7}}, "training.batch_per_class"),
        ({"data": {"per_class": 6, "probe_per_class": 7}}, "data.probe_per_class"),
        ({"data": {"per_class": 6, "probe_per_class": 1}}, "data.probe_per_class"),
        ({"data": {"scaling": "whitened"}}, "data.scaling"),
        ({"data": {"classes": 3, "class_sizes": [4, 3]}}, "data.class_sizes"),
        ({"data": {"classes": 2, "class_sizes": [4, 1]}}, "data.class_sizes"),
        ({"data": {"classes": 2, "class_sizes": 4}}, "data.class_sizes"),
        ({"data": {"classes": 2, "class_sizes": [4, 3], "name": "block"}}, "data.class_sizes"),
        ({"data": {"classes": 2, "class_sizes": [4, 3], "probe_per_class": 4}}, "data.probe_per_class"),
        (
            {"data": {"classes": 2, "class_sizes": [4, 3]}, "training": {"batch_per_class": 2}},
            "training.batch_per_class",
        ),
        ({"data": {"classes": 2, "class_sizes": [4, 3]}, "kernels": {"per_class": 4}}, "kernels.per_class"),
        ({"data": {"per_class": 0}}, "data.per_class"),
        ({"training": {"nesterov": True}}, "training.nesterov"),
        ({"training": {"nesterov": 1}}, "training.nesterov"),
        ({"training": {"label_smoothing": 1.0}}, "training.label_smoothing"),
        ({"training": {"optimiser": "lion"}}, "training.optimiser"),
        ({"training": {"beta1": 0.8}}, "training.beta1"),
        ({"training": {"optimiser": "adam", "beta2": 1.0}}, "training.beta2"),
        ({"training": {"optimiser": "adam", "epsilon": 0}}, "training.epsilon"),
        ({"training": {"optimiser": "adam", "momentum": 0.9}}, "training.momentum"),
        ({"training": {"optimiser": "adamw", "learning_rate": 0}}, "training.learning_rate"),
        ({"training": {"stability": 1.0}}, "training.stability"),
        ({"training": {"statistics": "frozen"}}, "training.statistics"),
        ({"training": {"observed": "running"}}, "training.observed"),
        ({"training": {"observed": "batch"}}, "training.observed"),
        ({"training": {"decay_on": "biases"}}, "training.decay_on"),
        ({"data": {"per_class": 6}, "kernels": {"per_class": 7}}, "kernels.per_class"),
        ({"kernels": {"per_class": 1}}, "kernels.per_class"),
        ({"kernels": {"method": "guess"}}, "kernels.method"),
        ({"kernels": {"quantities": ["outputs", "inputs"]}}, "kernels.quantities"),
        ({"kernels": {"quantities": 3}}, "kernels.quantities"),
        ({"kernels": {"probes": 0}}, "kernels.probes"),
        ({"kernels": {"bn": "train"}}, "kernels.bn"),
        ({"kernels": {"memory": 2}}, "kernels.memory"),
        ({"model": {"features": 4}, "kernels": {"neurons": 5}}, "kernels.neurons"),
        ({"model": {"name": "mlp", "norm": "batch"}}, "model.norm"),
        ({"data": {"name": "block"}}, "model.name"),
        ({"model": {"head_bias": 0}}, "model.head_bias"),
        ({"data": {"name": "block", "scaling": "image"}}, "data.name"),
        ({"data": {"noise": 0.1}}, "data.noise"),
        ({"model": {"name": "linear", "bend": 0.1}}, "model.bend"),
        ({"data": {"kappa_c": 2.0}}, "kappa_d"),
        ({"data": {"kappa_n": -0.1}}, "data.kappa_n"),
        ({"data": {"kappa_n": 0.6}}, "data.kappa_c"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_settings_are_refused_by_name(values, argument):
    with pytest.raises(InputError) as caught:
        RunConfig.from_dict(values)
    assert caught.value.argument == argument


def test_missing_settings_take_their_defaults():
    config = RunConfig.from_dict({"model": {"width": 3}})
    assert config == RunConfig(model=ModelConfig(width=3))
    assert config.data == DataConfig()
    assert (config.training, config.kernels) == (TrainConfig(), KernelConfig())


def test_quantities_are_a_list_in_files_and_words_in_options(tmp_path):
    config = RunConfig(kernels=KernelConfig(quantities=("outputs", "rayleigh")))
    write_toml(tmp_path / "config.toml", config.to_dict())
    assert RunConfig.from_toml(tmp_path / "config.toml") == config
    for text, expected in (("outputs,rayleigh", config.kernels.quantities), ("outputs", ("outputs",))):
        values = SETTINGS.read_settings([f"kernels.quantities={text}"])
        assert changed(RunConfig(), values).kernels.quantities == expected


def test_how_much_is_measured_where_changes_no_number():
    own = KernelConfig(per_class=5)
    assert own.gives_the_numbers_of(
        replace(own, count=2, memory="1GiB", while_training=True, quantities=("outputs",))
    )
    for other in (
        {"per_class": 4},
        {"neurons": 2},
        {"method": "gram"},
        {"probes": 4},
        {"bn": "recalibrated"},
    ):
        assert not own.gives_the_numbers_of(replace(own, **other))


def test_seed_is_replaced_only_when_given():
    assert preset("tiny").with_seed(None) == preset("tiny")
    assert preset("tiny").with_seed(7).seed == 7


def test_unknown_preset_and_unreadable_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="digits"):
        preset("imagenet")
    with pytest.raises(InputError, match="cannot be read"):
        RunConfig.from_toml(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("a = [")
    with pytest.raises(InputError, match="cannot be read as TOML"):
        RunConfig.from_toml(tmp_path / "broken.toml")


def test_the_papers_recipe_is_observed_every_second_epoch_with_a_kernel():
    config = preset("paper")
    steps = snapshot_steps(total_steps(config.training, config.data.per_class), 201, config.training.spacing)
    epoch = config.data.per_class // config.training.batch_per_class
    assert steps == list(range(0, 400 * epoch + 1, 2 * epoch))
    assert planned_kernels(config, steps[-1]) == tuple(steps)


def test_sizes_of_classes_are_a_number_where_they_are_equal():
    equal = DataConfig(classes=3, class_sizes=(4, 4, 4))
    assert equal == DataConfig(classes=3, per_class=4)
    differing = DataConfig(classes=3, class_sizes=(4, 3, 5))
    assert (differing.counts, differing.samples, differing.mean_per_class) == ((4, 3, 5), 12, 4)
    assert differing.balanced is False
    assert RunConfig(data=differing).unpredicted is None
    part = RunConfig(data=replace(differing, probe_per_class=2))
    assert part.unpredicted.startswith("trained on classes of 3 to 5 samples, and observed on a part of them")
    assert (part.has_invariant, RunConfig(data=differing).has_invariant) == (False, True)
    assert SETTINGS.read_settings(["data.class_sizes=4,3,5"]) == {"data.class_sizes": (4, 3, 5)}
    assert RunConfig(data=differing).with_per_class(3).data == DataConfig(classes=3, per_class=3)


def test_whole_numbers_of_numpy_are_kept_as_those_that_files_hold(tmp_path):
    config = replace(RunConfig(seed=np.int64(3)), data=DataConfig(per_class=np.int32(5)))
    assert [type(value) for value in (config.seed, config.data.per_class)] == [int, int]
    write_toml(tmp_path / "config.toml", config.to_dict())
    assert RunConfig.from_toml(tmp_path / "config.toml") == config


def test_a_configuration_says_what_of_the_theory_it_breaks():
    assert RunConfig(model=ModelConfig(name="linear"), training=TrainConfig()).deviations == ()
    training = TrainConfig(momentum=0.9, weight_decay=0.01, batch_per_class=2, warmup=5, loss="cross-entropy")
    said = RunConfig(
        data=DataConfig(per_class=4), model=ModelConfig(name="linear"), training=training
    ).deviations
    words = ("momentum 0.9", "decay 0.01 of weights", "batches of 2", "warm-up of 5", "loss cross-entropy")
    assert [found[: len(word)] for found, word in zip(said, words, strict=True)] == list(words)


@pytest.mark.parametrize("name", [name for name in SETTINGS.kinds if name not in SETTINGS.lists])
def test_every_setting_is_of_the_type_of_its_field(name):
    section, _, key = name.rpartition(".")
    wrong = "x" if SETTINGS.kinds[name] is float else 1.5
    with pytest.raises(InputError) as caught:
        RunConfig.from_dict({section: {key: wrong}} if section else {key: wrong})
    assert caught.value.argument == name


def test_a_whole_number_for_a_number_is_the_same_run_at_the_same_address():
    written, meant = (RunConfig(training=TrainConfig(learning_rate=rate)) for rate in (1, 1.0))
    assert isinstance(written.training.learning_rate, float)
    assert key_of(written) == key_of(meant)
