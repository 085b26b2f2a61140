"""The seam to the operating system: one module per system, the same names in each.

Everything in this room that differs between systems is called as `platform.NAME`; the meaning of each name is
documented in `linux.py`. What a system cannot do raises ProcessError and names what is missing, it never pretends.
"""

from __future__ import annotations

import sys

if sys.platform == "linux":
    from stratpanel.process.platform.linux import *  # noqa: F403
elif sys.platform == "darwin":
    from stratpanel.process.platform.macos import *  # noqa: F403
else:
    from stratpanel.process.platform.windows import *  # noqa: F403
