"""Layouts: data sets as they lie on disk, read into catalogues. One file per layout; all are met in `data_sets`."""
