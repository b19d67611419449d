"""MEXC spot v3."""
