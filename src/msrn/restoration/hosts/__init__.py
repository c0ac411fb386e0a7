"""The network as programs know it that handle pictures themselves: RGB in, RGB out, everything of ours inside."""
