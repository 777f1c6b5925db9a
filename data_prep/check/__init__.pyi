from .cache import check_cache as check_cache
from .folder import check_folder as check_folder
