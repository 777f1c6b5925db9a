from .folder import RunFolder as RunFolder
from .journal import Journal as Journal
from .journal import RunStatus as RunStatus
from .journal import read_events as read_events
