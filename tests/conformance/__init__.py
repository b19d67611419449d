"""What every venue is held to: `fixture.py` is what its author states, `docs/conformance.md` the result."""
