"""`python -m stratpanel.cli`, for machines where the script is not on the PATH."""

import sys

from stratpanel.cli import main

sys.exit(main())
