"""Simulators that play the sample: arrays in, arrays out."""
