"""Puts this folder's own kit on the path (importlib mode leaves it off)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
