"""A picture through a network: tiles, backends, colours, and the choice between them."""
