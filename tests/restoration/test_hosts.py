"""The network in other programs' loaders: spandrel's public interface, which a stand-in has, and what it computes."""

import subprocess
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.helpers.networks import random_weights

import msrn
from msrn.errors import UsageError, WeightsError
from msrn.network.config import MSRNConfig
from msrn.restoration.export import export, parity
from msrn.restoration.hosts.image_network import FACTS, from_state, from_weights
from msrn.restoration.restorer import Restorer

CASES = [  # every task, for luminance and for colours
    ("sr", MSRNConfig(2, 1, 4, unshuffle=2), 3),
    ("photo-sr", MSRNConfig(1, 2, 4, 3), 2),
    ("denoise", MSRNConfig(1, 2, 3), 1),
    ("denoise", MSRNConfig(2, 1, 4, 3, unshuffle=2, multi_supervised=False), 1),
    ("jpeg", MSRNConfig(1, 1, 4, unshuffle=2, units=2, shared=False), 1),
    ("jpeg", MSRNConfig(1, 1, 4, 3, unshuffle=2), 1),
    ("photo", MSRNConfig(2, 1, 3, 3), 1),
]


@pytest.fixture
def spandrel(monkeypatch):
    """The names of spandrel's public interface that the adapter uses, as spandrel 0.4 has them."""

    class Architecture:
        def __class_getitem__(cls, _):
            return cls

        def __init__(self, *, id, detect, name=None):  # noqa: A002
            self.id, self.name, self.detect = id, name or id, detect

    class KeyCondition:
        def __init__(self, keys):
            self.keys = keys

        @staticmethod
        def has_all(*keys):
            return KeyCondition(keys)

        def __call__(self, state):
            return all(key in state for key in self.keys)

    class ImageModelDescriptor:
        def __class_getitem__(cls, _):
            return cls

        def __init__(
            self,
            model,
            state_dict,
            architecture,
            purpose,
            tags,
            supports_half,
            supports_bfloat16,
            scale,
            input_channels,
            output_channels,
            size_requirements=None,
            tiling=None,
            call_fn=None,
        ):
            assert purpose != "Restoration" or scale == 1
            model.load_state_dict(state_dict)
            self.__dict__ |= {key: value for key, value in locals().items() if key != "self"}

        @torch.inference_mode()
        def __call__(self, image):
            return self.model(image).clamp_(0, 1)

    @dataclass
    class ArchSupport:
        architecture: object

        @staticmethod
        def from_architecture(architecture):
            return ArchSupport(architecture)

    class Registry(dict):
        def add(self, *supports, ignore_duplicates=False):
            for support in supports:
                assert ignore_duplicates or support.architecture.id not in self
                self.setdefault(support.architecture.id, support.architecture)

        def load(self, state):
            return next(each for each in self.values() if each.detect(state)).load(state)

    made = ModuleType("spandrel")
    util = ModuleType("spandrel.util")
    util.KeyCondition = KeyCondition
    vars(made).update({each.__name__: each for each in (Architecture, ImageModelDescriptor, ArchSupport)})
    vars(made).update({"MAIN_REGISTRY": Registry(), "util": util, "SizeRequirements": SimpleNamespace})
    monkeypatch.setitem(sys.modules, "spandrel", made)
    monkeypatch.setitem(sys.modules, "spandrel.util", util)
    monkeypatch.delitem(sys.modules, "msrn.restoration.hosts.spandrel", raising=False)
    import msrn.restoration.hosts.spandrel  # noqa: F401

    yield made
    sys.modules.pop("msrn.restoration.hosts.spandrel", None)


@pytest.mark.parametrize(("task", "config", "scale"), CASES)
def test_spandrel_loads_an_exported_file_and_gives_the_packages_result(
    spandrel, tmp_path, monkeypatch, task, config, scale
):
    weights, path = random_weights(task, config), tmp_path / "x.safetensors"
    enlarging = task in ("sr", "photo-sr")
    with monkeypatch.context() as shortened:  # all are compared below, by the adapter
        shortened.setattr(parity, "_SIZES", 1)
        export(weights, path, "spandrel", scale=scale if enlarging else None)
    model = spandrel.MAIN_REGISTRY.load(load_file(path))
    assert (model.scale, model.input_channels, model.purpose) == (scale, 3, "SR" if enlarging else "Restoration")
    assert model.tags[:2] == [config.shape, task]
    restorer = Restorer(weights, device="cpu", backend="openvino", precision="fp32")
    tried = list(parity.sizes(16))
    assert len(set(tried)) == 20
    for size in tried:
        image = np.random.default_rng(0).random((3, *size), dtype=np.float32)
        expected = restorer(msrn.Picture(image), scale=scale if enlarging else None).pixels.clip(0, 1)
        made = model(torch.from_numpy(image)[None])[0].numpy()
        np.testing.assert_allclose(made, expected, rtol=0, atol=parity.TOLERANCE)


def test_the_packages_weights_agree_on_twenty_sizes(tmp_path):
    from msrn.network.weights import load

    assert export(load("sr"), tmp_path / "x.safetensors", "spandrel") <= parity.TOLERANCE


def test_other_states_are_refused(spandrel):
    state = from_weights(random_weights("denoise", MSRNConfig(1, 1, 2))).state_dict()
    (architecture,) = spandrel.MAIN_REGISTRY.values()
    assert architecture.detect(state)
    assert not architecture.detect({key: value for key, value in state.items() if key != FACTS})
    for place, value in ((0, 2), (1, 99), (4, 10**6), (3, 1000)):
        changed = state[FACTS].clone()
        changed[place] = value
        with pytest.raises(WeightsError):
            from_state(state | {FACTS: changed})
    with pytest.raises(WeightsError, match="describes no network"):
        from_state({})
    with pytest.raises(UsageError, match="cannot enlarge"):
        from_weights(random_weights("denoise", MSRNConfig(1, 1, 2)), 2)


def test_neither_the_file_nor_its_readers_need_onnx():
    blocked = "import sys; sys.modules |= {'onnx': None, 'onnxruntime': None}; "
    read = "import msrn.restoration.hosts.image_network, msrn.restoration.export.spandrel_file"
    done = subprocess.run([sys.executable, "-c", blocked + read], capture_output=True, text=True)
    assert not done.returncode, done.stderr
