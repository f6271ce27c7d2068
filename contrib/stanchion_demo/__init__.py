"""The demonstration: `stanchion demo`."""
