from .build.builder import build_cache as build_cache
from .check.folder import check_folder as check_folder
from .download.cases import download_kits as download_kits
from .errors import InputError as InputError
from .geometry.volume import Volume as Volume
from .phantom.cohort import write_cohort as write_cohort
from .split.sets import make_split as make_split
from .split.sets import write_split as write_split
from .volume import read_labels as read_labels
from .volume import read_volume as read_volume
from .volume import write_labels as write_labels

__version__: str
