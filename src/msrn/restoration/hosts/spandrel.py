"""spandrel learns the network: once this is imported, its loaders take the files of ``msrn export -f spandrel``.

spandrel is what chaiNNer and ComfyUI load networks with. It needs torchvision, which this package does not, so it is
imported here alone and is in none of the extras.

Example:
    >>> import msrn.restoration.hosts.spandrel
    >>> spandrel.ModelLoader().load_from_file("msrn_x2.safetensors").scale
    2
"""

# spandrel is not installed where types are checked.
# pyright: basic, reportMissingImports=false

from typing import Any

from spandrel import MAIN_REGISTRY, Architecture, ArchSupport, ImageModelDescriptor, SizeRequirements
from spandrel.util import KeyCondition

from msrn.restoration.hosts.image_network import FACTS, ImageNetwork, from_state
from msrn.types import ENLARGING


class MSRNArchitecture(Architecture[ImageNetwork]):
    """Recognises the files and builds what they describe."""

    def __init__(self) -> None:
        keys = KeyCondition.has_all(FACTS, "network.extract.weight", "network.blocks.0.gate.weight")
        super().__init__(id="MSRN-MemNet", name="MSRN (MemNet)", detect=keys)

    def load(self, state_dict: dict[str, Any]) -> ImageModelDescriptor[ImageNetwork]:
        """Return the model; its tags name the shape, the task, and the halo that tiles need."""
        module = from_state(state_dict)
        return ImageModelDescriptor(
            module,
            state_dict,
            architecture=self,
            purpose="SR" if module.task in ENLARGING and module.scale > 1 else "Restoration",
            tags=[module.network.config.shape, module.task, f"halo {module.halo}"],
            supports_half=False,  # positions and colours need more digits
            supports_bfloat16=False,
            scale=module.scale,
            input_channels=3,
            output_channels=3,
            size_requirements=SizeRequirements(minimum=16),
        )


MAIN_REGISTRY.add(ArchSupport.from_architecture(MSRNArchitecture()), ignore_duplicates=True)
