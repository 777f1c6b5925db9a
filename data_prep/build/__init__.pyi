from .builder import BuildResult as BuildResult
from .builder import build as build
from .builder import build_cache as build_cache
