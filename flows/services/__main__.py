"""`python -m flows.services HOME`: the supervisor of a home, as `up` starts it."""

import sys
from pathlib import Path

from flows.services.supervising import supervise

supervise(Path(sys.argv[1]))
