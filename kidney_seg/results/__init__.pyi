from .rows import read_rows as read_rows
from .writer import write_results as write_results
