import sys

from oyster_jax.cli import main

sys.exit(main())
