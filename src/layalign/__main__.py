"""``python -m layalign``."""

import sys

from layalign.cli.main import main

sys.exit(main())
