from .dataset import training_dataset as training_dataset
