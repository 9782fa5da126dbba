"""`python -m flows.services HOME [--stay]`: a home's supervisor, which may stop the group at its end."""

import sys
from pathlib import Path

from flows.services.lifecycle import STAY, stay
from flows.services.supervising import supervise

(stay if STAY in sys.argv else supervise)(Path(sys.argv[1]))
