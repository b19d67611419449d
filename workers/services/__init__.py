"""Services that are no exchange: one folder each."""
