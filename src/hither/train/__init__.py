"""Training: the Trainer, its callbacks and its history.

trainer = hither.Trainer(net, loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
history = trainer.fit(x, y, epochs=3, validation_data=(xv, yv))
"""

from .callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from .checkpoint import BackupAndRestore
from .entries import PartialBatchWarning
from .epochs import OutOfDataWarning
from .history import History
from .tensorboard import TensorBoard
from .trainer import Trainer

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "EarlyStopping", "History", "LambdaCallback", "LearningRateScheduler",
    "ModelCheckpoint", "OutOfDataWarning", "PartialBatchWarning", "ReduceLROnPlateau", "TensorBoard", "TerminateOnNaN",
    "Trainer",
]  # fmt: skip
