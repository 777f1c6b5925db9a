from .overlap import dice as dice
from .overlap import kits19_dice as kits19_dice
from .overlap import kits23_dice as kits23_dice
from .statistics import mean_interval as mean_interval
from .statistics import permutation_p as permutation_p
