"""`python -m stratpanel` is the `stratpanel` command."""

import sys

from stratpanel.cli import main

sys.exit(main())
