"""Simulated samples and the physics of the microscopes that look at them."""
