from .finder import Choice as Choice
from .finder import find_one as find_one
from .finder import find_scans as find_scans
from .scan import Scan as Scan
from .scan import read_scan as read_scan
