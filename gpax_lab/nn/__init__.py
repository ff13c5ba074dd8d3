"""Neural networks that the rooms share: encoders, im2spec, training without labels."""
