"""Data: pipelines of samples, from arrays, generators, tables and folders; and files of published packages (`packages`).

data = hither.data.image_folder("photos", size=128, validation_split=0.2, subset="training")
trainer.fit(data.shuffle().batch(32).prefetch(2), epochs=5)
"""

from .dataset import Dataset
from .folders import EmptyFolder, audio_folder, image_folder
from .table import InvalidTable, csv

__all__ = ["Dataset", "EmptyFolder", "InvalidTable", "audio_folder", "csv", "image_folder"]
