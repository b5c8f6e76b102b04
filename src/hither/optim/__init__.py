"""Optimizers and learning-rate schedules, with Keras 3's names and arguments: pure functions of gradients, state, weights."""

from . import schedules
from .algorithms import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, Nadam, RMSprop
from .optimizer import Optimizer, get
from .schedules import LearningRateSchedule

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "LearningRateSchedule", "Lion", "Nadam", "Optimizer", "RMSprop",
    "get", "schedules",
]  # fmt: skip
