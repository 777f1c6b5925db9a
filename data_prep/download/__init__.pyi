from .cases import Outcome as Outcome
from .cases import download_kits as download_kits
from .sources import SOURCES as SOURCES
from .sources import Source as Source
