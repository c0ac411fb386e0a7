"""From a recipe to a weights file: images, patches, the loop, its state, and publishing."""
