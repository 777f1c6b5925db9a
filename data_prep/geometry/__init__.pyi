from .network_grid import GridSettings as GridSettings
from .source_grid import SourceGrid as SourceGrid
from .volume import StoredImage as StoredImage
from .volume import Volume as Volume
