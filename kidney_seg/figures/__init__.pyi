from .overlays import overlay as overlay
from .overlays import overlay_grid as overlay_grid
from .score_plots import detection_by_size as detection_by_size
from .score_plots import dice_by_patient as dice_by_patient
from .score_plots import dice_by_size as dice_by_size
from .score_plots import volume_agreement as volume_agreement
from .style import save as save
from .training_curves import learning_curves as learning_curves
