"""The launcher as `wake` starts it: by this file's path, without `site`, whose imports every runner would carry.

`python -S -P …/process/__main__.py [--detach] WORKSPACE [RUNTIME_DIR]`. Only the standard library is needed below here.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from stratpanel.process.launcher import main

    sys.exit(main(sys.argv[1:]))
