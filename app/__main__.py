"""`python -m app` is `muster`."""

import sys

from app.cli.main import main

sys.exit(main())
