"""Scopeline's training: data, networks, fitting, honest figures, bundles. Needs `scopeline[training]`."""
