"""Raw spectra to physics scalars: arrays in, arrays out."""
