"""The formats: to add one, write its module in this folder and one line here.

They are asked in this order whether a file is of their kind. The command line reads the names from here,
so nothing is imported.
"""

from __future__ import annotations

# name on the command line: module
FORMATS = {
    "orbax": "orbax",
    "torch": "torch",
    "keras": "keras",
    "npz": "npz",
    "npy": "npy",
    "safetensors": "safetensors",
    "msgpack": "msgpack",
    "hdf5": "hdf5",
}
