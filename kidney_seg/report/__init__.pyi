from .sources import gather as gather
from .writer import write_report as write_report
