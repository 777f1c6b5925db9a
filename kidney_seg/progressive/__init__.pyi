from .driver import train as train
