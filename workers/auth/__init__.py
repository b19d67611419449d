"""Signing what is sent to a venue: secrets that do not print, signers, and the venue's clock.

`secret` holds what must not be seen, `credentials` composes an API key of it and picks up its rotation,
`signing` has the algorithms, `clock` the time that is signed; what a venue wants signed, and how it is
written down, is in `workers/venues/<venue>/auth.py`.
"""
