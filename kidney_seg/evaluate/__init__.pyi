from .folders import evaluate_folders as evaluate_folders
from .folders import score_folders as score_folders
from .tables import format_detection as format_detection
from .tables import format_table1 as format_table1
