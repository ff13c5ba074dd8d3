"""Images to features: arrays in, arrays out."""
