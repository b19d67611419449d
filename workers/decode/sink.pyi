from typing_extensions import disjoint_base

@disjoint_base
class FrameSink:
    """Takes market-data frames in the socket callback; subclass it in Cython."""
