"""`python -m windlass.router`: one worker."""

from __future__ import annotations

import sys

from windlass.router.server import main

sys.exit(main())
