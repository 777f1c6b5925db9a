from .folds import make_folds as make_folds
from .folds import write_folds as write_folds
from .sets import make_split as make_split
from .sets import patients_of as patients_of
from .sets import read_split as read_split
from .sets import write_split as write_split
