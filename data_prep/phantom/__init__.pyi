from .cohort import write_cohort as write_cohort
from .patient import simulate_patient as simulate_patient
