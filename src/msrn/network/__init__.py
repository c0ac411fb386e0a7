"""The network, its graph for inference, and the files that hold its weights."""
