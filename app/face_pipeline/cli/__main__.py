import sys

from face_pipeline.cli import main

sys.exit(main())
