"""Weights files: self-describing, strict, hashed."""

import hashlib
import json
import math
import pickle
import tracemalloc
from dataclasses import asdict, replace
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.helpers.networks import card_of, random_network, weights_of

from msrn.errors import OutputError, WeightsError
from msrn.network import catalogue, weights
from msrn.network.config import MSRNConfig
from msrn.network.memnet import MSRN, build
from msrn.types import Task

CONFIG = MSRNConfig(2, 1, 4)


@pytest.fixture
def saved(tmp_path):
    return weights.save(weights_of(random_network(CONFIG), "sr"), tmp_path, "MSRN_M2R1_sr-none")


def metadata_of(path):
    raw = path.read_bytes()
    return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]


def rewrite(path, tensors=None, **metadata):
    """Write the file again, changed, under a name without a hash."""
    target = path.with_name("changed.safetensors")
    save_file(load_file(path) if tensors is None else tensors, target, metadata or metadata_of(path))
    return target


def changed(**card):
    """Metadata whose card says something else."""
    text = json.dumps({"format_version": 1, "card": json.loads(json.dumps(asdict(card_of("sr", CONFIG)))) | card})
    return {"msrn": text}


def test_what_a_file_holds_cannot_be_changed(saved):
    loaded = weights.load(saved)
    assert loaded.key == loaded.sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match="read-only"):
        loaded.arrays["extract.bias"][0] = 1
    with pytest.raises(TypeError):
        loaded.arrays["extract.bias"] = loaded.arrays["reconstruct.bias"]
    build(loaded).extract.bias.add_(1)  # a network has tensors of its own
    assert build(loaded).extract.bias[0] == float(loaded.arrays["extract.bias"][0])


def test_a_file_rebuilds_the_same_network(saved):
    loaded = weights.load(saved)
    assert loaded.card == card_of("sr", CONFIG)
    x = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(build(loaded)(x), random_network(CONFIG)(x))
    assert not build(loaded).training


def test_the_name_ends_in_the_hash_and_the_same_network_gives_the_same_file(saved, tmp_path):
    digest = hashlib.sha256(saved.read_bytes()).hexdigest()
    assert saved.name == f"MSRN_M2R1_sr-none-{digest[:8]}.safetensors"
    again = weights.save(weights_of(random_network(CONFIG), "sr"), tmp_path / "b", "MSRN_M2R1_sr-none")
    assert again.read_bytes() == saved.read_bytes()


def test_one_flipped_bit_is_found(saved):
    data = bytearray(saved.read_bytes())
    data[-5] ^= 1
    saved.write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        weights.load(saved)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_files_are_errors(saved, keep):
    short = saved.with_name("short.safetensors")
    short.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="safetensors"):
        weights.load(short)


def test_a_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    for name in ("weights.safetensors", "weights.pth"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(WeightsError):
            weights.load(tmp_path / name)


def test_loading_is_strict(saved):
    tensors = load_file(saved)
    first = next(iter(tensors))
    with pytest.raises(WeightsError, match=f"lacks the tensor {first}"):
        weights.load(rewrite(saved, {key: tensors[key] for key in tensors if key != first}))
    with pytest.raises(WeightsError, match="tensor extra that its network does not"):
        weights.load(rewrite(saved, tensors | {"extra": torch.zeros(1)}))
    with pytest.raises(WeightsError, match=r"shape \(2,\), expected"):
        weights.load(rewrite(saved, tensors | {"ensemble": torch.zeros(2), "extract.bias": torch.zeros(2)}))
    with pytest.raises(WeightsError, match="not finite"):
        weights.load(rewrite(saved, tensors | {"ensemble": torch.tensor([1.0, float("nan")])}))
    variance = "blocks.0.norm1.0.running_var"
    with pytest.raises(WeightsError, match="below zero"):
        weights.load(rewrite(saved, tensors | {variance: -tensors[variance]}))
    for dtype, words in (
        (torch.float64, "float64, expected"),
        (torch.int32, "int32, expected"),
        (torch.bfloat16, "read"),
    ):
        with pytest.raises(WeightsError, match=words):
            weights.load(rewrite(saved, tensors | {"ensemble": tensors["ensemble"].to(dtype)}))


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"format": "pt"}, "not published by this program"),
        ({"msrn": json.dumps({"format_version": 99, "card": {}})}, "format version 99"),
        ({"msrn": "{"}, "damaged card"),
        ({"msrn": "[" * 200_000}, "damaged card"),
        (changed(task="cooking"), "damaged card"),
        (changed(losses={"int8": {"2": "a little"}}), "damaged card"),
        (changed(losses=None), "damaged card"),
        (changed(ranges={"0.first.0": float("nan")}), "damaged card"),
        (changed(config=asdict(CONFIG) | {"channels": 10**7}), "has shape"),
        (changed(config=asdict(CONFIG) | {"memory_blocks": 10**7}), "too few"),
        ({"msrn": "[]"}, "damaged card"),
        ({"msrn": json.dumps({"format_version": 1, "card": {}})}, "damaged card"),
        ({"msrn": json.dumps({"format_version": 1, "card": {"config": {"memory_blocks": 0}}})}, "damaged card"),
    ],
)
def test_foreign_or_damaged_metadata_is_named(saved, metadata, words):
    with pytest.raises(WeightsError, match=words):
        weights.load(rewrite(saved, **metadata))


def test_a_network_that_is_not_finite_is_not_published(tmp_path):
    network = random_network(CONFIG)
    network.extract.bias[0] = float("inf")
    with pytest.raises(WeightsError, match=r"extract\.bias"):
        weights.save(weights_of(network, "sr"), tmp_path, "x")
    assert not list(tmp_path.iterdir())


def test_a_card_must_describe_its_network(tmp_path):
    other = replace(weights_of(random_network(CONFIG), "sr"), card=card_of("sr", MSRNConfig(2, 2, 4)))
    with pytest.raises(WeightsError, match=r"lacks the tensor blocks\.0"):
        weights.save(other, tmp_path, "x")


def test_an_unwritable_folder_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        weights.save(weights_of(random_network(CONFIG), "sr"), tmp_path / "file", "x")


def test_unknown_names_list_the_known_ones():
    with pytest.raises(WeightsError) as caught:
        weights.load("msrn-of-dreams")
    for entry in catalogue.CATALOGUE:
        assert entry.name in str(caught.value)


@pytest.mark.parametrize("entry", catalogue.CATALOGUE, ids=lambda entry: entry.name)
def test_embedded_files_load_under_all_their_names(entry):
    stem = entry.file.removesuffix(".safetensors")
    for name in (entry.name, entry.name.replace("msrn", "memnet").replace("-", "_"), entry.name.upper(), stem):
        assert catalogue.find(name) is entry
    loaded = weights.load(entry.name)
    assert loaded.sha256 == entry.sha256
    assert stem.endswith(entry.sha256[:8])
    assert loaded.card.task == entry.task
    assert entry.color == (loaded.card.config.in_channels == 3)
    assert loaded.card.scores
    assert loaded.card.recipe


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("MSRN_M6R4_x2", "msrn-m6r1s2-sr"),
        ("MSRN_M6R4_x4-T91-2096ee7f", "msrn-m6r1s2-sr"),
        ("msrn_m4r6", "msrn-m4r1s2-sr"),
        ("MemNet_M10R10_denoise", "msrn-m6r1s2-denoise"),
        ("memnet-m6r8-jpeg", "msrn-m6r1s2-jpeg"),
    ],
)
def test_names_of_the_original_load_what_is_nearest_and_say_what_differs(name, row, caplog):
    weights._warn_of_stand_in.cache_clear()  # which another test may have made it say
    assert weights.load(name).sha256 == weights.load(row).sha256
    (note,) = caplog.messages
    assert f"{row} stands in for {name}: " in note
    assert "recursions: 1" in note
    weights.load(name)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("name", ["MSRN_M6R6_x2", "MSRN_M6R6_x4-T91-2096ee7f", "memnet_m6r6", "MemNet-M6R6"])
def test_the_papers_own_network_has_its_names(name, caplog):
    assert weights.load(name).card.config == MSRNConfig()
    assert catalogue.find(name).name == "msrn-m6r6-sr"
    assert caplog.messages == []


def test_a_published_network_of_that_size_takes_its_name_back():
    fields = {"name": "msrn-m6r1-sr", "file": "MSRN_M6R1C64_sr-291-00000000.safetensors"}
    rows = [*catalogue.CATALOGUE, replace(catalogue.CATALOGUE[0], **fields)]
    assert catalogue.find("MSRN_M6R1_x3", rows).name == "msrn-m6r1-sr"
    assert catalogue.find("MSRN_M6R1_y3", rows) is None


def test_a_checkpoint_is_told_the_command_that_converts_it(tmp_path):
    path = tmp_path / "MSRN_M6R6_x2-T91-2096ee7f.pth.tar"
    with pytest.raises(WeightsError, match="did you mean msrn-m6r6-sr"):
        weights.load(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(WeightsError, match="msrn convert makes a weights file of it"):
        weights.load(path)


def test_each_task_has_default_weights():
    tasks = set(get_args(Task)) - {"photo-sr"}  # of which the package has none yet
    assert {weights.load(task).card.task for task in tasks} == tasks


def test_an_embedded_file_that_was_altered_is_refused():
    row = replace(catalogue.CATALOGUE[0], sha256="0" * 64)
    with pytest.raises(WeightsError, match="altered"):
        weights.load(row.name, [row])


@pytest.mark.parametrize(
    "config",
    [
        MSRNConfig(1, 1, 2),
        MSRNConfig(3, 2, 4, in_channels=3),
        MSRNConfig(2, 1, 4, 1, False),
        MSRNConfig(2, 2, 4, 1, True, 2),
    ],
)
def test_the_tensors_are_known_without_building_the_network(config):
    built = {key: tuple(tensor.shape) for key, tensor in MSRN(config).state_dict().items()}
    assert weights.tensors_of(config) == built


def test_a_precision_is_harmless_when_its_worst_level_is():
    card = replace(card_of("sr", CONFIG), losses={"int8": {"2": 0.0, "4": 0.3}, "bf16": {"2": 0.01, "4": 0.02}})
    assert card.harmless == ("fp32", "bf16")


@pytest.mark.parametrize(
    ("int8", "bf16", "cost"),
    [
        ({"2": 0.01, "4": 0.004}, {"2": 0.0, "4": 0.007}, 0.011),
        ({"2": 0.01, "4": 0.004}, {"2": -0.5, "4": 0.001}, 0.01),  # what one gains is no licence for the other
        ({"2": 0.01}, {"2": 0.012}, 0.022),
        ({"2": 0.01, "4": 0.004}, {"2": 0.0}, math.inf),
        ({"2": 0.0}, {"2": 0.0, "4": 1.0}, math.inf),
        ({"2": 0.01}, {}, math.inf),
    ],
)
def test_int8_and_bf16_together_cost_what_both_cost(int8, bf16, cost):
    card = replace(card_of("sr", CONFIG), losses={"int8": int8, "bf16": bf16})
    assert card.cost("int8-bf16") == pytest.approx(cost)
    assert ("int8-bf16" in card.harmless) == (cost <= 0.02)


def test_weights_are_halved_where_float16_holds_them():
    whole = weights_of(random_network(CONFIG), "sr")
    halved = weights.halve(whole)
    assert halved is not whole
    assert weights.halve(halved) is halved
    wide = {**whole.arrays, "extract.weight": np.full_like(whole.arrays["extract.weight"], 70_000)}
    with pytest.raises(WeightsError, match=r"extract\.weight .* too large for float16"):
        weights.halve(replace(whole, arrays=wide))


@pytest.mark.parametrize("name", ["memory_blocks", "recursions", "channels", "unshuffle", "units"])
def test_a_card_of_an_enormous_network_is_refused_before_anything_is_allocated(name, saved):
    path = rewrite(saved, **changed(config=asdict(CONFIG) | {name: 10**9}))
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError):
            weights.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
