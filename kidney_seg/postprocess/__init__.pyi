from .distant_objects import Component as Component
from .distant_objects import apply_rule as apply_rule
from .distant_objects import find_objects as find_objects
from .distant_objects import remove_distant_objects as remove_distant_objects
from .review import describe as describe
