"""Links: how words reach an instrument and come back."""
