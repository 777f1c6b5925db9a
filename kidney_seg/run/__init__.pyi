from .folder import RunFolder as RunFolder
from .journal import read_events as read_events
