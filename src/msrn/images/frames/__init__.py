"""Animations (GIF, PNG, WebP) and TIFFs of several pages, read and written one picture at a time."""
