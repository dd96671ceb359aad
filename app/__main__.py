"""`python -m app` is `muster`."""

import sys

from app.main import main

sys.exit(main())
